"""The racing car: path, LiDAR, tracks, jumps, published numbers, and its compiled twins."""

import itertools
import math

import numpy as np
import pytest

from envs.subtasks import bicycle
from envs.subtasks.f110 import F110Game, ray_directions
from envs.subtasks.f110_env import F110TurnVectorEnv
from envs.subtasks.policies import follow_the_gap
from envs.subtasks.tracks import NAMES, TRACKS, scan
from tests.envs.subtasks.play import play_tasks

GAME = F110Game(n_rays=109)
MIRROR = {"straight": "straight", "square-right": "square-left", "sharp-right": "sharp-left"}
SIGNS = np.array([-1.0, 1.0, 1.0, -1.0])


def mixed(n, seed):
    """States on all tracks, somewhere on the way."""
    rng = np.random.default_rng(seed)
    subtask = rng.integers(0, 5, n)
    states = GAME.place(subtask, rng.random((n, 4)), False)
    states[:, 1] += rng.uniform(0, np.where(subtask == 0, 9.5, 5.0))
    for _ in range(9):
        steer = rng.uniform(-0.2, 0.2, (n, 1)) - (states[:, 3:] - math.pi / 2)
        following, _, safe, left = GAME.advance(subtask, states, np.clip(steer, -1, 1))
        moving = (rng.random(n) < 0.9) & safe & ~left
        states[moving] = following[moving]
    return subtask, states


# -- the path -------------------------------------------------------------------------------------


def test_the_closed_form_is_the_differential_equation():
    """Against RK4 with steps of 1e-4 s."""
    rng = np.random.default_rng(0)
    state = rng.uniform([-1, -1, 2.0, 0], [1, 1, 3.0, 6], (40, 4))
    action = np.append(rng.uniform(-1, 1, 38), [0.0, 1e-6])

    def field(s):
        turning = np.tan(action * math.radians(20)) / 0.45
        v, h = s[:, 2], s[:, 3]
        return np.stack([v * np.cos(h), v * np.sin(h), 1.633 * (2.4 - v), v * turning], 1)

    exact, h = state.copy(), 1e-4
    for _ in range(1000):
        k1 = field(exact)
        k2 = field(exact + h / 2 * k1)
        k3 = field(exact + h / 2 * k2)
        exact = exact + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(exact + h * k3))
    found = np.stack(bicycle.drive(state, action), 2)
    np.testing.assert_allclose(found[:, -1], exact, atol=1e-10)
    np.testing.assert_allclose(found[:, 0], state, atol=1e-15)


def test_the_series_of_sinc_meets_the_quotient():
    angles = np.array([0.0, 1e-9, 9.9e-4, 1.1e-3, 0.5, -0.5])
    wanted = [1.0, 1.0, *(math.sin(a) / a for a in angles[2:])]
    np.testing.assert_allclose(bicycle.sinc(angles), wanted, rtol=1e-14)


def test_a_crash_stops_the_car_at_the_first_instant_too_near():
    straight = GAME.subtasks[0]
    state = np.array([0.5, -5.0, 2.4, math.radians(30)])  # the wall is at 0.75
    after = straight.step(state, np.array([0.0], np.float32))
    assert not straight.is_safe(after)
    # It is 0.1 from the wall at x = 0.65, after 0.15/cos 30 m; instants lie 0.0024 m apart.
    driven = math.dist(after[:2], state[:2])
    assert 0.15 / math.cos(math.radians(30)) <= driven <= 0.15 / math.cos(math.radians(30)) + 0.0025
    assert straight.reward(state, None, after) == -100
    clear = straight.step(np.array([0.0, -5.0, 2.4, math.pi / 2]), np.array([0.0], np.float32))
    np.testing.assert_allclose(clear, [0, -4.76, 2.4, math.pi / 2], atol=1e-12)


def test_skipping_the_close_look_far_from_walls_changes_nothing():
    subtask, states = mixed(3000, 1)
    action = np.random.default_rng(2).uniform(-1, 1, 3000)
    following, _, safe, _ = GAME.advance(subtask, states, action[:, None])
    assert 0.02 < (~safe).mean() < 0.9
    for k, track in enumerate(TRACKS):
        rows = subtask == k
        path = bicycle.drive(states[rows], action[rows])
        near = track.clearance(path[0], path[1]) <= 0.1
        np.testing.assert_array_equal(near.any(1), ~safe[rows])
        at = np.where(near.any(1), near.argmax(1), 99)
        for axis in range(4):
            wanted = path[axis][np.arange(len(at)), at]
            np.testing.assert_allclose(following[rows, axis], wanted, atol=1e-12)


# -- tracks and rewards ---------------------------------------------------------------------------


def test_clearance_is_the_distance_from_densely_sampled_walls():
    rng = np.random.default_rng(3)
    share = np.linspace(0, 1, 4001)[:, None]
    for track in TRACKS:
        points = rng.uniform([-3, -8], [3, 1], (60, 2))
        walls = np.concatenate(
            [a + share * (b - a) for w in track.walls for a, b in itertools.pairwise(w)]
        )
        wanted = np.linalg.norm(points[:, None] - walls, axis=2).min(1)
        found = track.clearance(points[:, 0], points[:, 1])
        np.testing.assert_allclose(found, wanted, atol=4e-3)
        assert (found <= wanted + 1e-12).all()


