"""The contract that every environment of the package keeps, in its plain form."""

import copy
import inspect
import json
import pickle
import subprocess
import sys
import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from envs.catalogue import entry
from envs.core import InvalidActionError, ResetNeeded
from envs.testing.traces import difference, digest, go_on, play, same
from rlcore.runtime.env_state import capture, restore

every_id = pytest.mark.every_id


# -- Gymnasium's own checks, spaces, types --------------------------------------------------------


@every_id()
def test_gymnasium_finds_nothing(id, contract):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = contract.make(id)
        check_env(env.unwrapped, skip_render_check=not env.unwrapped.metadata["render_modes"])


@every_id()
def test_spaces_are_bounded_and_of_the_allowed_types(id, contract):
    env = contract.make(id).unwrapped
    for space in leaves(env.observation_space):
        if isinstance(space, spaces.Box):
            assert space.dtype in (np.float32, np.uint8)
            assert np.isfinite(space.low).all()
            assert np.isfinite(space.high).all()
        else:
            assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary,
                                      spaces.Text))  # fmt: skip


def leaves(space):
    if isinstance(space, spaces.Dict):
        return [leaf for part in space.values() for leaf in leaves(part)]
    if isinstance(space, spaces.Tuple):
        return [leaf for part in space for leaf in leaves(part)]
    return [space]


@every_id()
def test_steps_have_the_promised_form(id, contract):
    env = contract.make(id)
    assert_form(env, play(env, contract.recorded(id), 3))


def assert_form(env, steps):
    names = {True: None, False: None}
    for obs, reward, terminated, truncated, info in steps:
        assert env.observation_space.contains(obs), obs
        at_reset = reward is None
        if not at_reset:
            assert type(reward) is float
            assert np.isfinite(reward)
        assert type(terminated) is bool
        assert type(truncated) is bool
        assert type(info) is dict
        assert not any(isinstance(value, dict) for value in info.values()), "info is flat"
        names[at_reset] = names[at_reset] or info.keys()
        assert info.keys() == names[at_reset], "info has fixed keys"


@every_id()
def test_many_random_steps_stay_in_the_space(id, contract):
    env = contract.make(id)
    steps = {"us": 1000, "ms": 30, "100ms": 3}[entry(id).cost]
    env.action_space.seed(1)
    assert_form(env, play(env, [env.action_space.sample() for _ in range(steps)], 1))


@pytest.mark.slow
@every_id()
def test_ten_thousand_random_steps_stay_in_the_space(id, contract):
    env = contract.make(id)
    steps = {"us": 10_000, "ms": 2000, "100ms": 100}[entry(id).cost]
    env.action_space.seed(2)
    assert_form(env, play(env, [env.action_space.sample() for _ in range(steps)], 2))


@every_id()
def test_text_environments_tell_who_said_what(id, contract):
    env = contract.make(id)
    if not isinstance(env.observation_space, spaces.Text):
        assert "ansi" not in env.metadata["render_modes"]
        return
    for *_, info in play(env, contract.recorded(id)[:20], 0):
        assert isinstance(info["segments"], list)
        for role, text in info["segments"]:
            assert isinstance(role, str)
            assert isinstance(text, str)


@every_id()
def test_cost_class_is_true(id, contract):
    env, actions, seconds = contract.make(id), contract.recorded(id), []
    env.reset(seed=3)
    over = False
    for action in actions[:40]:
        if over:
            env.reset()
        started = time.process_time()
        _, _, terminated, truncated, _ = env.step(action)
        seconds.append(time.process_time() - started)
        over = terminated or truncated
    limit = {"us": 2e-3, "ms": 0.1, "100ms": 10.0}[entry(id).cost]
    assert np.median(seconds) < limit, f"{np.median(seconds):.2g} s a step is not {entry(id).cost}"


# -- one seed, one trajectory ---------------------------------------------------------------------


@every_id()
def test_equal_seeds_give_equal_trajectories(id, contract):
    one, other = (play(contract.make(id), contract.recorded(id), 3) for _ in range(2))
    assert len(one) > len(contract.recorded(id))
    assert not difference(one, other)


@every_id("seeds matter")
def test_other_seeds_give_other_trajectories(id, contract):
    short = contract.recorded(id)[:20]
    assert len({digest(play(contract.make(id), short, seed)) for seed in range(6)}) > 1


