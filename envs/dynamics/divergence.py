"""What happens where the numerical solution leaves the range that its solver is good for."""

from __future__ import annotations

import numpy as np


class EnvDiverged(RuntimeError):
    """A field is not finite or has left the bounds of its observation."""


def hold_diverged(
    env: str, old: np.ndarray, new: np.ndarray, bound: float, penalty: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have diverged, and the fields with those rows as they were before.

    Args:
        env: Gymnasium id, for the message.
        old: Fields before the step, ``[n, N]``.
        new: Fields after it.
        bound: Largest absolute value allowed.
        penalty: Reward of a diverged step; None forbids one.

    Raises:
        EnvDiverged: A row has diverged and there is no penalty for it.
    """
    largest = np.abs(new).max(-1)
    diverged = ~(largest <= bound)  # a NaN compares false
    if diverged.any():
        if penalty is None:
            row = int(np.flatnonzero(diverged)[0])
            raise EnvDiverged(
                f"{env}: the field of row {row} reached {largest[row]} in one step from "
                f"{np.abs(old[row]).max():.3g}, bound {bound}; reset, take smaller actions, or set "
                "divergence_penalty to end such an episode"
            )
        new = np.where(diverged[:, None], old, new)
    return diverged, new
