"""From token ids to the tree of spans, or to the place where they break the schema."""

from __future__ import annotations

from collections.abc import Sequence

from rlcore.inference.parallel.schema import ParallelSchema, SchemaError
from rlcore.inference.parallel.spans import Block, Span, SpanTree


def parse(ids: Sequence[int], schema: ParallelSchema, prompt: int = 0) -> SpanTree:
    """Return the tree of spans.

    The kinds of :class:`SchemaError`: ``tag_in_prompt``; ``unclosed`` (the tokens end inside a
    block); ``crossed`` (a tag that closes what is not the innermost open thing, or stands where
    the grammar has another); ``too_deep``; ``no_outline``; ``too_many`` (branches); ``no_label``;
    ``duplicate_label``; ``label_mismatch`` (a branch has not the label of its outline);
    ``count_mismatch`` (outlines and branches differ in number); ``empty_branch`` (nothing but the
    label); ``stray_token`` (between branches: it would belong to no span).

    Args:
        ids: Tokens, canonical.
        schema: The tags.
        prompt: Leading tokens that are no generation; no tag may be there.

    Raises:
        SchemaError: The first fault.
    """
    parser = _Parser(ids, schema)
    tree = parser.tree(prompt)
    if parser.faults:
        raise min(parser.faults, key=lambda fault: fault.token_index)
    return tree


def validate(ids: Sequence[int], schema: ParallelSchema, prompt: int = 0) -> list[SchemaError]:
    """Return all faults in the order of tokens; empty exactly where ``parse`` succeeds.

    Behind a fault of the structure (``unclosed``, ``crossed``) nothing more is looked for.
    """
    parser = _Parser(ids, schema)
    try:
        parser.tree(prompt)
    except SchemaError as error:
        parser.faults.append(error)
    return sorted(parser.faults, key=lambda fault: fault.token_index)


