"""The pendulum is Gymnasium's, step by step."""

import gymnasium
import numpy as np
import pytest

from envs.dynamics.pendulum import Pendulum, wrapped


@pytest.mark.parametrize("gravity", [10.0, 3.7])
def test_the_same_trajectory_as_pendulum_v1(gravity):
    ours = gymnasium.make("envs:dynamics/pendulum-v0", gravity=gravity)
    theirs = gymnasium.make("Pendulum-v1", g=gravity)
    rng = np.random.default_rng(0)
    for seed in range(3):
        obs, _ = ours.reset(seed=seed)
        other, _ = theirs.reset(seed=seed)
        for step in range(200):
            np.testing.assert_allclose([np.cos(obs[0]), np.sin(obs[0]), obs[1]], other, atol=1e-6)
            # Eighths are exact in single precision, in which Gymnasium multiplies the torque.
            action = np.array([rng.integers(-10, 11) / 8], np.float32)
            obs, reward, terminated, truncated, info = ours.step(action)
            other, other_reward, *other_ends, _ = theirs.step(2 * action)
            assert reward == pytest.approx(float(other_reward), rel=1e-6, abs=1e-9)
            assert [terminated, truncated] == other_ends
            assert info["action_clipped"] == int(abs(action[0]) > 1)
            assert step < 199 or truncated


def test_angles_are_wrapped():
    angles = np.array([0.0, np.pi, -np.pi, 3 * np.pi / 2, -7.0])
    expected = [0.0, -np.pi, -np.pi, -np.pi / 2, -7.0 + 2 * np.pi]
    np.testing.assert_allclose(wrapped(angles), expected, atol=1e-12)


def test_bad_gravity_is_named():
    with pytest.raises(ValueError, match=r"dynamics/pendulum-v0: gravity must be a number in"):
        Pendulum(gravity=-1)
