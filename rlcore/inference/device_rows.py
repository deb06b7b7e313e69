"""The row tables on a GPU: uploaded where something happened, advanced there by every step.

The rule by which rows advance is that of :meth:`rlcore.inference.rows.RowTable.advance`.

Legend: ``R`` rows, ``W`` entries of a block list (a power of two).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.inference.rows import NORMAL, RowTable

LEAST_WIDTH = 16
FIELDS = ("active", "tail", "top_k", "token", "position", "key", "temperature", "top_p", "penalty")


class DeviceRows:
    """Device tensors that mirror a :class:`RowTable`.

    Args:
        rows: The host's tables.
        device: Where.

    Attributes:
        active, tail, top_k: int32 ``[R]``.
        token, position, key: int64 ``[R]``.
        temperature, top_p, penalty: float32 ``[R]``.
        seen: int32 ``[R, ceil(V / 32)]``, or ``None`` while no row has a penalty.
        width: W of the tables in use.
    """

    def __init__(self, rows: RowTable, device: torch.device) -> None:
        self.host, self.device = rows, device
        count = len(rows.active)

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(count, dtype=dtype, device=device)

        self.active, self.tail, self.top_k = (zeros(torch.int32) for _ in range(3))
        self.token, self.position, self.key = (zeros(torch.int64) for _ in range(3))
        self.temperature, self.top_p, self.penalty = (
            torch.ones(count, device=device) for _ in range(3)
        )
        self.starts = torch.arange(count + 1, dtype=torch.int32, device=device)
        self.seen: Tensor | None = None
        self.width = LEAST_WIDTH
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def table(self) -> Tensor:
        """int32 ``[R, W]``."""
        return self.tables(self.width)[0]

    @property
    def fill(self) -> Tensor:
        """int32 ``[R, W]``."""
        return self.tables(self.width)[1]

    def tables(self, width: int) -> tuple[Tensor, Tensor]:
        """Return block lists and fills of a width; their addresses never change."""
        if width not in self._tables:
            shape = (len(self.host.active), width)
            self._tables[width] = (
                torch.zeros(shape, dtype=torch.int32, device=self.device),
                torch.zeros(shape, dtype=torch.int32, device=self.device),
            )
        return self._tables[width]

    def upload(self, occupied: NDArray[np.int64]) -> None:
        """Bring over what has changed on the host since the last step."""
        host = self.host
        changed = sorted(host.seated | host.emptied)
        lists: Sequence[int] | NDArray[np.int64] = changed
        if self._fit_width(occupied):
            lists = np.union1d(np.asarray(changed, np.int64), occupied)
            host.grown.clear()
        if changed:
            self._upload_fields(changed)
        if len(lists):
            self._upload_lists(np.asarray(lists, np.int64))
        new_rows = host.seated
        grown = [entry for entry in host.grown if entry[0] not in new_rows]
        if grown:
            rows, entries, blocks = self.put(np.asarray(grown, np.int64).T.copy())
            self.table.index_put_((rows, entries), blocks.int())
        if host.seen is not None:
            self._upload_seen(host.seen)
        host.seated.clear()
        host.emptied.clear()
        host.grown.clear()

    def _fit_width(self, occupied: NDArray[np.int64]) -> bool:
        """Choose the tables that the longest list fits into; return whether they changed."""
        longest = int(self.host.width[occupied].max(initial=1))
        width = max(LEAST_WIDTH, 1 << (longest - 1).bit_length())
        if width > self.width or width * 4 <= self.width:
            self.width = width
            return True
        return False

    def _upload_fields(self, rows: list[int]) -> None:
        index = np.asarray(rows, np.int64)
        packed = np.zeros((1 + len(FIELDS), len(rows)), np.int64)
        packed[0] = index
        for place, name in enumerate(FIELDS, 1):
            values = getattr(self.host, name)[index]
            if values.dtype == np.float32:
                values = values.view(np.int32)
            packed[place] = values
        device = self.put(packed)
        where = device[0]
        for place, name in enumerate(FIELDS, 1):
            target: Tensor = getattr(self, name)
            values = device[place]
            if target.dtype == torch.float32:
                values = values.int().view(torch.float32)
            target.index_copy_(0, where, values.to(target.dtype))

    def _upload_lists(self, rows: NDArray[np.int64]) -> None:
        width = self.width
        have = min(width, self.host.table.shape[1])
        packed = np.zeros((len(rows), 2 * width), np.int32)
        packed[:, :have] = self.host.table[rows, :have]
        packed[:, width : width + have] = self.host.fill[rows, :have]
        device, where = self.put(packed), self.put(rows)
        self.table.index_copy_(0, where, device[:, :width])
        self.fill.index_copy_(0, where, device[:, width:])

    def _upload_seen(self, seen: NDArray[np.int32]) -> None:
        if self.seen is None:
            self.seen = torch.zeros(seen.shape, dtype=torch.int32, device=self.device)
        rows = [row for row in sorted(self.host.seated) if self.host.penalty[row] != 1.0]
        if rows:
            index = np.asarray(rows, np.int64)
            self.seen.index_copy_(0, self.put(index), self.put(seen[index]))

    def put(self, array: NDArray[Any]) -> Tensor:
        """Return a copy on the device; the host does not wait for it."""
        if self.device.type != "cuda":
            return torch.from_numpy(array.copy())
        return torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)

    def advance(self, count: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Give the next tokens of the first ``count`` rows their slots.

        Returns:
            ids, positions and slots, int64 ``[count]``, and the table and fill, int32
            ``[count, W]``.
        """
        table, fill = (x[:count] for x in self.tables(width))
        writes = (self.active[:count] == NORMAL).int()
        tail = self.tail[:count]
        used = fill.gather(1, tail.long()[:, None])[:, 0]
        tail += writes * (used >= self.host.block_size)
        place = tail.long()[:, None]
        fill.scatter_add_(1, place, writes[:, None])
        size = self.host.block_size
        slots = table.gather(1, place)[:, 0].long() * size + fill.gather(1, place)[:, 0] - 1
        ids, positions = self.token[:count], self.position[:count].clone()
        busy = self.active[:count] > 0
        self.position[:count] += busy
        self.active[:count] = busy
        return ids, positions, torch.where(writes > 0, slots, -1), table, fill
