"""Random sequences with branches, and the definitions of their masks by brute force."""

from __future__ import annotations

import random

import numpy as np

from rlcore.inference.parallel import MULTIVERSE, Block, ParallelSchema, SpanTree

TAGS = {tag: 100 + i for i, tag in enumerate(MULTIVERSE.tags)} | {":": 99}
SCHEMA = MULTIVERSE.bind(TAGS, max_branches=6, max_depth=3)
WORDS = range(1, 20)
LONG = 100  # tokens after which no block is begun


class Writer:
    """Writes a random valid sequence and, beside it, where each token lies.

    Attributes:
        ids: The tokens.
        homes: For each token the (fork, branch) pairs that it lies in, outermost first.
    """

    def __init__(self, seed: int, schema: ParallelSchema = SCHEMA) -> None:
        self.random, self.schema = random.Random(seed), schema
        self.ids: list[int] = []
        self.homes: list[tuple[tuple[int, int], ...]] = []
        self.forks = 0

    def write(self, token: int, home: tuple[tuple[int, int], ...]) -> None:
        self.ids.append(token)
        self.homes.append(home)

    def words(self, least: int, most: int, home: tuple[tuple[int, int], ...]) -> None:
        for _ in range(self.random.randint(least, most)):
            self.write(self.random.choice(WORDS), home)

    def block(self, home: tuple[tuple[int, int], ...]) -> None:
        s, fork = self.schema, self.forks
        self.forks += 1
        self.write(s.open_block, home)
        self.words(0, 2, home)
        labels = [[30 + i, s.label_end] for i in range(self.random.randint(1, s.max_branches))]
        for label in labels:
            self.write(s.outline_open, home)
            for token in label:
                self.write(token, home)
            self.words(0, 2, home)
            self.write(s.outline_close, home)
        self.write(s.fork_tag, home)
        for i, label in enumerate(labels):
            inside = (*home, (fork, i))
            self.write(s.branch_open, inside)
            for token in label:
                self.write(token, inside)
            self.text(inside)
            self.write(s.branch_close, inside)
        self.write(s.join_open, home)
        self.words(0, 3, home)
        self.write(s.join_close, home)
        if s.close_block is not None:
            self.write(s.close_block, home)

    def text(self, home: tuple[tuple[int, int], ...]) -> None:
        self.words(1, 4, home)
        while (
            len(home) < self.schema.max_depth
            and len(self.ids) < LONG
            and self.random.random() < 0.4
        ):
            self.block(home)
            self.words(0, 3, home)


def random_trace(seed: int, schema: ParallelSchema = SCHEMA, prompt: int = 2) -> Writer:
    """Return a random valid sequence behind ``prompt`` plain tokens."""
    writer = Writer(seed, schema)
    writer.words(prompt, prompt, ())
    writer.text(())
    return writer


def visible(writer: Writer, q: int, k: int) -> bool:
    """The definition: not later, and in no fork in two branches."""
    mine, its = dict(writer.homes[q]), dict(writer.homes[k])
    return k <= q and all(mine[fork] == its[fork] for fork in mine.keys() & its.keys())


def seen_by_all(writer: Writer) -> np.ndarray:
    """The whole mask by the definition, with arrays instead of a loop over pairs."""
    size = len(writer.ids)
    mask = np.tril(np.ones((size, size), bool))
    branch = np.full((writer.forks, size), -1)
    for token, home in enumerate(writer.homes):
        for fork, i in home:
            branch[fork, token] = i
    for row in branch:
        (inside,) = np.nonzero(row >= 0)
        mask[np.ix_(inside, inside)] &= row[inside, None] == row[inside]
    return mask


def positions_by_hand(writer: Writer) -> list[int]:
    """One more than the last position that is seen: branches are blind, joins see the longest."""
    mask = seen_by_all(writer)
    found = np.full(len(mask), -1)
    for q, seen in enumerate(mask):
        found[q] = found[:q][seen[:q]].max(initial=-1) + 1
    return found.tolist()


def all_blocks(tree: SpanTree) -> list[Block]:
    """Return the blocks of a tree."""
    return [block for block, _ in tree.walk()]
