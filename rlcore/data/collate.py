"""Fragments to batch: several streams side by side on the environment axis, on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlcore.data.ring import Fragment
from rlcore.data.spec import ArraySpec

_ROW_FIELDS = ("final_obs", "final_row")


class Collator:
    """Joins fragments into ``[T, B, ...]`` tensors, ``B`` the sum of their environments.

    One fragment on the CPU is not copied at all: the batch is a view of its slot and is good until
    the slot is released. Otherwise each array is copied once, into a staging buffer (pinned where
    the device is a GPU).

    Args:
        spec: Arrays of one fragment.
        unroll: Steps ``T``.
        envs: Environments ``E`` of each stream.
        count: Fragments in a batch.
        device: Where the batch is wanted.
    """

    def __init__(
        self, spec: ArraySpec, *, unroll: int, envs: int, count: int, device: torch.device
    ) -> None:
        self.spec = spec
        self.envs = envs
        self.count = count
        self.device = device
        self._staging: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None
        if count > 1 or device.type != "cpu":
            for name, field in spec.items():
                if name not in _ROW_FIELDS:
                    shape = field.full_shape(unroll, envs * count)
                    dtype = torch.from_numpy(np.empty(0, field.dtype)).dtype
                    self._staging[name] = torch.empty(
                        shape, dtype=dtype, pin_memory=device.type == "cuda"
                    )
        self._targets = {name: tensor.numpy() for name, tensor in self._staging.items()}

    def __call__(self, fragments: Sequence[Fragment]) -> dict[str, Any]:
        """Return the batch of ``fragments``, which are laid side by side in the given order.

        Raises:
            ValueError: There are not exactly ``count`` fragments.
        """
        if len(fragments) != self.count:
            raise ValueError(f"a batch has {self.count} fragments, got {len(fragments)}")
        if self._staging:
            batch: dict[str, Any] = self._copy(fragments)
        else:
            arrays = fragments[0].arrays
            batch = {n: torch.from_numpy(a) for n, a in arrays.items() if n not in _ROW_FIELDS}
        if "final_row" in self.spec:
            batch |= self._final_rows(fragments)
        return batch

    def split(self, batch: Mapping[str, Any], parts: int) -> list[dict[str, Any]]:
        """Return a batch of rows as ``parts`` smaller ones, for one update from all of them.

        Arrays are cut along the rows; other values go to every part. Batches of environment steps
        cannot be split: their final observations are numbered over the whole batch.

        Raises:
            ValueError: The rows do not divide into ``parts``, or it is no batch of rows.
        """
        rows = self.envs * self.count
        if rows % parts or "final_row" in self.spec:
            raise ValueError(f"a batch of {rows} rows cannot be split into {parts} equal ones")
        size = rows // parts
        return [
            {
                name: value[i * size : (i + 1) * size] if name in self.spec else value
                for name, value in batch.items()
            }
            for i in range(parts)
        ]

    def _copy(self, fragments: Sequence[Fragment]) -> dict[str, Any]:
        if self._copied is not None:
            self._copied.synchronize()  # the last batch must have left the staging buffers
        for name, target in self._targets.items():
            initial = self.spec[name].kind == "initial"
            for i, fragment in enumerate(fragments):
                columns = slice(i * self.envs, (i + 1) * self.envs)
                if initial:
                    target[columns] = fragment.arrays[name]
                else:
                    target[:, columns] = fragment.arrays[name]
        if self.device.type == "cpu":
            return dict(self._staging)
        batch = {n: t.to(self.device, non_blocking=True) for n, t in self._staging.items()}
        if self.device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(self.device))
        return batch

    def _final_rows(self, fragments: Sequence[Fragment]) -> dict[str, Tensor]:
        width = self.envs * self.count
        obs, rows = [], []
        for i, fragment in enumerate(fragments):
            index = fragment.arrays["final_row"].astype(np.int64)
            used = np.flatnonzero(index >= 0)
            if len(used):
                step, env = np.divmod(index[used], self.envs)
                rows.append(step * width + env + i * self.envs)
                obs.append(fragment.arrays["final_obs"][used])
        if not rows:
            field = self.spec["final_obs"]
            empty = np.empty((0, *field.shape), field.dtype)
            return {
                "final_obs": torch.from_numpy(empty).to(self.device),
                "final_row": torch.empty(0, dtype=torch.int64, device=self.device),
            }
        return {
            "final_obs": torch.from_numpy(np.concatenate(obs)).to(self.device),
            "final_row": torch.from_numpy(np.concatenate(rows)).to(self.device),
        }
