"""The grid: exact dynamic programming against independent calculations and against play."""

import numpy as np
import pytest

from envs.subtasks.dynamic_programming import backup, solve, tables
from envs.subtasks.grid_rooms import GridRoomsEnv, GridRoomsGame, GridRoomsVectorEnv, cell, middle

GAME = GridRoomsGame(slip=0.1)
RIGHT, LEFT = 12 + 6, 12 + 5
"""The two cells of the entrance that a room is entered by; behind the left one is the lane."""

# The room by hand, the lowest row first: # wall, . floor, : lane. The partition lies on its edges.
PLAN = [
    "#####:.#####",
    "#####:.#####",
    "##.:::....##",
    "##........##",
    "##........##",
    "............",
    "............",
    "##........##",
    "##........##",
    "##........##",
    "#####..#####",
    "#####..#####",
]


def walk(subtask, at, move):
    """Rules of one move by the picture above: (kind, next cell or next room's cell)."""
    column, row = at % 12, at // 12
    x, y = column + (move == 1) - (move == 0), row + (move == 2) - (move == 3)
    if not (0 <= x < 12 and 0 <= y < 12) or PLAN[y][x] == "#":
        return "unsafe", None
    lanes = PLAN[row][column] == ":", PLAN[y][x] == ":"
    if lanes[0] != lanes[1] and {column, x} != {2, 3}:
        return "unsafe", None
    if subtask == 0 and x == 0:
        return "exit", 12 + y
    if subtask == 1 and x == 11:
        return "exit", 12 + 11 - y
    if subtask == 2 and y == 11:
        return "exit", 12 + x
    return "inside", 12 * y + x


def floor():
    return [12 * y + x for y in range(12) for x in range(12) if PLAN[y][x] != "#"]


def test_transitions_are_those_of_the_picture():
    table = tables(GAME)
    goals = [(0.5, 5.5), (10.5, 5.5), (5.5, 10.5)]
    for subtask in range(3):
        for at in floor():
            for move in range(4):
                kind, following = walk(subtask, at, move)
                index = (subtask, at, move)
                assert table.kind[index] == ["unsafe", "inside", "exit"].index(kind), index
                if following is not None:
                    assert table.following[index] == following, index
                x, y = at % 12 + (move == 1) - (move == 0), at // 12 + (move == 2) - (move == 3)
                away = np.hypot(x - goals[subtask][0], y - goals[subtask][1])
                wanted = -away / 10 - 25 * (kind == "unsafe")
                assert table.reward[index] == pytest.approx(wanted, abs=1e-12)


def test_cells_and_their_middles():
    cells = np.arange(144)
    np.testing.assert_array_equal(cell(middle(cells)), cells)
    np.testing.assert_array_equal(middle(np.array([12 + 6])), [[0.5, -4.5, 0.5, -4.5]])


@pytest.mark.parametrize("case", ["worst", "average"])
def test_values_satisfy_the_equation_of_the_game(case):
    """Bellman's equation, written out again with the picture's rules."""
    gamma, bonus, slip = 0.95, 25.0, 0.1
    solution = solve(GAME, gamma, bonus, case)
    best, table = solution.best, tables(GAME)
    over = np.min if case == "worst" else np.mean
    for subtask in range(3):
        for at in floor():
            meant = []
            for move in range(4):
                kind, following = walk(subtask, at, move)
                value = table.reward[subtask, at, move]
                if kind == "inside":
                    value += gamma * best[subtask, following]
                elif kind == "exit":
                    value += bonus + gamma * over([best[s, following] for s in range(3)])
                meant.append(value)
            wanted = [(1 - slip) * value + slip * np.mean(meant) for value in meant]
            np.testing.assert_allclose(solution.values[subtask, at], wanted, atol=1e-8)


def test_the_worst_case_is_worse_and_the_lane_is_why():
    worst, average = (solve(GAME, case=case).best[:, floor()] for case in ("worst", "average"))
    assert (worst <= average + 1e-9).all()
    table = solve(GAME).best
    assert (table[1:, LEFT] < table[1:, RIGHT] - 20).all()
    assert (average - worst).max() > 1
    # The numbers of the documentation.
    np.testing.assert_allclose(table[:, RIGHT], [63.518, 66.235, 63.794], atol=1e-3)
    np.testing.assert_allclose(
        solve(GAME, case="average").best[:, RIGHT], [67.417, 70.228, 67.732], atol=1e-3
    )


