"""The batched model: an environment's rules as functions of a state with a leading batch axis.

A family writes its rules once, for ``n`` environments side by side. :class:`envs.core.ModelEnv`
plays one of them as a ``gymnasium.Env``, :class:`envs.core.ModelVectorEnv` many as a
``gymnasium.vector.VectorEnv``; time limits, autoreset, seeding, checks of actions and saved states
are theirs, so that no rule is written twice and the two forms agree by construction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import Space

State = dict[str, np.ndarray]
"""Everything that changes during an episode: arrays of shape ``[n, ...]`` by name."""


@dataclass(slots=True)
class Outcome:
    """What one step of ``n`` environments gives.

    Attributes:
        state: The next state (may be the arrays passed in, updated in place).
        reward: Float64 array ``[n]``.
        terminated: Bool array ``[n]``: the task's own end.
        info: Arrays ``[n, ...]`` by name; the same names at every step.
        truncated: Bool array ``[n]``: what broke an episode off without ending its task, as a lost
            connection does; None for never. Time limits are not the model's.
        fresh: Names of infos that were made for this step and that the model keeps nothing of.

    The environment forms copy reward, flags and the infos that are not fresh, so that views of the
    state may be given.
    """

    state: State
    reward: np.ndarray
    terminated: np.ndarray
    info: dict[str, np.ndarray] = field(default_factory=dict)
    truncated: np.ndarray | None = None
    fresh: tuple[str, ...] = ()


class Model(ABC):
    """Rules of an environment, batched.

    The state is arrays of numbers, flags or strings with the same names, shapes and dtypes after
    every ``start`` and ``step``; what becomes of a row never depends on the other rows. A
    constructor checks its arguments (:mod:`envs.core.arguments`), takes only JSON-able ones, and
    sets the two spaces. A model holds constants alone: whatever changes is in the state.

    Attributes:
        id: Gymnasium id, for messages.
        observation_space: Space of one environment's observation.
        action_space: Space of one environment's action: ``Box``, ``Discrete`` or
            ``MultiDiscrete``.
        render_fps: Frames per second of a video at natural speed.
        draws_in_step: Whether ``step`` may draw from its generators. Where it never does, setting
            this to False makes the vector form faster: rows that are being reset are then stepped
            along with the others and thrown away.
    """

    id: ClassVar[str]
    render_fps: ClassVar[int] = 30
    draws_in_step: ClassVar[bool] = True
    observation_space: Space[Any]
    action_space: Space[Any]

    @abstractmethod
    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Return the start of ``len(rngs)`` episodes; row ``k`` draws from ``rngs[k]`` alone.

        Args:
            rngs: One generator for each row.
            options: ``options`` of ``reset``, empty in an autoreset.
        """

    @abstractmethod
    def observe(self, state: State) -> np.ndarray:
        """Return the observations of ``state`` as a fresh array ``[n, ...]``."""

    @abstractmethod
    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance every row by one step.

        Args:
            state: As ``start`` or ``step`` returned it, rows chosen freely; may be written to.
            actions: ``[n, ...]``, already checked and, if continuous, clipped.
            rngs: One generator for each row; a row draws from its own alone.
        """

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the info of a reset: arrays ``[n, ...]`` by name."""
        return {}

    def render(self, state: State) -> np.ndarray:
        """Return a picture of row 0 as uint8 ``[height, width, 3]``."""
        raise NotImplementedError(f"{self.id} draws no picture")
