"""Which documents' tokens make up which row, and which row comes when.

Rows are numbered over the whole run: ``row = epoch * rows + position``. The content of a row is a
function of the seed and its number, so that any number of readers, restarts and resumptions give
the same rows in the same order.

* ``cut``: the documents of an epoch, in an order of its own, form one line of tokens that starts
  at an offset of its own and is cut into rows. Nothing is padded; long documents continue in other
  rows. The rows are shuffled again, so that neighbours of one document do not meet in a batch.
* ``fit``: rows take whole documents, one after the other while they fit; the rest is padding. Which
  documents share a row is the same in each epoch, the order of rows is not.
* ``single``: one document a row, padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rlcore.data.tokens.file import TokenFile
from rlcore.errors import DataError

Packing = Literal["cut", "fit", "single"]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of one document's tokens.

    Attributes:
        document: Index of the document.
        start: Its first token here, from the document's start.
        stop: One past its last token here.
    """

    document: int
    start: int
    stop: int


class RowOrder(Protocol):
    """Rows of one split.

    Attributes:
        rows: Rows of an epoch.
    """

    rows: int

    def pieces(self, row: int) -> list[Piece]:
        """Return what row number ``row`` (over all epochs) is made of, from left to right."""
        ...


def make_order(
    file: TokenFile,
    packing: Packing,
    width: int,
    *,
    overlap: int,
    seed: int,
    shuffle: bool = True,
    partial: bool = False,
    lengths: Index | None = None,
) -> RowOrder:
    """Return the order of rows of ``width`` tokens.

    Args:
        file: The documents.
        packing: ``cut``, ``fit`` or ``single``.
        width: Tokens of a row.
        overlap: Tokens that a ``cut`` row shares with the next one: 1 where the last token of a row
            is only predicted, never read, 0 otherwise.
        seed: Root of all orders.
        shuffle: Whether epochs are shuffled; otherwise documents and rows come as they are stored.
        partial: With ``cut``: keep the last row although it is shorter (evaluation).
        lengths: Width that each document takes in a row; its tokens by default.

    Raises:
        DataError: A row cannot be filled, or a whole document does not fit into one.
    """
    if packing == "cut":
        return CutOrder(file, width, overlap, seed, shuffle, partial)
    taken = file.lengths if lengths is None else lengths
    _check_fit(file, taken, width)
    groups = _fit(taken, width, seed, shuffle) if packing == "fit" else None
    return WholeOrder(file, groups, seed, shuffle)


def _generator(seed: int, what: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(what, epoch)))


class CutOrder:
    """Rows cut from one line of all documents; see the module docstring."""

    def __init__(
        self, file: TokenFile, width: int, overlap: int, seed: int, shuffle: bool, partial: bool
    ) -> None:
        self.file = file
        self.width = width
        self.seed = seed
        self.shuffle = shuffle
        self.step = width - overlap
        if self.step < 1:
            raise DataError(f"rows must be wider than their overlap of {overlap}, got {width}")
        total = len(file.tokens)
        least = overlap + 1 if partial else width
        if total < least:
            raise DataError(
                f"{file.path}: {total} tokens do not fill one row of {width}: set data.length to "
                f"{max(1, total - overlap)} or less"
            )
        if partial:
            self.rows = -(-(total - overlap) // self.step)
        else:
            # Shuffled lines start anywhere within one step and have the same number of rows.
            spare = self.step - 1 if shuffle else 0
            self.rows = max(1, (total - overlap - spare) // self.step)
        self.slack = max(0, total - (self.rows * self.step + overlap))
        self._epoch = -1
        self._plan: tuple[Index, Index, Index, int] | None = None

    def pieces(self, row: int) -> list[Piece]:
        """Return the pieces of a row."""
        epoch, position = divmod(row, self.rows)
        documents, borders, rows, phase = self._of_epoch(epoch)
        start = phase + int(rows[position]) * self.step
        stop = min(start + self.width, int(borders[-1]))
        first = int(np.searchsorted(borders, start, "right")) - 1
        found = []
        while start < stop:
            begin, end = int(borders[first]), min(stop, int(borders[first + 1]))
            found.append(Piece(int(documents[first]), start - begin, end - begin))
            start, first = end, first + 1
        return found

    def _of_epoch(self, epoch: int) -> tuple[Index, Index, Index, int]:
        """Return documents in order, their borders on the line, rows in order, and the phase."""
        if self._plan is None or epoch != self._epoch:
            documents, rows = np.arange(len(self.file)), np.arange(self.rows)
            phase = 0
            if self.shuffle:
                generator = _generator(self.seed, 0, epoch)
                documents = generator.permutation(documents)
                phase = int(generator.integers(self.slack + 1))
                rows = generator.permutation(rows)
            borders = np.concatenate([[0], np.cumsum(self.file.lengths[documents])])
            self._epoch, self._plan = epoch, (documents, borders, rows, phase)
        return self._plan


class WholeOrder:
    """Rows of whole documents; see the module docstring.

    Args:
        file: The documents.
        groups: The documents of each row: their indices one row after the other, and the rows'
            borders; ``None`` for one a row.
        seed: Root of the orders.
        shuffle: Whether rows are shuffled.
    """

    def __init__(
        self, file: TokenFile, groups: tuple[Index, Index] | None, seed: int, shuffle: bool
    ) -> None:
        count = len(file)
        self.documents, self.borders = groups or (np.arange(count), np.arange(count + 1))
        self.lengths = file.lengths
        self.rows = len(self.borders) - 1
        self.seed = seed
        self.shuffle = shuffle
        self._epoch = -1
        self._rows: Index = np.arange(self.rows)

    def pieces(self, row: int) -> list[Piece]:
        """Return the documents of a row."""
        epoch, position = divmod(row, self.rows)
        if self.shuffle and epoch != self._epoch:
            self._rows = _generator(self.seed, 1, epoch).permutation(self.rows)
            self._epoch = epoch
        group = int(self._rows[position])
        members = self.documents[self.borders[group] : self.borders[group + 1]]
        return [Piece(int(i), 0, int(self.lengths[i])) for i in members]


def _check_fit(file: TokenFile, lengths: Index, width: int) -> None:
    long = lengths > width
    if long.any():
        raise DataError(
            f"{file.path}: {int(long.sum())} of {len(lengths)} documents are longer than a row of "
            f"{width} tokens, the longest has {int(lengths.max())}: raise data.length, or cut them "
            "with data.packing: cut"
        )


def _fit(lengths: Index, width: int, seed: int, shuffle: bool) -> tuple[Index, Index]:
    """Return documents in the order they are packed, and where each row of them starts."""
    documents = np.arange(len(lengths))
    if shuffle:
        documents = _generator(seed, 2, 0).permutation(documents)
    ends = np.cumsum(lengths[documents])
    borders, taken = [0], 0
    while borders[-1] < len(documents):
        stop = int(np.searchsorted(ends, taken + width, "right"))
        borders.append(stop)
        taken = int(ends[stop - 1])
    return documents, np.array(borders)
