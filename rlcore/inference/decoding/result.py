"""What decoding returns, and its counts per row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.errors import NonFiniteError
from rlcore.inference.decoding.prompts import PromptBatch
from rlcore.inference.decoding.state import DecodeState

_FIELDS = ("ids", "commit_step", "log_probs", "step", "branch_forwards", "truncated")


@dataclass(frozen=True)
class DecodeResult:
    """Responses in the order of the prompts.

    Attributes:
        prompts: What was decoded.
        tokens: int64 ``[B, L]``; the mask token only where a row is ``truncated``.
        commit_step: int16 ``[B, L]``: pass of each position, or MASKED, FILLED, GIVEN.
        log_probs: float32 ``[B, L]``: the model's log-probability of each committed token, at the
            temperature (untempered at 0); 0 elsewhere.
        nfe: int32 ``[B]``: passes of each row.
        branch_forwards: int32 ``[B]``: sequences the model read for each row.
        truncated: bool ``[B]``: stopped by the limit of passes.
        eos_id: The end token, or None.
    """

    prompts: PromptBatch
    tokens: Tensor
    commit_step: Tensor
    log_probs: Tensor
    nfe: Tensor
    branch_forwards: Tensor
    truncated: Tensor
    eos_id: int | None

    def useful_length(self) -> Tensor:
        """Return positions up to and including the first end token, int64 ``[B]``."""
        length = self.tokens.shape[1]
        if self.eos_id is None:
            return torch.full_like(self.nfe, length, dtype=torch.int64)
        ends = self.tokens == self.eos_id
        first = ends.to(torch.uint8).argmax(1)
        return torch.where(ends.any(1), first + 1, length)

    def stats(self) -> dict[str, Tensor]:
        """Return counts of each row, ``[B]``.

        ``tpf``: positions written a pass, end tokens behind the first one included; ``useful_tpf``:
        positions up to and including the first end token a pass; ``tokens_per_branch_forward``: as
        ``tpf``, for each sequence the model read. Positions that the prompt gave do not count. All
        are 0 for a row that needed no pass.
        """
        wrote = (self.commit_step >= 0) | (self.commit_step == -2)
        place = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        useful = wrote & (place < self.useful_length()[:, None])
        passes, branches = self.nfe.clamp(min=1), self.branch_forwards.clamp(min=1)
        return {
            "nfe": self.nfe,
            "tpf": wrote.sum(1) / passes,
            "useful_tpf": useful.sum(1) / passes,
            "tokens_per_branch_forward": wrote.sum(1) / branches,
        }


class ResultBuffers:
    """Where rows go when they leave the batch under way.

    Args:
        state: The state before the first pass; its rows are those of the result.
    """

    def __init__(self, state: DecodeState) -> None:
        self.rows = len(state)
        self._prompt_length = state.prompt_length
        # One more row takes what rows without a place write.
        self._kept = {
            name: torch.cat([value, value[:1]])
            for name, value in state.tensors()
            if name in _FIELDS
        }

    def store(self, state: DecodeState) -> None:
        """Write the rows of ``state`` to their places."""
        for name, kept in self._kept.items():
            kept.index_copy_(0, state.place, getattr(state, name))

    def result(self, prompts: PromptBatch, eos_id: int | None) -> DecodeResult:
        """Return what was stored.

        Raises:
            NonFiniteError: The model's logits were NaN or infinite where a token was committed.
        """
        kept = {name: value[: self.rows] for name, value in self._kept.items()}
        if not bool(torch.isfinite(kept["log_probs"]).all()):
            rows = (~torch.isfinite(kept["log_probs"])).any(1).nonzero()[:4, 0].tolist()
            raise NonFiniteError(f"log-probabilities of rows {rows} ... are not finite")
        return DecodeResult(
            prompts,
            kept["ids"][:, self._prompt_length :],
            kept["commit_step"],
            kept["log_probs"],
            kept["step"],
            kept["branch_forwards"],
            kept["truncated"],
            eos_id,
        )
