"""What an agent needs to know of an environment, without importing Gymnasium."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DiscreteActions:
    """A choice among ``n`` actions, stored as int64 in ``[0, n)``."""

    n: int


@dataclass(frozen=True, slots=True)
class BoxActions:
    """A real vector, stored as float32; environments receive it clipped to ``[low, high]``."""

    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """Observation and action arrays of one environment.

    Attributes:
        obs_shape: Shape of one observation as stored (one-hot for ``Discrete`` spaces).
        obs_dtype: NumPy dtype name as stored; uint8 stays uint8 until the learner's device.
        actions: The action set.
        frames_per_step: Emulator frames in one agent decision (frameskip), for ``step/frames``.
        max_episode_steps: The registered time limit in agent steps, if any.
        env_id: Gymnasium id, for messages.
    """

    obs_shape: tuple[int, ...]
    obs_dtype: str
    actions: DiscreteActions | BoxActions
    frames_per_step: int = 1
    max_episode_steps: int | None = None
    env_id: str = ""

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one stored action."""
        return () if isinstance(self.actions, DiscreteActions) else self.actions.shape

    @property
    def action_dtype(self) -> str:
        """Dtype name of a stored action."""
        return "int64" if isinstance(self.actions, DiscreteActions) else "float32"
