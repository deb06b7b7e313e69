"""Hand-written policies of Gymnasium's control tasks under their presets (actions in [-1, 1])."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.references import Policy


def make_cartpole(env: Any) -> Policy:
    """Return linear feedback on the pole, with a little on the cart to keep it on the track."""
    gains = np.array([0.02, 0.06, 1.0, 0.3])
    return lambda obs, info: int(gains @ obs > 0)


def make_mountain_car(env: Any) -> Policy:
    """Return full push in the direction of motion, which adds energy at every step."""
    return lambda obs, info: 2 if obs[1] >= 0 else 0


def make_mountain_car_continuous(env: Any) -> Policy:
    """Return half of the push in the direction of motion: slower, but the fuel costs less."""
    return lambda obs, info: np.array([0.5 if obs[1] >= 0 else -0.5], np.float32)


def make_acrobot(env: Any) -> Policy:
    """Return torque in the direction of the second joint's motion, which adds energy."""
    return lambda obs, info: 2 if obs[5] > 0 else 0


def make_pendulum(env: Any) -> Policy:
    """Return energy control below, and a proportional-derivative law near the top.

    With mass and length 1 the energy is w^2/6 + 5 cos(angle), and 5 at rest upright.
    """

    def policy(obs: Any, info: Any) -> np.ndarray:
        cosine, sine, rate = (float(number) for number in obs)
        if cosine > 0.9:
            torque = -(18 * np.arctan2(sine, cosine) + 3.5 * rate)
        else:
            missing = 5.0 - (rate**2 / 6 + 5 * cosine)
            torque = 2 * np.sign(rate) * np.clip(2 * missing, -1, 1)
        return np.array([np.clip(torque / 2, -1, 1)], np.float32)

    return policy


def make_inverted_pendulum(env: Any) -> Policy:
    """Return linear feedback on cart and pole."""
    gains = np.array([0.1, 1.0, 0.17, 0.2])
    return lambda obs, info: np.array([np.clip(gains @ obs, -1, 1)], np.float32)
