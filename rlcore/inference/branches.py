"""The state of a generation: stretches of tokens, branches that see them, forks, samples.

A branch does not own text: it *sees* a list of closed stretches and appends to one open stretch.
A fork lets n children see what the parent saw; a join lets the parent see the children's stretches
too. Keys and values are neither copied nor computed again in either.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from rlcore.inference.errors import BlockPoolError
from rlcore.inference.request import FinishReason, Request
from rlcore.inference.segments import Key, segment_key
from rlcore.inference.step_log import Column

GIVEN, FORCED, DRAWN = 0, 1, 2
"""Where a token is from: a prompt or another given text, the engine (tags, labels), the model."""


class Stretch:
    """Consecutive tokens whose keys and values lie in blocks of their own.

    Only the last block of a stretch may be filled further; after :attr:`closed` none. A stretch
    without blocks is cold: its tokens are known, its keys and values have to be computed (again).

    Attributes:
        index: Number in order of creation; what a stretch sees has lower ones.
        sees: Stretches before it, in listed order.
        parents: Those of them whose keys its key chains to: the last one, or one a joined branch.
        start: Position of its first token.
        ids, kinds, log_probs, raw_log_probs, versions: One entry a token; kinds are ``GIVEN``,
            ``FORCED`` and ``DRAWN``.
        prompt: How many of the leading tokens are of a prompt.
        blocks, fills: Pool blocks and the valid slots of each, as int32.
        computed: Tokens whose keys and values are in the pool, or will be when launched work is
            done: the sum of ``fills``.
        keys: Keys of the leading blocks that cannot change any more.
        holders: Branches that see the stretch or append to it.
        borrowed: How many of the leading blocks came from the cache: others may fill them further.
        version: Version of the weights that computed it; unique and negative where several did.
    """

    __slots__ = (
        "blocks", "borrowed", "closed", "computed", "fills", "holders", "ids", "index", "keys",
        "kinds", "log_probs", "parents", "prompt", "raw_log_probs", "sees", "start", "version",
        "versions",
    )  # fmt: skip

    def __init__(
        self, index: int, sees: Sequence[Stretch], parents: Sequence[Stretch], start: int
    ) -> None:
        self.index = index
        self.sees = tuple(sees)
        self.parents = tuple(parents)
        self.start = start
        self.ids = array("q")
        self.kinds = bytearray()
        self.log_probs = array("d")
        self.raw_log_probs = array("d")
        self.versions = array("q")
        self.prompt = 0
        self.blocks = array("i")
        self.fills = array("i")
        self.computed = 0
        self.keys: list[Key] = []
        self.borrowed = 0
        self.holders = 1
        self.version = 0
        self.closed = False

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.ids)

    @property
    def target(self) -> int:
        """Tokens to compute before a branch can decode: the last of an open one is fed then."""
        return len(self.ids) if self.closed else max(len(self.ids) - 1, 0)

    def extend(self, ids: Sequence[int], kind: int, version: int) -> None:
        """Append tokens that were not drawn from the model."""
        count = len(ids)
        self.ids += ids if isinstance(ids, array) else array("q", ids)
        self.kinds += bytes((kind,)) * count
        self.log_probs.frombytes(bytes(8 * count))
        self.raw_log_probs.frombytes(bytes(8 * count))
        self.versions.extend(array("q", (version,)) * count)

    def append(self, column: Column) -> None:
        """Append drawn tokens."""
        self.ids.frombytes(column.ids.tobytes())
        self.kinds += bytes((DRAWN,)) * len(column.ids)
        self.log_probs.frombytes(column.log_probs.tobytes())
        self.raw_log_probs.frombytes(column.raw_log_probs.tobytes())
        self.versions.frombytes(column.versions.tobytes())

    def trim(self) -> array[int]:
        """Forget slots beyond the known tokens; take off and return the blocks that are empty."""
        surplus = self.computed - len(self.ids)
        entry = len(self.fills)
        while surplus > 0:
            entry -= 1
            taken = min(surplus, self.fills[entry])
            self.fills[entry] -= taken
            self.computed -= taken
            surplus -= taken
        used = len(self.fills)
        while used and self.fills[used - 1] == 0:
            used -= 1
        emptied = self.blocks[used:]
        del self.blocks[used:], self.fills[used:]
        self.borrowed = min(self.borrowed, used)
        return emptied

    def room(self, block_size: int) -> int:
        """Return how many slots of its blocks it may still fill."""
        own = self.fills[self.borrowed :]
        return len(own) * block_size - sum(own)

    def parent_keys(self) -> tuple[Key, ...]:
        """Return the keys that the first block's key chains to."""
        return tuple(parent.last_key() for parent in self.parents)

    @property
    def complete(self) -> bool:
        """Whether nothing can be added any more and all keys and values are there."""
        return self.closed and bool(self.ids) and self.computed == len(self.ids)

    def last_key(self) -> Key:
        """Return the key of the last block; the stretch must be complete."""
        if not self.complete:
            raise BlockPoolError("a stretch has a key once it is closed and computed")
        self.seal(len(self.ids))
        return self.keys[-1]

    def seal(self, block_size: int) -> None:
        """Compute the keys of blocks that cannot change any more: full ones, and a last one."""
        offset = sum(self.fills[: len(self.keys)])
        for fill in self.fills[len(self.keys) :]:
            if fill < block_size and not self.complete:
                break
            self.keys.append(self.key_after(self.keys, offset, fill))
            offset += fill

    def key_after(self, keys: Sequence[Key], offset: int, fill: int) -> Key:
        """Return the key of the block of tokens ``offset .. offset + fill`` after ``keys``."""
        parents = keys[-1:] if keys else self.parent_keys()
        return segment_key(
            self.version, parents, self.start + offset, self.ids[offset : offset + fill]
        )


