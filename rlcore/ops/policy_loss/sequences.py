"""Sums over the tokens of each sequence, for padded rows and for packed ragged ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Sequences:
    """Which sequence each token belongs to.

    Attributes:
        ids: Index of its sequence for each token, the shape of the tokens.
        number: How many sequences there are.
    """

    ids: Tensor
    number: int

    @classmethod
    def of(cls, tokens: Tensor, sequence_ids: Tensor | None) -> Sequences:
        """Return the sequences of ``[B, S]`` padded or ``[N]`` packed tokens.

        Args:
            tokens: Anything a token.
            sequence_ids: For packed tokens: int64 ``[N]``, from 0, not necessarily sorted.

        Raises:
            ConfigError: The shapes do not fit.
        """
        if tokens.ndim == 2 and sequence_ids is None:
            rows = torch.arange(len(tokens), device=tokens.device)
            return cls(rows[:, None].expand_as(tokens), len(tokens))
        if tokens.ndim == 1 and sequence_ids is not None:
            if sequence_ids.shape != tokens.shape or sequence_ids.is_floating_point():
                raise ConfigError(
                    f"sequence_ids must be integers {list(tokens.shape)}, got "
                    f"{sequence_ids.dtype} {list(sequence_ids.shape)}"
                )
            ids = sequence_ids.to(torch.int64)
            return cls(ids, int(ids.max()) + 1 if len(ids) else 0)
        raise ConfigError(
            "log-probabilities must be padded [B, S], or packed [N] with sequence_ids [N]; got "
            f"{list(tokens.shape)} and "
            f"{'no sequence_ids' if sequence_ids is None else 'sequence_ids'}"
        )

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of each sequence, ``[number]``."""
        zeros = torch.zeros(self.number, dtype=values.dtype, device=values.device)
        return zeros.index_add(0, self.ids.reshape(-1), values.reshape(-1))

    def spread(self, values: Tensor) -> Tensor:
        """Return each sequence's value at each of its tokens."""
        return values[self.ids]

    def mean(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the masked tokens of each sequence; 0 where there are none."""
        counts = self.sum(mask.to(values.dtype))
        return self.sum(values.masked_fill(~mask, 0.0)) / counts.clamp(min=1.0)
