"""The sampler as one compiled loop a row (optional package numba)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlcore.ops.exp_numba import exponentials
from rlcore.ops.lanes_numba import instructions, lanes, larger, largest, load
from rlcore.ops.numba_jit import compiled

if TYPE_CHECKING:
    from rlcore.ops.sampling.sampler import SamplingRows

LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)
ROUNDING = 1.001
"""What rounding could take off a bound, many times over."""


def _sample(
    logits: Any, keys: Any, positions: Any, temperature: Any, top_k: Any, top_p: Any,
    penalty: Any, seen: Any, score: Any, weight: Any, tokens: Any, log_probs: Any,
    raw_log_probs: Any,
) -> None:  # fmt: skip
    """``score`` and ``weight``, each ``[V]``, are room."""
    wide = score.dtype.type
    for r in range(len(logits)):
        row = logits[r]
        for v in range(len(row)):
            score[v] = row[v]
        if len(penalty) > 0:
            _penalise(score, seen[r], wide(penalty[r]))
        warmth = wide(1.0) if temperature[r] == 0 else wide(temperature[r])
        for v in range(len(row)):
            score[v] /= warmth
        if len(top_k) > 0 or len(top_p) > 0:
            _truncate(score, top_k[r] if len(top_k) > 0 else 0, top_p[r] if len(top_p) > 0 else 1.0)
        if temperature[r] == 0:
            token, log_probs[r] = int(np.argmax(score)), 0.0
        else:
            top, log_sum = _log_sum(score, weight)
            token = _race(score, weight, top, np.uint64(keys[r]), np.uint64(positions[r]))
            log_probs[r] = score[token] - log_sum
        tokens[r] = token
        raw_log_probs[r] = row[token] - _log_sum(row, weight)[1]


def _penalise(score: Any, seen: Any, penalty: Any) -> None:
    for v in range(len(score)):
        if (seen[v // 32] >> (v % 32)) & 1:
            score[v] = score[v] / penalty if score[v] > 0 else score[v] * penalty


def _truncate(score: Any, top_k: Any, top_p: Any) -> None:
    """Write minus infinity for what top-k and top-p take away; equals share their fate."""
    ordered = np.sort(score)[::-1]
    kept = len(score)
    if 0 < top_k < kept:
        least = ordered[top_k - 1]
        kept = top_k
        while kept < len(score) and ordered[kept] == least:
            kept += 1
    if top_p < 1.0:
        total = 0.0
        for i in range(kept):
            total += math.exp(ordered[i] - ordered[0])
        above = mass = 0.0
        for i in range(kept):
            if i > 0 and ordered[i] < ordered[i - 1]:
                above = mass
            if above >= top_p * total:
                kept = i
                break
            mass += math.exp(ordered[i] - ordered[0])
    least = ordered[kept - 1]
    for v in range(len(score)):
        if score[v] < least:
            score[v] = -math.inf


def _log_sum(score: Any, weight: Any) -> tuple[Any, Any]:
    """Return the largest score and the logarithm of the sum of exponentials.

    ``weight`` becomes the exponentials of the differences to the largest.
    """
    top = _top(score)
    for v in range(len(score)):
        weight[v] = score[v] - top
    exponentials(weight)
    mass = 0.0
    for v in range(len(score)):
        mass += weight[v]
    return top, top + math.log(mass)


def _top(score: Any) -> Any:
    step, top = lanes(score), score[0]
    if len(score) >= step:
        tops = load(score, 0)
        for v in range(0, len(score) - step + 1, step):
            tops = larger(tops, load(score, v))
        top = largest(tops)
    for v in range(len(score) // step * step, len(score)):
        top = max(top, score[v])
    return top


def _race(score: Any, weight: Any, top: Any, key: Any, position: Any) -> int:
    """Return the token of the largest score with Gumbel noise.

    The noise of a uniform ``u`` is at most ``-log(u)``: where ``u`` is above the token's weight
    over that of the best sum so far it cannot win, and its logarithms are not wanted.
    """
    best, token, reach = -math.inf, 0, math.inf
    words = np.empty(4, np.uint64)
    for v in range(len(score)):
        if v % 4 == 0:
            _philox(key, position, np.uint64(v // 4), words)
        # Written so that it holds where the weight is no number.
        if not np.float32(words[v % 4]) * np.float32(2.0**-32) > weight[v] * reach:
            noisy = score[v] + _gumbel(words[v % 4])
            if noisy > best:
                best, token, reach = noisy, v, ROUNDING * math.exp(top - noisy)
    return token


def _philox(key: Any, position: Any, call: Any, words: Any) -> None:
    """See :func:`rlcore.ops.sampling.counter_rng.philox`; the stream is that of tokens, 0."""
    c0, c1, c2, c3 = position & LOW, position >> HIGH, np.uint64(0), call
    k0, k1 = key & LOW, key >> HIGH
    for _ in range(10):
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (second >> HIGH) ^ c1 ^ k0, second & LOW
        c2, c3 = (first >> HIGH) ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & LOW, (k1 + np.uint64(0xBB67AE85)) & LOW
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


def _gumbel(bits: Any) -> Any:
    """See :func:`rlcore.ops.sampling.counter_rng.gumbel`."""
    one = np.float32(1.0)
    v = (np.float32(bits) + np.float32(0.5)) * np.float32(2.0**-32)
    v = min(v, one - np.float32(2.0**-24))
    if v >= np.float32(1.0 / 16):
        return -math.log(-math.log(one - v))
    series = np.float32(1.0 / 7)
    for power in range(6, 0, -1):
        series = series * v + one / np.float32(power)
    return -math.log(series * v)


@cache
def _kernel() -> Any:
    parts = (_penalise, _truncate, _top, _log_sum, _race, _philox, _gumbel, exponentials)
    return compiled(_sample, *parts, intrinsics=instructions())


def sample_numba(logits: Tensor, rows: SamplingRows) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens and log-probabilities; see :func:`rlcore.ops.sampling.sampler.sample`."""
    source = logits.detach().contiguous().numpy()
    count, vocab = source.shape
    tokens = np.empty(count, np.int64)
    log_probs, raw = np.empty((2, count), source.dtype)
    _kernel()(
        source, rows.keys.numpy(), rows.positions.numpy(), rows.temperature.numpy(),
        _or_none(rows.top_k, np.int32), _or_none(rows.top_p, np.float32),
        _or_none(rows.penalty, np.float32),
        np.empty((0, 0), np.int32) if rows.seen is None else rows.seen.numpy(),
        *np.empty((2, vocab), source.dtype), tokens, log_probs, raw,
    )  # fmt: skip
    return torch.from_numpy(tokens), torch.from_numpy(log_probs), torch.from_numpy(raw)


def _or_none(values: Tensor | None, dtype: Any) -> Any:
    return np.empty(0, dtype) if values is None else values.numpy()
