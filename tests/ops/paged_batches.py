"""Random pools and block lists: ragged fills, blocks in any order, padded rows, shared prefixes."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.ops.attention.paged import PagedBatch, SharedPrefix


class PoolBuilder:
    """Gives out blocks of a pool in random order and lists them in rows."""

    def __init__(self, seed: int, block: int = 16, blocks: int = 512) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.block = block
        self.free = torch.randperm(blocks, generator=self.g).tolist()
        self.blocks = blocks
        self.rows: list[list[tuple[int, int]]] = []
        self.new: list[int] = []

    def number(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.g))

    def ragged(self, count: int) -> list[tuple[int, int]]:
        """``count`` blocks, each filled with any number of slots from 1 on."""
        return [(self.free.pop(), self.number(1, self.block)) for _ in range(count)]

    def row(self, listed: list[tuple[int, int]], new: int) -> None:
        """A row that sees ``listed`` and then its own ``new`` tokens in full blocks."""
        fills = [min(self.block, new - i) for i in range(0, new, self.block)]
        self.rows.append([*listed, *((self.free.pop(), fill) for fill in fills)])
        self.new.append(new)

    def batch(self, device: str = "cpu", prefix: SharedPrefix | None = None) -> PagedBatch:
        width = max((len(row) for row in self.rows), default=0) + 2
        table = torch.full((len(self.rows), width), -1, dtype=torch.int32)
        fill = torch.zeros(len(self.rows), width, dtype=torch.int32)
        for i, row in enumerate(self.rows):
            for j, (index, count) in enumerate(row):
                table[i, j], fill[i, j] = index, count
        starts = torch.tensor([0, *self.new], dtype=torch.int32).cumsum(0).int()
        slots = [
            slot
            for row, new in zip(self.rows, self.new, strict=True)
            for slot in [i * self.block + o for i, count in row for o in range(count)][
                len([0 for _, count in row for _ in range(count)]) - new :
            ]
        ]
        moved = (x.to(device) for x in (starts, table, fill, torch.tensor(slots)))
        return PagedBatch(*moved, max(self.new, default=0), max(width - 2, 0), prefix)

    def pool(self, kv_heads: int, dim: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
        """Values everywhere, and NaN in the blocks that no row lists: they must not be read."""
        pool = torch.randn(self.blocks, self.block, kv_heads, dim, generator=self.g)
        pool[self.free] = torch.nan
        return pool.to(device, dtype)

    def queries(self, heads: int, dim: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
        return torch.randn(sum(self.new), heads, dim, generator=self.g).to(device, dtype)


def mixed_rows(seed: int, block: int = 16, decode_only: bool = False) -> PoolBuilder:
    """Rows that decode, rows with a prompt, and rows with several new tokens after a history."""
    build = PoolBuilder(seed, block)
    for new in (1, 1, 5, 1, 37, 16, 1, 2, 1):
        listed = build.ragged(build.number(0, 6))
        build.row(listed, 1 if decode_only else new)
    return build


def relative_l2(ours: Tensor, wanted: Tensor) -> float:
    """Relative error in the Euclidean norm, in float64."""
    difference = ours.double().cpu() - wanted.double().cpu()
    return float(difference.norm() / wanted.double().norm())
