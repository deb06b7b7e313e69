"""Forks and joins decided by the model: reads its tags and edits the tree of branches.

The driver looks at a branch only when it draws a tag. It knows the grammar of one block::

    open_block .. (outline_open label .. outline_close)+ fork_tag
        (branch_open label .. branch_close)+ join_open ..

Outlines are drawn by the model; the openings of branches and of the join are forced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from rlcore.inference.branches import Branch, Sample, State
from rlcore.inference.errors import BudgetError, EngineError, RequestError, RequestTooLargeError
from rlcore.inference.request import ParallelOptions, Request
from rlcore.inference.trace import ParallelTrace

if TYPE_CHECKING:
    from rlcore.inference.engine import Engine


class TagSchema(Protocol):
    """What the driver needs of a schema: the ids of its tags, and its limits.

    ``label_end`` closes a label: the tokens from behind ``outline_open`` up to it, it included.
    """

    @property
    def open_block(self) -> int:
        """Opens a block."""
        ...

    @property
    def outline_open(self) -> int:
        """Opens an outline, in which a label comes first."""
        ...

    @property
    def outline_close(self) -> int:
        """Closes it."""
        ...

    @property
    def fork_tag(self) -> int:
        """Splits the branch."""
        ...

    @property
    def branch_open(self) -> int:
        """Forced at the start of each child."""
        ...

    @property
    def branch_close(self) -> int:
        """Ends a child."""
        ...

    @property
    def join_open(self) -> int:
        """Forced when all children have ended."""
        ...

    @property
    def label_end(self) -> int:
        """Last token of a label."""
        ...

    @property
    def names(self) -> Mapping[int, str]:
        """Name of each tag by id, also of those that the driver does not act on."""
        ...

    @property
    def max_branches(self) -> int:
        """Most children of a fork."""
        ...

    @property
    def max_depth(self) -> int:
        """Deepest nesting."""
        ...


class ForkRefused(EngineError):
    """A fork that the model asked for is not one.

    Attributes:
        kind: ``unopened``, ``no_outline``, ``unclosed_outline``, ``no_label``, ``duplicate_label``,
            ``too_many``, ``too_deep``, ``budget``, ``memory`` or ``crossed``.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


def outline_labels(ids: list[int], schema: TagSchema) -> list[list[int]]:
    """Return the label of each outline of the last block that ``ids`` open.

    Args:
        ids: Tokens that end with the fork tag.
        schema: The tags.

    Raises:
        ForkRefused: The outlines are malformed.
    """
    if schema.open_block not in ids:
        raise ForkRefused("unopened", "the fork tag came before any block was opened")
    start = len(ids) - 1 - ids[::-1].index(schema.open_block)
    labels: list[list[int]] = []
    at = start + 1
    while schema.outline_open in ids[at:]:
        first = ids.index(schema.outline_open, at) + 1
        if schema.outline_close not in ids[first:]:
            raise ForkRefused("unclosed_outline", f"outline {len(labels) + 1} is not closed")
        at = ids.index(schema.outline_close, first)
        outline = ids[first:at]
        if schema.outline_open in outline:
            raise ForkRefused("unclosed_outline", f"outline {len(labels) + 1} is not closed")
        if schema.label_end not in outline[1:]:
            raise ForkRefused("no_label", f"outline {len(labels) + 1} has no label")
        labels.append(outline[: outline.index(schema.label_end) + 1])
    if not labels:
        raise ForkRefused("no_outline", "the block has no outline")
    if len({tuple(label) for label in labels}) < len(labels):
        raise ForkRefused("duplicate_label", f"two of {len(labels)} outlines have one label")
    return labels


class TagDriver:
    """Acts on the tags of one schema, for the samples of a request.

    Args:
        engine: Runs them.
        options: The schema and its limits.

    Attributes:
        watched_ids: Tokens that it has to see.

    Raises:
        RequestError: A tag of the schema is not in the model's vocabulary.
    """

    def __init__(self, engine: Engine, options: ParallelOptions) -> None:
        self.engine = engine
        self.options = options
        self.schema = options.schema
        for token, name in {**self.schema.names, self.schema.label_end: "label_end"}.items():
            engine.check_ids([token], f"schema.{name}")
        self.watched_ids = {self.schema.fork_tag, self.schema.branch_close}

    def check_prompt(self, request: Request) -> None:
        """Raise ``RequestError`` if a plain prompt holds a tag: it would count as structure."""
        if isinstance(request.prompt, ParallelTrace):
            return
        tags = self.schema.names
        for index, token in enumerate(request.prompt):
            if token in tags:
                raise RequestError(
                    f"prompt[{index}] is {token}, the tag {tags[token]}: a prompt holds no tags"
                )

    def on_token(self, branch: Branch) -> None:
        """Act on a branch's last token."""
        token = branch.stretch.ids[-1] if branch.stretch.ids else None
        try:
            if token == self.schema.fork_tag:
                self._fork(branch)
            elif token == self.schema.branch_close and branch.parent is not None:
                self._check_closed(branch)
                self.engine.end_branch(branch, "closed")
        except ForkRefused as refusal:
            branch.sample.invalid_fork = branch.sample.invalid_fork or refusal.kind
            if self.options.on_invalid == "stop":
                self.engine.finish(branch.sample, "invalid_fork")
            elif refusal.kind == "crossed":
                self.engine.end_branch(branch, "closed")

    def _fork(self, branch: Branch) -> None:
        labels = outline_labels(branch.stretch.ids.tolist(), self.schema)
        most = self.options.max_branches or self.schema.max_branches
        deepest = self.options.max_depth or self.schema.max_depth
        if len(labels) > most:
            raise ForkRefused("too_many", f"{len(labels)} outlines, at most {most} branches")
        if branch.depth >= deepest:
            raise ForkRefused("too_deep", f"depth {branch.depth + 1}, at most {deepest}")
        forced = [[self.schema.branch_open, *label] for label in labels]
        self._check_budget(branch.sample, sum(map(len, forced)))
        try:
            self.engine.tree.fork(branch, len(forced), forced)
        except BudgetError as error:
            raise ForkRefused("budget", str(error)) from error
        except RequestTooLargeError as error:
            raise ForkRefused("memory", str(error)) from error

    def _check_budget(self, sample: Sample, forced: int) -> None:
        self.engine.budgets.count(sample)
        left = sample.token_limit - sample.generated
        wanted = max(self.options.min_fork_budget, forced)
        if left < wanted:
            raise ForkRefused("budget", f"{left} tokens are left, a fork wants {wanted}")

    def _check_closed(self, branch: Branch) -> None:
        """Raise ``ForkRefused`` if a branch is closed inside a block that it opened."""
        ids = branch.stretch.ids
        if self.schema.open_block in ids:
            raise ForkRefused("crossed", "a branch was closed before a block that it opened")

    def child_ended(self, branch: Branch) -> None:
        """Join the siblings of a branch when all have ended."""
        parent = branch.parent
        if parent is None or parent.fork is None:
            return
        children = parent.fork.children
        if any(child.state not in (State.HELD, State.GONE) for child in children):
            return
        try:
            self.engine.tree.join(parent, None, [self.schema.join_open])
        except BudgetError:
            self.engine.finish(branch.sample, "length")
