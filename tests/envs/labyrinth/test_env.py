"""The environment as registered: episodes, arguments, backends, the form on a device, pictures."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.core import InvalidActionError, ResetNeeded
from envs.labyrinth.device_env import LabyrinthDeviceEnv
from envs.labyrinth.policies import (
    Explorer,
    Player,
    downhill,
    make_explorer,
    make_oracle,
    portal_in,
    seen_blocks,
    steps_to,
)
from envs.labyrinth.random_maze import LabyrinthVectorEnv
from envs.labyrinth.units import SIDE, ray_tables
from envs.references import make_policy

ID = "labyrinth/random-v0"


def plain(**kwargs):
    return gymnasium.make(f"envs:{ID}", disable_env_checker=True, **kwargs)


def played(env, policy, seed):
    """Return the return of one episode, its length and its last info."""
    obs, info = env.reset(seed=seed)
    act = make_policy(policy, env, seed) if isinstance(policy, str) else policy(env.unwrapped)
    total, steps, over = 0.0, 0, False
    while not over:
        obs, reward, terminated, truncated, info = env.step(act(obs, info))
        assert not terminated
        total, steps, over = total + reward, steps + 1, truncated
    return total, steps, info


# -- episodes -------------------------------------------------------------------------------------


def test_it_is_registered_as_specified():
    env = plain()
    assert ID in envs.list(cost="us")
    assert env.spec.max_episode_steps == 900
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (84, 84, 3), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(6)
    assert env.metadata["render_fps"] == 15


def test_the_oracle_beats_the_explorer_beats_random_by_wide_margins():
    env = plain()
    means = {}
    for name, policy in (
        ("random", "random"),
        ("scripted", make_explorer),
        ("oracle", make_oracle),
    ):
        found = [played(env, policy, seed) for seed in range(4)]
        for total, steps, info in found:
            assert steps == 900
            assert total == info["apples"] + 10 * info["portals"]
        means[name] = np.mean([total for total, _, _ in found])
    assert means["random"] < 8
    assert means["scripted"] > means["random"] + 20
    assert means["oracle"] > means["scripted"] + 20


def test_sizes_are_those_asked_for():
    env = plain(cells_min=3, cells_max=4)
    assert {env.reset(seed=seed)[1]["cells"] for seed in range(20)} == {3, 4}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"cells_min": 1}, "cells_min must be an integer in [2, 11], got 1"),
        ({"cells_min": 7, "cells_max": 6}, "cells_max must be an integer in [7, 11], got 6"),
        ({"cells_max": 12}, "cells_max must be an integer in [5, 11], got 12"),
        ({"loops": -0.1}, "loops must be a number in [0.0, 1.0], got -0.1"),
        ({"apples": 1.5}, "apples must be a number in [0.0, 1.0], got 1.5"),
        ({"backend": "cuda"}, "backend must be one of numpy, numba, torch, triton, got 'cuda'"),
        ({"device": "cuda"}, "device must be one of cpu, got 'cuda'"),
        ({"backend": "torch", "device": "abacus"}, "device 'abacus' is no torch device"),
        ({"backend": "torch", "device": 3}, "device must be the name of a torch device, got 3"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=f"^{ID}: ") as error:
        plain(**kwargs)
    assert message in str(error.value)


def test_triton_without_a_gpu_is_an_error():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises((ImportError, ValueError), match=r"backend.*triton"):
        plain(backend="triton")
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        plain(backend="torch", device="cuda")


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_every_backend_plays_the_same_episodes(backend):
    one = LabyrinthVectorEnv(3, max_episode_steps=25)
    other = LabyrinthVectorEnv(3, max_episode_steps=25, backend=backend)
    assert np.array_equal(one.reset(seed=9)[0], other.reset(seed=9)[0])
    rng = np.random.default_rng(1)
    for _ in range(40):
        actions = rng.integers(0, 6, 3)
        wanted, found = one.step(actions), other.step(actions)
        assert all(np.array_equal(a, b) for a, b in zip(wanted[:4], found[:4], strict=True))
        assert all(np.array_equal(wanted[4][name], found[4][name]) for name in wanted[4])


# -- the form on a device -------------------------------------------------------------------------


def test_the_device_form_equals_the_vector_form_through_resets():
    n, limit = 6, 30
    wanted = LabyrinthVectorEnv(n, max_episode_steps=limit, cells_max=6, apples=0.4)
    ours = LabyrinthDeviceEnv(n, "cpu", "torch", limit, cells_max=6, apples=0.4)
    assert ours.metadata["autoreset_mode"] is wanted.metadata["autoreset_mode"]
    obs, info = wanted.reset(seed=4)
    found, found_info = ours.reset(seed=4)
    assert np.array_equal(found.numpy(), obs)
    assert np.array_equal(found_info["cells"].numpy(), info["cells"])
    rng = np.random.default_rng(0)
    total = 0.0
    for step in range(2 * limit + 5):
        actions = rng.choice(6, n, p=[0.6, 0, 0, 0, 0.1, 0.3])
        obs, reward, terminated, truncated, info = wanted.step(actions)
        result = ours.step(actions)
        assert np.array_equal(result[0].numpy(), obs)
        for tensor, array in zip(result[1:4], (reward, terminated, truncated), strict=True):
            assert np.array_equal(tensor.numpy(), array)
        assert bool(result[3].all()) == (step in (limit - 1, 2 * limit))
        for name in ("apples", "portals", "cells"):
            assert np.array_equal(result[4][name].numpy(), info[name])
        total += reward.sum()
    assert total > 0


def test_mistakes_with_the_device_form_are_named():
    torch = pytest.importorskip("torch")
    ours = LabyrinthDeviceEnv(2, "cpu", "torch")
    with pytest.raises(ResetNeeded, match=ID):
        ours.step([0, 0])
    ours.reset(seed=0)
    for bad in ([0], [0.0, 1.0], [0, 6], [-1, 0], torch.zeros(2), torch.full((2,), 6)):
        with pytest.raises(InvalidActionError, match=f"^{ID}: "):
            ours.step(bad)
    with pytest.raises(ValueError, match="num_envs must be an integer >= 1"):
        LabyrinthDeviceEnv(0, "cpu", "torch")
    with pytest.raises(ValueError, match="backend must be one of triton, torch"):
        LabyrinthDeviceEnv(2, "cpu", "numba")
    with pytest.raises(ValueError, match="unknown argument cell"):
        LabyrinthDeviceEnv(2, "cpu", "torch", cell=3)
    with pytest.raises(ValueError, match="cells_min must be an integer"):
        LabyrinthDeviceEnv(2, "cpu", "torch", cells_min=1)


# -- policies -------------------------------------------------------------------------------------


def test_the_oracle_walks_a_shortest_path():
    env = plain().unwrapped
    obs, info = env.reset(seed=2)
    policy, start = make_oracle(env), Player(env)
    distance = steps_to(start.blocks, portal_in(start.blocks))
    assert distance[portal_in(start.blocks)] == 0
    visited = [start.block]
    while not info["portals"]:
        obs, _, _, _, info = env.step(policy(obs, info))
        here = Player(env).block
        if here != visited[-1] and not info["portals"]:
            visited.append(here)
            assert distance[here] == distance[visited[-2]] - 1
    assert len(visited) == distance[start.block]
    assert downhill(distance, visited[-1]) in range(4)


def test_steps_to_are_shortest_by_relaxation(lab):
    blocks, _, _, _ = lab.crowd(3, seed=5)
    for row in blocks.astype(int):
        distance = steps_to(row, portal_in(row))
        grid = np.where((row == 0) | (row > 15), distance.size, -1).reshape(SIDE, SIDE)
        grid.reshape(-1)[portal_in(row)] = 0
        for _ in range(SIDE * SIDE):
            near = np.full_like(grid, distance.size)
            for axis, way in ((0, 1), (0, -1), (1, 1), (1, -1)):
                moved = np.roll(grid, way, axis)
                near = np.minimum(near, np.where(moved >= 0, moved + 1, distance.size))
            grid = np.where(grid >= 0, np.minimum(grid, near), grid)
        assert np.array_equal(np.where(grid < 0, distance.size, grid).reshape(-1), distance)


def test_the_explorer_knows_only_what_it_saw():
    env = plain(cells_min=9).unwrapped
    obs, info = env.reset(seed=1)
    explorer = Explorer(env)
    player = Player(env)
    explorer(obs, info)
    known = set(np.flatnonzero(explorer.known >= 0).tolist())
    beside = {player.block + gap for gap in (1, SIDE, -1, -SIDE)}
    assert known == seen_blocks(player, ray_tables()) | beside
    assert 6 < len(known) < 100


def test_seen_blocks_are_in_front_and_in_sight(lab):
    text = "1111111\n1  1a 1\n1 11111\n1     1\n1111111"

    class Fixed:
        def get_state(self):
            place = {"x": [1536], "y": [1536], "heading": [0]}
            arrays = {name: np.array(value) for name, value in place.items()}
            return {"model": arrays | {"blocks": lab.world(text)}}

    seen = seen_blocks(Player(Fixed()), ray_tables())
    assert SIDE + 2 in seen
    assert SIDE + 3 in seen, "the wall that ends the view"
    assert SIDE + 4 not in seen, "behind it"
    assert 3 * SIDE + 1 not in seen, "beside the player, out of its view"


# -- pictures -------------------------------------------------------------------------------------


def test_the_map_is_a_render_mode_and_shows_where_things_are():
    pytest.importorskip("PIL")
    env = plain(render_mode="top_down", cells_min=5, cells_max=5, apples=0.3).unwrapped
    with pytest.raises(ResetNeeded, match=ID):
        env.render()
    env.reset(seed=3)
    picture = env.render()
    assert picture.shape == (448, 420, 3)
    blocks = env.get_state()["model"]["blocks"][0].reshape(SIDE, SIDE)[:11, :11]
    size = 420 / 11

    def middle(y, x):
        return picture[28 + int((y + 0.5) * size), int((x + 0.5) * size)].astype(int)

    for y, x in np.argwhere(blocks == 16):
        assert middle(y, x)[0] > middle(y, x)[1:].max() + 80, "an apple is red"
    (y, x), = np.argwhere(blocks == 18)  # fmt: skip
    assert tuple(middle(y, x)) == (217, 168, 255)
    walls = {
        int(t): {tuple(middle(y, x)) for y, x in np.argwhere(blocks == t)} for t in range(1, 9)
    }
    assert all(len(colours) <= 1 for colours in walls.values()), "one colour a texture"
    assert len(set().union(*walls.values())) > 2


def test_the_picture_holds_the_view_beside_the_map():
    pytest.importorskip("PIL")
    env = plain(render_mode="rgb_array").unwrapped
    obs, _ = env.reset(seed=3)
    picture = env.render()
    assert picture.shape == (448, 848, 3)
    assert np.array_equal(picture[28:448:5, 0:420:5], obs)
    above = plain(render_mode="top_down").unwrapped
    above.reset(seed=3)
    assert np.array_equal(picture[:, 428:], above.render())
