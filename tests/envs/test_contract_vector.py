"""The contract that every environment of the package keeps, in its vector form."""

import copy
import inspect
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.catalogue import entry
from envs.core import InvalidActionError, ResetNeeded
from envs.testing.traces import batched, difference, row, row_info, same

every_id = pytest.mark.every_id
MODES = ["NextStep", "SameStep"]

# Ids whose vector form may differ in the last bits, each with the reason.
LOOSE: dict[str, float] = {}


def expected(env, actions, start, mode):
    """Return what one row must give, and the stream of actions that makes it do so.

    Args:
        env: The plain form, made with the same limit.
        actions: As recorded: a reset uses none up.
        start: Starts the first episode and returns ``(obs, info)``.
        mode: In ``NextStep`` a reset takes a step, whose action does not matter.
    """
    obs, info = start(env)
    rows, stream, over = [(obs, 0.0, False, False, info, None)], [], False
    for action in actions:
        if over:
            obs, info = env.reset()
            rows.append((obs, 0.0, False, False, info, None))
            stream.append(action)
        obs, reward, terminated, truncated, info = env.step(action)
        over, last = terminated or truncated, None
        if over and mode == "SameStep":
            over, last = False, (obs, info)
            obs, info = env.reset()
        rows.append((obs, reward, terminated, truncated, info, last))
        stream.append(action)
    return rows, stream


def vector_rows(vector, streams, **start):
    """Play ``streams`` and return the rows of each environment, as ``expected`` gives them."""
    obs, infos = vector.reset(**start)
    assert vector.observation_space.contains(obs)
    n = vector.num_envs
    rows = [[(row(obs, k), 0.0, False, False, row_info(infos, k), None)] for k in range(n)]
    for actions in zip(*streams, strict=True):
        obs, reward, terminated, truncated, infos = vector.step(batched(actions))
        assert vector.observation_space.contains(obs)
        infos = dict(infos)
        finals, last = infos.pop("final_obs", None), infos.pop("final_info", {})
        ended = infos.pop("_final_obs", np.zeros(n, bool))
        infos.pop("_final_info", None)
        for k in range(n):
            final = (finals[k], row_info(last, k)) if ended[k] else None
            flags = float(reward[k]), bool(terminated[k]), bool(truncated[k])
            rows[k].append((copy.deepcopy(row(obs, k)), *flags, row_info(infos, k), final))
        assert terminated.dtype == truncated.dtype == bool
        assert reward.dtype == np.float64
    return rows


def plain_streams(id, contract, limit, mode, starts):
    """Return what each row must give and the actions that make it do so, all equally long."""
    wanted, streams = [], []
    for k, start in enumerate(starts):
        actions = contract.recorded(id, 100 + k, bool(limit))
        rows, stream = expected(contract.make(id, **limit), actions, start, mode)
        wanted.append(rows)
        streams.append(stream)
    length = min(map(len, streams))
    return [rows[: length + 1] for rows in wanted], [stream[:length] for stream in streams]


def assert_rows(id, rows, wanted):
    for k, (found, want) in enumerate(zip(rows, wanted, strict=True)):
        apart = difference(want, found, LOOSE.get(id, 0.0))
        assert not apart, f"environment {k}: {apart}"


def assert_agree(id, contract, mode, limit):
    seeds = [100, 101, 102]
    starts = [lambda env, seed=seed: env.reset(seed=seed) for seed in seeds]
    wanted, streams = plain_streams(id, contract, limit, mode, starts)
    vector = contract.make_vec(id, 3, autoreset_mode=mode, **limit)
    assert vector.metadata["autoreset_mode"] is AutoresetMode(mode)
    assert_rows(id, vector_rows(vector, streams, seed=seeds), wanted)
    return [step for rows in wanted for step in rows]


@pytest.mark.parametrize("mode", MODES)
@every_id("vector")
def test_each_row_is_the_plain_form_with_its_seed(id, contract, mode):
    steps = assert_agree(id, contract, mode, contract.limited(id))
    assert any(terminated or truncated for _, _, terminated, truncated, *_ in steps)


@pytest.mark.parametrize("mode", MODES)
@every_id("vector", cost="us")
def test_each_row_is_the_plain_form_in_whole_episodes(id, contract, mode):
    assert_agree(id, contract, mode, {})


@every_id("seed children")
def test_an_integer_seed_gives_each_row_a_child(id, contract):
    if entry(id).vector_entry_point is None or id == "testing/noop-image-v0":
        return
    limit = contract.limited(id)

    def start(child):
        def reset(env):
            env.unwrapped.np_random = np.random.Generator(np.random.PCG64(child))
            return env.reset()

        return reset

    starts = [start(child) for child in np.random.SeedSequence(7).spawn(3)]
    wanted, streams = plain_streams(id, contract, limit, "NextStep", starts)
    rows = vector_rows(contract.make_vec(id, 3, **limit), streams, seed=7)
    assert_rows(id, rows, wanted)


@every_id()
def test_there_is_a_vector_form(id, contract):
    if id.startswith("testing/") and entry(id).vector_entry_point is None:
        return
    vector = contract.make_vec(id, 2)
    assert isinstance(vector, VectorEnv)
    assert vector.num_envs == 2
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    plain = contract.make(id)
    assert vector.single_observation_space == plain.observation_space
    assert vector.single_action_space == plain.action_space
    assert vector.observation_space == batch_space(plain.observation_space, 2)
    assert vector.action_space == batch_space(plain.action_space, 2)
    vector.close()
    vector.close()


