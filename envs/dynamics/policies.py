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

from envs.dynamics import burgers, cartpole_swingup, ks, ks_solvers, lorenz, vanderpol
from envs.dynamics.lqr import continuous_gain, discrete_gain

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
        return np.array([np.clip(torque, -2.0, 2.0)], np.float32)

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


def make_ks_opposition(env: Env, strength: float = 2.0) -> Policy:
    """Return a_i = -strength int u G_i dx, clipped: every actuator takes energy away."""
    wide = env.unwrapped.model.actuator_shapes  # type: ignore[attr-defined]

    def policy(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        return _clipped(-strength * ks_solvers.DX * (wide @ obs), ks.LIMIT)

    return policy


def make_ks_lqr(env: Env) -> Policy:
    """Return the clipped regulator of the front linearised about u = 0, held over an interval."""
    gain = ks_gain()
    return lambda obs, info: _clipped(-gain @ obs, ks.LIMIT)


@functools.cache
def ks_gain() -> np.ndarray:
    """Return K ``[4, 64]`` of a = -K u: cost <u_xx^2> + <u_x^2> + 0.1 |a|^2 of each interval."""
    grid = ks_solvers.SpectralKs("physical", 2).grid
    rate = grid.k**2 - grid.k**4
    step = np.exp(rate * ks_solvers.INTERVAL)
    held = np.where(rate == 0, ks_solvers.INTERVAL, (step - 1) / np.where(rate == 0, 1, rate))

    def operator(multiplier: np.ndarray) -> np.ndarray:
        return np.fft.irfft(
            np.fft.rfft(np.eye(ks_solvers.POINTS), axis=0).T * multiplier, ks_solvers.POINTS
        )

    b = np.fft.irfft(np.fft.rfft(ks.actuators(wrapped=True)) * held, ks_solvers.POINTS).T
    # The mean of u is seen by no term of the cost; a small weight on it keeps it at 0.
    q = operator((grid.k**4 + grid.k**2 + 0.01) / ks_solvers.POINTS)
    return discrete_gain(operator(step), b, q, 0.1 * np.eye(ks.ACTUATORS))


def make_burgers_proportional(env: Env, strength: float = 2.0) -> Policy:
    """Return both actuators at -strength times the mean error, clipped to their range."""

    def policy(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        push = np.clip(-strength * float(obs.mean()), burgers.LOW, burgers.HIGH)
        return np.full(2, push, np.float32)

    return policy


def _clipped(action: np.ndarray, limit: float = 1.0) -> np.ndarray:
    return np.clip(action, -limit, limit).astype(np.float32)
