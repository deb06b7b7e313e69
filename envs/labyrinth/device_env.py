"""The labyrinth on a device: state, rules and pictures as torch tensors that never leave it.

For learners on the same GPU: nothing is copied to the host. The rules are those of the vector form
(:mod:`envs.labyrinth.rules` runs on either library), so row ``k`` makes the same episodes, bit for
bit, as ``gymnasium.make_vec("labyrinth/random-v0", ...)`` with the same seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.core import InvalidActionError, ResetNeeded, check_choice, check_integer
from envs.core.seeding import generators
from envs.labyrinth.arrays import TorchArrays
from envs.labyrinth.maze import make_mazes
from envs.labyrinth.random_maze import RandomMaze, draw_keys, make_drawer
from envs.labyrinth.rules import ACTIONS, APPLE_REWARD, PORTAL_REWARD, Rules
from envs.labyrinth.units import SIZE


class LabyrinthDeviceEnv(VectorEnv[Any, Any, Any]):
    """Many labyrinths whose observations, rewards and flags are tensors on one device.

    Episodes end by the time limit alone, so all rows are reset together, in the step after
    (``NextStep``): its actions are ignored and its rewards are 0. Observations are uint8
    ``[n, 84, 84, 3]``, rewards float32 ``[n]``, flags bool ``[n]``, infos int64 ``[n]``.

    Args:
        num_envs: How many.
        device: Name of a torch device.
        backend: Who draws: ``triton`` (CUDA only) or ``torch``.
        max_episode_steps: Time limit, a truncation.
        **kwargs: ``cells_min``, ``cells_max``, ``loops`` and ``apples`` of
            :class:`envs.labyrinth.random_maze.RandomMaze`.

    Raises:
        ValueError: An argument is unknown or out of range, or there is no such device.
        ImportError: torch or triton is not installed.
    """

    def __init__(
        self,
        num_envs: int,
        device: str = "cuda",
        backend: str = "triton",
        max_episode_steps: int = 900,
        **kwargs: Any,
    ) -> None:
        name = RandomMaze.id
        self.num_envs = check_integer(name, "num_envs", num_envs, 1)
        self.max_episode_steps = check_integer(name, "max_episode_steps", max_episode_steps, 1)
        check_choice(name, "backend", backend, ["triton", "torch"])
        if not isinstance(device, str):
            raise ValueError(f"{name}: device must be the name of a torch device, got {device!r}")
        unknown = kwargs.keys() - {"cells_min", "cells_max", "loops", "apples"}
        if unknown:
            raise ValueError(f"{name}: unknown argument {', '.join(sorted(unknown))}")
        self._maze_rules = RandomMaze(backend="numpy", **kwargs).maze_rules
        self._xp = TorchArrays(name, device)
        self._drawer, _ = make_drawer(name, backend, device)
        self._rules = Rules(self._xp)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
        self.single_observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.single_action_space = spaces.Discrete(ACTIONS)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._rngs: list[np.random.Generator] = []
        self._state: dict[str, Any] | None = None
        self._elapsed = 0

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start every episode afresh; seeds as in :class:`envs.core.ModelVectorEnv`."""
        if seed is not None or not self._rngs:
            self._rngs = generators(seed, self.num_envs, self._rngs)
        self._restart()
        return self._observe(), self._info()

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance every labyrinth, or start the next episodes where these have ended.

        Args:
            actions: Integers ``[n]``, best a tensor on the device.

        Raises:
            ResetNeeded: Before the first reset.
            InvalidActionError: Wrong shape or type, or not 0 to 5.
        """
        if self._state is None:
            raise ResetNeeded(f"{RandomMaze.id}: step before the first reset; call reset()")
        none = self._xp.full((self.num_envs,), 0, "bool")
        if self._elapsed >= self.max_episode_steps:
            self._restart()
            zero = self._xp.full((self.num_envs,), 0, "float32")
            return self._observe(), zero, none, none.clone(), self._info()
        events = self._rules.advance(self._state, self._checked(actions))
        self._elapsed += 1
        reward = APPLE_REWARD * self._xp.cast(events.apple, "float32")
        reward = reward + PORTAL_REWARD * self._xp.cast(events.portal, "float32")
        over = self._elapsed >= self.max_episode_steps
        truncated = self._xp.full((self.num_envs,), int(over), "bool")
        return self._observe(), reward, none, truncated, self._info()

    def _restart(self) -> None:
        keys = self._xp.array(draw_keys(self._rngs))
        self._state = self._rules.begin(keys, make_mazes(self._xp, keys, self._maze_rules))
        self._elapsed = 0

    def _observe(self) -> Any:
        assert self._state is not None
        return self._drawer.draw(*(self._state[name] for name in ("blocks", "x", "y", "heading")))

    def _info(self) -> dict[str, Any]:
        assert self._state is not None
        return {name: self._state[name].clone() for name in ("apples", "portals", "cells")}

    def _checked(self, actions: Any) -> Any:
        given = np.asarray(actions) if not hasattr(actions, "device") else actions
        kind = str(given.dtype).removeprefix("torch.")
        if not kind.startswith(("int", "uint")):
            raise InvalidActionError(f"{RandomMaze.id}: actions are {kind}, wanted integers")
        if tuple(given.shape) != (self.num_envs,):
            shape = tuple(given.shape)
            raise InvalidActionError(
                f"{RandomMaze.id}: actions have shape {shape}, wanted ({self.num_envs},)"
            )
        checked = self._xp.array(given)
        if bool(((checked < 0) | (checked >= ACTIONS)).any()):
            raise InvalidActionError(f"{RandomMaze.id}: an action is not one of 0 to {ACTIONS - 1}")
        return checked
