"""The game, its sources of tasks, and the agent's and the adversary's views of it."""

import numpy as np
import pytest
from gymnasium import spaces

from envs.core import InvalidActionError, ResetNeeded
from envs.subtasks import (
    AdversaryEnv,
    AdversaryVectorEnv,
    ChosenTasks,
    FixedTask,
    RoomsGame,
    Subtask,
    SubtaskEnv,
    SubtaskGame,
    SubtaskVectorEnv,
    UniformTasks,
    ValueAdversary,
    parallel_env,
)
from envs.subtasks.grid_rooms import GridRoomsGame, middle
from envs.subtasks.policies import rooms_controller
from envs.subtasks.rooms_env import RoomsEnv, RoomsVectorEnv
from envs.subtasks.sources import digits, uniform_plan

GAME = RoomsGame()


class Corridor(Subtask):
    """Walk along a line: the state is the place, unsafe below 0, left above ``length``."""

    draws = 1

    def __init__(self, name, length, seen=1):
        self.name, self.length, self.seen = name, length, seen

    def place(self, uniforms, wide):
        return uniforms * (1.0 if wide else 0.0)

    def step(self, state, action, uniforms=None):
        return state + action

    def observe(self, state):
        return np.repeat(state, self.seen, -1).astype(np.float32)

    def reward(self, state, action, following):
        return -np.ones(following.shape[:-1])

    def is_safe(self, state):
        return state[..., 0] >= 0

    def in_exit(self, state):
        return state[..., 0] > self.length


def corridors(*parts):
    box = spaces.Box(-9, 9, (1,), np.float32)
    return SubtaskGame(parts, lambda a, b, s: s - 3.0 * a[:, None] + b[:, None], box, box, [0], [9])


# -- the game -------------------------------------------------------------------------------------


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least one subtask, got none"):
        corridors()
    with pytest.raises(ValueError, match="distinct names, got a, a"):
        corridors(Corridor("a", 1), Corridor("a", 2))
    with pytest.raises(ValueError, match=r"subtask b observes shape \(2,\), wanted \(1,\)"):
        corridors(Corridor("a", 1), Corridor("b", 2, seen=2))

    class NoExit:
        name = "dead-end"

    with pytest.raises(ValueError, match="subtask dead-end has no exit"):
        corridors(NoExit())
    for bad in ("down", 3, -1, True, 1.0):
        with pytest.raises(ValueError, match=f"no subtask {bad!r}; there are: left, right, up"):
            GAME.index(bad)
        if bad is not True:
            with pytest.raises(ValueError, match="no subtask"):
                GAME.jump(0, bad, np.zeros(4))
    assert GAME.index("up") == GAME.index(2) == 2


def test_a_jump_may_depend_on_both_subtasks():
    game = corridors(Corridor("a", 1), Corridor("b", 2))
    assert game.jump("b", "b", np.array([5.0])) == pytest.approx(5 - 3 + 1)
    states = np.array([[5.0], [6.0]])
    np.testing.assert_array_equal(game.jump([0, 1], [1, 0], states), [[6.0], [3.0]])
    everywhere = game.jump_all(np.array([0, 1]), states)
    np.testing.assert_array_equal(everywhere[..., 0], [[5, 6], [3, 4]])
    np.testing.assert_array_equal(game.observe_jumps(np.array([0, 1]), states), everywhere)


def test_rows_of_different_subtasks_advance_together():
    game = corridors(Corridor("a", 1), Corridor("b", 2))
    subtask = np.array([0, 1, 1, 0])
    states, actions = np.array([[0.5], [0.5], [1.9], [0.5]]), np.array([[1.0], [1.0], [1.0], [-1]])
    following, reward, safe, left = game.advance(subtask, states, actions)
    np.testing.assert_array_equal(following[:, 0], [1.5, 1.5, 2.9, -0.5])
    assert safe.tolist() == [True, True, True, False]
    assert left.tolist() == [True, False, True, False]
    assert reward.tolist() == [-1] * 4


# -- sources of tasks -----------------------------------------------------------------------------


def generators(n, seed=0):
    return [np.random.default_rng([seed, k]) for k in range(n)]


