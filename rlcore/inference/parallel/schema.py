"""Which tags split a generation into branches and merge it again.

A block is, in canonical form, without a token between ``fork_tag`` and ``join_open`` that is not
in a branch::

    open_block .. (outline_open label .. outline_close)+ .. fork_tag
        (branch_open label .. branch_close)+
    join_open .. join_close [close_block]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rlcore.errors import ConfigError, DataError

_TAG_FIELDS = (
    "open_block",
    "outline_open",
    "outline_close",
    "fork_tag",
    "branch_open",
    "branch_close",
    "join_open",
    "join_close",
)


class SchemaError(DataError):
    """Token ids break a schema.

    Attributes:
        kind: What is wrong, see :func:`rlcore.inference.parallel.parser.parse`.
        token_index: Where.
    """

    def __init__(self, kind: str, token_index: int, detail: str) -> None:
        super().__init__(f"{kind} at token {token_index}: {detail}")
        self.kind, self.token_index = kind, token_index


@dataclass(frozen=True, slots=True)
class TagNames:
    """The tags of a schema as a tokenizer writes them.

    Attributes:
        open_block, outline_open, outline_close, fork_tag: Before the branches.
        branch_open, branch_close: Around each branch.
        join_open, join_close: Around what sees all branches.
        close_block: Behind it, where the block has a tag of its own.
        others: Further tags that carry no structure of their own.
        nests: Whether a branch may hold blocks.
        label_end: What ends a label.
    """

    open_block: str
    outline_open: str
    outline_close: str
    fork_tag: str
    branch_open: str
    branch_close: str
    join_open: str
    join_close: str
    close_block: str | None = None
    others: tuple[str, ...] = ()
    nests: bool = True
    label_end: str = ":"

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags; a tokenizer must know each as a single token."""
        own = tuple(getattr(self, name) for name in _TAG_FIELDS)
        return (*own, *(() if self.close_block is None else (self.close_block,)), *self.others)

    def bind(
        self, id_of: Mapping[str, int] | Callable[[str], int | None], **limits: int
    ) -> ParallelSchema:
        """Return the schema on token ids.

        Args:
            id_of: The id of each tag and of ``label_end``.
            **limits: ``max_branches`` and ``max_depth``.

        Raises:
            ConfigError: A tag has no id.
        """
        find = id_of.get if isinstance(id_of, Mapping) else id_of

        def known(tag: str) -> int:
            found = find(tag)
            if found is None:
                raise ConfigError(f"the tokenizer has no single token for {tag!r}")
            return int(found)

        if not self.nests:
            limits = {"max_depth": 1} | limits
        return ParallelSchema(
            **{name: known(getattr(self, name)) for name in _TAG_FIELDS},
            close_block=None if self.close_block is None else known(self.close_block),
            label_end=known(self.label_end),
            **limits,
        )


@dataclass(frozen=True, slots=True)
class ParallelSchema:
    """The tags of a schema as token ids, and its limits.

    Attributes:
        open_block, outline_open, outline_close, fork_tag: Before the branches.
        branch_open, branch_close: Around each branch.
        join_open, join_close: Around what sees all branches.
        label_end: Token that ends a label, the label's last.
        close_block: Behind ``join_close``; ``None`` where that ends the block.
        max_branches: Most branches of a fork.
        max_depth: Most forks inside each other; 1 for no nesting.

    Raises:
        ConfigError: Two tags are one token, or a limit is below 1.
    """

    open_block: int
    outline_open: int
    outline_close: int
    fork_tag: int
    branch_open: int
    branch_close: int
    join_open: int
    join_close: int
    label_end: int
    close_block: int | None = None
    max_branches: int = 8
    max_depth: int = 3

    def __post_init__(self) -> None:
        tags = [getattr(self, name) for name in (*self._tag_fields, "label_end")]
        if len(set(tags)) < len(tags):
            raise ConfigError(f"each tag must be a token of its own, got {tags}")
        for name in ("max_branches", "max_depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")

    @property
    def _tag_fields(self) -> tuple[str, ...]:
        last = () if self.close_block is None else ("close_block",)
        return (*_TAG_FIELDS, *last)

    @property
    def names(self) -> dict[int, str]:
        """Name of each tag by id."""
        return {getattr(self, name): name for name in self._tag_fields}


MULTIVERSE = TagNames(
    open_block="<Parallel>",
    outline_open="<Outline>",
    outline_close="</Outline>",
    fork_tag="</Goal>",
    branch_open="<Path>",
    branch_close="</Path>",
    join_open="<Conclusion>",
    join_close="</Conclusion>",
    close_block="</Parallel>",
    others=("<Goal>",),
)
"""Multiverse (Yang et al. 2025): blocks may nest inside paths."""

NPR = TagNames(
    open_block="<guideline>",
    outline_open="<plan>",
    outline_close="</plan>",
    fork_tag="</guideline>",
    branch_open="<step>",
    branch_close="</step>",
    join_open="<takeaway>",
    join_close="</takeaway>",
    nests=False,
)
"""Native Parallel Reasoner (2025): many rounds, no nesting."""

SCHEMAS = {"multiverse": MULTIVERSE, "npr": NPR}
"""The published schemas by name."""