def test_halls_are_everywhere_as_wide():
    """The middle of the hall is 0.75 m from both walls, before and behind the corner."""
    for track in TRACKS:
        behind = np.array([math.cos(track.goal[2]), math.sin(track.goal[2])])
        goal = np.array(track.goal[:2])
        for point in ((0.0, -5.0), goal + 1.5 * behind):
            assert track.clearance(*map(np.array, point)) == pytest.approx(0.75, abs=1e-12)
    wanted = [0, -90, 90, -120, 120]
    turned = [math.degrees(track.goal[2] - track.start[2]) for track in TRACKS]
    np.testing.assert_allclose(turned, wanted, atol=1e-12)
    assert TRACKS[0].start[:2] == (0.0, -10.0)
    assert all(track.start[:2] == (0.0, -6.0) for track in TRACKS[1:])


def test_rewards_are_progress():
    for one in GAME.subtasks:
        gx, gy, _ = one.track.goal
        before, after = np.array([0.0, -3.0, 2.4, 1.5]), np.array([0.1, -2.8, 2.4, 1.5])
        away = [abs(s[0] - gx) + abs(s[1] - gy) for s in (before, after)]
        wanted = -3 + 10 * (away[0] - away[1])
        assert one.reward(before, None, after) == pytest.approx(wanted, abs=1e-12)


def test_goal_lines():
    cases = {
        "straight": [((0.5, 0.01), True), ((0.5, -0.01), False), ((0.8, 0.01), False)],
        "square-right": [((0.76, 0.5), True), ((0.74, 0.5), False), ((0.76, 0.8), False)],
        "square-left": [((-0.76, 0.5), True), ((0.76, 0.5), False)],
        "sharp-right": [((0.8, -0.4), True), ((0.8, 0.5), False), ((0.7, -0.4), False)],
        "sharp-left": [((-0.8, -0.4), True), ((0.8, -0.4), False), ((-0.8, -1.4), False)],
    }
    for name, points in cases.items():
        one = GAME.subtasks[NAMES.index(name)]
        for (x, y), wanted in points:
            assert bool(one.in_exit(np.array([x, y, 2.4, 0.0]))) is wanted, (name, x, y)


@pytest.mark.parametrize("right", MIRROR)
def test_mirrored_pieces_give_mirrored_trajectories(right):
    one, other = (GAME.subtasks[NAMES.index(name)] for name in (right, MIRROR[right]))
    rng = np.random.default_rng(4)
    state = one.reset_nominal(rng, 200)
    middle = np.array([0.0, 0.0, 0.0, math.pi])
    twin = state * SIGNS + middle
    for _ in range(25):
        action = rng.uniform(-0.4, 0.4, (200, 1))
        np.testing.assert_allclose(other.observe(twin), one.observe(state)[:, ::-1], atol=2e-6)
        after, after_twin = one.step(state, action), other.step(twin, -action)
        np.testing.assert_allclose(after_twin, after * SIGNS + middle, atol=1e-11)
        np.testing.assert_allclose(
            other.reward(twin, None, after_twin), one.reward(state, None, after), atol=1e-9
        )
        np.testing.assert_array_equal(other.in_exit(after_twin), one.in_exit(after))
        state, twin = after, after_twin


# -- LiDAR ----------------------------------------------------------------------------------------


def brute_force(track, state, n_rays):
    """One ray and one segment at a time, by Cramer's rule in the world's frame."""
    found = np.full(n_rays, 5.0)
    for r, turn in enumerate(np.linspace(-math.radians(115), math.radians(115), n_rays)):
        c, s = math.cos(state[3] + turn), math.sin(state[3] + turn)
        for wall in track.walls:
            for (ax, ay), (bx, by) in itertools.pairwise(wall):
                det = c * (ay - by) - s * (ax - bx)
                if abs(det) < 1e-12:
                    continue
                dx, dy = ax - state[0], ay - state[1]
                along = (dx * (ay - by) - dy * (ax - bx)) / det
                share = (c * dy - s * dx) / det
                if along > 0 and -1e-12 <= share <= 1 + 1e-12:
                    found[r] = min(found[r], along)
    return found


def test_the_lidar_is_brute_force_geometry():
    subtask, states = mixed(100, 5)
    seen = GAME.observe(subtask, states)
    assert seen.dtype == np.float32
    for k in range(100):
        wanted = brute_force(TRACKS[subtask[k]], states[k], 109)
        np.testing.assert_allclose(seen[k], wanted, atol=1e-5)