class State(Enum):
    """Where a branch is in its life."""

    QUEUED = auto()  # waits for blocks and a row
    PREFILL = auto()  # has both; known tokens are being computed
    DECODE = auto()  # draws a token a step
    FORKED = auto()  # waits for its children
    HELD = auto()  # stopped; can be forked, joined, extended or dropped
    GONE = auto()  # holds nothing


@dataclass(eq=False)
class Fork:
    """A parent's children, from the fork to the join.

    Attributes:
        position: Position of the parent's last token; children start one later.
        children: In order of creation.
        order: Indices of the joined children, in listed order; ``None`` before the join.
    """

    position: int
    children: list[Branch] = field(default_factory=list)
    order: list[int] | None = None


class Branch:
    """One line of generation.

    Attributes:
        sample: What it is a part of.
        parent: The branch that forked it; ``None`` for the root.
        path: Child index at each fork from the root; with the seed it is the key of its noise.
        born: How many children it has had; they number the children's paths.
        base: Entries of its row's block list that are not its own stretch's.
        first_step: First step in which it decodes from its row.
        order: First come, first served: arrival of the request, which sample, and the number in
            order of creation within the sample; children inherit the arrival of their request.
        visible: Closed stretches that it sees, in listed order.
        stretch: The stretch that it appends to.
        parts: Its own stretches and forks, in order.
        row: Its row of the decode batch, or -1.
        since: First step whose token has not been read from the step log.
        finish_reason: Why it ended, or ``None``.
    """

    def __init__(
        self, sample: Sample, parent: Branch | None, path: tuple[int, ...], stretch: Stretch
    ) -> None:
        self.sample = sample
        self.parent = parent
        self.path = path
        self.order = (sample.arrival, sample.index, sample.next_branch_index())
        self.visible: list[Stretch] = []
        self.stretch = stretch
        self.parts: list[Stretch | Fork] = [stretch]
        self.born = 0
        self.base = 0
        self.first_step = 0
        self.state = State.QUEUED
        self.row = -1
        self.since = 0
        self.finish_reason: FinishReason | None = None
        self.depth: int = 0 if parent is None else parent.depth + 1

    @property
    def fork(self) -> Fork | None:
        """The fork whose join is still to come."""
        last = self.parts[-1]
        return last if isinstance(last, Fork) and last.order is None else None

    def stretches(self) -> list[Stretch]:
        """Return what the branch sees and then what it appends to."""
        return [*self.visible, self.stretch]

    @property
    def position(self) -> int:
        """Position of its last token."""
        return self.stretch.end - 1

    def last_id(self) -> int:
        """Return its last token, its own or the last one it sees."""
        return self.stretch.ids[-1] if self.stretch.ids else self.visible[-1].ids[-1]

    def __lt__(self, other: Branch) -> bool:
        return self.order < other.order


