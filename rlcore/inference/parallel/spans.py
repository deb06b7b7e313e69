"""The tree of blocks and branches that a sequence of tokens is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A branch: its tokens from the opening tag to the closing one.

    Attributes:
        start: Index of the opening tag.
        stop: Behind the closing tag.
        label: Tokens of the label, its end included.
        blocks: Blocks inside, in order.
    """

    start: int
    stop: int
    label: tuple[int, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """One fork with its join.

    Attributes:
        start: Index of the tag that opens it.
        fork: Index of the tag behind which branches start.
        branches: In order, without gaps: the first starts at ``fork + 1``.
        stop: Behind its last tag.
    """

    start: int
    fork: int
    branches: tuple[Span, ...]
    stop: int

    @property
    def join(self) -> int:
        """Index of the first token that sees all branches."""
        return self.branches[-1].stop


@dataclass(frozen=True, slots=True)
class SpanTree:
    """All blocks of ``length`` tokens.

    Attributes:
        length: How many tokens.
        blocks: Blocks that lie in no branch, in order.
    """

    length: int
    blocks: tuple[Block, ...] = ()

    @property
    def depth(self) -> int:
        """How many forks lie inside each other; 0 without one."""
        return max((level + 1 for _, level in self.walk()), default=0)

    def walk(self) -> Iterator[tuple[Block, int]]:
        """Yield each block with its level, outer ones first."""
        waiting = [(block, 0) for block in reversed(self.blocks)]
        while waiting:
            block, level = waiting.pop()
            yield block, level
            inner = [b for branch in block.branches for b in branch.blocks]
            waiting.extend((b, level + 1) for b in reversed(inner))