@pytest.mark.parametrize(("m", "k"), [(3, 5), (5, 25), (1, 4)])
def test_uniform_tasks_are_uniform_and_independent(m, k):
    plan = uniform_plan(m, k, generators(4000))
    assert plan.shape == (4000, k)
    assert plan.min() >= 0
    for place in range(k):
        counts = np.bincount(plan[:, place], minlength=m)
        # Chi-square with m - 1 degrees of freedom: 28.5 is beyond 1 in 100,000 for m = 5.
        assert ((counts - 4000 / m) ** 2 / (4000 / m)).sum() < 28.5
    if m > 1:
        for other in range(1, k):
            pairs = np.bincount(plan[:, 0] * m + plan[:, other], minlength=m * m)
            assert ((pairs - 4000 / m**2) ** 2 / (4000 / m**2)).sum() < 75


def test_what_is_left_of_a_draw_is_uniform_whatever_its_digits_were():
    drawn = np.random.default_rng(3).random(60_000)
    plan, rest = digits(drawn, 3, 5)
    np.testing.assert_allclose((plan @ 3.0 ** np.arange(5) + rest) / 3**5, drawn, rtol=1e-12)
    for place in range(5):
        cells = plan[:, place] * 10 + (rest * 10).astype(int)
        counts = np.bincount(cells, minlength=30)
        assert ((counts - 2000) ** 2 / 2000).sum() < 69  # 29 degrees of freedom, 1 in 30,000


def test_tasks_and_starts_that_share_a_draw_are_independent():
    vector = RoomsVectorEnv(num_envs=6000)
    vector.reset(seed=8)
    state = vector.get_state()["model"]
    place = np.minimum(state["state"][:, 0].astype(float) * 10, 9).astype(int)  # x in [0, 1)
    for room in range(5):
        counts = np.bincount(state["task"][:, room] * 10 + place, minlength=30)
        assert ((counts - 200) ** 2 / 200).sum() < 69


def test_a_fixed_task_is_played_as_given():
    env = SubtaskEnv(game=GAME, k=5, source=FixedTask(["up", "left"]))
    obs, info = env.reset(seed=0)
    played, over = [], False
    while not over:
        subtask = info["subtask"]
        obs, _, over, _, info = env.step(rooms_controller(np.array([subtask]), obs[None])[0])
        if info["exit"]:
            played.append(subtask)
    assert played == [2, 0, 2, 0, 2]
    with pytest.raises(ValueError, match="a list of at least one subtask"):
        FixedTask([])


def test_an_adversary_chooses_the_least_value():
    def values(subtask, obs):
        """Least for 'right' where the entrance is left of the middle, else for 'up'."""
        assert obs.shape[1:] == (2,)
        return {0: 1.0, 1: 0.0, 2: 0.5}[subtask] * np.where(obs[:, 0] < 0, 1.0, -1.0)

    vector = SubtaskVectorEnv(num_envs=300, game=GAME, k=3, source=ValueAdversary(values, eps=0))
    obs, info = vector.reset(seed=1)
    subtask, seen = info["subtask"].copy(), 0
    for _ in range(60):
        obs, _, over, _, info = vector.step(rooms_controller(subtask, obs))
        subtask = info["subtask"].copy()
        went_on = np.flatnonzero(info["exit"] & ~over)
        jumped = info["jump_obs"][went_on]
        wanted = np.where(jumped[:, 0, 0] < 0, 1, 0)
        np.testing.assert_array_equal(subtask[went_on], wanted)
        seen += len(went_on)
    assert seen > 400


@pytest.mark.parametrize("eps", [0.15, 1.0])
def test_an_adversary_errs_as_often_as_told(eps):
    source = ValueAdversary(lambda subtask, obs: np.full(len(obs), float(subtask != 1)), eps)
    n = 4000
    from envs.subtasks.sources import Exits

    exits = Exits(GAME, np.zeros(n, int), np.tile([-5.0, 0, -5.5, 0], (n, 1)), np.ones(n, int),
                  generators(n))  # fmt: skip
    counts = np.bincount(source.choose(exits), minlength=3)
    wanted = n * np.array([eps / 3, 1 - 2 * eps / 3, eps / 3])
    assert ((counts - wanted) ** 2 / wanted).sum() < 23  # 1 in 100,000, 2 degrees of freedom


