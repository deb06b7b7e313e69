"""The trajectory ring: bounded on-policy channel from actors to the learner.

Every stream owns ``slots_per_stream`` slots and fills them in turn, so a slot has one writer and
one reader and needs no lock. A slot goes FREE -> WRITING -> READY -> READING -> FREE; only its
state moves, the payload stays where the actor wrote it. A full ring blocks its writer: nothing is
dropped in silence, and the number of slots bounds how far acting can run ahead of learning.

A writer publishes payload first, then checksum and round, then the state. A reader verifies all
three, so a slot torn by a killed writer or damaged in memory is never trained on; it is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlcore.data.shared_memory import SharedBlock, align
from rlcore.data.spec import ArraySpec
from rlcore.errors import ConfigError

FREE, WRITING, READY, READING = range(4)
STATE_NAMES = ("FREE", "WRITING", "READY", "READING")

# Columns of a slot's header, int64.
STATE, STREAM, ROUND, INCARNATION, VERSION, CHECKSUM, STEPS, BORN = range(8)
_HEADER_COLUMNS = 8

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A READY slot that the reader has verified and claimed.

    Attributes:
        slot: Slot index, for ``release``.
        stream: Stream that wrote it.
        round: Its position in the stream, counted from 0.
        version: Parameter version its actor used.
        steps: Valid transitions in it.
        arrays: Views of the payload; they stay valid until ``release``.
    """

    slot: int
    stream: int
    round: int
    version: int
    steps: int
    arrays: Arrays


class RingLayout:
    """Where each field of a slot lies: pure arithmetic on an array spec."""

    def __init__(self, spec: ArraySpec, unroll: int, envs: int) -> None:
        if unroll < 1:
            raise ConfigError(f"unroll must be >= 1, got {unroll}")
        if envs < 1:
            raise ConfigError(f"a stream needs >= 1 environment, got {envs}")
        self.fields: dict[str, tuple[int, tuple[int, ...], str]] = {}
        offset = 0
        for name, field in spec.items():
            shape = field.full_shape(unroll, envs)
            self.fields[name] = (offset, shape, field.dtype)
            offset = align(
                offset + int(np.prod(shape, dtype=np.int64)) * np.dtype(field.dtype).itemsize
            )
        self.slot_bytes = max(offset, align(1))


