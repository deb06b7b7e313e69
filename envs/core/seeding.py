"""Generators of many environments from one seed."""

from __future__ import annotations

from typing import Any

import numpy as np


def generators(seed: Any, n: int) -> list[np.random.Generator]:
    """Return ``n`` independent generators.

    Args:
        seed: An integer (generator ``k`` is the ``k``-th child of its ``SeedSequence``), a list of
            ``n`` integers or Nones (as ``gymnasium.Env.reset`` takes them one by one), or None.
        n: How many.

    Raises:
        ValueError: The list has another length, or a seed is negative.
    """
    if seed is None or isinstance(seed, (int, np.integer)):
        if seed is not None and seed < 0:
            raise ValueError(f"a seed must be >= 0, got {seed}")
        children = np.random.SeedSequence(seed).spawn(n)
    else:
        given = list(seed)
        if len(given) != n:
            raise ValueError(f"{len(given)} seeds for {n} environments")
        children = [np.random.SeedSequence(own) for own in given]
    return [np.random.Generator(np.random.PCG64(child)) for child in children]
