"""What decoding knows of its rows, as tensors whose first axis is the row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlcore.inference.decoding.prompts import PromptBatch

MASKED = -1
"""Commit step of a position that is still masked."""
FILLED = -2
"""Commit step of a tail position filled by the end-of-sequence rule: no action of the policy."""
GIVEN = -3
"""Commit step of a response position that the prompt gave."""


@dataclass
class DecodeState:
    """Rows under way.

    Attributes:
        prompt_length: ``P``; the response of ``L`` positions follows it.
        ids: int64 ``[R, P + L]``.
        real: bool ``[R, P + L]``, False on padding; None where no row is padded.
        commit_step: int16 ``[R, L]``: pass at which a position was committed, or MASKED, FILLED,
            GIVEN.
        log_probs: float32 ``[R, L]``: log-probability of each committed token.
        step: int32 ``[R]``: passes that this row has made.
        branch_forwards: int32 ``[R]``: sequences that the denoiser has read for this row.
        active: bool ``[R]``.
        truncated: bool ``[R]``: stopped by the limit of passes with positions still masked.
        key: int64 ``[R]``: the row's random key.
        place: int64 ``[R]``: the row's place in the result.
        rows: Tensors of components, first axis row.
        tables: Tensors of components without a row axis.
    """

    prompt_length: int
    ids: Tensor
    real: Tensor | None
    commit_step: Tensor
    log_probs: Tensor
    step: Tensor
    branch_forwards: Tensor
    active: Tensor
    truncated: Tensor
    key: Tensor
    place: Tensor
    rows: dict[str, Tensor] = field(default_factory=dict)
    tables: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def begin(cls, prompts: PromptBatch, gen_length: int, mask_id: int, key: Tensor) -> DecodeState:
        """Return the state before the first pass; ``key`` is int64 ``[B]``."""
        device, n = prompts.ids.device, len(prompts)
        response = torch.full((n, gen_length), mask_id, device=device)
        commit = torch.full((n, gen_length), MASKED, dtype=torch.int16, device=device)
        if prompts.given is not None:
            known = prompts.given >= 0
            response = torch.where(known, prompts.given, response)
            commit = commit.masked_fill(known, GIVEN)
        real = None
        if not bool(prompts.real.all()):
            real = torch.cat([prompts.real, torch.ones_like(commit, dtype=torch.bool)], 1)
        counter = torch.zeros(n, dtype=torch.int32, device=device)
        return cls(
            prompts.ids.shape[1],
            torch.cat([prompts.ids, response], 1),
            real,
            commit,
            torch.zeros(n, gen_length, device=device),
            counter,
            counter.clone(),
            (commit == MASKED).any(1),
            torch.zeros(n, dtype=torch.bool, device=device),
            key,
            torch.arange(n, device=device),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        """Positions of a response, ``L``."""
        return self.commit_step.shape[1]

    @property
    def masked(self) -> Tensor:
        """Positions still masked, bool ``[R, L]``."""
        return self.commit_step == MASKED

    @property
    def response(self) -> Tensor:
        """Response tokens, int64 ``[R, L]``: a view of ``ids``."""
        return self.ids[:, self.prompt_length :]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor that has a row axis, by name."""
        for name in (
            "ids",
            "real",
            "commit_step",
            "log_probs",
            "step",
            "branch_forwards",
            "active",
            "truncated",
            "key",
            "place",
        ):
            value = getattr(self, name)
            if value is not None:
                yield name, value
        for name, value in self.rows.items():
            yield f"rows/{name}", value

    def take(self, index: Tensor) -> DecodeState:
        """Return a new state of the rows at ``index``, int64 ``[n]``."""
        picked = {name: value.index_select(0, index) for name, value in self.tensors()}
        rows = {name: picked.pop(f"rows/{name}") for name in self.rows}
        real = picked.pop("real", None)
        return DecodeState(self.prompt_length, real=real, **picked, rows=rows, tables=self.tables)

    def copy_(self, source: DecodeState) -> None:
        """Write the rows of ``source`` over the first rows of this state, in place.

        Rows beyond them become inactive.
        """
        mine = dict(self.tensors())
        for name, value in source.tensors():
            mine[name][: len(value)].copy_(value)
        for name, table in source.tables.items():
            self.tables[name].copy_(table)
        self.active[len(source) :] = False
