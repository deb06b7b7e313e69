"""The parameter store: versioned weights in shared memory, one writer and many readers.

The writer fills the copy that no newest version lives in, stamps it, then moves the version on.
A reader copies and re-checks the stamp; if the copy was being rewritten it reads again. No lock on
the read path and no torn weights. With ``copies = lag + 1`` the last ``lag + 1`` versions can be
read back, which lockstep needs.
"""

from __future__ import annotations

import contextlib
import platform
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rlcore.data.shared_memory import SharedBlock, align
from rlcore.errors import RlcoreError

# Plain stores are seen in program order on x86; elsewhere a file lock orders them.
_STORES_ARE_ORDERED = platform.machine().lower() in ("x86_64", "amd64", "i686")
_NO_LOCK = contextlib.nullcontext()
_BUSY = -1
_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """Names, shapes, dtypes and byte offsets of a network's parameters and buffers."""

    entries: tuple[tuple[str, tuple[int, ...], torch.dtype, int], ...]
    size: int

    @classmethod
    def of(cls, network: nn.Module) -> TensorLayout:
        """Lay out the state of ``network``; any device, ``meta`` included."""
        entries, offset = [], 0
        for name, tensor in network.state_dict().items():
            entries.append((name, tuple(tensor.shape), tensor.dtype, offset))
            offset = align(offset + tensor.numel() * tensor.element_size())
        return cls(tuple(entries), max(offset, align(1)))

    def views(self, raw: Tensor) -> dict[str, Tensor]:
        """Return typed views into ``raw``, a uint8 vector of ``size`` bytes."""
        views = {}
        for name, shape, dtype, offset in self.entries:
            count = int(np.prod(shape, dtype=np.int64))
            itemsize = torch.empty(0, dtype=dtype).element_size()
            views[name] = raw[offset : offset + count * itemsize].view(dtype).view(shape)
        return views


class ParamStore:
    """Versioned parameters in ``copies`` shared buffers.

    Args:
        layout: What one version holds.
        copies: How many versions are kept, at least 2.
        fd: Shared block of another process's store of the same layout.
    """

    def __init__(self, layout: TensorLayout, copies: int = 2, fd: int | None = None) -> None:
        if copies < 2:
            raise ValueError(f"a parameter store needs >= 2 copies, got {copies}")
        self.layout = layout
        self.copies = copies
        fresh = fd is None
        self.block = SharedBlock(_HEADER_BYTES + copies * layout.size, fd)
        header = self.block.array((1 + copies,), "int64")
        self._newest, self._stamps = header[:1], header[1:]
        if fresh:
            header[:] = _BUSY
        self._raw = [
            torch.from_numpy(
                self.block.array((layout.size,), "uint8", _HEADER_BYTES + copy * layout.size)
            )
            for copy in range(copies)
        ]
        self._views = [layout.views(raw) for raw in self._raw]

    @property
    def fd(self) -> int:
        """Descriptor of the shared block, to hand to another process."""
        return self.block.fd

    @property
    def version(self) -> int:
        """Newest published version; -1 before the first."""
        return int(self._newest[0])

    def publish(self, state: dict[str, Tensor], version: int) -> None:
        """Make ``state`` the newest version; versions only grow.

        Raises:
            RlcoreError: ``version`` is not greater than the newest one.
        """
        if version <= self.version:
            raise RlcoreError(f"version {version} published after version {self.version}")
        copy = version % self.copies
        with self._ordered():
            self._stamps[copy] = _BUSY
            for name, view in self._views[copy].items():
                view.copy_(state[name])
            self._stamps[copy] = version
            self._newest[0] = version

    def read(self, version: int, into: Tensor) -> bool:
        """Copy ``version`` into the uint8 vector ``into``; False if it is no longer there."""
        copy = version % self.copies
        with self._ordered():
            if self._stamps[copy] != version:
                return False
            into.copy_(self._raw[copy])
            return bool(self._stamps[copy] == version)

    def state(self, version: int) -> dict[str, Tensor]:
        """Return a private copy of ``version`` by name.

        Raises:
            RlcoreError: The store no longer holds it.
        """
        raw = torch.empty(self.layout.size, dtype=torch.uint8)
        if not self.read(version, raw):
            raise RlcoreError(f"version {version} is not in the store (newest {self.version})")
        return self.layout.views(raw)

    def _ordered(self) -> contextlib.AbstractContextManager[None]:
        return _NO_LOCK if _STORES_ARE_ORDERED else self.block.lock()


class ParamReader:
    """An actor's network, bound to a private buffer that one copy brings up to date."""

    def __init__(self, store: ParamStore, network: nn.Module) -> None:
        self.store = store
        self.version = -1
        self._raw = torch.zeros(store.layout.size, dtype=torch.uint8)
        views = store.layout.views(self._raw)
        for name, tensor in network.state_dict(keep_vars=True).items():
            tensor.data = views[name]

    def pull_newest(self) -> int:
        """Bring the network to the newest version and return it."""
        while True:
            newest = self.store.version
            if newest == self.version and newest >= 0:
                return newest
            if newest >= 0 and self.store.read(newest, self._raw):
                self.version = newest
                return newest
            time.sleep(0)

    def pull_exact(self, version: int) -> int:
        """Bring the network to ``version``.

        Raises:
            RlcoreError: The store has moved past it; lockstep keeps enough copies to prevent this.
        """
        if self.version != version:
            if not self.store.read(version, self._raw):
                raise RlcoreError(
                    f"parameter version {version} is not in the store "
                    f"(newest {self.store.version}, {self.store.copies} copies)"
                )
            self.version = version
        return version
