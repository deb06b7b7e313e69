"""Environments that advance together, behind one interface: the stream an actor plays.

Two kinds exist. :class:`~rlcore.runtime.env_native.NativeStream` steps a Gymnasium vector
environment; :class:`~rlcore.runtime.env_sync.SyncStream` steps a list of plain environments one by
one and resets them itself. The rows they write mean the same in both autoreset modes:

* ``NEXT_STEP``: the row in which an episode ends is followed by a row with ``valid=False``, whose
  action the environment ignored; the row after that one has ``first=True``. The observation after
  the end is the final observation.
* ``SAME_STEP``: the observation after the end belongs to the next episode already and has
  ``first=True``; ``step`` returns the final observations of truncated episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from rlcore.data.env_spec import EnvSpec

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.vector import VectorEnv

Array = np.ndarray[Any, Any]
Autoreset = Literal["next_step", "same_step"]
Finals = list[tuple[int, Array]]


@dataclass(slots=True)
class StepRow:
    """One row of a fragment as preallocated views that ``step`` writes in place.

    Attributes:
        obs: ``[E, *]`` the next observation, row ``t + 1`` of the fragment.
        first: ``[E]`` bool, where the next observation starts an episode.
        reward: ``[E]`` float32, as the environment gave it.
        terminated: ``[E]`` bool.
        truncated: ``[E]`` bool.
        valid: ``[E]`` bool, false where autoreset took the step.
        episode_return: ``[E]`` float32, of the episode that ended here, else 0.
        episode_length: ``[E]`` int32, of the episode that ended here, else 0.
    """

    obs: Array
    first: Array
    reward: Array
    terminated: Array
    truncated: Array
    valid: Array
    episode_return: Array
    episode_length: Array


class EnvStream(Protocol):
    """``num_envs`` environments that advance together.

    Attributes:
        spec: Observation and action arrays.
        num_envs: How many environments.
        autoreset: When an ended episode is replaced.
    """

    spec: EnvSpec
    num_envs: int
    autoreset: Autoreset

    def reset(self, seeds: Sequence[int], obs_out: Array, first_out: Array) -> None:
        """Start fresh episodes, one seed an environment, and write the first observations."""

    def carry_in(self, obs_out: Array, first_out: Array) -> None:
        """Write the current observations and first flags: row 0 of a new fragment."""

    def step(self, actions: Array, row: StepRow) -> Finals:
        """Advance every environment and fill ``row``.

        Returns:
            ``(environment, final observation)`` of each truncated and not terminated episode that
            was replaced in this step (``SAME_STEP`` only).

        Raises:
            NonFiniteError: An observation or a reward is NaN or infinite.
            EnvContractError: The environment broke the Gymnasium contract.
        """

    def get_state(self) -> dict[str, Any]:
        """Return ``{"json": ..., "arrays": {name: array}}`` from which ``set_state`` goes on.

        Raises:
            EnvStateUnavailable: The environment holds state that cannot be read.
        """

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned."""

    def close(self) -> None:
        """Close the environments."""


def open_stream(
    made: VectorEnv[Any, Any, Any] | list[gymnasium.Env[Any, Any]],
    *,
    env_id: str,
    label: str = "",
    check: bool = True,
) -> EnvStream:
    """Return a stream over environments that were made already.

    Args:
        made: A vector environment, or plain environments to be stepped one by one.
        env_id: Gymnasium id, for messages.
        label: Names the owner (actor, stream) in messages.
        check: Check spaces, dtypes and seeding. NaN and infinity are always looked for.

    Raises:
        EnvContractError: A space is not supported, or autoreset is disabled.
    """
    if isinstance(made, list):
        from rlcore.runtime.env_sync import SyncStream

        return SyncStream(made, env_id=env_id, label=label, check=check)
    from rlcore.runtime.env_native import NativeStream

    return NativeStream(made, env_id=env_id, label=label, check=check)