class TrajectoryRing:
    """Fixed slots in shared memory; see the module docstring.

    Args:
        spec: Arrays of one fragment.
        streams: Number of streams; each has its own slots.
        slots_per_stream: How many fragments a stream may be ahead of the learner.
        unroll: Steps ``T`` in a fragment.
        envs: Environments ``E`` in a stream.
        checksum: Verify payloads (one add per 8 bytes on each side).
        fd: Shared block of another process's ring of the same geometry.
    """

    def __init__(
        self,
        spec: ArraySpec,
        *,
        streams: int,
        slots_per_stream: int,
        unroll: int,
        envs: int,
        checksum: bool = True,
        fd: int | None = None,
    ) -> None:
        if streams < 1 or slots_per_stream < 1:
            raise ConfigError(
                f"a ring needs >= 1 stream and slot, got {streams} streams x "
                f"{slots_per_stream} slots"
            )
        self.spec = dict(spec)
        self.streams = streams
        self.slots_per_stream = slots_per_stream
        self.unroll = unroll
        self.envs = envs
        self.checksum = checksum
        self.torn = 0
        self.slots = streams * slots_per_stream
        layout = RingLayout(spec, unroll, envs)
        header_bytes = align(self.slots * _HEADER_COLUMNS * 8)
        rounds_bytes = align(2 * streams * 8)
        start = header_bytes + rounds_bytes
        self.block = SharedBlock(start + self.slots * layout.slot_bytes, fd)
        self._header = self.block.array((self.slots, _HEADER_COLUMNS), "int64")
        counters = self.block.array((2, streams), "int64", header_bytes)
        self.written = counters[0]
        """Rounds published by each stream, over all incarnations of its actor."""
        self.consumed = counters[1]
        """Rounds of each stream that the learner has finished with."""
        self._words: list[NDArray[np.generic]] = []
        self._arrays: list[Arrays] = []
        for slot in range(self.slots):
            base = start + slot * layout.slot_bytes
            self._words.append(self.block.array((layout.slot_bytes // 8,), "uint64", base))
            self._arrays.append(
                {
                    name: self.block.array(shape, dtype, base + offset)
                    for name, (offset, shape, dtype) in layout.fields.items()
                }
            )

    @property
    def fd(self) -> int:
        """Descriptor of the shared block, to hand to another process."""
        return self.block.fd

    # -- writer ---------------------------------------------------------------------------------

    def slot_of(self, stream: int, round_: int) -> int:
        """Return the slot that holds ``round_`` of ``stream``."""
        return stream * self.slots_per_stream + round_ % self.slots_per_stream

    def can_write(self, stream: int) -> bool:
        """Return whether the next round of ``stream`` has a free slot."""
        slot = self.slot_of(stream, int(self.written[stream]))
        return bool(self._header[slot, STATE] == FREE)

    def begin_write(self, stream: int, version: int, incarnation: int = 0) -> tuple[int, Arrays]:
        """Claim the next slot of ``stream`` and return it with the arrays to fill.

        Raises:
            RuntimeError: The slot is not FREE; ask ``can_write`` first.
        """
        round_ = int(self.written[stream])
        slot = self.slot_of(stream, round_)
        row = self._header[slot]
        if row[STATE] != FREE:
            raise RuntimeError(f"slot {slot} is {STATE_NAMES[int(row[STATE])]}, wanted FREE")
        row[STREAM:STEPS] = (stream, round_, incarnation, version, 0)
        row[STATE] = WRITING
        return slot, self._arrays[slot]

    def set_version(self, slot: int, version: int) -> None:
        """Record the version that a slot being written was acted with."""
        self._header[slot, VERSION] = version

    def publish(self, slot: int, steps: int) -> None:
        """Hand a written slot, holding ``steps`` valid transitions, to the learner."""
        row = self._header[slot]
        row[STEPS] = steps
        row[CHECKSUM] = self._sum(slot)
        self.written[row[STREAM]] = row[ROUND] + 1
        row[STATE] = READY

    def reclaim(self, streams: Iterable[int]) -> int:
        """Free the half-written slots of a dead actor's streams; return how many there were.

        Published fragments stay: they are whole. The stream's next writer starts again at the round
        that was lost, also where the dead one had counted it already, so that no round is missing.
        """
        freed = 0
        for stream in streams:
            for slot in self._slots_of(stream):
                row = self._header[slot]
                if row[STATE] == WRITING:
                    self.written[stream] = row[ROUND]
                    row[STATE] = FREE
                    freed += 1
        return freed

    # -- reader ---------------------------------------------------------------------------------

    def _oldest_first(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return slots by parameter version, then by round and stream."""
        if len(slots) < 2:
            return slots
        rows = self._header[slots]
        return slots[np.lexsort((rows[:, STREAM], rows[:, ROUND], rows[:, VERSION]))]

    def ready_count(self) -> int:
        """Return how many slots are READY."""
        return int(np.count_nonzero(self._header[:, STATE] == READY))

    def oldest(self, count: int) -> tuple[NDArray[np.intp], list[int], int]:
        """Return the ``count`` oldest READY slots and what would be left in flight without them.

        Both are of one look at the ring. In two, a fragment finished in between would be neither
        taken nor still being written, and nothing would wait for it.

        Returns:
            The slots, by parameter version, then by round and stream; the versions of all others
            that are READY or being written, oldest first; how many of these are being written.
        """
        states = self.states()
        taken = self._oldest_first(np.flatnonzero(states == READY))[:count]
        states[taken] = FREE
        writing = np.count_nonzero(states == WRITING)
        flying = self._header[(states == WRITING) | (states == READY), VERSION]
        return taken, sorted(flying.tolist()), int(writing)

    def next_in_order(self, stream: int) -> int | None:
        """Return the slot of the oldest unread round of ``stream`` if it is READY."""
        slots = [s for s in self._slots_of(stream) if self._header[s, STATE] == READY]
        return min(slots, key=lambda s: int(self._header[s, ROUND])) if slots else None

    def claim(self, slot: int) -> Fragment | None:
        """Verify a READY slot and take it for reading.

        Returns:
            The fragment, or ``None`` where payload and checksum disagree or the round is not a new
            one; such a slot is freed and counted in ``torn``.
        """
        row = self._header[slot]
        stream, round_ = int(row[STREAM]), int(row[ROUND])
        whole = not self.checksum or self._sum(slot) == row[CHECKSUM]
        in_place = 0 <= stream < self.streams and self.slot_of(stream, round_) == slot
        if not (whole and in_place and round_ >= self.consumed[stream]):
            self.torn += 1
            row[STATE] = FREE
            return None
        row[STATE] = READING
        return Fragment(
            slot, stream, round_, int(row[VERSION]), int(row[STEPS]), self._arrays[slot]
        )

    def release(self, fragment: Fragment) -> None:
        """Give a fragment's slot back to its writer."""
        self.consumed[fragment.stream] = fragment.round + 1
        self._header[fragment.slot, STATE] = FREE

    def states(self) -> NDArray[np.generic]:
        """Return a copy of all slot states."""
        return self._header[:, STATE].copy()

    def start_at(self, round_: int) -> None:
        """Set every stream to begin at ``round_`` (resume); all slots become FREE."""
        self._header[:, STATE] = FREE
        self.written[:] = round_
        self.consumed[:] = round_

    def _slots_of(self, stream: int) -> range:
        start = stream * self.slots_per_stream
        return range(start, start + self.slots_per_stream)

    def _sum(self, slot: int) -> np.int64:
        if not self.checksum:
            return np.int64(0)
        row = self._header[slot]
        with np.errstate(over="ignore"):
            total = self._words[slot].sum(dtype=np.uint64)
            # Mixed with the identity, so that an old payload under a new header is seen too.
            total += np.uint64(row[ROUND] * 1_000_003 + row[STREAM] * 8191 + row[STEPS] + 1)
            return np.int64(total.astype(np.int64))
