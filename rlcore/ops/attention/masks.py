"""Which keys a query sees, as data: a few numbers a token instead of an ``S x S`` matrix.

Legend: ``B`` rows, ``S`` tokens of a row, ``L`` nesting levels of parallel blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMask:
    """The conjunction of rules; key ``k`` is visible to query ``q`` where all given ones hold.

    A query that sees no key at all (padding, for one) gets zeros.

    Attributes:
        causal: ``k <= q``.
        documents: int32 ``[B, S]``, packing: ``documents[k] == documents[q]``.
        blocks: int32 ``[B, S]``, block-causal order: ``blocks[k] <= blocks[q]``.
        intervals: Two int32 ``[B, L, S]`` ``(gs, ps)``: at no level ``gs[q] <= k < ps[q]``. It
            hides the sibling branches of a parallel block; an unused level has ``gs = ps = 0``.
        padding: bool ``[B, S]``, true for real tokens: ``padding[k]``.
    """

    causal: bool = True
    documents: Tensor | None = None
    blocks: Tensor | None = None
    intervals: tuple[Tensor, Tensor] | None = None
    padding: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = {name: tuple(value.shape) for name, value in self._rows().items()}
        if self.intervals is not None:
            gs, ps = self.intervals
            if gs.dim() != 3 or gs.shape != ps.shape:
                raise ConfigError(
                    "mask intervals want two tensors [B, L, S], got "
                    f"{tuple(gs.shape)} and {tuple(ps.shape)}"
                )
            shapes["intervals"] = (gs.shape[0], gs.shape[2])
        if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
            raise ConfigError(f"parts of a mask want one shape [B, S], got {shapes}")
        if self.padding is not None and self.padding.dtype != torch.bool:
            raise ConfigError(f"padding wants bool, true for real tokens, got {self.padding.dtype}")

    def _rows(self) -> dict[str, Tensor]:
        parts = {"documents": self.documents, "blocks": self.blocks, "padding": self.padding}
        return {name: value for name, value in parts.items() if value is not None}

    @property
    def shape(self) -> tuple[int, int] | None:
        """``(B, S)`` of the parts; ``None`` where only ``causal`` says anything."""
        for value in self._rows().values():
            return value.shape[0], value.shape[1]
        if self.intervals is not None:
            return self.intervals[0].shape[0], self.intervals[0].shape[2]
        return None

    @property
    def device(self) -> torch.device | None:
        """Where the parts lie; ``None`` where there is none."""
        tensors = [*self._rows().values(), *(self.intervals or ())]
        return tensors[0].device if tensors else None

    def dense(
        self, shape: tuple[int, int] | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """Return the definition, bool ``[B, 1, S, S]`` over (query, key).

        Args:
            shape: ``(B, S)``; only needed for a mask without tensors.
            device: Likewise.
        """
        own = self.shape
        if own is None and shape is None:
            raise ConfigError("a mask without tensors wants the shape (B, S) to be dense")
        rows, length = own or shape or (0, 0)
        index = torch.arange(length, device=self.device or device)
        q, k = index[:, None], index[None, :]
        seen = (k <= q) if self.causal else torch.ones_like(k <= q)
        seen = seen.expand(rows, length, length)
        if self.documents is not None:
            seen = seen & (self.documents[:, None, :] == self.documents[:, :, None])
        if self.blocks is not None:
            seen = seen & (self.blocks[:, None, :] <= self.blocks[:, :, None])
        if self.intervals is not None:
            gs, ps = (part[..., None] for part in self.intervals)
            seen = seen & ~((gs <= k) & (k < ps)).any(1)
        if self.padding is not None:
            seen = seen & self.padding[:, None, :]
        return seen[:, None]