def test_eps_is_a_chance():
    with pytest.raises(ValueError, match="eps must be in"):
        ValueAdversary(lambda s, o: o, 1.5)


def test_a_choice_must_be_a_subtask():
    env = SubtaskEnv(game=GAME, source=ChosenTasks(lambda exits: np.full(len(exits.subtask), 7)))
    env.reset(seed=0, options={"subtask": "up", "state": [0, 4.5, 0, 4.5]})
    with pytest.raises(ValueError, match="no subtask"):
        env.step(np.array([1.0, 1.0], np.float32))


# -- the agent's view -----------------------------------------------------------------------------


def leave_up(env, **options):
    """Step from just below the middle of the upper wall beyond it."""
    env.reset(seed=0, options={"subtask": "up", "state": [0.5, 4.5, 0.5, 4.5], **options})
    return env.step(np.array([1.0, 1.0], np.float32))


def test_at_an_exit_the_next_room_is_seen():
    obs, reward, terminated, truncated, info = leave_up(RoomsEnv(), task=["up", "left"])
    np.testing.assert_allclose(obs, np.array([0.5, -4.5]) / 6, atol=1e-6)
    assert reward == pytest.approx(25 - np.hypot(0.5, 0.5) / 10)
    assert (terminated, truncated) == (False, False)
    assert info["exit"] is True
    assert (info["subtask"], info["completed"], info["unsafe"]) == (0, 1, False)
    np.testing.assert_allclose(info["jump_obs"], np.tile(obs, (3, 1)))


def test_elsewhere_there_is_no_jump_to_see():
    env = RoomsEnv()
    env.reset(seed=0)
    *_, info = env.step(np.array([0.5, 1.0], np.float32))
    assert info["exit"] is False
    assert not info["jump_obs"].any()
    assert info["jump_obs"].shape == (3, 2)
    env = RoomsEnv(jump_obs=False)
    env.reset(seed=0)
    assert "jump_obs" not in env.step(np.array([0.5, 1.0], np.float32))[4]


def test_the_last_exit_ends_the_task():
    _, reward, terminated, truncated, info = leave_up(RoomsEnv(k=1, bonus=7.0))
    assert (terminated, truncated, info["exit"], info["completed"]) == (True, False, True, 1)
    assert reward == pytest.approx(7 - np.hypot(0.5, 0.5) / 10)
    assert info["jump_obs"].any(), "a learner may go on from it"


@pytest.mark.parametrize("limit", [25, 1])
def test_an_unsafe_move_is_the_end_with_the_last_step_too(limit):
    env = RoomsEnv(limit=limit)
    env.reset(seed=0, options={"state": [3.5, 3.5, 3.5, 3.5], "subtask": "left"})
    _, reward, terminated, truncated, info = env.step(np.array([1.0, 0.0], np.float32))
    assert (terminated, truncated, info["unsafe"], info["exit"]) == (True, False, True, False)
    assert reward == pytest.approx(-np.hypot(9.5, 3.5) / 10 - 25)


@pytest.mark.parametrize(("reference", "allowed"), [(False, 4), (True, 5)])
def test_a_subtask_may_take_so_many_steps(reference, allowed):
    env = RoomsEnv(limit=4, reference_limits=reference)
    env.reset(seed=0)
    still = np.zeros(2, np.float32)
    for step in range(1, allowed + 1):
        _, _, terminated, truncated, _ = env.step(still)
        assert not terminated
        assert truncated is (step == allowed)


def test_an_exit_with_the_last_step_counts_and_the_next_subtask_counts_anew():
    env = RoomsEnv(limit=2)
    env.reset(seed=0, options={"state": [0.5, 4.5, 0.5, 4.5], "subtask": "up"})
    env.step(np.zeros(2, np.float32))
    _, _, terminated, truncated, info = env.step(np.array([1.0, 1.0], np.float32))
    assert (info["exit"], terminated, truncated) == (True, False, False)
    assert not env.step(np.zeros(2, np.float32))[3]
    assert env.step(np.zeros(2, np.float32))[3]


