"""The control block: a few integers by which supervisor, learner and actors watch each other.

Every cell has one writer (named below), so no lock is needed.
"""

from __future__ import annotations

import numpy as np

from rlcore.data.shared_memory import SharedBlock

# Global cells. Writer: STOP_REQUEST and ABANDON the supervisor; the rest the learner.
STOP, CHECKPOINT_ROUND, LEARNER_BEAT, STOP_REQUEST, ABANDON, PUBLISHED, FINAL_ROUND = range(7)
_GLOBALS = 8

# Cells of one actor. Writer: INCARNATION the supervisor; the rest the actor.
BEAT, PHASE, INCARNATION, STEPS, BLOCKED_NS, COLLECT_NS, PADDED, UPDATES, SKIPPED, EMPTY = range(10)
_PER_ACTOR = 16

STARTING, COLLECTING, WAITING, STOPPED = range(4)
PHASE_NAMES = ("starting", "collecting", "waiting", "stopped")

# Cells of one stream. Writer: the actor.
DUMPED_ROUND, FAILED_ROUND = range(2)
_PER_STREAM = 2

NO_ROUND = -1


class Control:
    """Typed views of the control block for ``actors`` actors and ``streams`` streams."""

    def __init__(self, actors: int, streams: int, fd: int | None = None) -> None:
        count = _GLOBALS + actors * _PER_ACTOR + streams * _PER_STREAM
        self.block = SharedBlock(count * 8, fd)
        cells = self.block.array((count,), "int64")
        self.globals = cells[:_GLOBALS]
        rest = cells[_GLOBALS:]
        self.actor = rest[: actors * _PER_ACTOR].reshape(actors, _PER_ACTOR)
        self.stream = rest[actors * _PER_ACTOR :].reshape(streams, _PER_STREAM)
        if fd is None:
            self.globals[CHECKPOINT_ROUND] = self.globals[FINAL_ROUND] = NO_ROUND
            self.stream[:] = NO_ROUND

    @property
    def fd(self) -> int:
        """Descriptor of the shared block, to hand to another process."""
        return self.block.fd

    @property
    def stopping(self) -> bool:
        """Whether everyone has been asked to stop."""
        return bool(self.globals[STOP])

    def stop(self) -> None:
        """Ask everyone to stop."""
        self.globals[STOP] = 1

    @property
    def stop_requested(self) -> bool:
        """Whether the supervisor has asked the learner to finish (checkpoint, then ``stop``)."""
        return bool(self.globals[STOP_REQUEST])

    def request_stop(self) -> None:
        """Ask the learner to finish."""
        self.globals[STOP_REQUEST] = 1

    @property
    def streams_abandoned(self) -> bool:
        """Whether an actor is gone for good, so that not every stream can write its state."""
        return bool(self.globals[ABANDON])

    def abandon_streams(self) -> None:
        """Tell the learner not to wait for stream states."""
        self.globals[ABANDON] = 1

    @property
    def published(self) -> bool:
        """Whether actors may begin: every version that they may ask for is in the store."""
        return bool(self.globals[PUBLISHED])

    def announce_published(self) -> None:
        """Let the actors begin."""
        self.globals[PUBLISHED] = 1

    @property
    def checkpoint_round(self) -> int:
        """Round at whose start streams write their state down; ``NO_ROUND`` if none is asked."""
        return int(self.globals[CHECKPOINT_ROUND])

    @checkpoint_round.setter
    def checkpoint_round(self, round_: int) -> None:
        self.globals[CHECKPOINT_ROUND] = round_

    @property
    def final_round(self) -> int:
        """Round that no stream may begin, for now; ``NO_ROUND`` while the end is not in sight."""
        return int(self.globals[FINAL_ROUND])

    def announce_final(self, round_: int) -> None:
        """Ask for the last checkpoint: streams write their state down at ``round_`` and wait."""
        # In this order: a stream that is let go on to a later round must find it asked for there.
        self.checkpoint_round = round_
        self.globals[FINAL_ROUND] = round_

    def checkpoint_due(self, version: int) -> bool:
        """Return whether ``version`` is the round asked for and every stream has written it."""
        asked = self.checkpoint_round
        written = self.stream[:, DUMPED_ROUND] == asked
        return asked != NO_ROUND and version == asked and bool(written.all())

    def may_begin(self, round_: int) -> bool:
        """Return whether a stream may play ``round_``."""
        final = self.globals[FINAL_ROUND]
        return bool(final == NO_ROUND or round_ < final)

    def owes_state(self, stream: int, round_: int) -> bool:
        """Return whether ``stream``, about to begin ``round_``, has yet to write its state down."""
        asked = self.globals[CHECKPOINT_ROUND] == round_
        return bool(asked and self.stream[stream, DUMPED_ROUND] != round_)

    def steps(self) -> int:
        """Return the environment steps all actors have taken (valid transitions)."""
        return int(np.sum(self.actor[:, STEPS]))