@every_id("vector")
def test_ten_thousand_random_steps_stay_in_the_space(id, contract):
    n, steps = {"us": (100, 100), "ms": (16, 30), "100ms": (2, 3)}[entry(id).cost]
    vector = contract.make_vec(id, n)
    if isinstance(vector.single_action_space, spaces.Text):  # drawing texts is what takes the time
        steps //= 10
    obs, _ = vector.reset(seed=1)
    vector.action_space.seed(1)
    for _ in range(steps):
        assert vector.observation_space.contains(obs)
        obs, reward, *_ = vector.step(vector.action_space.sample())
        assert np.isfinite(reward).all()
    assert vector.observation_space.contains(obs)


@pytest.mark.parametrize("mode", MODES)
@every_id("vector")
def test_pickles_and_saved_states_go_on_exactly(id, contract, mode):
    if id.startswith("testing/"):
        return
    limit = contract.limited(id)
    steps = {"us": 30, "ms": 12, "100ms": 4}[entry(id).cost]
    vector = contract.make_vec(id, 2, autoreset_mode=mode, **limit)
    pool = contract.recorded(id)
    rng = np.random.default_rng(0)
    batches = [batched([pool[rng.integers(len(pool))] for _ in range(2)]) for _ in range(steps)]
    vector.reset(seed=3)
    for actions in batches[: steps // 2]:
        vector.step(actions)
    state, again = vector.get_state(), pickle.loads(pickle.dumps(vector))
    rest = batches[steps // 2 :]
    wanted = [copy.deepcopy(vector.step(actions)) for actions in rest]
    fresh = contract.make_vec(id, 2, autoreset_mode=mode, **limit)
    fresh.set_state(state)
    for other in (fresh, again):
        assert not difference(wanted, [other.step(actions) for actions in rest])
    vector.set_state(state)
    assert not difference(wanted, [vector.step(actions) for actions in rest])
    assert again.spec == vector.spec
    with pytest.raises(ValueError, match=id):
        contract.make_vec(id, 3, **limit).set_state(state)


@pytest.mark.parametrize("mode", MODES)
@every_id("vector")
def test_what_is_handed_out_is_the_callers(id, contract, mode):
    pool, limit = contract.recorded(id), contract.limited(id)
    steps = {"us": 24, "ms": 12, "100ms": 4}[entry(id).cost]
    batches = [batched([pool[(2 * t + k) % len(pool)] for k in range(2)]) for t in range(steps)]

    def trace(spoil):
        vector = contract.make_vec(id, 2, autoreset_mode=mode, **limit)
        result, found = vector.reset(seed=3), []
        for actions in batches:
            if spoil:
                overwrite(result)
            given = copy.deepcopy(actions)
            result = vector.step(given)
            assert same(given, actions), "actions are not written to"
            found.append(copy.deepcopy(result))
        return found

    assert not difference(trace(False), trace(True))


def overwrite(node):
    if isinstance(node, np.ndarray) and node.dtype != object:
        node[...] = 1
    elif isinstance(node, np.ndarray):
        for part in node:
            overwrite(part)
        node[...] = None
    elif isinstance(node, (tuple, list)):
        for part in node:
            overwrite(part)
    elif isinstance(node, dict):
        for part in node.values():
            overwrite(part)


@every_id("vector")
def test_mistakes_are_named(id, contract):
    if id.startswith("testing/"):
        return
    for bad in (0, -1, 1.5, "2", None):
        with pytest.raises(ValueError, match=f"^{id}: num_envs must be an integer >= 1"):
            contract.make_vec(id, bad)
    with pytest.raises(ValueError, match=f"^{id}: .*no_such_thing"):
        contract.make_vec(id, 2, no_such_thing=1)
    with pytest.raises(ValueError, match=f"^{id}: autoreset_mode"):
        contract.make_vec(id, 2, autoreset_mode="Disabled")
    with pytest.raises(ValueError, match=f"^{id}: render_mode"):
        contract.make_vec(id, 2, render_mode="hologram")
    vector, good = contract.make_vec(id, 2), contract.recorded(id)[:2]
    with pytest.raises(ResetNeeded, match=id):
        vector.step(batched(good))
    vector.reset(seed=0)
    for bad in ([good[0]], [*good, good[0]], None, 3, "a", [None, None]):
        with pytest.raises(InvalidActionError, match=f"^{id}: "):
            vector.step(bad)
    with pytest.raises(ValueError, match="3 seeds for 2"):
        vector.reset(seed=[1, 2, 3])
    if isinstance(vector.single_action_space, spaces.Box):
        nan = batched(good).astype(float)
        nan.reshape(-1)[-1] = np.nan
        with pytest.raises(InvalidActionError, match="not a number"):
            vector.step(nan)


@every_id("pictures")
def test_a_picture_of_each(id, contract):
    pytest.importorskip("PIL")
    vector = contract.make_vec(id, 2, render_mode="rgb_array")
    vector.reset(seed=[3, 4])
    vector.step(batched(contract.recorded(id)[:2]))
    pictures = vector.render()
    plain = contract.make(id, render_mode="rgb_array")
    plain.reset(seed=4)
    plain.step(contract.recorded(id)[1])
    assert len(pictures) == 2
    assert np.array_equal(pictures[1], plain.render())
    quiet = contract.make_vec(id, 2)
    quiet.reset(seed=0)
    assert quiet.render() is None


@every_id("vector")
def test_the_vector_form_is_no_loop_over_plain_ones(id, contract):
    """A batch of rows costs less than as many plain environments would: there are none inside."""
    vector = contract.make_vec(id, 2)
    held = [value for value in vars(vector).values() if isinstance(value, (list, tuple))]
    inside = [item for values in held for item in values if isinstance(item, gymnasium.Env)]
    assert not inside
    assert not isinstance(vector, (gymnasium.vector.SyncVectorEnv, gymnasium.vector.AsyncVectorEnv))
    assert "envs" not in inspect.signature(type(vector)).parameters