def test_the_operator_is_a_contraction():
    rng = np.random.default_rng(0)
    table = tables(GAME)
    for case in ("worst", "average"):
        for _ in range(20):
            one, other = rng.normal(0, 30, (2, 3, 144))
            sweeps = [backup(table, v, 0.1, 0.9, 25.0, case).max(2) for v in (one, other)]
            assert np.abs(sweeps[0] - sweeps[1]).max() <= 0.9 * np.abs(one - other).max() + 1e-12
    solution = solve(GAME, 0.9)
    assert solution.contraction <= 0.9 + 1e-9
    assert solution.residual <= 1e-10


def test_without_bonus_and_future_the_best_move_is_greedy():
    solution = solve(GAME, gamma=0.0, bonus=0.0)
    table = tables(GAME)
    wanted = 0.9 * table.reward + 0.1 * table.reward.mean(2, keepdims=True)
    np.testing.assert_allclose(solution.values, wanted, atol=1e-14)


def test_played_returns_have_the_computed_mean():
    """The optimal policy collects in play what dynamic programming says."""
    gamma, n = 0.9, 1500
    solution = solve(GAME, gamma, case="average")
    vector = GridRoomsVectorEnv(num_envs=n, k=20, limit=200, jump_obs=False)
    obs, info = vector.reset(seed=0)
    subtask = info["subtask"].copy()
    wanted = solution.best[subtask, obs].mean()
    total, alive = np.zeros(n), np.ones(n, bool)
    for t in range(110):
        obs, reward, terminated, truncated, info = vector.step(solution.policy[subtask, obs])
        total[alive] += gamma**t * reward[alive]
        alive &= ~(terminated | truncated)
        subtask = info["subtask"].copy()
    assert total.mean() == pytest.approx(wanted, abs=4 * total.std() / np.sqrt(n))
    assert total.std() / np.sqrt(n) < 0.5


def test_a_deterministic_policy_meets_its_worst_task():
    """Without slips: the adversary's greedy choices cost exactly what the worst case promises."""
    game, gamma = GridRoomsGame(slip=0.0), 0.95
    solution = solve(game, gamma)
    env = GridRoomsEnv(slip=0.0, k=80)
    best, total, discount = solution.best, 0.0, 1.0
    subtask = int(best[:, RIGHT].argmin())
    at = RIGHT
    wanted = best[subtask, at]
    while discount > 1e-6:
        env.reset(seed=0, options={"subtask": subtask, "state": middle(np.array(at))})
        exits = False
        while not exits:
            at, reward, *_, info = env.step(int(solution.policy[subtask, at]))
            total += discount * reward
            discount *= gamma
            exits = info["exit"]
        at = int(info["jump_obs"][0])
        subtask = int(best[:, at].argmin())
    assert total == pytest.approx(wanted, abs=1e-3)


def test_slips_are_as_likely_as_told():
    vector = GridRoomsVectorEnv(num_envs=5000, slip=0.4)
    vector.reset(seed=0, options={"state": middle(np.array(6 * 12 + 6)), "subtask": "up"})
    obs, *_ = vector.step(np.full(5000, 2))
    counts = [np.sum(obs == 6 * 12 + 6 + step) for step in (-1, 1, 12, -12)]
    wanted = np.array([0.1, 0.1, 0.7, 0.1]) * 5000
    assert ((counts - wanted) ** 2 / wanted).sum() < 27


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="case must be one of worst, average"):
        solve(GAME, case="best")
    with pytest.raises(ValueError, match="gamma must be in"):
        solve(GAME, gamma=1.0)
    with pytest.raises(ValueError, match="slip must be a number in"):
        GridRoomsEnv(slip=1.5)


def test_wide_starts_are_both_cells_of_the_entrance():
    vector = GridRoomsVectorEnv(num_envs=400, wide=True)
    obs, _ = vector.reset(seed=0)
    assert set(obs.tolist()) == {LEFT, RIGHT}
    assert 140 < (obs == LEFT).sum() < 260
    assert set(GridRoomsVectorEnv(num_envs=50).reset(seed=0)[0].tolist()) == {RIGHT}