@every_id("seeds matter")
def test_the_next_episode_differs_from_the_first(id, contract):
    env, starts = contract.make(id), []
    for seed in (5, *[None] * 6):  # what is hidden may differ where what is seen does not
        seen = env.reset(seed=seed)
        keeps = hasattr(env.unwrapped, "get_state")
        starts.append((seen, env.unwrapped.get_state()["model"] if keeps else None))
    assert len({digest(start) for start in starts}) > 1


@every_id()
def test_module_level_generators_are_not_used(id, contract):
    short = contract.recorded(id)[:40]
    np.random.seed(1)
    before = np.random.get_state()[1].tobytes()
    one = play(contract.make(id), short, 3)
    assert np.random.get_state()[1].tobytes() == before
    np.random.seed(2)
    assert not difference(one, play(contract.make(id), short, 3))


PROCESS = """
import json, pickle, sys
import gymnasium
assert not any(name.partition(".")[0] in ("envs", "rlcore") for name in sys.modules)
recorded = pickle.loads(sys.stdin.buffer.read())
import envs
heavy = [m for m in ("torch", "numba", "PIL", "cv2", "ale_py", "pettingzoo", "rlcore")
         if m in sys.modules]
from envs.testing.traces import digest, play
found = {}
for id, (actions, kwargs) in recorded.items():
    try:
        env = gymnasium.make("envs:" + id, disable_env_checker=True, **kwargs)
        found[id] = digest(play(env, actions, 3))
    except Exception as error:
        found[id] = f"{type(error).__name__}: {error}"
pictures = [m for m in ("PIL",) if m in sys.modules]
print(json.dumps([found, heavy, pictures]))
"""


@pytest.fixture(scope="module")
def another_process(request, contract):
    """Digests of the recorded trajectories in a process that knows Gymnasium alone, and modules."""
    from envs import list as all_ids

    recorded = {id: (contract.recorded(id), contract.kwargs.get(id, {})) for id in all_ids()}
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], input=pickle.dumps(recorded), capture_output=True,
        check=False, cwd=request.config.rootpath,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@every_id()
def test_another_process_gives_the_same_trajectory(id, contract, another_process):
    assert another_process[0][id] == digest(play(contract.make(id), contract.recorded(id), 3))


def test_importing_the_package_is_light(another_process):
    assert another_process[1] == []


def test_nothing_is_drawn_unless_asked_for(another_process):
    assert another_process[2] == []


# -- copies, pickles, saved states ----------------------------------------------------------------


def halves(id, contract):
    """An environment in mid-episode, the actions from there, and whether an episode is over."""
    actions, env = contract.recorded(id), contract.make(id)
    steps = [step for step in play(env, actions, 3) if step[1] is not None]
    running = [k for k, step in enumerate(steps) if not (step[2] or step[3])]
    later = [k + 1 for k in running if k + 1 >= len(actions) // 3]
    env = contract.make(id)
    if not later:  # every episode is one step: in mid-episode is after the reset
        env.reset(seed=3)
        return env, actions[:50]
    play(env, actions[: later[0]], 3)
    return env, actions[later[0] : later[0] + 200]


@every_id()
def test_a_pickle_in_mid_episode_goes_on_exactly(id, contract):
    env, rest = halves(id, contract)
    again = pickle.loads(pickle.dumps(env))
    assert again.spec == env.spec
    assert not difference(go_on(env, rest), go_on(again, rest))


@every_id()
def test_a_deep_copy_goes_its_own_way(id, contract):
    env, rest = halves(id, contract)
    twin = copy.deepcopy(env)
    wanted = go_on(env, rest)
    assert not difference(wanted, go_on(twin, rest))


@every_id("own state")
def test_a_saved_state_goes_on_exactly(id, contract):
    env, rest = halves(id, contract)
    plain = env.unwrapped
    state = plain.get_state()
    frozen = copy.deepcopy(state)
    wanted = go_on(plain, rest)
    assert same(state, frozen), "what get_state returned is the caller's"
    fresh = contract.make(id).unwrapped
    fresh.set_state(state)
    assert not difference(wanted, go_on(fresh, rest)), "in an environment that was never reset"
    plain.set_state(state)
    assert not difference(wanted, go_on(plain, rest)), "in the one it was taken from"
    assert same(state, frozen), "set_state keeps nothing of it"


@every_id()
def test_the_runtime_saves_and_restores_it_without_pickle(id, contract):
    env, rest = halves(id, contract)
    state = capture(env, id)
    text = json.dumps(state["json"])
    wanted = go_on(env, rest)
    fresh = contract.make(id)
    fresh.reset(seed=99)
    restore(fresh, {"json": json.loads(text), "arrays": state["arrays"]}, id)
    assert not difference(wanted, go_on(fresh, rest))


@every_id("fresh arrays")
def test_what_is_handed_out_is_the_callers(id, contract):
    actions = contract.recorded(id)[:60]
    wanted = copy.deepcopy(play(contract.make(id), actions, 3))
    env, found, over = contract.make(id), [], False
    step = (*env.reset(seed=3), None)
    found.append(copy.deepcopy((step[0], None, False, False, step[1])))
    spoil(step[:2])
    for action in actions:
        if over:
            obs, info = env.reset()
            found.append(copy.deepcopy((obs, None, False, False, info)))
            spoil((obs, info))
        given = copy.deepcopy(action)
        step = env.step(given)
        assert same(given, action), "an action is not written to"
        found.append(copy.deepcopy(step))
        spoil((given, *step))
        over = step[2] or step[3]
    assert not difference(wanted, found)


def spoil(node):
    """Overwrite every array and list in what an environment handed out."""
    if isinstance(node, np.ndarray) and node.dtype != object and node.ndim:
        node[...] = 1
    elif isinstance(node, dict):
        for part in node.values():
            spoil(part)
        node.clear()
    elif isinstance(node, (tuple, list)):
        for part in node:
            spoil(part)
        if isinstance(node, list):
            node.clear()


# -- mistakes -------------------------------------------------------------------------------------


def parameters(id):
    """The arguments of an environment's rules with their defaults."""
    plain = gymnasium.envs.registration.load_env_creator(entry(id).entry_point)
    found = inspect.signature(getattr(plain, "model_type", plain)).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in found
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and parameter.name != "render_mode"
    }


