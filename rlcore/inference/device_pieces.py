"""What rows share, on the device: found anew when a row comes or goes, read by every step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rlcore.inference.device_rows import LEAST_WIDTH, DeviceRows
from rlcore.inference.shared_prefix import MEMBERS, MOST_PIECES, PIECES, shared_pieces
from rlcore.ops.attention.paged import SharedPrefix


class DevicePieces:
    """Tensors of a :class:`SharedPrefix` whose addresses never change.

    Args:
        rows: The row tables.
        kv_heads: Key heads of the model.

    Attributes:
        own: At least the entries that any row keeps for itself, a power of four: graphs are
            captured for each; 0 while nothing is shared.
    """

    def __init__(self, rows: DeviceRows, kv_heads: int) -> None:
        self.rows, self.kv_heads = rows, kv_heads
        count = len(rows.host.active)
        sizes = [PIECES * MEMBERS, PIECES * 2, PIECES, count, count]
        self._all = torch.zeros(sum(sizes), dtype=torch.int32, device=rows.device)
        members, bounds, self._place, self._skip, self._pieces = torch.split(self._all, sizes)
        self._members, self._bounds = members.view(PIECES, MEMBERS), bounds.view(PIECES, 2)
        self._kept: NDArray[np.int32] | None = None
        self.own = 0

    def update(self, occupied: NDArray[np.int64]) -> None:
        """Follow the host's tables; called before they are uploaded.

        Rows that pass share nothing: they are gone before a further step could gain from it.

        Args:
            occupied: int64 ``[n]``, the rows of the next step.
        """
        host = self.rows.host
        if host.regrouped:
            host.regrouped = False
            found = shared_pieces(host, occupied[~host.passing[occupied]], self.kv_heads)
            self._kept = None if found is None else found.skip
            if found is not None:
                parts = (found.members, found.bounds, found.place, found.skip, found.pieces)
                self._all.copy_(self.rows.put(np.concatenate([part.reshape(-1) for part in parts])))
        self.own = 0
        if self._kept is not None:
            longest = int((host.width[occupied] - self._kept[occupied]).max(initial=1))
            self.own = max(LEAST_WIDTH, 4 ** -(-(longest - 1).bit_length() // 2))

    def prefix(self, count: int, own: int) -> SharedPrefix:
        """Return what the first ``count`` rows share; none keeps more than ``own`` entries."""
        return SharedPrefix(
            self._members,
            self._bounds,
            self._place,
            skip=self._skip[:count],
            pieces=self._pieces[:count],
            most_pieces=MOST_PIECES,
            most_own=own,
        )
