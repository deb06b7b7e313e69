"""How the kernels of paged attention cut their work: slots of a step, programs of a list."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch

SHARED_TILE = 128
"""Slots of one step of a program that serves a group of rows, where there is memory for them."""
SHARED_QUERIES = 128
"""Most query heads of such a program; there are several for larger groups."""
EXTEND_TILE = 64
"""Slots of one step where a row has several new tokens, likewise."""
QUERY_TILE = 64
"""Queries, times query heads of a key head, of such a program."""
PROGRAMS = {True: 2112, False: 1056}
"""A row's own list is divided until there are about this many programs.

By whether each query head has a key head of its own. They are of one warp; measured on an H100 with
lists of 72 to 2,176 tokens, 1 to 512 rows.
"""
WARP_ELEMENTS = 4096
"""Numbers of a tile of keys that one warp holds."""


def own_parts(q: Tensor, keys: Tensor, batch: PagedBatch) -> int:
    """Return among how many programs a row's own list is divided, from what the host knows."""
    entries = batch.max_blocks if batch.prefix is None else batch.prefix.most_own
    tiles = -(-entries * keys.shape[1] // own_tile(q, keys))
    wanted = PROGRAMS[q.shape[1] == keys.shape[2]]
    return max(1, min(tiles, wanted // max(batch.rows * keys.shape[2], 1), 32))


def own_tile(q: Tensor, keys: Tensor) -> int:
    """Return the slots of one step over a row's own list."""
    if q.shape[1] == keys.shape[2]:  # no matrix product
        tile = 64 if q.shape[0] * keys.shape[2] < 132 else 32
    else:
        tile = 16
    return max(tile, power_of_two(keys.shape[1]))


def fitting_tile(keys: Tensor, queries: int, most: int) -> int:
    """Return the slots of a step that fit into a program's memory: at most ``most``, or a block.

    Args:
        keys: ``[n_blocks, block, K, D]``.
        queries: Of the program.
        most: Where there is memory for as many.
    """
    width, tile = power_of_two(keys.shape[3], 16) * keys.element_size(), most
    # Queries, and keys and values of two steps, are in shared memory at once.
    while tile > 16 and (queries + 4 * tile) * width > shared_memory(keys.device):
        tile //= 2
    return max(tile, power_of_two(keys.shape[1]))


@cache
def shared_memory(device: torch.device) -> int:
    """Return the bytes of shared memory that a program may have; on a CPU those of an H100."""
    if device.type != "cuda":
        return 227 << 10
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)


def power_of_two(number: int, least: int = 1) -> int:
    """Return the smallest power of two that is at least ``number`` and ``least``."""
    return max(1 << max(number - 1, 0).bit_length(), least)
