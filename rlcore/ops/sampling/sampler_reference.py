"""The sampler's law as its definition: one row, one token at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlcore.ops.sampling.counter_rng import gumbel, token_bits

if TYPE_CHECKING:
    from rlcore.ops.sampling.sampler import SamplingRows


def sample_reference(logits: Tensor, rows: SamplingRows) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens and log-probabilities; see :func:`rlcore.ops.sampling.sampler.sample`."""
    tokens, log_probs, raw = [], [], []
    for row in range(logits.shape[0]):
        law = row_law(logits[row], rows, row)
        noise = gumbel(
            token_bits(rows.keys[row : row + 1], rows.positions[row : row + 1], len(law))
        )
        greedy = float(rows.temperature[row]) == 0.0
        token = int((law if greedy else law + noise[0].to(law)).argmax())
        tokens.append(token)
        log_probs.append(float(law[token]))
        raw.append(float(torch.log_softmax(logits[row], 0)[token]))
    return (
        torch.tensor(tokens, device=logits.device),
        torch.tensor(log_probs, dtype=logits.dtype, device=logits.device),
        torch.tensor(raw, dtype=logits.dtype, device=logits.device),
    )


def row_law(logits: Tensor, rows: SamplingRows, row: int) -> Tensor:
    """Return the log-probabilities ``[V]`` of the law that a row of logits is drawn from."""
    values = _penalised(logits.tolist(), rows, row)
    temperature = float(rows.temperature[row])
    if temperature == 0.0:
        law = torch.full_like(logits, -math.inf)
        law[values.index(max(values))] = 0.0
        return law
    values = [value / temperature for value in values]
    if rows.top_k is not None and (k := int(rows.top_k[row])) > 0:
        values = _kept(values, [sum(y > x for y in values) < k for x in values])
    if rows.top_p is not None and (p := float(rows.top_p[row])) < 1.0:
        top = max(values)
        weights = [math.exp(value - top) for value in values]
        total = math.fsum(weights)
        pairs = list(zip(values, weights, strict=True))
        above = [math.fsum(w for y, w in pairs if y > x) for x in values]
        values = _kept(values, [mass < p * total for mass in above])
    return torch.log_softmax(torch.tensor(values, dtype=logits.dtype, device=logits.device), 0)


def _penalised(values: list[float], rows: SamplingRows, row: int) -> list[float]:
    if rows.penalty is None or rows.seen is None:
        return values
    penalty, words = float(rows.penalty[row]), rows.seen[row].tolist()
    return [
        (x / penalty if x > 0 else x * penalty) if words[v // 32] >> (v % 32) & 1 else x
        for v, x in enumerate(values)
    ]


def _kept(values: list[float], keep: list[bool]) -> list[float]:
    return [x if kept else -math.inf for x, kept in zip(values, keep, strict=True)]
