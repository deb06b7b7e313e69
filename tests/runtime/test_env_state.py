"""A stream restored from its state goes on exactly, in a new environment."""

import enum
import io
import itertools
import json
import random
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.make import make_envs
from rlcore.runtime.env_state import EnvStateUnavailable, capture, restore
from rlcore.runtime.env_stream import StepRow, open_stream

CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]
TOY = ["FrozenLake-v1", "Taxi-v3", "CliffWalking-v1", "Blackjack-v1"]


def make(env_id, vector, envs=2, limit=40):
    if vector:
        return gym.make_vec(env_id, num_envs=envs, max_episode_steps=limit)
    return [
        gym.make(env_id, disable_env_checker=True, max_episode_steps=limit) for _ in range(envs)
    ]


def new_row(stream):
    envs, spec = stream.num_envs, stream.spec
    return StepRow(
        obs=np.zeros((envs, *spec.obs_shape), spec.obs_dtype),
        first=np.zeros(envs, bool),
        reward=np.zeros(envs, np.float32),
        terminated=np.zeros(envs, bool),
        truncated=np.zeros(envs, bool),
        valid=np.zeros(envs, bool),
        episode_return=np.zeros(envs, np.float32),
        episode_length=np.zeros(envs, np.int32),
    )


def actions(stream, rng):
    spec = stream.spec
    if hasattr(spec.actions, "n"):
        return rng.integers(0, spec.actions.n, stream.num_envs)
    return rng.normal(size=(stream.num_envs, *spec.actions.shape)).astype(np.float32)


def round_trip(state):
    """Through the two forms a checkpoint has: JSON text without NaN, and arrays of a file."""
    file = io.BytesIO()
    np.savez(file, **state["arrays"])
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in state["arrays"]}
    return {"json": json.loads(json.dumps(state["json"], allow_nan=False)), "arrays": arrays}


def trace(stream, rng, steps):
    row, out = new_row(stream), []
    for _ in range(steps):
        finals = stream.step(actions(stream, rng), row)
        out.append([getattr(row, name).copy() for name in StepRow.__slots__])
        out.append([np.array([index]) for index, _ in finals] + [obs for _, obs in finals])
    return out


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize(
    ("env_id", "vector"),
    [(env_id, False) for env_id in CLASSIC + TOY[:3]] + [("CartPole-v1", True)],
)
def test_restored_stream_goes_on_bitwise(env_id, vector):
    stream = open_stream(make(env_id, vector), env_id=env_id)
    row = new_row(stream)
    stream.reset([11, 12], row.obs, row.first)
    trace(stream, np.random.default_rng(0), 27)
    state = round_trip(stream.get_state())
    wanted = trace(stream, np.random.default_rng(1), 130)

    fresh = open_stream(make(env_id, vector), env_id=env_id)
    fresh.set_state(state)
    obs, first = np.zeros_like(row.obs), np.zeros_like(row.first)
    fresh.carry_in(obs, first)
    assert_same(wanted, trace(fresh, np.random.default_rng(1), 130))
    ends = sum(int(one[3].any() or one[4].any()) for one in wanted[::2])
    assert ends > 2


def test_reading_the_state_changes_nothing():
    streams = [open_stream(make("CartPole-v1", False), env_id="CartPole-v1") for _ in range(2)]
    for stream in streams:
        row = new_row(stream)
        stream.reset([1, 2], row.obs, row.first)
    streams[0].get_state()
    assert_same(*(trace(stream, np.random.default_rng(3), 60) for stream in streams))


def test_carry_in_after_restore_gives_the_current_row():
    stream = open_stream(make("CartPole-v1", True), env_id="CartPole-v1")
    row = new_row(stream)
    stream.reset([1, 2], row.obs, row.first)
    for _ in range(40):  # the limit: every environment ends here or before
        stream.step(np.zeros(2, np.int64), row)
    obs, first = row.obs.copy(), row.first.copy()
    fresh = open_stream(make("CartPole-v1", True), env_id="CartPole-v1")
    fresh.set_state(round_trip(stream.get_state()))
    got_obs, got_first = np.zeros_like(obs), np.zeros_like(first)
    fresh.carry_in(got_obs, got_first)
    np.testing.assert_array_equal(got_obs, obs)
    np.testing.assert_array_equal(got_first, first)


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_random_lengths_of_images_go_on_bitwise(vectorization):
    def made():
        kwargs = {"episode_steps": 9, "min_steps": 2, "shape": (3, 2)}
        return open_stream(
            make_envs("testing/noop-image-v0", 3, kwargs=kwargs, vectorization=vectorization),
            env_id="noop",
        )

    stream, fresh = made(), made()
    row = new_row(stream)
    stream.reset([1, 2, 3], row.obs, row.first)
    trace(stream, np.random.default_rng(0), 17)
    fresh.set_state(round_trip(stream.get_state()))
    traces = [trace(one, np.random.default_rng(1), 60) for one in (stream, fresh)]
    assert_same(*traces)
    lengths = {int(n) for one in traces[0][::2] for n in one[7] if n}
    assert min(lengths) >= 2
    assert max(lengths) <= 9
    assert len(lengths) > 3


