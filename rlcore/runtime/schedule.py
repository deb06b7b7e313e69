"""Schedules: who waits for whom. Each is a small pure policy over the same actor and learner code.

A stream numbers its fragments (*rounds*) from 0; the learner trains on ``batch`` fragments an
update and frees their slots only after it has published the new version. The ring's capacity is
therefore the bound on staleness: with ``K`` slots, round ``k`` cannot start before round ``k - K``
is in the published parameters.

========== ============ ======================= ============================ =====================
schedule   slots K      round k acts with       learner takes                sample lag
========== ============ ======================= ============================ =====================
serial     1            version k               round k of every stream      0
lockstep   lag + 1      version max(0, k - lag) round k of every stream      lag, from k >= lag
async      from max_lag newest version          oldest version first         <= max_lag
========== ============ ======================= ============================ =====================

``async`` with ``max_lag = 0`` leaves one slot a stream, so that every stream acts once with each
version and the batch is that of ``serial``, bit for bit. ``hogwild`` has no channel: every worker
acts, differentiates and applies its own gradient to shared parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlcore.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule for a given number of streams and fragments an update.

    Attributes:
        name: ``serial``, ``lockstep`` or ``async``.
        batch: Fragments an update; with ``in_order`` all streams give one, whatever this says.
        slots_per_stream: Ring capacity of each stream.
        exact_lag: Version rule of lockstep: act with ``k - exact_lag``; ``None`` means newest.
        max_lag: Fragments older than this are never trained on.
        in_order: Take round ``k`` of every stream, in stream order.
        wait_for_stragglers: Hold the learner back rather than let a fragment in flight outgrow
            ``max_lag``; otherwise such a fragment is dropped and counted.
    """

    name: str
    slots_per_stream: int
    exact_lag: int | None
    max_lag: int
    in_order: bool
    wait_for_stragglers: bool
    batch: int = 1

    def version_for(self, round_: int) -> int | None:
        """Return the version that round ``round_`` must act with, or ``None`` for the newest."""
        return None if self.exact_lag is None else max(0, round_ - self.exact_lag)

    def admits(self, learner_version: int, fragment_version: int) -> bool:
        """Return whether a fragment may be trained on at ``learner_version``."""
        return learner_version - fragment_version <= self.max_lag

    def must_wait(self, learner_version: int, left: Sequence[int], writing: int) -> bool:
        """Return whether an update now would make a fragment in flight too old.

        With ``batch`` fragments an update, the oldest first, the ``i``-th of those that are left
        is trained on at version ``learner_version + 1 + i // batch`` at the earliest.

        Args:
            learner_version: Version of the learner before the update.
            left: Versions of the fragments in flight that the update would not take, oldest first.
            writing: How many of them are still being written; with none there is nothing to await.
        """
        if not self.wait_for_stragglers or not writing:
            return False
        return any(
            not self.admits(learner_version + 1 + i // self.batch, version)
            for i, version in enumerate(left)
        )


def lockstep(lag: int) -> Schedule:
    """Return the schedule in which the learner is always ``lag`` versions ahead of acting.

    Reproducible for a seed and independent of the number of actors. ``lag = 0`` is ``serial``.
    """
    if lag < 0:
        raise ConfigError(f"runtime.lag must be >= 0, got {lag}")
    return Schedule(
        name="lockstep" if lag else "serial",
        slots_per_stream=lag + 1,
        exact_lag=lag,
        max_lag=lag,
        in_order=True,
        wait_for_stragglers=True,
    )


def asynchronous(
    max_lag: int, *, streams: int, batch: int, ahead: int = 2, on_stale: str = "drop"
) -> Schedule:
    """Return the free-running schedule with a bound on lag.

    At most ``streams * K`` fragments are in flight and ``batch`` leave with each update, oldest
    first, so a fragment waits at most ``streams * K / batch - 1`` updates: ``K`` is the largest
    number of slots that keeps this within ``max_lag``, and at most ``ahead + 1``.

    Raises:
        ConfigError: Even one slot a stream would break the bound.
    """
    if max_lag < 0:
        raise ConfigError(f"runtime.max_lag must be >= 0, got {max_lag}")
    if ahead < 0:
        raise ConfigError(f"runtime.ahead must be >= 0, got {ahead}")
    if not 1 <= batch <= streams:
        raise ConfigError(f"runtime.batch must be in [1, {streams}] (streams), got {batch}")
    if on_stale not in ("drop", "wait"):
        raise ConfigError(f"runtime.on_stale must be 'drop' or 'wait', got {on_stale!r}")
    slots = min(ahead + 1, (max_lag + 1) * batch // streams)
    if slots < 1:
        raise ConfigError(
            f"runtime.max_lag={max_lag} cannot hold with {streams} streams and {batch} fragments "
            f"an update: wanted max_lag >= {-(-streams // batch) - 1}"
        )
    return Schedule(
        name="async",
        slots_per_stream=slots,
        exact_lag=None,
        max_lag=max_lag,
        in_order=False,
        wait_for_stragglers=on_stale == "wait",
        batch=batch,
    )
