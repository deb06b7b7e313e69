"""What a learner counts, on the host or, where reading would mean waiting, on the device."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

Count = int | Tensor
Flag = bool | Tensor


class Tally(Protocol):
    """Counts of applied, skipped, zeroed and clipped updates.

    Attributes:
        version: Applied updates.
        skipped: Updates left out for a non-finite loss or gradient.
        in_a_row: Of those, the ones since the last applied update.
        zeroed: Updates applied with non-finite gradient entries taken as 0.
    """

    version: int
    skipped: int
    in_a_row: int
    zeroed: int

    def current(self) -> Count:
        """Return ``version`` without waiting for a device."""
        ...

    def note(self, applied: Flag, zeroed: Flag, clipped: Flag) -> None:
        """Count one update."""
        ...

    def exceeded(self) -> bool:
        """Return whether too many updates in a row were skipped, as far as is known."""
        ...

    def zeroed_count(self) -> Tensor:
        """Return ``zeroed`` as a scalar, without waiting for a device."""
        ...

    def take_clip_frac(self) -> Tensor:
        """Return the share of clipped updates since the last call."""
        ...


class HostTally:
    """Counts as Python numbers."""

    def __init__(self, limit: int) -> None:
        self.version = self.skipped = self.in_a_row = self.zeroed = 0
        self._limit = limit
        self._clipped = self._seen = 0

    def current(self) -> int:
        """Return the version."""
        return self.version

    def note(self, applied: Flag, zeroed: Flag, clipped: Flag) -> None:
        """Count one update."""
        self._seen += 1
        self._clipped += bool(clipped)
        self.zeroed += bool(zeroed)
        if applied:
            self.version += 1
            self.in_a_row = 0
        else:
            self.skipped += 1
            self.in_a_row += 1

    def exceeded(self) -> bool:
        """Return whether ``limit`` updates in a row were skipped."""
        return self.in_a_row >= self._limit

    def zeroed_count(self) -> Tensor:
        """Return ``zeroed`` as a scalar."""
        return torch.tensor(float(self.zeroed))

    def take_clip_frac(self) -> Tensor:
        """Return the share of clipped updates since the last call."""
        share = self._clipped / max(self._seen, 1)
        self._clipped = self._seen = 0
        return torch.tensor(share)


class DeviceTally:
    """Counts as tensors on a device; an update never waits for them.

    The longest series of skips is copied to the host in the background and looked at by the next
    update that finds the copy done. Nothing is applied once it has reached the limit, so the
    parameters are the same however late that is.
    """

    def __init__(self, limit: int, device: torch.device) -> None:
        self._limit = limit
        self._counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._row = torch.zeros((), dtype=torch.int64, device=device)
        self._longest = torch.zeros((), dtype=torch.int64, device=device)
        cuda = device.type == "cuda"
        self._copy = torch.zeros((), dtype=torch.int64, pin_memory=cuda)
        self._copied: Any = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]
        self._seen = 0

    def current(self) -> Tensor:
        """Return the version, a scalar on the device."""
        return self._counts[0].clone()

    def within_limit(self) -> Tensor:
        """Return whether updates may still be applied, a boolean on the device."""
        return self._longest < self._limit

    def note(self, applied: Flag, zeroed: Flag, clipped: Flag) -> None:
        """Count one update; all three are booleans on the device."""
        assert isinstance(applied, Tensor)
        assert isinstance(zeroed, Tensor)
        assert isinstance(clipped, Tensor)
        skipped = applied.logical_not()
        self._counts.add_(torch.stack([applied, skipped, zeroed, clipped]))
        self._row.add_(1).mul_(skipped)
        torch.maximum(self._longest, self._row, out=self._longest)
        self._seen += 1
        self._copy.copy_(self._longest, non_blocking=True)
        if self._copied is not None:
            self._copied.record()

    def exceeded(self) -> bool:
        """Return whether ``limit`` updates in a row are known to have been skipped."""
        if self._copied is not None and not self._copied.query():
            return False
        return int(self._copy) >= self._limit

    def zeroed_count(self) -> Tensor:
        """Return ``zeroed``, a scalar on the device."""
        return self._counts[2].float()

    def take_clip_frac(self) -> Tensor:
        """Return the share of clipped updates since the last call, a scalar on the device."""
        share = self._counts[3] / max(self._seen, 1)
        self._counts[3].zero_()
        self._seen = 0
        return share

    @property
    def version(self) -> int:
        """Applied updates; reading waits for the device."""
        return int(self._counts[0])

    @version.setter
    def version(self, value: int) -> None:
        self._counts[0].fill_(value)

    @property
    def skipped(self) -> int:
        """Skipped updates; reading waits for the device."""
        return int(self._counts[1])

    @skipped.setter
    def skipped(self, value: int) -> None:
        self._counts[1].fill_(value)

    @property
    def zeroed(self) -> int:
        """Updates with zeroed gradient entries; reading waits for the device."""
        return int(self._counts[2])

    @zeroed.setter
    def zeroed(self, value: int) -> None:
        self._counts[2].fill_(value)

    @property
    def in_a_row(self) -> int:
        """Updates skipped since the last applied one; reading waits for the device."""
        return int(self._row)

    @in_a_row.setter
    def in_a_row(self, value: int) -> None:
        for count in (self._row, self._longest, self._copy):
            count.fill_(value)
