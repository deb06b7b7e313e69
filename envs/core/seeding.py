"""Generators of many environments from one seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np


def generators(
    seed: Any, n: int, before: Sequence[np.random.Generator] = ()
) -> list[np.random.Generator]:
    """Return ``n`` independent generators.

    Args:
        seed: An integer (generator ``k`` is the ``k``-th child of its ``SeedSequence``), a list of
            ``n`` integers or Nones (as ``gymnasium.Env.reset`` takes them one by one), or None.
        n: How many.
        before: The generators so far, if any; a None in a list keeps the one in its place.

    Raises:
        ValueError: The list has another length, or a seed is negative.
        TypeError: A seed is not an integer.
    """
    if seed is None or isinstance(seed, (int, np.integer)):
        children = np.random.SeedSequence(None if seed is None else _checked(seed)).spawn(n)
        return [_generator(child) for child in children]
    given = [None if own is None else _checked(own) for own in seed]
    if len(given) != n:
        raise ValueError(f"{len(given)} seeds for {n} environments")
    return [
        before[k] if own is None and before else _generator(np.random.SeedSequence(own))
        for k, own in enumerate(given)
    ]


def uniforms(rngs: Sequence[np.random.Generator], count: int) -> np.ndarray:
    """Return ``count`` uniform numbers of each generator, float64 ``[n, count]``."""
    if isinstance(rngs, Streams):
        return rngs.uniforms(count)
    if count == 1:
        return np.array([rng.random() for rng in rngs]).reshape(-1, 1)
    draws = range(count)
    return np.array([rng.random() for rng in rngs for _ in draws]).reshape(-1, count)


def of_rows(rngs: Sequence[np.random.Generator], rows: np.ndarray) -> Sequence[np.random.Generator]:
    """Return the generators of some rows."""
    return rngs.of(rows) if isinstance(rngs, Streams) else [rngs[k] for k in rows.tolist()]


class Streams(Sequence[np.random.Generator]):
    """Generators whose uniform numbers are drawn ahead, in blocks: a call for each is slow.

    Nobody can tell: what :meth:`uniforms` gives are the numbers that ``random()`` of the generators
    would give, and a generator that is asked for is first set back to the numbers not yet given.
    So it must be asked for whenever it is drawn from, and not be kept.

    Args:
        rngs: The generators, of PCG64.
    """

    AHEAD = 128
    """Numbers in a block."""

    def __init__(self, rngs: Sequence[np.random.Generator]) -> None:
        self._rngs = list(rngs)
        self._rows: np.ndarray = np.arange(len(self._rngs))
        self._blocks: np.ndarray = np.empty((len(self._rngs), self.AHEAD))
        self._left: np.ndarray = np.zeros(len(self._rngs), np.int64)
        """How many numbers at the end of each block have not been given."""

    def of(self, rows: np.ndarray) -> Streams:
        """Return the generators of some rows; they share their blocks with these."""
        part = object.__new__(Streams)
        part.__dict__ |= self.__dict__ | {"_rows": self._rows[rows]}
        return part

    def uniforms(self, count: int) -> np.ndarray:
        """Return the next ``count`` numbers of each generator, float64 ``[n, count]``."""
        rows, size = self._rows, self.AHEAD
        if count > size:
            return np.array([rng.random(count) for rng in self]).reshape(-1, count)
        left = self._left[rows]
        for k in rows[left < count].tolist():
            few = int(self._left[k])
            self._blocks[k, :few] = self._blocks[k, size - few :]
            self._blocks[k, few:] = self._rngs[k].random(size - few)
            self._left[k] = size
        places = rows * size + (size - self._left[rows])
        self._left[rows] -= count
        drawn: np.ndarray = self._blocks.reshape(-1)[places[:, None] + np.arange(count)]
        return drawn

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, k: int) -> np.random.Generator: ...
    @overload
    def __getitem__(self, k: slice) -> Streams: ...
    def __getitem__(self, k: int | slice) -> np.random.Generator | Streams:
        if isinstance(k, slice):
            return self.of(np.arange(len(self))[k])
        row = int(self._rows[k])
        if self._left[row]:
            _set_back(self._rngs[row].bit_generator, int(self._left[row]))
            self._left[row] = 0
        return self._rngs[row]

    def __iter__(self) -> Iterator[np.random.Generator]:
        if self._left.any():
            return (self[k] for k in range(len(self)))
        return iter([self._rngs[k] for k in self._rows.tolist()])


def _set_back(bits: Any, count: int) -> None:
    """Take back the last ``count`` 64-bit numbers of a PCG64."""
    before = bits.state
    bits.advance(-count)  # forgets the half of a number that is kept for the next 32-bit draw
    bits.state = bits.state | {name: before[name] for name in ("has_uint32", "uinteger")}


def _generator(sequence: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(sequence))


def _checked(seed: Any) -> int:
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"a seed must be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed must be >= 0, got {seed}")
    return int(seed)
