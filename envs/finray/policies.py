"""Policies with no learning in them: what a learned one is held against.

Each ``make_*`` takes the plain environment and returns ``policy(obs, info) -> action`` for one
episode. Frequencies are in U/L, amplitudes are shares of the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Policy = Callable[[Any, dict[str, Any]], np.ndarray]

BEST_SINE = 1.6
"""Frequency of the sine with the most thrust at the default setting of ``finray/lbm-v0``."""
SQUARE = 1.5
"""Frequency of the square wave that goes with it."""


def sine(time: float, frequency: float, amplitude: float = 1.0, phase: float = 0.0) -> float:
    """Return the sine at the end of the control step that begins at ``time``."""
    return amplitude * math.sin(2 * math.pi * frequency * time + phase)


def square(time: float, frequency: float, amplitude: float = 1.0) -> float:
    """Return the square wave: the sign of the sine, plus at its start."""
    return amplitude if (frequency * time) % 1.0 < 0.5 else -amplitude


def open_loop(env: Any, signal: Callable[[float], float]) -> Policy:
    """Return the policy that plays ``signal(time)`` on every actuator.

    The actuation ramps to an action during its control step, so the action is the signal's value
    at the end of that step.
    """
    interval = env.unwrapped.model.task.control_interval
    size = env.unwrapped.model.task.n_actions
    step = 0

    def policy(obs: Any, info: dict[str, Any]) -> np.ndarray:
        nonlocal step
        step += 1
        return np.full(size, signal(step * interval), np.float32)

    return policy


def make_zero(env: Any) -> Policy:
    """Return the policy that never actuates."""
    return open_loop(env, lambda time: 0.0)


def make_sine(env: Any) -> Policy:
    """Return the sine with the most thrust in ``finray/lbm-v0``, at the full bound."""
    return open_loop(env, lambda time: sine(time, BEST_SINE))


def make_square(env: Any) -> Policy:
    """Return the square wave at the full bound."""
    return open_loop(env, lambda time: square(time, SQUARE))