def test_observations_of_any_space_may_be_captured():
    made = [gym.make("Blackjack-v1", disable_env_checker=True) for _ in range(2)]
    made[0].reset(seed=3)
    restore(made[1], round_trip(capture(made[0], "blackjack")), "blackjack")
    for action in [1, 0] * 20:
        results = [env.step(action) for env in made]
        assert results[0] == results[1]
        if results[0][2]:
            assert made[0].reset() == made[1].reset()


class Holder(gym.Env):
    """An environment whose members the test chooses."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, **members):
        self.__dict__.update(members)


class Phase(enum.Enum):
    DAY = 1
    NIGHT = 2


class Keys(enum.Flag):
    RED = 1
    BLUE = 2


class Cell(NamedTuple):
    x: int
    y: float


@dataclass(frozen=True)
class Point:
    x: int = 0


@dataclass(slots=True)
class Robot:
    place: Point
    fuel: float = 1.0


class Base:
    __slots__ = ("__hidden", "seen")

    def __init__(self, value):
        self.__hidden = value

    @property
    def hidden(self):
        return self.__hidden


class Derived(Base):
    pass


class Many(list):
    pass


class Metres(float):
    pass


class Named(dict):
    pass


ORIGIN = Point()


def holds_itself():
    inner = []
    inner.append((inner,))
    return inner[0]


def once_large():
    """A set whose order shows that it was larger: 3 comes before 40, unlike in a new one."""
    cells = set(range(41))
    for number in range(41):
        if number not in (3, 40):
            cells.discard(number)
    return cells


def test_every_kind_of_data_survives():
    from collections import deque

    rng = np.random.default_rng(5)
    shared = np.arange(3.0)
    env = Holder(
        a=float("nan"), b=float("-inf"), c=np.float32(0.1), d=(1, [2.5, None], {"k": {3: True}}),
        e=deque([np.zeros(2)], maxlen=3), f=rng, g=[rng], h=shared, i={"x": shared}, j=b"\0\xff",
        k=np.asfortranarray(np.arange(6).reshape(2, 3)), m={3, 1}, n=0.1 + 0.2,
        o=np.random.RandomState(3), p=2**100, q=np.array([["ab", "c"]]),
    )  # fmt: skip
    env.o.normal()
    state = round_trip(capture(env, "holder"))
    draws = rng.integers(0, 1 << 40, 5), env.o.normal(size=3)
    new = Holder()
    restore(new, state, "holder")
    assert np.isnan(new.a)
    assert (new.b, new.d, new.m, new.n, new.j, new.p) == (env.b, env.d, env.m, env.n, env.j, env.p)
    assert new.c == np.float32(0.1)
    assert type(new.c) is np.float32
    assert new.e.maxlen == 3
    assert new.q.tolist() == [["ab", "c"]]
    assert new.k.flags.f_contiguous
    assert new.f is new.g[0], "a generator held twice stays one generator"
    assert new.h is new.i["x"], "an array held twice stays one array"
    np.testing.assert_array_equal(new.f.integers(0, 1 << 40, 5), draws[0])
    np.testing.assert_array_equal(new.o.normal(size=3), draws[1])


def test_values_of_the_environments_own_classes_survive():
    robot, derived, ring = Robot(Point(4), 0.25), Derived(7), [1]
    ring.append(ring)
    env = Holder(
        a=Phase.NIGHT, b={Phase.DAY: 1, Phase.NIGHT: [2]}, c=[Phase.DAY, Cell(1, 0.5)],
        d=Keys.RED | Keys.BLUE, e=robot, f=derived, g=range(2, 9), h=slice(1, None), i=ring,
        j=Counter("aab"), k=defaultdict(list, {3: [4]}), m=OrderedDict([(2, 1), (1, 2)]),
        n={Phase.DAY}, o=len, p=ORIGIN,
    )  # fmt: skip
    new = Holder(
        a=Phase.DAY, b={}, c=[], d=Keys.RED, e=Robot(ORIGIN), f=Derived(0), i=[],
        k=defaultdict(list), o=len, p=ORIGIN,
    )  # fmt: skip
    restore(new, round_trip(capture(env, "holder")), "holder")
    for name in "abcdeghjkmn":
        assert getattr(new, name) == getattr(env, name), name
        assert type(getattr(new, name)) is type(getattr(env, name)), name
    assert list(new.m) == [2, 1]
    assert new.k[5] == []
    assert new.f.hidden == 7
    assert new.i[1] is new.i
    assert Point() == ORIGIN, "a constant that other environments hold was changed"


def test_python_generators_survive_and_stay_shared():
    source, target = random.Random(1), random.Random(2)
    source.gauss(0, 1)  # leaves a second number for the next call
    env, new = Holder(a=source, b=[source]), Holder(a=target, b=[target])
    state = round_trip(capture(env, "holder"))
    wanted = [source.gauss(0, 1), source.random(), source.randrange(1000)]
    restore(new, state, "holder")
    assert new.a is new.b[0] is target
    assert [target.gauss(0, 1), target.random(), target.randrange(1000)] == wanted


@pytest.mark.parametrize("name", ["clock", "window", "screen", "font", "env"])
def test_data_under_a_name_that_usually_draws_is_state(name):
    new = Holder(**{name: 0.0})
    restore(new, round_trip(capture(Holder(**{name: 3.5}), "holder")), "holder")
    assert getattr(new, name) == 3.5
    capture(Holder(screen=(i for i in ()), clock=None), "what draws is left out")


@pytest.mark.parametrize(
    ("held", "found", "words"),
    [
        (len, min, "len"),
        (len, None, "len"),
        ([Derived(1)], [], "Derived where a new environment has nothing"),
        (defaultdict(list), {}, "defaultdict"),
        (lambda: 1, lambda: 2, "lambda"),
    ],
)
def test_what_a_new_environment_lacks_is_refused(held, found, words):
    state = round_trip(capture(Holder(thing=held), "holder"))
    if words == "lambda":
        state["json"][0]["members"]["thing"]["code"] += "0"  # as if it stood on another line
    with pytest.raises(EnvStateUnavailable, match=words):
        restore(Holder(thing=found), state, "holder")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ((i for i in range(3)), "generator"),
        (memoryview(b"x"), "memoryview"),
        (np.array([object()]), "object"),
        (Many([1, 2]), "Many"),
        (Metres(2.0), "Metres"),
        (Named(a=1), "Named"),
        (np.ma.array([1.0], mask=[True]), "MaskedArray"),
        (np.zeros(1).view(np.recarray), "recarray"),
        (torch.zeros(2), "Tensor"),
        (random.SystemRandom(), "SystemRandom"),
        (itertools.count(), "count"),
        (holds_itself(), "holds itself"),
        (once_large(), "order"),
        (np.zeros(2, "datetime64[s]"), "datetime64"),
    ],
)
def test_what_is_not_data_is_refused_by_name(member, words):
    with pytest.raises(EnvStateUnavailable, match=words) as error:
        capture(Holder(thing=member), "holder")
    assert "thing" in str(error.value)


def test_arrays_fit_a_checkpoint(tmp_path):
    from rlcore.tensor_file import load_tensors, save_tensors

    twister = np.random.Generator(np.random.MT19937(4))
    env = Holder(a=twister, b=np.random.RandomState(5), c=np.float64(2.0), d=np.array([True]))
    state = capture(env, "holder")
    tensors = {name: torch.from_numpy(array) for name, array in state["arrays"].items()}
    save_tensors(tmp_path / "state.safetensors", tensors)
    loaded = load_tensors(tmp_path / "state.safetensors")
    want = twister.random(3), env.b.random_sample(3)
    arrays = {name: tensor.numpy() for name, tensor in loaded.items()}
    new = Holder()
    restore(new, {"json": json.loads(json.dumps(state["json"])), "arrays": arrays}, "holder")
    np.testing.assert_array_equal(new.a.random(3), want[0])
    np.testing.assert_array_equal(new.b.random_sample(3), want[1])
    assert (new.c, new.d.tolist()) == (2.0, [True])


def test_arrays_that_overlap_are_refused():
    base = np.zeros(4)
    with pytest.raises(EnvStateUnavailable, match="shares memory"):
        capture(Holder(one=base, part=base[1:]), "holder")


def test_own_state_methods_are_preferred():
    class Own(Holder):
        def get_state(self):
            return {"n": self.n, "x": np.full(2, self.n)}

        def set_state(self, state):
            self.n = state["n"] + int(state["x"].sum())

    new = Own(n=0)
    restore(new, round_trip(capture(Own(n=4, opaque=(i for i in ())), "own")), "own")
    assert new.n == 12


def test_state_of_another_chain_is_refused():
    state = capture(gym.make("CartPole-v1", disable_env_checker=True), "one")
    with pytest.raises(EnvStateUnavailable, match="TimeLimit"):
        restore(gym.make("CartPole-v1").unwrapped, state, "other")
