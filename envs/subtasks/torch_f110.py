"""The racing car in torch: thousands of cars on one device, without a copy to the host.

The formulas are those of :mod:`envs.subtasks.bicycle`, :mod:`envs.subtasks.tracks` and
:mod:`envs.subtasks.f110`; here every row may be on another piece of track, so that the walls are
gathered from a table, and every instant of a path is looked at, so that nothing depends on values
and the host never waits for the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.core import check_choice, check_integer, check_number
from envs.subtasks import bicycle, f110
from envs.subtasks.tracks import HALL, RANGE, TRACKS

CORNERS = max(len(wall) for track in TRACKS for wall in track.walls)
"""Corners of a wall in the table; shorter walls repeat their last one."""


class F110Rules:
    """Car and track on one device.

    Args:
        n_rays: Rays of the LiDAR.
        scaled: Divide its distances by its range.
        device: A torch device.
        dtype: ``float64`` or ``float32``.
    """

    def __init__(
        self,
        n_rays: int = 109,
        scaled: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.n_rays, self.scaled = n_rays, scaled
        self.rays = self._tensor(f110.ray_directions(n_rays))
        padded = [
            [np.pad(wall, ((0, CORNERS - len(wall)), (0, 0)), mode="edge") for wall in track.walls]
            for track in TRACKS
        ]
        self.walls = self._tensor(np.array(padded))  # [track, wall, corner, 2]
        self.starts = self._tensor([track.start for track in TRACKS])
        self.goals = self._tensor([track.goal for track in TRACKS])
        self.sides = self._tensor([track.side for track in TRACKS])
        turns = np.array([track.turn for track in TRACKS])
        self.straight = self._tensor(turns) == 0
        self.turn_sine, self.turn_cosine = self._tensor(np.sin(turns)), self._tensor(np.cos(turns))
        self.times, self.decay = self._tensor(bicycle.TIMES), self._tensor(bicycle.DECAY)
        self.noise = self._tensor(f110.NOISE)

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=self.dtype, device=self.device)

    def place(self, subtask: Tensor, uniforms: Tensor) -> Tensor:
        """Return starts ``[n, 4]`` from uniform numbers ``[n, 4]``."""
        noise = self.noise * (2 * uniforms - 1)
        start = self.starts[subtask]
        speed = torch.full_like(start[:, 0], f110.START_SPEED)
        return noise + torch.stack([start[:, 0], start[:, 1], speed, start[:, 2]], 1)

    def advance(
        self, subtask: Tensor, states: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return next states ``[n, 4]``, rewards, whether safe, whether at an exit."""
        path = self._path(states, actions[:, 0].to(self.dtype))
        hit = self._clearance(subtask, path[:, :, 0], path[:, :, 1]) <= f110.SAFE
        crashed = hit.any(1)
        first = torch.where(crashed, hit.to(torch.uint8).argmax(1), len(self.times) - 1)
        following = path.gather(1, first[:, None, None].expand(-1, 1, 4))[:, 0]
        progress = self._away(subtask, states) - self._away(subtask, following)
        reward = torch.where(
            crashed, f110.CRASH_REWARD, f110.STEP_REWARD + f110.PROGRESS * progress
        )
        return following, reward, ~crashed, self.reached(subtask, following) & ~crashed

    def _path(self, states: Tensor, steer: Tensor) -> Tensor:
        """Return x, y, speed, heading at every instant, ``[n, t, 4]``."""
        x, y, speed, heading = (states[:, k : k + 1] for k in range(4))
        curvature = torch.tan(steer * bicycle.STEERING)[:, None] / bicycle.WHEELBASE
        distance = bicycle.SPEED * self.times
        distance = distance + (speed - bicycle.SPEED) * ((1.0 - self.decay) / bicycle.RATE)
        half = curvature * distance * 0.5
        chord = distance * torch.sinc(half / torch.pi)
        along = heading + half
        fast = bicycle.SPEED + (speed - bicycle.SPEED) * self.decay
        parts = (x + chord * along.cos(), y + chord * along.sin(), fast, heading + 2 * half)
        return torch.stack(parts, 2)

    def _clearance(self, subtask: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance from the nearest wall, ``[n, t]``."""
        walls = self.walls[subtask]
        nearest = torch.full_like(x, torch.inf)
        for wall in range(2):
            for k in range(CORNERS - 1):
                x0, y0 = (walls[:, wall, k, axis, None] for axis in range(2))
                dx, dy = (walls[:, wall, k + 1, axis, None] - c for axis, c in ((0, x0), (1, y0)))
                length = (dx * dx + dy * dy).clamp_min(1e-12)  # a repeated corner has none
                px, py = x - x0, y - y0
                share = ((px * dx + py * dy) / length).clamp(0.0, 1.0)
                px, py = px - share * dx, py - share * dy
                nearest = torch.minimum(nearest, px * px + py * py)
        return nearest.sqrt()

    def _away(self, subtask: Tensor, states: Tensor) -> Tensor:
        return (states[:, :2] - self.goals[subtask, :2]).abs().sum(1)

    def reached(self, subtask: Tensor, states: Tensor) -> Tensor:
        """Return whether states are beyond the goal line and within the hall, bool ``[n]``."""
        half = HALL / 2
        x, y = states[:, 0] * self.sides[subtask], states[:, 1]
        aside = y * self.turn_sine[subtask] - x * self.turn_cosine[subtask]
        turned = (x >= half) & (aside.abs() <= half)
        return torch.where(self.straight[subtask], (y >= 0) & (x.abs() <= half), turned)

    def jump(self, source: Tensor, target: Tensor, states: Tensor) -> Tensor:
        """Return exit states in the frame of ``target``."""
        goal, start = self.goals[source], self.starts[target]
        turned = start[:, 2] - goal[:, 2]
        dx, dy = states[:, 0] - goal[:, 0], states[:, 1] - goal[:, 1]
        cosine, sine = turned.cos(), turned.sin()
        x = start[:, 0] + cosine * dx - sine * dy
        y = start[:, 1] + sine * dx + cosine * dy
        return torch.stack([x, y, states[:, 2], states[:, 3] + turned], 1)

    def observe(self, subtask: Tensor, states: Tensor) -> Tensor:
        """Return the LiDAR's distances, float32 ``[n, n_rays]``; see ``tracks.scan``."""
        walls = self.walls[subtask]
        cosine, sine = (f(states[:, 3])[:, None, None] for f in (torch.cos, torch.sin))
        dx, dy = (walls[..., k] - states[:, k, None, None] for k in range(2))
        qx, qy = dx * cosine + dy * sine, dy * cosine - dx * sine  # [n, wall, corner]
        area = qx[:, :, :-1] * qy[:, :, 1:] - qy[:, :, :-1] * qx[:, :, 1:]
        measured = torch.full(
            (len(states), self.n_rays), RANGE, dtype=self.dtype, device=self.device
        )
        for wall in range(2):
            before = self._crossed(qx[:, wall, 0], qy[:, wall, 0])
            for k in range(CORNERS - 1):
                after = self._crossed(qx[:, wall, k + 1], qy[:, wall, k + 1])
                distance = area[:, wall, k, None] / (before - after)
                met = ((before < 0) != (after < 0)) & (distance >= 1e-10)
                measured = torch.where(met, torch.minimum(measured, distance), measured)
                before = after
        if self.scaled:
            measured = measured / RANGE
        return measured.float()

    def _crossed(self, x: Tensor, y: Tensor) -> Tensor:
        return x[:, None] * self.rays[1] - y[:, None] * self.rays[0]


class TorchF110:
    """Many cars on one device, with tasks, limits and restarts; every value stays a tensor.

    The counterpart of ``subtasks/f110-turn-v0`` in autoreset mode ``SameStep``. Tasks are uniform.
    It draws from one generator of its device, so that its episodes are not those of the NumPy form
    with the same seed; its rules are.

    Args:
        num_envs: How many cars.
        n_rays: Rays of the LiDAR.
        scaled: Divide its distances by its range.
        k: Pieces of track in a task.
        limit: Steps allowed on a piece.
        bonus: Added to the reward of the step that crosses a goal line.
        reference_limits: Allow ``limit + 1`` steps.
        device: A torch device.
        dtype: ``float32`` or ``float64``, of states; observations are float32.
        seed: Of the generator.
        compiled: Fuse the rules by ``torch.compile``: about a minute of work at first, then three
            times the speed at a few thousand cars.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        num_envs: int,
        n_rays: int = 109,
        scaled: bool = False,
        k: int = 25,
        limit: int = 50,
        bonus: float = 100.0,
        reference_limits: bool = False,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        seed: int = 0,
        compiled: bool = False,
    ) -> None:
        name = "subtasks/f110-turn-v0"
        self.num_envs = check_integer(name, "num_envs", num_envs, 1)
        self.k = check_integer(name, "k", k, 1)
        self.limit = check_integer(name, "limit", limit, 1) + bool(reference_limits)
        self.bonus = check_number(name, "bonus", bonus)
        n_rays = check_integer(name, "n_rays", n_rays, 3)
        kind: torch.dtype = getattr(
            torch, check_choice(name, "dtype", dtype, ["float32", "float64"])
        )
        self.rules = F110Rules(n_rays, scaled, device, kind)
        if compiled:
            self.rules.advance = torch.compile(self.rules.advance)  # type: ignore[method-assign]
            self.rules.observe = torch.compile(self.rules.observe)  # type: ignore[method-assign]
        self.generator = torch.Generator(self.rules.device).manual_seed(seed)
        self.subtask = torch.zeros(num_envs, dtype=torch.long, device=self.rules.device)
        self.states = torch.zeros(num_envs, 4, dtype=kind, device=self.rules.device)
        self.steps, self.completed = torch.zeros_like(self.subtask), torch.zeros_like(self.subtask)

    def reset(self) -> Tensor:
        """Start every car afresh and return the observations, float32 ``[n, n_rays]``."""
        self.subtask, self.states = self._fresh()
        self.steps, self.completed = torch.zeros_like(self.steps), torch.zeros_like(self.completed)
        return self.rules.observe(self.subtask, self.states)

    def _fresh(self) -> tuple[Tensor, Tensor]:
        subtask = self._uniform_subtasks()
        size, device = (self.num_envs, 4), self.rules.device
        drawn = torch.rand(size, generator=self.generator, device=device, dtype=self.rules.dtype)
        return subtask, self.rules.place(subtask, drawn)

    def _uniform_subtasks(self) -> Tensor:
        return torch.randint(
            len(TRACKS), (self.num_envs,), generator=self.generator, device=self.rules.device
        )

    def step(
        self, actions: Tensor, next_subtask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Advance every car by 0.1 s; where an episode ends the next one starts at once.

        Args:
            actions: Steering ``[n, 1]``, clipped to [-1, 1].
            next_subtask: Which subtask follows an exit, long ``[n]``; None for chance.

        Returns:
            Observations ``[n, n_rays]``, rewards, terminated, truncated, and an info with
            ``subtask`` (to be played next), ``exit``, ``completed``, and of the step just made
            ``source`` (its subtask) and ``exit_state`` ``[n, 4]`` (where it led), from which
            :meth:`jump_obs` makes what each next subtask would see.
        """
        source = self.subtask
        following, reward, safe, left = self.rules.advance(
            source, self.states, actions.clamp(-1.0, 1.0)
        )
        completed = self.completed + left
        steps = self.steps + 1
        terminated = ~safe | (completed >= self.k)
        truncated = (steps >= self.limit) & ~left & safe
        target = self._uniform_subtasks() if next_subtask is None else next_subtask
        jumped = self.rules.jump(source, target, following)
        over = terminated | truncated
        fresh_subtask, fresh_states = self._fresh()
        self.states = torch.where(left[:, None], jumped, following)
        self.states = torch.where(over[:, None], fresh_states, self.states)
        self.subtask = torch.where(over, fresh_subtask, torch.where(left, target, source))
        self.steps = torch.where(over | left, 0, steps)
        self.completed = torch.where(over, 0, completed)
        info = {
            "subtask": self.subtask,
            "exit": left,
            "completed": completed,
            "source": source,
            "exit_state": following,
        }
        obs = self.rules.observe(self.subtask, self.states)
        return obs, (reward + self.bonus * left).float(), terminated, truncated, info

    def jump_obs(self, source: Tensor, states: Tensor) -> Tensor:
        """Return what each next subtask would see after an exit, ``[n, m, n_rays]``."""
        n, m = len(source), len(TRACKS)
        target = torch.arange(m, device=self.rules.device).repeat(n)
        jumped = self.rules.jump(
            source.repeat_interleave(m), target, states.repeat_interleave(m, 0)
        )
        return self.rules.observe(target, jumped).reshape(n, m, -1)


def advance(
    rules: F110Rules, subtask: np.ndarray, states: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return :meth:`F110Rules.advance` of arrays, as arrays."""
    parts = rules.advance(_long(rules, subtask), rules._tensor(states), rules._tensor(actions))
    following, reward, safe, left = (part.cpu().numpy() for part in parts)
    return following.astype(np.float64), reward.astype(np.float64), safe, left


def observe(rules: F110Rules, subtask: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return :meth:`F110Rules.observe` of arrays, as an array."""
    seen: np.ndarray = rules.observe(_long(rules, subtask), rules._tensor(states)).cpu().numpy()
    return seen


def _long(rules: F110Rules, numbers: np.ndarray) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(numbers), device=rules.device)


def device_fault(device: str) -> str | None:
    """Return why a device cannot be used, or None if it can."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        return str(error).splitlines()[0]
    return None
