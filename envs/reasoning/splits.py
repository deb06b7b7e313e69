"""Splits of generated items by a hash of what the item is, never by a seed.

Whoever draws, from whichever seed, an item belongs to one split: training and test items cannot
overlap.
"""

from __future__ import annotations

import hashlib

SPLITS = ("train", "valid", "test")
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
"""Share of the hash's range that belongs to each split."""

_SCALE = 2.0**-64


def split_of(canonical: str) -> str:
    """Return the split that the item with this canonical text belongs to."""
    digest = hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") * _SCALE
    if place < SHARES["train"]:
        return "train"
    return "valid" if place < SHARES["train"] + SHARES["valid"] else "test"
