"""How attention reaches keys that are not in this call: the protocol of a KV cache."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from rlcore.ops.attention.paged import KVWrite

__all__ = ["KVWrite", "Memory"]


class Memory(Protocol):
    """Keys and values of earlier tokens, layer by layer, for packed rows without a batch axis.

    Legend: ``N`` packed new tokens, ``H`` query heads, ``K`` key heads, ``D`` head width.
    """

    def cache(self, layer: int) -> KVWrite | None:
        """Return where the new keys and values of ``layer`` are to be written.

        With ``None`` nothing is written; :meth:`attend` gets them all the same.
        """
        ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention ``[N, H, D]`` of the new tokens.

        Args:
            layer: Index of the layer.
            q: ``[N, H, D]``, normed and rotated queries.
            k: ``[N, K, D]``, normed and rotated keys; already written where :meth:`cache` gave a
                place.
            v: ``[N, K, D]``, likewise.
        """
        ...
