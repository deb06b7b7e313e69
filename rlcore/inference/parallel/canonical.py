"""The canonical form: inside a block no token lies outside a structural element."""

from __future__ import annotations

from collections.abc import Sequence

from rlcore.inference.parallel.schema import ParallelSchema


def canonicalize(ids: Sequence[int], schema: ParallelSchema) -> list[int]:
    """Return ids without the tokens between branches, such as newlines of a data set.

    A token between ``branch_close`` and the next ``branch_open`` would follow all earlier branches
    in a causal sequence, while in branch-wise generation nobody writes it.

    Args:
        ids: Tokens; whatever else is wrong with them is left for the parser to say.
        schema: The tags.
    """
    gaps = {schema.fork_tag: True, schema.branch_close: True}
    if schema.close_block is not None:
        gaps[schema.join_close] = True
    ends = {schema.branch_open, schema.join_open} | (
        set() if schema.close_block is None else {schema.close_block}
    )
    kept: list[int] = []
    waiting: list[int] | None = None  # tokens of a gap, until the tag that proves it one
    for token in ids:
        if waiting is not None:
            if token in ends:
                waiting = None
            elif token in schema.names:
                kept += waiting
                waiting = None
            else:
                waiting.append(token)
                continue
        kept.append(token)
        if token in gaps:
            waiting = []
    return kept + (waiting or [])
