"""Generators of many environments from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def _generator(sequence: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(sequence))


def _checked(seed: Any) -> int:
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"a seed must be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed must be >= 0, got {seed}")
    return int(seed)