class Sample:
    """One of a request's samples: a tree of branches with one budget.

    Attributes:
        request: What was asked.
        index: Which of the request's samples.
        arrival: Number of the request.
        root: The branch without a parent, until the engine forgets the sample.
        branches: Branches that hold something, in order of creation.
        generated: New tokens that were read from the log, forced ones included.
        token_limit: What ``generated`` may reach.
        prompt_tokens: Canonical length of the prompt.
        first_position: Position of the first new token.
        turn_start: Canonical index of the last turn of a session.
        path_end: Position that no new token may reach.
        intervals: ``[first, last]`` steps in which it took part, for the count of passes.
        prefill_tokens: Known tokens that were computed.
        n_forks: Forks that were executed.
        peak_blocks: Most blocks its stretches had.
        preemptions: How often its blocks were taken away.
        invalid_fork: Why a fork was refused, or ``None``.
        finish_reason: Why the sample ended; ``None`` before.
    """

    def __init__(self, request: Request, index: int, arrival: int) -> None:
        self.request = request
        self.index = index
        self.arrival = arrival
        self.root: Branch
        self.branches: list[Branch] = []
        self.generated = 0
        self.token_limit = request.max_new_tokens
        self.path_end = 0
        self.prompt_tokens = 0
        self.first_position = 0
        self.turn_start = 0
        self.intervals: list[tuple[int, int]] = []
        self.prefill_tokens = 0
        self.n_forks = 0
        self.peak_blocks = 0
        self.preemptions = 0
        self.invalid_fork: str | None = None
        self.finish_reason: FinishReason | None = None
        self._branch_count = 0

    def next_branch_index(self) -> int:
        """Return a new number for a branch."""
        self._branch_count += 1
        return self._branch_count - 1

    def in_state(self, *states: State) -> list[Branch]:
        """Return the branches in one of ``states``."""
        return [branch for branch in self.branches if branch.state in states]

    def stretches(self) -> set[Stretch]:
        """Return the stretches that its branches hold."""
        return {stretch for branch in self.branches for stretch in branch.stretches()}

    def forward_passes(self) -> int:
        """Return the number of steps in which the sample took part."""
        steps, last = 0, -1
        for first, stop in sorted(self.intervals):
            steps += max(stop + 1 - max(first, last + 1), 0)
            last = max(last, stop)
        return steps


def most_blocks(
    sample: Sample, block_size: int, *, more_stretches: int = 0, more_tokens: int = 0
) -> int:
    """Return how many blocks a sample can come to have, whatever its branches do.

    ``sum(ceil(x_i / b)) <= (sum(x_i) + k (b - 1)) / b`` for the ``k`` stretches that may still
    grow; they share the tokens that are left.

    Args:
        sample: As it is; its tokens are up to date.
        block_size: ``b``.
        more_stretches: Stretches to come, besides the one that each branch goes on with.
        more_tokens: Given tokens to come.
    """
    blocks = 0
    growing = sample.token_limit - sample.generated + more_tokens
    for stretch in sample.stretches():
        length = len(stretch.ids)
        # A borrowed block that is not full wastes its rest, unless it is the last one anyway.
        cut = sum(stretch.fills[: stretch.borrowed])
        blocks += bool(cut % block_size) and cut < length
        if stretch.closed:
            blocks += -(-length // block_size)
        else:
            growing += length
    count = len(sample.branches) + more_stretches
    return blocks + (growing + count * (block_size - 1)) // block_size
