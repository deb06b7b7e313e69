"""A batch of prompts, left-padded, with optional given tokens inside the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.inference.decoding.errors import PromptError


@dataclass(frozen=True)
class PromptBatch:
    """What is decoded.

    Attributes:
        ids: int64 ``[B, P]``, left-padded.
        real: bool ``[B, P]``, False on padding.
        given: int64 ``[B, L]`` or None: tokens that stand in the response from the start (infilling
            such as Sudoku clues); ``-1`` where the model writes.
        row_ids: int64 ``[B]``: identity of each row for its random numbers, so that a row draws the
            same tokens whatever other rows are decoded beside it. None counts from 0.
    """

    ids: Tensor
    real: Tensor
    given: Tensor | None = None
    row_ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.ids.dim() != 2 or self.ids.dtype != torch.int64:
            raise PromptError(
                f"prompt ids must be int64 [B, P], got {self.ids.dtype} {tuple(self.ids.shape)}"
            )
        if self.real.shape != self.ids.shape or self.real.dtype != torch.bool:
            raise PromptError(
                f"prompt mask must be bool {tuple(self.ids.shape)}, "
                f"got {self.real.dtype} {tuple(self.real.shape)}"
            )
        if bool((self.real[:, :-1] & ~self.real[:, 1:]).any()):
            raise PromptError("prompts must be padded on the left: padding follows a real token")
        for name, rows in (("given", self.given), ("row_ids", self.row_ids)):
            if rows is not None and (rows.dtype != torch.int64 or len(rows) != len(self)):
                raise PromptError(
                    f"{name} must be int64 with {len(self)} rows, "
                    f"got {rows.dtype} {tuple(rows.shape)}"
                )

    @classmethod
    def from_lists(
        cls,
        prompts: Sequence[Sequence[int]],
        *,
        pad_id: int = 0,
        given: Tensor | None = None,
        row_ids: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> PromptBatch:
        """Return prompts of several lengths, padded on the left to the longest.

        Raises:
            PromptError: There is no prompt.
        """
        if not prompts:
            raise PromptError("a batch wants at least one prompt, got none")
        width = max(map(len, prompts))
        ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts])
        lengths = torch.tensor([len(p) for p in prompts])
        real = torch.arange(width) >= width - lengths[:, None]
        rows = None if row_ids is None else torch.tensor(list(row_ids), device=device)
        return cls(ids.reshape(len(prompts), width).long().to(device), real.to(device), given, rows)

    def __len__(self) -> int:
        return len(self.ids)

    def repeat(self, n: int) -> PromptBatch:
        """Return each prompt ``n`` times in a row, with new row ids ``n * row_id + k``."""
        ids = self.row_ids
        if ids is None:
            ids = torch.arange(len(self), device=self.ids.device)
        copies = torch.arange(n, device=self.ids.device).repeat(len(self))
        return PromptBatch(
            self.ids.repeat_interleave(n, 0),
            self.real.repeat_interleave(n, 0),
            None if self.given is None else self.given.repeat_interleave(n, 0),
            ids.repeat_interleave(n) * n + copies,
        )

    def check(self, gen_length: int, mask_id: int, vocab_size: int) -> None:
        """Check tokens and lengths against a model.

        Raises:
            PromptError: A prompt holds the mask token or a token outside the vocabulary, or the
                given tokens do not fit the response.
        """
        if gen_length < 1:
            raise PromptError(f"gen_length must be >= 1, got {gen_length}")
        self._check_tokens("a prompt", self.ids[self.real], 0, mask_id, vocab_size)
        if self.given is None:
            return
        if self.given.shape != (len(self), gen_length):
            raise PromptError(
                f"given tokens must be [{len(self)}, {gen_length}], got {tuple(self.given.shape)}"
            )
        self._check_tokens("a given response", self.given, -1, mask_id, vocab_size)

    def _check_tokens(
        self, what: str, ids: Tensor, least: int, mask_id: int, vocab_size: int
    ) -> None:
        if bool((ids == mask_id).any()):
            raise PromptError(f"{what} holds the mask token {mask_id}, which only decoding may use")
        if ids.numel() and (int(ids.min()) < least or int(ids.max()) >= vocab_size):
            raise PromptError(
                f"{what} holds token {int(ids.min())} or {int(ids.max())}, "
                f"wanted {least} to {vocab_size - 1}"
            )
