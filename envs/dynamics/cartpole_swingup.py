"""A cart that must swing its hanging pole up and balance it, with a continuous force.

Cart of mass M = 1 kg, uniform pole of mass m = 0.1 kg and half length l = 0.5 m, no friction
(Barto, Sutton and Anderson 1983 without the friction; Florian 2007 for the equations):

    theta'' = (g sin theta - cos theta (F + m l theta'^2 sin theta) / (M + m))
              / (l (4/3 - m cos^2 theta / (M + m)))
    x''     = (F + m l (theta'^2 sin theta - theta'' cos theta)) / (M + m)

theta is counted from the upright; F = 10 a newton.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_number
from envs.dynamics.rk4 import Components, rk4

GRAVITY, CART, POLE, HALF = 9.8, 1.0, 0.1, 0.5
FORCE, STEP, SUBSTEPS = 10.0, 0.01, 2
NAMES = ("x", "v", "angle", "rate")


def cartpole_field(state: Components, force: Any) -> Components:
    """Return the time derivatives of ``(x, v, angle, rate)``, arrays ``[n]``."""
    _, v, angle, rate = state
    sine, cosine, mass = np.sin(angle), np.cos(angle), CART + POLE
    push = (force + POLE * HALF * (rate * rate) * sine) / mass
    turn = (GRAVITY * sine - cosine * push) / (HALF * (4.0 / 3.0 - POLE * cosine * cosine / mass))
    return v, push - POLE * HALF * turn * cosine / mass, rate, turn


class CartPoleSwingUp(Model):
    """Force on the cart; the reward is near 1 while the pole stands still above the middle.

    Args:
        track: Half length of the track, in m; leaving it ends the episode.
    """

    id = "dynamics/cartpole-swingup-v0"
    render_fps = 50

    def __init__(self, track: float = 2.4) -> None:
        self.track = check_number(self.id, "track", track, 0.5, 100.0)
        # 10 N over a whole episode of 10 s cannot give the cart 100 m/s, nor the pole its energy.
        high = np.array([self.track + 2.0, 100.0, 1.0, 1.0, 1000.0], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Hang the pole down, within 0.1 (m, m/s, rad, rad/s) of rest in the middle."""
        drawn = np.array([rng.uniform(-0.1, 0.1, 4) for rng in rngs])
        drawn[:, 2] += math.pi
        return {name: drawn[:, k].copy() for k, name in enumerate(NAMES)}

    def observe(self, state: State) -> np.ndarray:
        """Return (x, x', cos theta, sin theta, theta'), float32 ``[n, 5]``."""
        obs = np.empty((len(state["x"]), 5), np.float32)
        obs[:, 0], obs[:, 1], obs[:, 4] = state["x"], state["v"], state["rate"]
        obs[:, 2], obs[:, 3] = np.cos(state["angle"]), np.sin(state["angle"])
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance by 0.02 s.

        The reward is the product of (1 + cos theta)/2, 1/(1 + (2 x/track)^2) and
        1/(1 + (theta'/5)^2), in [0, 1]; leaving the track terminates.
        """
        force = FORCE * actions[:, 0].astype(np.float64)
        moved = rk4(cartpole_field, tuple(state[name] for name in NAMES), force, STEP, SUBSTEPS)
        state = dict(zip(NAMES, moved, strict=True))
        upright = 0.5 * (1.0 + np.cos(state["angle"]))
        off, fast = 2.0 * state["x"] / self.track, state["rate"] / 5.0
        reward = upright / ((1.0 + off * off) * (1.0 + fast * fast))
        return Outcome(state, reward, np.abs(state["x"]) > self.track)

    def render(self, state: State) -> np.ndarray:
        """Draw the track, the cart and the pole."""
        from envs.dynamics.pictures import cartpole_picture

        return cartpole_picture(float(state["x"][0]), float(state["angle"][0]), self.track)


class CartPoleSwingUpEnv(ModelEnv):
    """See :class:`CartPoleSwingUp`."""

    model_type = CartPoleSwingUp


class CartPoleSwingUpVectorEnv(ModelVectorEnv):
    """See :class:`CartPoleSwingUp`."""

    model_type = CartPoleSwingUp
