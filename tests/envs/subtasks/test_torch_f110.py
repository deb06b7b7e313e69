"""Cars that stay on a device."""

import math

import numpy as np
import pytest
import torch

from envs.subtasks.f110 import F110Game
from envs.subtasks.f110_env import F110TurnVectorEnv
from envs.subtasks.policies import follow_the_gap
from envs.subtasks.torch_f110 import TorchF110

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def steer(obs):
    return torch.as_tensor(follow_the_gap(np.zeros(len(obs)), obs.cpu().numpy()), device=obs.device)


@pytest.mark.parametrize("device", DEVICES)
def test_cars_obey_the_rules_of_the_numpy_form(device):
    """Every step of 40 is done again in NumPy from the state before."""
    n, rays = 60, 33
    game, cars = F110Game(rays), TorchF110(n, rays, device=device, dtype="float64", seed=1, k=2)
    obs, rng = cars.reset(), np.random.default_rng(0)
    ends = exits = 0
    for _ in range(60):
        before, subtask = cars.states.cpu().numpy(), cars.subtask.cpu().numpy()
        np.testing.assert_allclose(obs.cpu().numpy(), game.observe(subtask, before), atol=1e-5)
        action = np.clip(steer(obs).cpu().numpy() + rng.normal(0, 0.15, (n, 1)), -1, 1)
        obs, reward, terminated, truncated, info = cars.step(torch.as_tensor(action, device=device))
        following, wanted, safe, left = game.advance(subtask, before, action)
        np.testing.assert_allclose(info["exit_state"].cpu().numpy(), following, atol=1e-11)
        np.testing.assert_allclose(reward.cpu().numpy(), wanted + 100 * left, atol=1e-4)
        completed = info["completed"].cpu().numpy()
        np.testing.assert_array_equal(info["exit"].cpu().numpy(), left)
        np.testing.assert_array_equal(terminated.cpu().numpy(), ~safe | (completed >= 2))
        assert not (truncated & terminated).any()
        over = (terminated | truncated).cpu().numpy()
        goes_on = left & ~over
        after, target = cars.states.cpu().numpy(), info["subtask"].cpu().numpy()
        np.testing.assert_allclose(after[~left & ~over], following[~left & ~over], atol=1e-11)
        jumped = game.jump(subtask[goes_on], target[goes_on], following[goes_on])
        np.testing.assert_allclose(after[goes_on], jumped, atol=1e-11)
        ends, exits = ends + over.sum(), exits + goes_on.sum()
    assert ends > 5
    assert exits > 5


@pytest.mark.parametrize("device", DEVICES)
def test_limits_truncate(device):
    cars = TorchF110(50, 5, device=device, limit=3)
    cars.reset()
    cars.states[:, 3] = math.pi / 2  # straight ahead
    actions = torch.zeros(50, 1, device=device)
    ends = [cars.step(actions)[3] for _ in range(6)]
    assert [bool(end.all()) for end in ends[:3]] == [False, False, True]
    assert not ends[0].any()
    longer = TorchF110(50, 5, device=device, limit=3, reference_limits=True)
    longer.reset()
    longer.states[:, 3] = math.pi / 2
    assert [bool(longer.step(actions)[3].all()) for _ in range(4)] == [False, False, False, True]


def test_starts_and_tasks_are_uniform():
    cars = TorchF110(4000, 5, dtype="float64")
    cars.reset()
    counts = torch.bincount(cars.subtask, minlength=5)
    assert (((counts - 800.0) ** 2) / 800).sum() < 28.5
    offset = cars.states - cars.rules.place(cars.subtask, torch.full((4000, 4), 0.5))
    wide = torch.tensor([0.2, 0.2, 0.5, math.radians(30)])
    assert (offset.abs() <= wide).all()
    assert (offset.max(0).values > 0.98 * wide).all()
    assert (offset.min(0).values < -0.98 * wide).all()
    assert (offset.mean(0).abs() < 0.05 * wide).all()


def test_one_seed_one_trajectory_and_named_subtasks():
    one, other = (TorchF110(20, 9, seed=3) for _ in range(2))
    assert torch.equal(one.reset(), other.reset())
    actions = torch.zeros(20, 1)
    for _ in range(12):
        results = one.step(actions), other.step(actions)
        for left, right in zip(results[0][:4], results[1][:4], strict=True):
            assert torch.equal(left, right)
    assert not torch.equal(TorchF110(20, 9, seed=4).reset(), TorchF110(20, 9, seed=3).reset())
    one.reset()
    one.subtask[:] = 0
    one.states[:] = torch.tensor([0.0, -0.1, 2.4, math.pi / 2])
    *_, info = one.step(actions, next_subtask=torch.full((20,), 4))
    assert info["exit"].all()
    assert (info["subtask"] == 4).all()
    seen = one.jump_obs(info["source"], info["exit_state"])
    assert seen.shape == (20, 5, 9)
    torch.testing.assert_close(seen[:, 4], one.rules.observe(info["subtask"], one.states))


def test_mistakes_are_named():
    for arguments, words in (
        ({"num_envs": 0}, "num_envs must be"),
        ({"n_rays": 2}, "n_rays must be"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64"),
    ):
        with pytest.raises(ValueError, match=f"subtasks/f110-turn-v0: {words}"):
            TorchF110(**{"num_envs": 2} | arguments)
    with pytest.raises(ValueError, match="device 'cuda' needs backend torch"):
        F110TurnVectorEnv(num_envs=2, device="cuda")
    with pytest.raises(ValueError, match="device 'nonsense' cannot be used"):
        F110TurnVectorEnv(num_envs=2, backend="torch", device="nonsense")


@pytest.mark.gpu
def test_a_million_car_steps_a_second():
    cars = TorchF110(2048, 109, device="cuda", compiled=True)
    cars.reset()
    actions = torch.zeros(2048, 1, device="cuda")
    for _ in range(20):
        cars.step(actions)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(200):
        cars.step(actions)
    end.record()
    torch.cuda.synchronize()
    assert 2048 * 200 / (start.elapsed_time(end) / 1000) >= 1e6
