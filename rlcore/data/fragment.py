"""The fields every control fragment carries, whatever the agent.

Shapes as in :mod:`rlcore.data.spec`: ``T`` time, ``E`` environments of one stream.

==================  ========  ===================================================================
name                kind      meaning
==================  ========  ===================================================================
``obs``             overlap   observation before the step; row ``T`` is the bootstrap observation
``first``           overlap   true where an episode starts: the recurrent state is reset there
``action``          step      int64 (discrete) or float32 ``[A]`` (continuous)
``reward``          step      float32, as the environment gave it
``terminated``      step      the task's own end: bootstrap 0
``truncated``       step      a limit cut the episode: bootstrap with the final observation
``valid``           step      false for rows that are not transitions (autoreset rows, padding)
``version``         step      int64, parameter version that chose the action
``episode_return``  step      undiscounted return of the episode that ended here (else 0)
``episode_length``  step      its length in environment steps (else 0)
``final_obs``       rows      observations at truncations that autoreset replaced (SAME_STEP)
``final_row``       rows      int64 ``t * E + e`` of each ``final_obs``; -1 where unused
==================  ========  ===================================================================
"""

from __future__ import annotations

from rlcore.data.spec import Field

MAX_FULL_FINAL_OBS_BYTES = 1 << 20
"""Up to this size every step may keep a final observation; above it one per environment."""


def runtime_fields(
    obs_shape: tuple[int, ...],
    obs_dtype: str,
    action_shape: tuple[int, ...],
    action_dtype: str,
    *,
    unroll: int,
    envs: int,
    final_obs_capacity: int,
) -> dict[str, Field]:
    """Return the runtime's own fields for the given observation and action arrays."""
    return {
        "obs": Field(obs_shape, obs_dtype, "overlap"),
        "first": Field((), "bool", "overlap"),
        "action": Field(action_shape, action_dtype),
        "reward": Field((), "float32"),
        "terminated": Field((), "bool"),
        "truncated": Field((), "bool"),
        "valid": Field((), "bool"),
        "version": Field((), "int64"),
        "episode_return": Field((), "float32"),
        "episode_length": Field((), "int32"),
        "final_obs": Field(obs_shape, obs_dtype, "rows", final_obs_capacity),
        "final_row": Field((), "int64", "rows", final_obs_capacity),
    }


def row_fields(rows: dict[str, Field]) -> dict[str, Field]:
    """Return the fields of a fragment of rows of a data set: theirs, and a seed for noise.

    ``noise`` is an int64 for each row that no other row of the run has; it grows by one along a
    batch. Losses that draw random numbers seed them with it.
    """
    return rows | {"noise": Field((), "int64", "initial")}