def test_reset_takes_tasks_subtasks_and_states():
    vector = RoomsVectorEnv(num_envs=3)
    states = np.arange(12.0).reshape(3, 4) / 12
    tasks = [["left"] * 5, ["up", "left"], ["right", "up"]]
    obs, info = vector.reset(seed=0, options={"task": tasks, "state": states})
    assert info["subtask"].tolist() == [0, 2, 1]
    np.testing.assert_allclose(obs, states[:, 2:] / 6, atol=1e-7)
    _, info = vector.reset(options={"subtask": ["up", 0, "right"]})
    assert info["subtask"].tolist() == [2, 0, 1]
    obs, _ = vector.reset(options={"start": "wide"})
    assert (obs[:, 1] * 6 > -5.001).all()
    assert (obs[:, 1] * 6 < -4).any()
    for options, words in (
        ({"tasks": []}, "no option 'tasks' of reset"),
        ({"start": "far"}, "start must be nominal or wide"),
        ({"state": [1, 2]}, "state must be"),
        ({"state": np.full((3, 4), np.nan)}, "state must be"),
        ({"subtask": ["up"]}, "1 subtasks for 3"),
        ({"subtask": "down"}, "no subtask 'down'"),
        ({"task": [["up"]] * 2}, "2 tasks for 3"),
        ({"task": []}, "at least one subtask"),
    ):
        with pytest.raises(ValueError, match=words):
            vector.reset(options=options)


def test_arguments_of_any_game():
    with pytest.raises(ValueError, match="game must be a SubtaskGame"):
        SubtaskEnv(game="rooms")
    with pytest.raises(ValueError, match="source must be a TaskSource"):
        SubtaskEnv(game=GAME, source="uniform")
    with pytest.raises(ValueError, match="task: no subtask 'down'"):
        RoomsEnv(task=["up", "down"])
    env = SubtaskEnv(game=GAME)
    assert isinstance(env.model.source, UniformTasks)


# -- the adversary's view -------------------------------------------------------------------------


def test_a_step_of_the_adversary_is_a_subtask():
    env = AdversaryEnv(game=GAME, policy=rooms_controller, k=3)
    obs, _ = env.reset(seed=3)
    assert not obs.any()
    # The same task, step by step in the agent's view.
    agent = SubtaskEnv(game=GAME, k=3, source=FixedTask(["left", "up", "right"]))
    plain, info = agent.reset(seed=0)
    start = None
    for turn, action in enumerate((0, 2, 1)):
        obs, reward, terminated, truncated, result = env.step(action)
        if start is None:
            # Begin the agent's episode where the adversary's began.
            state = env.model.game.place(
                np.array([0]), env.model.start([np.random.default_rng(3)], {})["uniforms"], False
            )
            start = state[0]
            plain, info = agent.reset(seed=0, options={"state": start})
        steps, left = 0, False
        while not left:
            moves = rooms_controller(np.array([action]), plain[None])[0]
            before = agent._state["state"][0].copy()
            plain, _, _, _, info = agent.step(moves)
            steps, left = steps + 1, info["exit"]
        exit_state = GAME.subtasks[action].step(before, moves)
        assert obs[:3].tolist() == [float(k == action) for k in range(3)]
        np.testing.assert_allclose(obs[3:], exit_state, atol=1e-5)
        assert (result["agent_steps"], result["completed"]) == (steps, turn + 1)
        assert (reward, terminated, truncated) == (0.0, turn == 2, False)


def test_the_adversary_is_paid_for_the_agents_failure():
    def crash(subtask, obs):
        return np.tile(np.array([1.0, 0.0], np.float32), (len(obs), 1))

    def stay(subtask, obs):
        return np.zeros((len(obs), 2), np.float32)

    for policy, steps in ((crash, 5), (stay, 25)):
        vector = AdversaryVectorEnv(num_envs=4, game=GAME, policy=policy)
        vector.reset(seed=0)
        _, reward, terminated, _, info = vector.step(np.array([0, 1, 2, 0]))
        assert reward.tolist() == [1.0] * 4
        assert terminated.all()
        assert info["completed"].tolist() == [0] * 4
        assert (info["agent_steps"] <= steps).all()
    assert (info["agent_steps"] == 25).all()
    with pytest.raises(ValueError, match="policy must be callable"):
        AdversaryEnv(game=GAME, policy=3)
    bad = AdversaryEnv(game=GAME, policy=lambda s, o: np.zeros((len(o), 3)))
    bad.reset(seed=0)
    with pytest.raises(ValueError, match="the policy returned shape"):
        bad.step(0)


