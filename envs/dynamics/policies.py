"""Scripted controllers of this family, for reference returns.

Each is called with the plain environment and returns ``policy(obs, info) -> action``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from envs.dynamics import burgers, cartpole_swingup, ks, ks_solvers, lorenz, pendulum, vanderpol
from envs.dynamics.lqr import continuous_gain

Policy = Callable[[np.ndarray, dict[str, Any]], np.ndarray]
Env = gymnasium.Env[Any, Any]


def make_zero(env: Env) -> Policy:
    """Return the policy that does nothing."""
    still = np.zeros(env.action_space.shape or (), np.float32)
    return lambda obs, info: still


def make_lorenz_lqr(env: Env) -> Policy:
    """Return the clipped regulator of the system linearised at C+ (Q = I, R = 0.01 on the force).

    It is optimal near C+ only, and gets there because the attractor passes by.
    """
    gain = lorenz_gain()
    scale = np.array(lorenz.SCALE)
    return lambda obs, info: _clipped(-gain @ (obs * scale) / lorenz.FORCE)


@functools.cache
def lorenz_gain() -> np.ndarray:
    """Return K ``[1, 3]`` of the force u = -K (s - C+)."""
    r = lorenz.ROOT
    a = np.array([[-lorenz.SIGMA, lorenz.SIGMA, 0], [1, -1, -r], [r, r, -lorenz.BETA]])
    return continuous_gain(a, np.array([[0.0], [1.0], [0.0]]), np.eye(3), np.array([[0.01]]))


def make_vanderpol_lqr(env: Env) -> Policy:
    """Return the clipped regulator at the origin (Q = diag(1, 0.1), R = 0.001 on the force)."""
    gain = vanderpol_gain()
    return lambda obs, info: _clipped(-gain @ obs / vanderpol.FORCE)


@functools.cache
def vanderpol_gain() -> np.ndarray:
    """Return K ``[1, 2]`` of the force u = -K (x, x')."""
    a = np.array([[0.0, 1.0], [-1.0, vanderpol.MU]])
    return continuous_gain(a, np.array([[0.0], [1.0]]), np.diag([1.0, 0.1]), np.array([[0.001]]))


def make_pendulum_swingup(env: Env) -> Policy:
    """Return the policy that pumps energy (Astrom and Furuta 2000), then balances by an LQR."""
    gain = pendulum_gain()

    def policy(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        angle, rate = float(obs[0]), float(obs[1])
        energy = rate * rate / 6 + 5.0 * (math.cos(angle) - 1.0)  # J; 0 at rest upright
        if abs(angle) < 0.35 and abs(rate) < 2.0:
            torque = -float(gain[0] @ (angle, rate))
        else:
            torque = -20.0 * energy * (rate if abs(rate) > 1e-3 else 1.0)
        return _clipped(np.array([torque / pendulum.TORQUE]))

    return policy


@functools.cache
def pendulum_gain() -> np.ndarray:
    """Return K ``[1, 2]`` of the torque -K (angle, rate) about the upright."""
    a, b = np.array([[0.0, 1.0], [15.0, 0.0]]), np.array([[0.0], [3.0]])
    return continuous_gain(a, b, np.diag([1.0, 0.1]), np.array([[0.001]]))


def make_cartpole_swingup(env: Env) -> Policy:
    """Return the policy that pumps the pole's energy, then balances by an LQR."""
    gain = cartpole_gain()

    def policy(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        x, v, cosine, sine, rate = (float(number) for number in obs)
        angle = math.atan2(sine, cosine)
        if cosine > 0.85 and abs(rate) < 4.0:
            return _clipped(-gain @ (x, v, angle, rate) / cartpole_swingup.FORCE)
        weight = cartpole_swingup.POLE * cartpole_swingup.HALF
        energy = weight * (2 / 3 * cartpole_swingup.HALF * rate**2 + 9.8 * (cosine - 1.0))
        pump = 60.0 * energy * rate * cosine
        push = np.clip(pump, -8.0, 8.0) - 2.0 * x - 1.5 * v
        return _clipped(np.array([push / cartpole_swingup.FORCE]))

    return policy


@functools.cache
def cartpole_gain() -> np.ndarray:
    """Return K ``[1, 4]`` of the force -K (x, v, angle, rate) about the upright."""
    point, eps = np.zeros(4), 1e-6
    columns = []
    for k in range(5):
        change = np.zeros(5)
        change[k] = eps
        ahead, behind = (
            np.array(cartpole_swingup.cartpole_field(tuple(point + s * change[:4]), s * change[4]))
            for s in (1, -1)
        )
        columns.append((ahead - behind) / (2 * eps))
    jacobian = np.stack(columns, 1)
    q = np.diag([1.0, 0.1, 10.0, 0.1])
    return continuous_gain(jacobian[:, :4], jacobian[:, 4:], q, np.array([[0.1]]))


def make_ks_opposition(env: Env, strength: float = 8.0) -> Policy:
    """Return a_i = -strength int u G_i dx, clipped: every actuator takes energy away.

    A linear regulator about u = 0 does not exist: no actuator reaches sin(4 pi x / L), which grows
    at the rate 3/16.
    """
    wide = env.unwrapped.model.actuator_shapes  # type: ignore[attr-defined]

    def policy(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        return _clipped(-strength * ks_solvers.DX * (wide @ obs), ks.LIMIT)

    return policy


def make_burgers_still(env: Env) -> Policy:
    """Return the policy that does not push (the middle of the action range pushes up)."""
    return lambda obs, info: np.full(2, -0.5, np.float32)


def make_burgers_proportional(env: Env, strength: float = 2.0) -> Policy:
    """Return both amplitudes at -strength times the mean error, as far as they go."""
    middle, half = (burgers.HIGH + burgers.LOW) / 2, (burgers.HIGH - burgers.LOW) / 2

    def policy(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        push = -strength * float(obs.mean())
        return _clipped(np.full(2, (push - middle) / half))

    return policy


def _clipped(action: np.ndarray, limit: float = 1.0) -> np.ndarray:
    return np.asarray(np.clip(action, -limit, limit), np.float32)
