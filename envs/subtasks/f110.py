"""A racing car that must take turns and straights in any order, seen through its LiDAR.

After the F1/10th tasks of Jothimurugan et al. (2023) and the parameters of their published
environment: the car of :mod:`envs.subtasks.bicycle` at constant throttle in the halls of
:mod:`envs.subtasks.tracks`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.subtasks import bicycle
from envs.subtasks.bicycle import drive
from envs.subtasks.game import Subtask, SubtaskGame
from envs.subtasks.tracks import RANGE, TRACKS, Track, scan

SAFE = 0.1
"""A car nearer to a wall, in m, has crashed."""

FIELD = math.radians(115.0)
STEP_REWARD, PROGRESS, CRASH_REWARD = -3.0, 10.0, -100.0
START_SPEED = 2.5
NOISE = np.array([0.2, 0.2, 0.5, math.radians(30.0)])


def ray_directions(n_rays: int) -> np.ndarray:
    """Return unit vectors ``[2, n_rays]`` from 115 degrees to the right to 115 to the left."""
    angles = np.linspace(-FIELD, FIELD, n_rays)
    return np.stack([np.cos(angles), np.sin(angles)])


class Segment(Subtask):
    """Drive one piece of track; a state is x, y, speed, heading.

    Args:
        track: The piece.
        n_rays: Rays of the LiDAR.
        scaled: Divide its distances by its range.
    """

    draws = 4

    def __init__(self, track: Track, n_rays: int, scaled: bool) -> None:
        self.name = track.name
        self.track = track
        self.rays = ray_directions(n_rays)
        self.scaled = scaled

    def place(self, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return starts with noise of +-0.2 m, +-0.5 m/s and +-30 degrees, nominal or wide."""
        x, y, heading = self.track.start
        starts: np.ndarray = np.array([x, y, START_SPEED, heading]) + NOISE * (2 * uniforms - 1)
        return starts

    def step(
        self, state: np.ndarray, action: np.ndarray, uniforms: np.ndarray | None = None
    ) -> np.ndarray:
        """Drive for 0.1 s, or up to the first of 100 instants at which a wall is too near."""
        state = np.asarray(state, np.float64)
        rows = state.reshape(-1, 4)
        steer = np.broadcast_to(action[..., 0], state.shape[:-1]).reshape(-1)
        return self._drive(rows, steer).reshape(state.shape)

    def _drive(self, rows: np.ndarray, steer: np.ndarray) -> np.ndarray:
        last = drive(rows, steer, bicycle.TIMES[-1:], bicycle.DECAY[-1:])
        following = np.concatenate(last, 1)
        # No point of the path is farther from its start than the path is long, so that most cars
        # need no closer look.
        reach = bicycle.STEP * np.maximum(rows[:, 2], bicycle.SPEED) + SAFE
        near = np.flatnonzero(self.track.clearance(rows[:, 0], rows[:, 1]) <= reach + 1e-9)
        if len(near):
            x, y, speed, heading = drive(rows[near], steer[near])
            hit = self.track.clearance(x, y) <= SAFE
            at = np.where(hit.any(1), hit.argmax(1), bicycle.POINTS - 1)
            row = np.arange(len(near))
            path = (x, y, speed, heading)
            following[near] = np.stack([values[row, at] for values in path], 1)
        return following

    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return the LiDAR's distances, float32 ``[..., n_rays]``, from right to left."""
        measured = scan(self.track, state.reshape(-1, 4), self.rays)
        if self.scaled:
            measured *= 1.0 / RANGE
        return measured.astype(np.float32).reshape(*state.shape[:-1], -1)

    def reward(self, state: np.ndarray, action: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Return -3 + 10 x the decrease of |dx| + |dy| to the goal, or -100 for a crash."""
        progress = self._away(state) - self._away(following)
        return np.where(self.is_safe(following), STEP_REWARD + PROGRESS * progress, CRASH_REWARD)

    def _away(self, state: np.ndarray) -> np.ndarray:
        x, y, _ = self.track.goal
        away: np.ndarray = np.abs(state[..., 0] - x) + np.abs(state[..., 1] - y)
        return away

    def is_safe(self, state: np.ndarray) -> np.ndarray:
        """Return whether every wall is more than 0.1 m away."""
        return self.track.clearance(state[..., 0], state[..., 1]) > SAFE

    def in_exit(self, state: np.ndarray) -> np.ndarray:
        """Return whether the goal line is crossed."""
        return self.track.reached(state[..., 0], state[..., 1])


_GOALS = np.array([track.goal for track in TRACKS])
_STARTS = np.array([track.start for track in TRACKS])


def jump_ahead(source: np.ndarray, target: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return exit states with the goal of ``source`` laid on the start of ``target``."""
    goal, start = _GOALS[source], _STARTS[target]
    turned = start[:, 2] - goal[:, 2]
    dx, dy = states[:, 0] - goal[:, 0], states[:, 1] - goal[:, 1]
    cosine, sine = np.cos(turned), np.sin(turned)
    x = start[:, 0] + cosine * dx - sine * dy
    y = start[:, 1] + sine * dx + cosine * dy
    return np.stack([x, y, states[:, 2], states[:, 3] + turned], 1)


class F110Game(SubtaskGame):
    """The five pieces of track.

    Args:
        n_rays: Rays of the LiDAR.
        scaled: Divide its distances by its range.
        backend: ``numpy``, ``numba`` or ``torch``.
        device: Of the torch backend.
    """

    def __init__(
        self,
        n_rays: int = 1081,
        scaled: bool = False,
        backend: str = "numpy",
        device: str = "cpu",
    ) -> None:
        high = 1.0 if scaled else RANGE
        self.n_rays, self.scaled, self.backend = n_rays, scaled, backend
        self._rules: Any = None
        if backend == "torch":
            from envs.subtasks import torch_f110

            self._rules = torch_f110.F110Rules(n_rays, scaled, device)
        self.segments = [Segment(track, n_rays, scaled) for track in TRACKS]
        super().__init__(
            self.segments,
            jump_ahead,
            spaces.Box(0.0, high, (n_rays,), np.float32),
            spaces.Box(-1.0, 1.0, (1,), np.float32),
            [-8.0, -16.0, 0.0, -2 * math.pi],
            [8.0, 6.0, 4.0, 3 * math.pi],
        )

    def place(self, subtask: np.ndarray, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return starts ``[n, 4]``."""
        starts: np.ndarray = NOISE * (2 * uniforms - 1)
        starts[:, [0, 1, 3]] += _STARTS[subtask]
        starts[:, 2] += START_SPEED
        return starts

    def advance(
        self,
        subtask: np.ndarray,
        states: np.ndarray,
        actions: np.ndarray,
        uniforms: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Take one step in every row; see :meth:`SubtaskGame.advance`."""
        if self.backend == "numba":
            from envs.subtasks import numba_f110

            return numba_f110.advance(subtask, states, actions)
        if self.backend == "torch":
            from envs.subtasks import torch_f110

            return torch_f110.advance(self._rules, subtask, states, actions)
        return super().advance(subtask, states, actions, uniforms)

    def observe(self, subtask: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the LiDAR's distances, float32 ``[n, n_rays]``."""
        if self.backend == "numba":
            from envs.subtasks import numba_f110

            return numba_f110.observe(subtask, states, self.segments[0].rays, self.scaled)
        if self.backend == "torch":
            from envs.subtasks import torch_f110

            return torch_f110.observe(self._rules, subtask, states)
        seen: np.ndarray = super().observe(subtask, states)
        return seen


def f110_game(
    n_rays: int = 1081, scaled: bool = False, backend: str = "numpy", device: str = "cpu"
) -> F110Game:
    """Return the game of ``f110-turn-v0``."""
    return F110Game(n_rays, scaled, backend, device)
