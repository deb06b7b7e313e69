"""Stateless cart-pole is Gymnasium's CartPole-v1 with half of its observation."""

import gymnasium
import numpy as np
import pytest


def test_the_same_trajectory_as_cartpole_v1():
    ours, theirs = (
        gymnasium.make("envs:memory/stateless-cartpole-v0"),
        gymnasium.make("CartPole-v1"),
    )
    for seed in range(20):
        obs, _ = ours.reset(seed=seed)
        full, _ = theirs.reset(seed=seed)
        for step in range(500):
            np.testing.assert_allclose(obs, full[[0, 2]], rtol=1e-6, atol=1e-9)
            # The second half of the seeds is played by a policy that lasts.
            action = step % 3 % 2 if seed < 10 else int(full @ [1.0, 1.7, 30.0, 5.0] > 0)
            obs, reward, *ends, _ = ours.step(action)
            full, other_reward, *other_ends, _ = theirs.step(action)
            assert (reward, ends) == (other_reward, other_ends)
            if any(ends):
                break
        assert any(ends)
        assert (step == 499) == (seed >= 10)


def test_the_limits_are_open():
    env = gymnasium.make("envs:memory/stateless-cartpole-v0").unwrapped
    env.reset(seed=0)
    state = env.get_state()
    tilt = 12 * 2 * np.pi / 360
    cases = [(2.4, 0.0, False), (2.41, 0.0, True), (0.0, tilt, False), (0.0, tilt + 1e-6, True)]
    for x, angle, over in [*cases, (-2.41, 0.0, True), (0.0, -0.21, True)]:
        state["over"] = False
        for name, value in (("x", x), ("v", 0.0), ("angle", angle), ("rate", 0.0)):
            state["model"][name][0] = value
        env.set_state(state)
        assert env.step(1)[2] is over


def test_spaces_hold_what_is_seen():
    env = gymnasium.make("envs:memory/stateless-cartpole-v0")
    np.testing.assert_allclose(env.observation_space.high, [4.8, 2 * 12 * 2 * np.pi / 360])
    assert env.spec.max_episode_steps == 500
    with pytest.raises(ValueError, match=r"memory/stateless-cartpole-v0: unknown argument length"):
        gymnasium.make("memory/stateless-cartpole-v0", length=3)