def test_rays_of_known_length():
    track = TRACKS[0]
    state = np.array([[0.25, -6.0, 2.4, math.pi / 2]])
    angles = np.radians([-90.0, -45.0, 0.0, 45.0, 90.0, 180.0])
    seen = scan(track, state, np.stack([np.cos(angles), np.sin(angles)]))[0]
    root = math.sqrt(2)
    np.testing.assert_allclose(seen, [0.5, 0.5 * root, 5, root, 1.0, 5], atol=1e-12)


def test_a_ray_along_a_wall_has_the_full_range():
    exactly = np.array([[0.75, -6.0, 2.4, math.pi / 2], [0.0, -6.0, 2.4, math.pi / 2]])
    ahead = np.array([[1.0, 0.0], [0.0, 1.0]])[:, :1]
    with np.errstate(all="raise"):
        seen = scan(TRACKS[0], exactly, ahead)
    np.testing.assert_array_equal(seen, [[5.0], [5.0]])


def test_rays_spread_evenly_from_right_to_left():
    rays = ray_directions(1081)
    np.testing.assert_allclose(np.hypot(*rays), 1, atol=1e-15)
    angles = np.degrees(np.arctan2(rays[1], rays[0]))
    np.testing.assert_allclose(angles, np.linspace(-115, 115, 1081), atol=1e-12)


def test_scaled_distances():
    subtask, states = mixed(50, 6)
    scaled = F110Game(n_rays=109, scaled=True)
    np.testing.assert_allclose(
        scaled.observe(subtask, states) * 5, GAME.observe(subtask, states), rtol=1e-6
    )
    assert scaled.observation_space.high.max() == 1


# -- jumps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", range(5))
@pytest.mark.parametrize("target", [0, 2, 3])
def test_a_jump_lays_the_goal_on_the_start(source, target):
    goal, start = np.array(TRACKS[source].goal), np.array(TRACKS[target].start)
    at_goal = np.array([goal[0], goal[1], 2.4, goal[2]])
    wanted = [start[0], start[1], 2.4, start[2]]
    np.testing.assert_allclose(GAME.jump(source, target, at_goal), wanted, atol=1e-12)
    rng = np.random.default_rng(7)
    states = np.column_stack([rng.uniform(-1, 1, (50, 2)), np.full(50, 2.5), rng.random(50)])
    jumped = GAME.jump(source, target, states)
    before = np.linalg.norm(states[:, None, :2] - states[None, :, :2], axis=2)
    after = np.linalg.norm(jumped[:, None, :2] - jumped[None, :, :2], axis=2)
    np.testing.assert_allclose(after, before, atol=1e-12)
    # A step ahead of the goal is a step ahead of the start.
    ahead = at_goal + np.array([math.cos(goal[2]), math.sin(goal[2]), 0, 0])
    np.testing.assert_allclose(
        GAME.jump(source, target, ahead), np.add(wanted, [0, 1, 0, 0]), atol=1e-12
    )


# -- what known policies score --------------------------------------------------------------------


def test_random_steering_scores_what_the_published_code_does():
    report = play_tasks(F110TurnVectorEnv, None, 400, k=25, steps=200, width=1, n_rays=5,
                        jump_obs=False)  # fmt: skip
    assert report.success == 0
    assert report.completed == pytest.approx(0.03, abs=0.025)


def test_follow_the_gap_drives_the_whole_task():
    report = play_tasks(F110TurnVectorEnv, follow_the_gap, 12, k=25, steps=1300, width=1,
                        n_rays=55, jump_obs=False)  # fmt: skip
    # A controller of the published runs: 0.875 of 40 tasks, 23.4 pieces; -28, -13, -12.
    assert report.success == 1
    means = [np.mean(report.by_subtask[k]) for k in range(5)]
    np.testing.assert_allclose(means, [-28, -13, -13, -12, -12], atol=1.0)


# -- compiled and torch twins ---------------------------------------------------------------------


def assert_twins(game, atol):
    subtask, states = mixed(2000, 8)
    action = np.random.default_rng(9).uniform(-1, 1, (2000, 1)).astype(np.float32)
    wanted, found = (one.advance(subtask, states, action) for one in (GAME, game))
    np.testing.assert_allclose(found[0], wanted[0], atol=atol)
    np.testing.assert_allclose(found[1], wanted[1], atol=10 * atol)
    np.testing.assert_array_equal(found[2], wanted[2])
    np.testing.assert_array_equal(found[3], wanted[3])
    assert wanted[3].sum() > 0
    np.testing.assert_allclose(
        game.observe(subtask, states), GAME.observe(subtask, states), atol=1e-5
    )


def test_numba_computes_the_same():
    pytest.importorskip("numba")
    assert_twins(F110Game(n_rays=109, backend="numba"), 1e-12)


def test_numba_scales_the_same():
    pytest.importorskip("numba")
    subtask, states = mixed(100, 10)
    one, other = (F110Game(33, scaled=True, backend=b) for b in ("numpy", "numba"))
    np.testing.assert_allclose(
        other.observe(subtask, states), one.observe(subtask, states), atol=2e-6
    )


def test_torch_computes_the_same():
    assert_twins(F110Game(n_rays=109, backend="torch"), 1e-12)