# -- two players ----------------------------------------------------------------------------------

IDS = ["subtasks/rooms-game", "subtasks/rooms-two-doors-game", "subtasks/grid-rooms-game",
       "subtasks/f110-turn-game"]  # fmt: skip


@pytest.mark.parametrize("id", IDS)
def test_pettingzoo_finds_nothing(id, capsys):
    test = pytest.importorskip("pettingzoo.test")
    game = {"n_rays": 21} if "f110" in id else {}
    test.parallel_api_test(parallel_env(id, game=game), 1000)
    test.parallel_seed_test(lambda: parallel_env(id, game=game))


def test_players_take_turns():
    pytest.importorskip("pettingzoo")
    env = parallel_env("subtasks/rooms-game", k=2)
    still, up = np.zeros(2, np.float32), np.array([1.0, 1.0], np.float32)
    with pytest.raises(ResetNeeded):
        env.step({"agent": still, "adversary": 3})
    env.reset(seed=0)
    env._subtask[:], env._state = 2, np.array([[0.5, 4.5, 0.5, 4.5]])
    obs, rewards, terminated, _, infos = env.step({"agent": up, "adversary": 0})
    assert rewards["agent"] == pytest.approx(25 - np.hypot(0.5, 0.5) / 10)
    assert rewards["adversary"] == -rewards["agent"]
    assert obs["agent"]["active"] == 0
    assert obs["adversary"]["action_mask"].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(obs["adversary"]["observation"], [0, 0, 1, 0.5, 4.5, 0.5, 5.5])
    assert infos["agent"]["completed"] == 1
    obs, rewards, *_ = env.step({"agent": up, "adversary": 1})
    assert rewards == {"agent": 0.0, "adversary": 0.0}
    assert (obs["agent"]["subtask"], obs["agent"]["active"]) == (1, 1)
    assert obs["adversary"]["action_mask"].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(obs["agent"]["observation"], np.array([0.5, -4.5]) / 6, atol=1e-6)
    env._state = np.array([[4.5, 0.0, 4.5, 0.0]])
    _, _, terminated, _, _ = env.step({"agent": np.array([1.0, 0.0]), "adversary": 3})
    assert terminated == {"agent": True, "adversary": True}
    assert env.agents == []


def test_a_no_op_out_of_turn_leaves_the_choice_to_chance():
    pytest.importorskip("pettingzoo")
    env, named = parallel_env("subtasks/grid-rooms-game", game={"slip": 0.0}), []
    for seed in range(60):
        env.reset(seed=seed)
        env._subtask[:], env._state = 2, middle(np.array([10 * 12 + 6]))
        env.step({"agent": 2, "adversary": 3})
        obs, *_ = env.step({"agent": 2, "adversary": 3})
        named.append(obs["agent"]["subtask"])
    assert set(named) == {0, 1, 2}


def test_players_mistakes_are_named():
    pytest.importorskip("pettingzoo")
    with pytest.raises(ValueError, match="no game 'subtasks/chess'; there are: subtasks/rooms"):
        parallel_env("subtasks/chess")
    env = parallel_env("subtasks/rooms-game")
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match="the action of adversary is missing"):
        env.step({"agent": np.zeros(2)})
    with pytest.raises(InvalidActionError, match="subtasks/rooms-game"):
        env.step({"agent": np.zeros(2), "adversary": 4})
    with pytest.raises(ValueError, match="k must be an integer"):
        parallel_env("subtasks/rooms-game", k=0)


def test_the_two_player_form_can_be_pickled():
    pytest.importorskip("pettingzoo")
    import pickle

    env = parallel_env("subtasks/grid-rooms-game")
    env.reset(seed=1)
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(5):
        actions = {"agent": 2, "adversary": 0}
        one, other = env.step(actions), twin.step(actions)
        assert one[0]["agent"] == other[0]["agent"]
        assert one[1:] == other[1:]
        if not env.agents:
            break


def test_games_of_cells_share_the_rooms_jump():
    game = GridRoomsGame()
    assert game.names == GAME.names
    assert game.step_draws == 1