@every_id("arguments")
def test_an_unknown_argument_names_the_near_one(id, contract):
    for name in parameters(id):
        wrong = name + "x"
        with pytest.raises(ValueError, match=f"^{id}: .*{wrong}.*{name}"):
            contract.make(id, **{wrong: 1})
    with pytest.raises(ValueError, match=f"^{id}: .*no_such_thing"):
        contract.make(id, no_such_thing=1)


@every_id("arguments")
def test_a_bad_argument_is_named(id, contract):
    for name in parameters(id):
        for bad in (object(), "\x00nonsense", -1e300, float("nan"), np.zeros(7), None, {}):
            try:
                contract.make(id, **{name: bad})
            except ValueError as error:
                message = str(error)
            else:  # a text, a large number or None may be a value that it takes
                assert type(bad) is not object, f"{id}: no complaint about {name}"
                continue
            assert message.startswith(f"{id}: "), message
            assert name in message


@every_id()
def test_arguments_can_be_written_as_json(id, contract):
    spec = contract.make(id).spec
    assert json.loads(json.dumps(spec.kwargs)) == spec.kwargs
    for name, default in parameters(id).items():
        assert default is not inspect.Parameter.empty, f"{name} has no default"
        json.dumps(default)


@every_id("bad actions")
def test_hostile_actions_are_named(id, contract):
    env, actions = contract.make(id).unwrapped, contract.recorded(id)[:10]
    env.reset(seed=3)
    for bad in hostile(env.action_space):
        with pytest.raises(InvalidActionError, match=f"^{id}: "):
            env.step(bad)
    start = play(contract.make(id), [], 3)
    assert not difference([*start, *go_on(env, actions)], play(contract.make(id), actions, 3)), (
        "a refused action leaves no trace"
    )


def hostile(space):
    """What no environment with this action space may take."""
    wrong = [None, {}, object(), b"look"]
    if isinstance(space, spaces.Text):
        return [*wrong, 3, 1.5, ["look"], np.array(["look"])]
    if isinstance(space, spaces.Box):
        good = np.clip(np.zeros(space.shape), space.low, space.high)
        nan = np.full(space.shape, np.nan)
        bent = [good[None], np.append(good, 0.0), good.astype(str), good.astype(complex)]
        partly = np.where(np.arange(good.size).reshape(good.shape) == 0, np.nan, good)
        return [*wrong, *bent, nan, partly, "a"]
    if isinstance(space, spaces.Discrete):
        low, high = int(space.start), int(space.start + space.n)
        return [*wrong, low - 1, high, 2**70, low + 0.0, np.nan, str(low), [low], True]
    assert isinstance(space, spaces.MultiDiscrete)
    low = space.start
    return [*wrong, low - 1, low + space.nvec, low.astype(float), low[:-1], low[None], "a"]


