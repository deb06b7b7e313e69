"""The row tables on a GPU: uploaded where something happened, advanced there by every step.

The rule by which rows advance is that of :meth:`rlcore.inference.rows.RowTable.advance`.

Legend: ``R`` rows, ``W`` entries of a block list (a power of two).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.inference.rows import NORMAL, RowTable
from rlcore.ops.backends import resolve_backend
from rlcore.ops.sampling import Sampled

LEAST_WIDTH = 16


class DeviceRows:
    """Device tensors that mirror a :class:`RowTable`.

    Args:
        rows: The host's tables.
        device: Where.

    Attributes:
        words: int32 ``[12 R]``, of which the fields are views: three of each type, int64 first.
        active, tail, top_k: int32 ``[R]``.
        token, position, key: int64 ``[R]``.
        temperature, top_p, penalty: float32 ``[R]``.
        seen: int32 ``[R, ceil(V / 32)]``, or ``None`` while no row has a penalty.
        backend: ``triton`` on a GPU, else ``torch``.
        width: W of the tables in use.
    """

    def __init__(self, rows: RowTable, device: torch.device) -> None:
        self.host, self.device = rows, device
        self.backend = resolve_backend("auto", torch.empty(0, device=device))
        count = len(rows.active)

        # Types as on the host; all of it as words of four bytes, of which a kernel places some.
        self.words = torch.zeros(12 * count, dtype=torch.int32, device=device)
        longs, ints, floats = self.words.split((6 * count, 3 * count, 3 * count))  # type: ignore[no-untyped-call]
        self._longs = longs.view(torch.int64).view(3, count)
        self._ints = ints.view(3, count)
        self._floats = floats.view(torch.float32).view(3, count).fill_(1.0)
        self.token, self.position, self.key = self._longs.unbind()
        self.active, self.tail, self.top_k = self._ints.unbind()
        self.temperature, self.top_p, self.penalty = self._floats.unbind()
        self.starts = torch.arange(count + 1, dtype=torch.int32, device=device)
        self.seen: Tensor | None = None
        self.width = LEAST_WIDTH
        self._tables: dict[int, Tensor] = {}

    @property
    def table(self) -> Tensor:
        """int32 ``[R, W]``."""
        return self.lists(self.width)[0]

    @property
    def fill(self) -> Tensor:
        """int32 ``[R, W]``."""
        return self.lists(self.width)[1]

    def lists(self, width: int) -> Tensor:
        """Return block lists and fills of a width, ``[2, R, W]``; their address never changes."""
        if width not in self._tables:
            shape = (2, len(self.host.active), width)
            self._tables[width] = torch.zeros(shape, dtype=torch.int32, device=self.device)
        return self._tables[width]

    def upload(self, occupied: NDArray[np.int64]) -> None:
        """Bring over what has changed on the host since the last step."""
        host = self.host
        changed = np.asarray(sorted(host.seated | host.emptied), np.int64)
        if self._fit_width(occupied):
            self._upload_rows(changed, np.union1d(changed, occupied))
            host.grown.clear()
        elif len(changed):
            self._upload_rows(changed, changed)
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

    def _upload_rows(self, changed: NDArray[np.int64], listed: NDArray[np.int64]) -> None:
        """Bring over the fields of the rows ``changed`` and the block lists of those ``listed``.

        All of it is one copy and one kernel: each costs the host time that a step waits.
        """
        host, width = self.host, self.width
        have = min(width, host.table.shape[1])
        lists = np.zeros((2, len(listed), width), np.int32)
        lists[..., :have] = host.lists[:, listed, :have]
        fields = [x[:, changed] for x in (host.longs, host.ints, host.floats)]
        numbers = [np.asarray(x, np.int32) for x in ([len(changed), len(listed)], changed, listed)]
        # Those of eight bytes where a view of words as such numbers finds them aligned.
        parts = (numbers[0], fields[0], *numbers[1:], *fields[1:], lists)
        words = [part.reshape(-1).view(np.int32) for part in parts]
        sent = self.put(np.concatenate(words))
        if self.backend == "triton":
            from rlcore.inference.step_triton import place_triton

            place_triton(self, sent, len(changed), len(listed))
            return
        _, longs, rows, rows_listed, ints, floats, entries = torch.split(
            sent, [len(part) for part in words]
        )
        where, count = rows.long(), len(changed)
        self._longs.index_copy_(1, where, longs.view(torch.int64).view(3, count))
        self._ints.index_copy_(1, where, ints.view(3, count))
        self._floats.index_copy_(1, where, floats.view(torch.float32).view(3, count))
        self.lists(width).index_copy_(1, rows_listed.long(), entries.view(lists.shape))

    def _upload_seen(self, seen: NDArray[np.int32]) -> None:
        if self.seen is None:
            self.seen = torch.zeros(seen.shape, dtype=torch.int32, device=self.device)
        rows = [row for row in sorted(self.host.seated) if self.host.penalty[row] != 1.0]
        if rows:
            index = np.asarray(rows, np.int64)
            self.seen.index_copy_(0, self.put(index), self.put(seen[index]))

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Make all rows idle for a step that is only tried out: it leaves no trace in them."""
        tokens = self.token.clone()
        active = self.active.clone()
        seen = None if self.seen is None else self.seen.clone()
        self.active.zero_()
        yield
        self.token.copy_(tokens)
        self.active.copy_(active)
        if self.seen is not None and seen is not None:
            self.seen.copy_(seen)

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
        table, fill = self.lists(width)[:, :count]
        if self.backend == "triton":
            from rlcore.inference.step_triton import advance_triton

            return self.token[:count], *advance_triton(self, count, table, fill), table, fill
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

    def record(self, drawn: Sampled, out: Tensor) -> None:
        """Feed what the first rows drew to their next step, and write it to ``out``.

        Args:
            drawn: Tokens and log-probabilities.
            out: int32 ``[3, R]``: tokens, and the bits of both log-probabilities in float32.
        """
        if self.backend == "triton":
            from rlcore.inference.step_triton import record_triton

            record_triton(drawn, self.token, out)
            return
        count = len(drawn.tokens)
        self.token[:count] = drawn.tokens
        out[0, :count] = drawn.tokens
        out[1, :count] = drawn.log_probs.float().view(torch.int32)
        out[2, :count] = drawn.raw_log_probs.float().view(torch.int32)
