"""``labyrinth/random-v0``: find the portal of a random maze, again and again, seen from inside.

Stands in for the mazes of Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning"
(ICML 2016, section 5.4), which were not published: a new maze every episode, apples worth 1, a
portal worth 10 that throws the player to a random place and brings the apples back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from gymnasium import spaces

from envs.core import (
    Model,
    ModelEnv,
    ModelVectorEnv,
    Outcome,
    ResetNeeded,
    State,
    check_choice,
    check_integer,
    check_number,
)
from envs.labyrinth.arrays import Arrays, NumpyArrays, TorchArrays
from envs.labyrinth.maze import MazeRules, Mazes, make_mazes
from envs.labyrinth.rules import ACTIONS, APPLE_REWARD, PORTAL_REWARD, Rules
from envs.labyrinth.textures import make_paint
from envs.labyrinth.units import MAX_CELLS, SIZE, ray_tables
from envs.labyrinth.view import CHUNK, DEVICE_CHUNK, View

BACKENDS = ("numpy", "numba", "torch", "triton")


class Drawer(Protocol):
    """Draws what players see."""

    def draw(self, blocks: Any, x: Any, y: Any, heading: Any) -> Any:
        """Return pictures, uint8 ``[n, 84, 84, 3]``; see :meth:`envs.labyrinth.view.View.draw`."""


class RandomMaze(Model):
    """Rules of the labyrinth.

    Actions: 0 forward, 1 back, 2 strafe left, 3 strafe right (a quarter of a block, sliding along
    walls), 4 look left, 5 look right (22.5 degrees). Observation: uint8 ``[84, 84, 3]``.

    Args:
        cells_min: Fewest cells across a maze, 2 to 11.
        cells_max: Most cells across; each episode draws its own number.
        loops: Walls opened beyond a perfect maze, as a share of the number of cells.
        apples: Apples, as a share of the number of cells.
        backend: Who draws: ``numba`` (compiled), ``numpy`` (readable), ``torch`` or ``triton``. All
            give the same pictures, bit for bit.
        device: Where: a torch device for ``torch`` and ``triton``, else ``cpu``.

    Raises:
        ValueError: An argument is out of range, or there is no such device.
        ImportError: The backend is not installed.
    """

    id: ClassVar[str] = "labyrinth/random-v0"
    render_fps: ClassVar[int] = 15
    draws_in_step: ClassVar[bool] = False

    def __init__(
        self,
        cells_min: int = 5,
        cells_max: int = 11,
        loops: float = 0.1,
        apples: float = 0.1,
        backend: str = "numba",
        device: str = "cpu",
    ) -> None:
        low = check_integer(self.id, "cells_min", cells_min, 2, MAX_CELLS)
        high = check_integer(self.id, "cells_max", cells_max, low, MAX_CELLS)
        self.maze_rules = MazeRules(
            low,
            high,
            check_number(self.id, "loops", loops, 0.0, 1.0),
            check_number(self.id, "apples", apples, 0.0, 1.0),
        )
        self.backend = check_choice(self.id, "backend", backend, BACKENDS)
        self.drawer, self._there = make_drawer(self.id, self.backend, device)
        self._xp = NumpyArrays()
        self._rules = Rules(self._xp)
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Discrete(ACTIONS)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a key for each row and make its maze."""
        return self.start_from(draw_keys(rngs))

    def start_from(self, keys: np.ndarray) -> State:
        """Return the start of the episodes with these keys, int64 ``[n]`` below 2**32."""
        return self._rules.begin(keys, self._mazes(keys))

    def _mazes(self, keys: np.ndarray) -> Mazes:
        if self.backend == "numba":
            from envs.labyrinth.numba_maze import make_mazes as compiled

            return compiled(keys, self.maze_rules)
        return make_mazes(self._xp, keys, self.maze_rules)

    def observe(self, state: State) -> np.ndarray:
        """Draw what each player sees."""
        seen = [state[name] for name in ("blocks", "x", "y", "heading")]
        if self._there is None:
            return np.asarray(self.drawer.draw(*seen))
        kinds = ("uint8", "int64", "int64", "int64")
        sent = [self._there.array(part, kind) for part, kind in zip(seen, kinds, strict=True)]
        return np.asarray(self.drawer.draw(*sent).cpu().numpy())

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance every row."""
        events = self._rules.advance(state, actions)
        reward = APPLE_REWARD * events.apple + PORTAL_REWARD * events.portal
        return Outcome(state, reward, np.zeros(len(reward), bool), self.start_info(state))

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return apples eaten and portals passed in this episode, and the maze's size."""
        return {name: state[name] for name in ("apples", "portals", "cells")}

    def render(self, state: State) -> np.ndarray:
        """Return the player's view beside the map."""
        from envs.labyrinth.picture import both

        return both(state, self.observe({name: part[:1] for name, part in state.items()})[0])


def draw_keys(rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Return one key a generator, int64 ``[n]``."""
    return np.array([rng.integers(1 << 32) for rng in rngs], np.int64)


def make_drawer(id: str, backend: str, device: str) -> tuple[Drawer, Arrays | None]:
    """Return what draws and, if its arrays are torch's, their library.

    Raises:
        ValueError: The device is not one of this backend's.
        ImportError: The backend is not installed.
    """
    rays = ray_tables()
    paint = make_paint(rays)
    if backend in ("numpy", "numba"):
        check_choice(id, "device", device, ["cpu"])
        if backend == "numpy":
            return View(NumpyArrays(), rays, paint), None
        from envs.labyrinth.numba_view import NumbaView

        return NumbaView(rays, paint), None
    if not isinstance(device, str):
        raise ValueError(f"{id}: device must be the name of a torch device, got {device!r}")
    there = TorchArrays(id, device)
    if backend == "torch":
        chunk = CHUNK if there.device.type == "cpu" else DEVICE_CHUNK
        return View(there, rays, paint, chunk), there
    from envs.labyrinth.triton_view import TritonView

    return TritonView(id, there, rays, paint), there


class LabyrinthEnv(ModelEnv):
    """One labyrinth; ``render_mode="top_down"`` draws the map alone."""

    model_type = RandomMaze
    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "top_down"], "render_fps": 15}  # noqa: RUF012

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the player's view beside the map, or the map (``top_down``)."""
        if self.render_mode != "top_down":
            return super().render()
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: render before the first reset; call reset()")
        from envs.labyrinth.picture import top_down

        return top_down(self._state)


class LabyrinthVectorEnv(ModelVectorEnv):
    """Many labyrinths."""

    model_type = RandomMaze
