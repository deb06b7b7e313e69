"""A stream restored from its state goes on exactly, in a new environment."""

import io
import json

import gymnasium as gym
import numpy as np
import pytest

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


class Holder(gym.Env):
    """An environment whose members the test chooses."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, **members):
        self.__dict__.update(members)


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


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ((i for i in range(3)), "generator"),
        (memoryview(b"x"), "memoryview"),
        (np.array([object()]), "object"),
        (np.zeros(2, "datetime64[s]"), "datetime64"),
    ],
)
def test_what_is_not_data_is_refused_by_name(member, words):
    with pytest.raises(EnvStateUnavailable, match=words) as error:
        capture(Holder(thing=member), "holder")
    assert "thing" in str(error.value)


def test_arrays_fit_a_checkpoint(tmp_path):
    import torch

    from rlcore.data.tensor_file import load_tensors, save_tensors

    random = np.random.Generator(np.random.MT19937(4))
    env = Holder(a=random, b=np.random.RandomState(5), c=np.float64(2.0), d=np.array([True]))
    state = capture(env, "holder")
    tensors = {name: torch.from_numpy(array) for name, array in state["arrays"].items()}
    save_tensors(tmp_path / "state.safetensors", tensors)
    loaded = load_tensors(tmp_path / "state.safetensors")
    want = random.random(3), env.b.random_sample(3)
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