class _Parser:
    """Recursive descent over the tags; faults that leave the structure clear are collected."""

    def __init__(self, ids: Sequence[int], schema: ParallelSchema) -> None:
        self.ids, self.schema, self.names = ids, schema, schema.names
        self.at = 0
        self.faults: list[SchemaError] = []

    def tree(self, prompt: int) -> SpanTree:
        for index in range(min(prompt, len(self.ids))):
            if self.ids[index] in self.names:
                self.note("tag_in_prompt", index, f"the prompt holds {self.name(index)}")
        self.at = prompt
        blocks = self.blocks_until(None, 0, len(self.ids))
        return SpanTree(len(self.ids), blocks)

    def blocks_until(self, closing: int | None, level: int, opened: int) -> tuple[Block, ...]:
        """Read plain tokens and blocks up to the tag ``closing`` (not consumed), or the end."""
        blocks: list[Block] = []
        while self.at < len(self.ids):
            token = self.ids[self.at]
            if token == closing:
                return tuple(blocks)
            if token == self.schema.open_block:
                blocks.append(self.block(level))
            elif token in self.names:
                raise self.fault("crossed", self.at, f"{self.name(self.at)} closes nothing here")
            else:
                self.at += 1
        if closing is not None:
            raise self.fault("unclosed", opened, f"no {self.names[closing]} follows")
        return tuple(blocks)

    def block(self, level: int) -> Block:
        start = self.at
        if level >= self.schema.max_depth:
            self.note("too_deep", start, f"level {level + 1}, at most {self.schema.max_depth}")
        self.at += 1
        labels = self.outlines(start)
        fork = self.at
        self.at += 1
        branches = self.branches(labels, level, fork)
        join = self.at
        self.at += 1
        self.plain_until(self.schema.join_close, join)
        self.at += 1
        if self.schema.close_block is not None:
            self.expect(self.schema.close_block, start)
            self.at += 1
        return Block(start, fork, branches, self.at)

    def outlines(self, start: int) -> list[tuple[int, ...]]:
        """Read up to the fork tag (not consumed); return the labels of the outlines."""
        schema = self.schema
        labels: list[tuple[int, ...]] = []
        while True:
            self.plain_until(schema.fork_tag, start, or_=schema.outline_open)
            if self.ids[self.at] == schema.fork_tag:
                break
            opened = self.at
            self.at += 1
            self.plain_until(schema.outline_close, opened)
            label = self.label(opened, self.at)
            if label and label in labels:
                self.note("duplicate_label", opened, f"outline {len(labels) + 1}: {label}")
            labels.append(label)
            self.at += 1
        if not labels:
            self.note("no_outline", start, "the block has no outline")
        if len(labels) > schema.max_branches:
            self.note("too_many", start, f"{len(labels)} outlines, at most {schema.max_branches}")
        return labels

    def branches(self, labels: list[tuple[int, ...]], level: int, fork: int) -> tuple[Span, ...]:
        """Read branches up to the join (not consumed)."""
        schema = self.schema
        spans: list[Span] = []
        while True:
            self.between_branches(fork)
            if self.ids[self.at] == schema.join_open:
                break
            start = self.at
            self.at += 1
            blocks = self.blocks_until(schema.branch_close, level + 1, start)
            label = self.label(start, self.at)
            if label and len(label) == self.at - start - 1:
                self.note("empty_branch", start, f"branch {len(spans) + 1} is its label alone")
            if len(spans) < len(labels) and label != labels[len(spans)]:
                wanted = labels[len(spans)]
                self.note("label_mismatch", start, f"label {label}, the outline has {wanted}")
            self.at += 1
            spans.append(Span(start, self.at, label, blocks))
        if len(spans) != len(labels):
            self.note("count_mismatch", fork, f"{len(labels)} outlines, {len(spans)} branches")
        if not spans:
            raise self.fault("crossed", self.at, "the join follows the fork at once")
        return tuple(spans)

    def between_branches(self, fork: int) -> None:
        schema = self.schema
        while self.at < len(self.ids):
            token = self.ids[self.at]
            if token in (schema.branch_open, schema.join_open):
                return
            if token in self.names:
                raise self.fault("crossed", self.at, f"{self.name(self.at)} between branches")
            self.note("stray_token", self.at, f"token {token} lies between branches")
            self.at += 1
        raise self.fault("unclosed", fork, f"no {self.names[schema.join_open]} follows")

    def label(self, opened: int, closed: int) -> tuple[int, ...]:
        """Return the label behind the tag at ``opened``: up to and with its end, not empty."""
        for index in range(opened + 1, closed):
            token = self.ids[index]
            if token == self.schema.label_end and index > opened + 1:
                return tuple(self.ids[opened + 1 : index + 1])
            if token == self.schema.label_end or token in self.names:
                break
        self.note("no_label", opened, f"no label follows {self.name(opened)}")
        return ()

    def plain_until(self, closing: int, opened: int, or_: int | None = None) -> None:
        """Skip tokens that are no tags up to ``closing`` or ``or_`` (not consumed)."""
        while self.at < len(self.ids):
            token = self.ids[self.at]
            if token in (closing, or_):
                return
            if token in self.names:
                raise self.fault("crossed", self.at, f"{self.name(self.at)} closes nothing here")
            self.at += 1
        raise self.fault("unclosed", opened, f"no {self.names[closing]} follows")

    def expect(self, tag: int, opened: int) -> None:
        if self.at >= len(self.ids):
            raise self.fault("unclosed", opened, f"no {self.names[tag]} follows")
        if self.ids[self.at] != tag:
            detail = f"wanted {self.names[tag]} at once, found token {self.ids[self.at]}"
            raise self.fault("crossed", self.at, detail)

    def name(self, index: int) -> str:
        return self.names[self.ids[index]]

    def note(self, kind: str, index: int, detail: str) -> None:
        self.faults.append(SchemaError(kind, index, detail))

    def fault(self, kind: str, index: int, detail: str) -> SchemaError:
        return SchemaError(kind, index, detail)
