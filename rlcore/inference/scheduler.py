"""Which branches run: admission, prefill, blocks for those that decode, preemption.

The unit is the branch, not the request. Branches wait in order of their request's arrival, and none
overtakes. A branch is admitted when a row is free and the pool has the blocks of its known tokens
and, beyond that, one for each branch that decodes; so the children of a fork run in waves where
blocks are short. A decoding branch that gets no block goes back to the queue with what it has.

Nothing can wait for ever: whenever no branch of the oldest request runs, the youngest other request
gives up its blocks, to be computed again later; and a request is only accepted, and a fork only
executed, where all its blocks fit into the pool together.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.branches import Branch, Sample, State, Stretch, most_blocks
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.errors import EngineError
from rlcore.inference.kv_store import KVStore, block_list
from rlcore.inference.prefill import Chunk, PrefillBatch
from rlcore.inference.rows import RowTable
from rlcore.inference.step_log import StepLog
from rlcore.ops.sampling import branch_key

MOST_RIDERS = 32
"""Known tokens that a decode step takes along at most."""

_PLAIN = SamplingParams()


class Scheduler:
    """Moves branches between the queue, prefill and the rows of the decode batch.

    Args:
        store: Where blocks come from.
        rows: The decode batch.
        log: What was drawn.
        config: Limits.

    Attributes:
        tree_limit: Most blocks that a sample may come to have.
        launched: Number of decode steps that were launched.
        drain: Reads the tokens of a launched step and acts on them; returns whether there was one.
        budget: Called with samples whose branches that decode have changed.
        paused: Whether no new request is admitted.
        rides: Whether few known tokens ride along with a decode step, see :meth:`_seat_riders`.
    """

    def __init__(self, store: KVStore, rows: RowTable, log: StepLog, config: EngineConfig) -> None:
        self.store, self.rows, self.log, self.config = store, rows, log, config
        self.queue: list[tuple[tuple[int, int, int], Branch]] = []
        self.prefilling: list[Branch] = []
        self.by_row: list[Branch | None] = [None] * len(rows.active)
        self.samples: dict[tuple[int, int], Sample] = {}
        self.tree_limit = min(store.pool.num_blocks, rows.table.shape[1])
        self.launched = 0
        self.paused = False
        self.rides = False
        self._riders: list[int] = []
        self.drain: Callable[[], bool] = lambda: False
        self.budget: Callable[[Iterable[Sample]], None] = lambda samples: None
        self.preemptions = 0
        self.prefill_tokens = 0

    # Between queue and row.

    def enqueue(self, branch: Branch) -> None:
        """Let a branch wait for blocks and a row."""
        branch.state = State.QUEUED
        heapq.heappush(self.queue, (branch.order, branch))

    def admit(self) -> None:
        """Start branches in order of arrival as long as there are blocks and rows."""
        while self.queue:
            branch = self.queue[0][1]
            if branch.state is not State.QUEUED:
                heapq.heappop(self.queue)
            elif self.paused and not self.in_flight(branch.sample):
                return
            elif self.rows.free and self._supply(branch):
                heapq.heappop(self.queue)
                branch.state = State.PREFILL
                branch.row = self.rows.take()
                self.by_row[branch.row] = branch
                self.prefilling.append(branch)
            elif not (self._must_run(branch.sample) and self._reclaim(branch.sample)):
                return

    def in_flight(self, sample: Sample) -> bool:
        """Return whether a sample was started."""
        return any(stretch.blocks for stretch in sample.stretches()) or sample.generated > 0

    def _supply(self, branch: Branch) -> bool:
        """Give a branch all blocks that it needs to start; return whether there were enough."""
        stretches = branch.stretches()
        cold = [stretch for stretch in stretches if not stretch.blocks]
        tail = self.config.prefix_cache and self._may_waste(branch.sample)
        for stretch in cold:
            self.store.borrow(stretch, tail)
        wanted = [max(stretch.target - stretch.computed, 0) for stretch in stretches]
        # The token that is fed first by the row needs a slot too.
        wanted[-1] += 1
        lacking = list(map(self.store.shortage, stretches, wanted))
        needed = sum(lacking) + self.rows.taken
        if self.store.pool.free < needed and not (
            self.store.available() >= needed and self.store.make_free(needed)
        ):
            self.store.cool(cold)
            return False
        for stretch, count in zip(stretches, lacking, strict=True):
            self.store.supply(stretch, count)
        return True

    def _may_waste(self, sample: Sample) -> bool:
        """Return whether each branch may leave a borrowed block that is not full as it is."""
        spare: int = self.tree_limit - most_blocks(sample, self.store.block_size)
        return spare >= len(sample.branches)

    def prefill_batch(self) -> PrefillBatch | None:
        """Take the next known tokens to compute, and seat the branches that then lack none."""
        left = self.config.prefill_chunk
        chunks: list[Chunk] = []
        ready: list[Branch] = []
        late: list[Branch] = []
        for branch in sorted(self.prefilling, key=attrgetter("order")):
            done = False
            # Most branches lack tokens of their own.
            if left or branch.stretch.computed >= branch.stretch.target:
                left, done = self._take_chunks(branch, left, chunks)
            (ready if done else late).append(branch)
        self.prefilling = late
        if ready:
            self._seat(ready)
        if not chunks or self._seat_riders(chunks):
            return None
        return PrefillBatch.of(chunks, self.store.block_size)

    def _seat_riders(self, chunks: list[Chunk]) -> bool:
        """Let known tokens be fed by free rows of this decode step; return whether all are.

        A step writes the keys and values of all its rows before any row attends, so it can do the
        work of a prefill; what it draws for these rows is not looked at. After a fork or a join a
        few tokens are due, for which a pass of their own would take longer than the step.
        """
        tokens = sum(len(chunk.ids) for chunk in chunks)
        if not self.rides or tokens > min(MOST_RIDERS, self.rows.free):
            return False
        for rider in (rider for chunk in chunks for rider in chunk.riders()):
            row = self.rows.take()
            self.rows.seat(
                row,
                rider.blocks,
                rider.fills,
                token=rider.token,
                position=rider.position,
                replay=False,
                sampling=_PLAIN,
                key=0,
                passing=True,
            )
            self._riders.append(row)
        return True

    def dismiss_riders(self) -> None:
        """Empty the rows of known tokens: the step that feeds them was launched."""
        if self._riders:
            self.rows.empty(self._riders)
            self._riders.clear()

    def _take_chunks(self, branch: Branch, left: int, chunks: list[Chunk]) -> tuple[int, bool]:
        """Take up to ``left`` tokens of a branch; return what is left, and if it lacks none."""
        before, done = left, True
        for stretch in branch.stretches():
            first = stretch.computed
            due = stretch.target - first
            tokens = min(due, left)
            if tokens > 0:
                chunks.append(Chunk.of(stretch, first, self.store.fill(stretch, tokens)))
                left -= tokens
            if tokens < due:
                done = False
                break
            if tokens > 0:
                self.store.remember(stretch)
        branch.sample.prefill_tokens += before - left
        if before > left:
            branch.sample.intervals.append((self.launched, self.launched))
        self.prefill_tokens += before - left
        return left, done

    def _seat(self, branches: Sequence[Branch]) -> None:
        """Let branches that lack nothing decode from their rows."""
        for branch in branches:
            blocks, fills = block_list(branch.stretches())
            branch.base = len(blocks) - len(branch.stretch.blocks)
            branch.state = State.DECODE
            branch.since = branch.first_step = self.launched
            sampling = branch.sample.request.sampling
            self.rows.seat(
                branch.row,
                blocks,
                fills,
                token=branch.last_id(),
                position=branch.position,
                replay=branch.stretch.computed == len(branch.stretch.ids),
                sampling=sampling,
                key=branch_key(sampling.seed, *branch.path),
            )
            if sampling.repetition_penalty != 1.0:
                self.rows.see(branch.row, [i for x in branch.stretches() for i in x.ids])
        self.budget(dict.fromkeys([branch.sample for branch in branches]))

    def pull(self, branch: Branch) -> None:
        """Append to a branch what its row has drawn, as far as the sample's limits go.

        Rows that share the last token of a budget draw one each, and a row that has reached a limit
        goes on until somebody looks: what is beyond is forgotten here, whoever looks first.
        """
        if branch.state is State.DECODE and branch.since < self.log.step:
            sample = branch.sample
            room = min(sample.token_limit - sample.generated, sample.path_end - 1 - branch.position)
            column = self.log.read(branch.row, branch.since).first(max(room, 0))
            branch.stretch.append(column)
            sample.generated += len(column.ids)
            branch.since = self.log.step

    def lift(self, branches: Sequence[Branch]) -> None:
        """Take branches off their rows, with their blocks; those without a row stay as they are."""
        seated = [branch for branch in branches if branch.row >= 0]
        if not seated:
            return
        for branch in seated:
            self._bring_home(branch)
        self.rows.empty([branch.row for branch in seated])
        for branch in seated:
            self.by_row[branch.row] = None
            branch.row = -1
            branch.state = State.HELD
            self.trim(branch.stretch)

    def _bring_home(self, branch: Branch) -> None:
        """Give a branch's stretch what its row has of it."""
        if branch.state is not State.DECODE:
            self.prefilling.remove(branch)
            return
        self.pull(branch)
        row, stretch = branch.row, branch.stretch
        if self.log.step > branch.first_step:
            branch.sample.intervals.append((branch.first_step, self.log.step - 1))
        own = slice(branch.base, self.rows.width[row])
        stretch.blocks = array("i", self.rows.table[row, own].tobytes())
        stretch.fills = array("i", self.rows.fill[row, own].tobytes())
        stretch.computed = sum(stretch.fills)

    def trim(self, stretch: Stretch) -> None:
        """Free the blocks of a stretch that hold nothing."""
        emptied = stretch.trim()
        if emptied:
            self.store.pool.release(emptied)

    def restart(self) -> None:
        """Forget all keys and values: whatever runs is computed anew from its tokens."""
        samples = list(self.samples.values())
        for sample in samples:
            seated = sample.in_state(State.DECODE, State.PREFILL)
            self.lift(seated)
            for branch in seated:
                self.enqueue(branch)
        self.store.cool({stretch for sample in samples for stretch in sample.stretches()})
        self.store.forget()

    # When blocks run out.

    def grow(self) -> bool:
        """Give the rows that decode their next block.

        Returns:
            Whether some were sent back, or a step's tokens were acted on: requests that wait may
            be admitted then, even if no row is left.
        """
        starved = self.rows.starved(self.rows.occupied())
        short = len(starved) > 0 and not self.store.make_free(len(starved))
        if short and self.drain():
            self.grow()
            return True
        if short:
            self._send_back(starved)
            starved = self.rows.starved(self.rows.occupied())
        if len(starved):
            blocks = self.store.pool.allocate(len(starved))
            self.rows.grow(starved, np.asarray(blocks, np.int32))
        return short

    def _send_back(self, starved: NDArray[np.int64]) -> None:
        """Queue the youngest of the rows without a block, until the others' needs are met."""
        found = [branch for row in starved if (branch := self.by_row[row]) is not None]
        late = sorted(found)[self.store.pool.free :]
        self.lift(late)
        for branch in late:
            self.enqueue(branch)

    def _must_run(self, sample: Sample) -> bool:
        """Return whether a sample is the oldest with something to do, and nothing of it runs."""
        oldest = min(branch.order[:2] for branch in self._live())
        running = sample.in_state(State.DECODE, State.PREFILL)
        return (sample.arrival, sample.index) == oldest and not running

    def _live(self) -> list[Branch]:
        seated = [branch for branch in self.by_row if branch is not None]
        return seated + [branch for _, branch in self.queue if branch.state is State.QUEUED]

    def _reclaim(self, sample: Sample) -> bool:
        """Take blocks or a row from the youngest other sample; return whether anything changed."""
        if self.drain():
            return True
        others = [other for other in self.samples.values() if other is not sample]
        idle = [other for other in others if not self._busy(other)]
        for other in idle + sorted(others, key=lambda x: (x.arrival, x.index), reverse=True):
            if self.preempt(other):
                return True
        if self._cool_shared(sample):
            return True
        raise EngineError(
            f"request {sample.arrival} cannot run although nothing else holds blocks: "
            f"{self.store.pool.free} of {self.store.pool.num_blocks} are free"
        )

    def _cool_shared(self, sample: Sample) -> bool:
        """Take away what several samples share, but not this one; no other has a row by now."""
        own = sample.stretches()
        shared = {
            stretch
            for other in self.samples.values()
            for stretch in other.stretches() - own
            if stretch.blocks
        }
        for stretch in sorted(shared, key=attrgetter("index")):
            self.remember(stretch)
        self.store.cool(shared)
        return bool(shared)

    def _busy(self, sample: Sample) -> bool:
        return bool(sample.in_state(State.DECODE, State.PREFILL, State.QUEUED))

    def preempt(self, sample: Sample) -> bool:
        """Take a sample's rows and blocks away; return whether it had any.

        Its tokens stay, and the keys and values are computed again when it is its turn.
        """
        seated = sample.in_state(State.DECODE, State.PREFILL)
        self.lift(seated)
        for branch in seated:
            self.enqueue(branch)
        cooled = self.cool(sample)
        if seated or cooled:
            sample.preemptions += 1
            self.preemptions += 1
        return bool(seated or cooled)

    def cool(self, sample: Sample) -> bool:
        """Take away the blocks that no other sample sees; return whether there were any."""
        self.note_peak(sample)
        held: dict[Stretch, int] = {}
        for branch in sample.branches:
            for stretch in branch.stretches():
                held[stretch] = held.get(stretch, 0) + 1
        own = [stretch for stretch, holders in held.items() if holders == stretch.holders]
        warm = [stretch for stretch in own if stretch.blocks]
        for stretch in warm:
            self.remember(stretch)
        self.store.cool(own)
        return bool(warm)

    def remember(self, stretch: Stretch) -> None:
        """Let the cache keep what is computed of a stretch whose parents are, too."""
        cached = self.config.prefix_cache and stretch.blocks
        if cached and all(parent.complete for parent in stretch.parents):
            self.store.remember(stretch)

    def note_peak(self, sample: Sample) -> None:
        """Record how many blocks a sample has, before it has fewer."""
        blocks: set[int] = set()
        blocks.update(*(stretch.blocks for stretch in sample.stretches()))
        for branch in sample.in_state(State.DECODE):
            own = slice(branch.base, self.rows.width[branch.row])
            blocks.update(self.rows.table[branch.row, own].tolist())
        sample.peak_blocks = max(sample.peak_blocks, len(blocks))