@every_id("bad actions")
def test_actions_beyond_the_bounds_are_clipped_and_counted(id, contract):
    env = contract.make(id).unwrapped
    if not isinstance(env.action_space, spaces.Box):
        assert "action_clipped" not in play(env, contract.recorded(id)[:1], 3)[1][4]
        return
    low, high = env.action_space.low, env.action_space.high
    size = low.size
    for beyond, edge, count in (
        (high + 7, high, size), (np.full(low.shape, -np.inf), low, size), (high, high, 0),
        (np.full(low.shape, 1e300), high, size),
    ):  # fmt: skip
        *_, info = outcome = play(env, [beyond], 3)[1]
        assert info["action_clipped"] == count
        assert type(info["action_clipped"]) is int
        wanted = play(env, [edge], 3)[1]
        outcome[4].pop("action_clipped"), wanted[4].pop("action_clipped")
        assert same(outcome, wanted)


@every_id("bad actions")
def test_strange_texts_never_break_a_game(id, contract):
    env = contract.make(id)
    if not isinstance(env.action_space, spaces.Text):
        return
    texts = ["", " ", "\n" * 50, "x" * 20_000, "\x00\x1b[2J\x07", "‮drow", "é" * 300, "{}%s{0}",
             "'; DROP TABLE games; --", "<answer>1</answer>", "😀", "\ud800"]  # fmt: skip
    for text in texts:
        env.reset(seed=1)
        for _ in range(2):
            try:
                obs, reward, terminated, truncated, _ = env.step(text)
            except InvalidActionError:
                break
            assert env.observation_space.contains(obs), repr(text[:20])
            assert np.isfinite(reward)
            if terminated or truncated:
                break


@every_id("reset needed")
def test_a_step_out_of_turn(id, contract):
    env = contract.make(id).unwrapped
    with pytest.raises(ResetNeeded, match=id):
        env.step(contract.recorded(id)[0])
    env.reset(seed=3)
    for action in contract.recorded(id):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            with pytest.raises(ResetNeeded, match=id):
                env.step(action)
            env.reset()


@every_id()
def test_closing_twice_is_fine(id, contract):
    env = contract.make(id)
    env.reset(seed=0)
    env.close()
    env.close()
    fresh = contract.make(id)
    fresh.unwrapped.close()
    fresh.unwrapped.close()


# -- pictures -------------------------------------------------------------------------------------


@every_id("pictures")
def test_pictures(id, contract):
    pytest.importorskip("PIL")
    actions = contract.recorded(id)[:12]
    env = contract.make(id, render_mode="rgb_array")
    assert env.metadata["render_fps"] > 0
    wanted = play(contract.make(id), actions, 3)
    obs, info = env.reset(seed=3)
    pictures, found, over = [env.render()], [(obs, None, False, False, info)], False
    for action in actions:
        found += go_on(env, [action], over)
        over = found[-1][2] or found[-1][3]
        pictures.append(env.render())
    assert not difference(wanted, found), "drawing changes nothing"
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.shape == pictures[0].shape
        assert picture.shape[2:] == (3,)
        assert min(picture.shape[:2]) >= 64
        assert picture.std() > 2, "there is something to see"
    assert len({picture.tobytes() for picture in pictures}) > 1, "something moves"
    assert np.array_equal(env.render(), pictures[-1])
    pictures[-1][:] = 0
    assert env.render().any(), "a picture is the caller's"


@every_id("pictures")
def test_texts_to_read(id, contract):
    env = contract.make(id)
    if not isinstance(env.observation_space, spaces.Text):
        return
    assert set(env.metadata["render_modes"]) == {"rgb_array", "ansi"}
    env = contract.make(id, render_mode="ansi")
    env.reset(seed=3)
    before = env.render()
    env.step(contract.recorded(id)[0])
    after = env.render()
    assert isinstance(before, str)
    assert before
    assert before != after


@every_id("pictures")
def test_render_modes(id, contract):
    env = contract.make(id).unwrapped
    env.reset(seed=0)
    assert env.render() is None
    plain = gymnasium.envs.registration.load_env_creator(entry(id).entry_point)
    with pytest.raises(ValueError, match=f"^{id}: render_mode"):
        plain(render_mode="hologram")
