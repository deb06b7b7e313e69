"""The sampler as one CUDA kernel over tiles of the vocabulary, or two for a large one.

A row that truncates first gets the smallest score it keeps, by a search over the 32 bits of the
score's place in the order of floats: the mass (or the number) of larger scores falls as the place
rises, so each pass over the row settles one bit. No sort, and nothing of size ``[R, V]`` is stored.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.sampling.counter_rng import gumbel_tile, philox_words
from rlcore.ops.triton_jit import jitted

if TYPE_CHECKING:
    from rlcore.ops.sampling.sampler import SamplingRows

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here
TILE = 4096
"""Tokens of one step of a program."""
TILES_A_PROGRAM = 4
"""A longer row is divided among programs, whose results a second kernel joins."""


def _score_tile(  # type: ignore[no-untyped-def]
    logits_ptr, seen_ptr, row, token, vocab, words, temperature, penalty, PENALISE: tl.constexpr
):
    """Return logits and scores of a tile; minus infinity beyond the vocabulary."""
    inside = token < vocab
    raw = tl.load(logits_ptr + row.to(tl.int64) * vocab + token, mask=inside, other=float("-inf"))
    raw = raw.to(tl.float32)
    score = raw
    if PENALISE:
        word = tl.load(seen_ptr + row * words + token // 32, mask=inside, other=0)
        seen = ((word >> (token % 32)) & 1) != 0
        score = tl.where(seen, tl.where(raw > 0, raw / penalty, raw * penalty), raw)
    return raw, score / temperature


def _float_order(score):  # type: ignore[no-untyped-def]
    """Return uint32 numbers in the order of the floats."""
    bits = score.to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) | -2147483648)).to(tl.uint32, bitcast=True)


def _float_of_order(place):  # type: ignore[no-untyped-def]
    bits = place.to(tl.int32, bitcast=True)
    return (bits ^ (((bits ^ -1) >> 31) | -2147483648)).to(tl.float32, bitcast=True)


def _least_kept(  # type: ignore[no-untyped-def]
    logits_ptr, seen_ptr, row, vocab, words, temperature, penalty, bound, top,
    COUNT: tl.constexpr, PENALISE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Return the first place above which less than ``bound`` lies: tokens, or mass."""
    place = tl.full((1,), 0xFFFFFFFF, tl.uint32)
    for step in range(32):
        bit = tl.full((1,), 1, tl.uint32) << (31 - step)
        lower = place & ~bit
        above = tl.zeros((TILE,), tl.float32)
        for start in range(0, vocab, TILE):
            token = start + tl.arange(0, TILE)
            _, score = _score_tile(
                logits_ptr, seen_ptr, row, token, vocab, words, temperature, penalty, PENALISE
            )
            weight = tl.where(token < vocab, 1.0, 0.0) if COUNT else tl.exp(score - top)
            above += tl.where(_float_order(score) > lower, weight, 0.0)  # type: ignore[no-untyped-call]
        place = tl.where(tl.sum(above, 0) < bound, lower, place)
    return place


def _threshold_kernel(  # type: ignore[no-untyped-def]
    logits_ptr, seen_ptr, temperature_ptr, penalty_ptr, top_k_ptr, top_p_ptr, least_ptr,
    vocab, words,
    PENALISE: tl.constexpr, TOP_K: tl.constexpr, TOP_P: tl.constexpr, TILE: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """Write the smallest score that each row keeps."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row = tl.program_id(0)
    temperature = tl.load(temperature_ptr + row)
    temperature = tl.where(temperature == 0.0, 1.0, temperature)
    penalty = tl.load(penalty_ptr + row) if PENALISE else 1.0
    k = tl.load(top_k_ptr + row) if TOP_K else 0
    p = tl.load(top_p_ptr + row) if TOP_P else 1.0
    place = tl.full((1,), 0x007FFFFF, tl.uint32)  # of minus infinity: below it are only NaN
    if k > 0:
        least = _least_kept(
            logits_ptr, seen_ptr, row, vocab, words, temperature, penalty, k * 1.0, 0.0,
            True, PENALISE, TILE,
        )  # fmt: skip
        place = tl.where(least > place, least, place)
    if p < 1.0:
        largest = tl.full((TILE,), float("-inf"), tl.float32)
        for start in range(0, vocab, TILE):
            token = start + tl.arange(0, TILE)
            _, score = _score_tile(
                logits_ptr, seen_ptr, row, token, vocab, words, temperature, penalty, PENALISE
            )
            largest = tl.maximum(largest, score)
        top = tl.max(largest, 0)
        total = tl.zeros((TILE,), tl.float32)
        for start in range(0, vocab, TILE):
            token = start + tl.arange(0, TILE)
            _, score = _score_tile(
                logits_ptr, seen_ptr, row, token, vocab, words, temperature, penalty, PENALISE
            )
            total += tl.where(_float_order(score) >= place, tl.exp(score - top), 0.0)  # type: ignore[no-untyped-call]
        least = _least_kept(
            logits_ptr, seen_ptr, row, vocab, words, temperature, penalty,
            p * tl.sum(total, 0), top, False, PENALISE, TILE,
        )  # fmt: skip
        place = tl.where(least > place, least, place)
    tl.store(least_ptr + row + tl.arange(0, 1), _float_of_order(place))  # type: ignore[no-untyped-call]


def _draw_kernel(  # type: ignore[no-untyped-def]
    logits_ptr, seen_ptr, keys_ptr, positions_ptr, temperature_ptr, penalty_ptr, least_ptr,
    parts_ptr, tokens_ptr, log_probs_ptr, raw_ptr, vocab, words, span,
    PENALISE: tl.constexpr, TRUNCATE: tl.constexpr, WHOLE: tl.constexpr, TILE: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """Draw from a program's part of a row's vocabulary, and sum what the log-probabilities need."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row, part = tl.program_id(0), tl.program_id(1)
    key, position = tl.load(keys_ptr + row), tl.load(positions_ptr + row)
    given = tl.load(temperature_ptr + row)
    greedy = given == 0.0
    temperature = tl.where(greedy, 1.0, given)
    penalty = tl.load(penalty_ptr + row) if PENALISE else 1.0
    least = tl.load(least_ptr + row) if TRUNCATE else float("-inf")
    low = float("-inf")
    best, best_token, best_raw, best_score = low, vocab, low, low
    raw_top, raw_sum, score_top, score_sum = low, 0.0, low, 0.0
    for start in range(part * span, tl.minimum((part + 1) * span, vocab), TILE):
        token = start + tl.arange(0, TILE)
        raw, score = _score_tile(
            logits_ptr, seen_ptr, row, token, vocab, words, temperature, penalty, PENALISE
        )
        if TRUNCATE:
            score = tl.where(score >= least, score, low)
        raw_top, raw_sum = _log_sum(raw, raw_top, raw_sum)  # type: ignore[no-untyped-call]
        score_top, score_sum = _log_sum(score, score_top, score_sum)  # type: ignore[no-untyped-call]
        drawn = score
        if not greedy:
            drawn = score + gumbel_tile(key, position, start // 4, 0, TILE // 4)
        here = tl.max(drawn, 0)
        at = tl.min(tl.where((drawn == here) & (token < vocab), token, vocab), 0)
        better = here > best
        best_raw = tl.where(better, tl.max(tl.where(token == at, raw, low), 0), best_raw)
        best_score = tl.where(better, tl.max(tl.where(token == at, score, low), 0), best_score)
        best_token = tl.where(better, at, best_token)
        best = tl.where(better, here, best)
    if WHOLE:
        log_prob = best_score - score_top - tl.log(score_sum)
        tl.store(tokens_ptr + row, tl.where(best_token < vocab, best_token, 0).to(tl.int64))
        tl.store(log_probs_ptr + row, tl.where(greedy, 0.0, log_prob))
        tl.store(raw_ptr + row, best_raw - raw_top - tl.log(raw_sum))
    else:
        at = parts_ptr + (row * tl.num_programs(1) + part) * 8
        tl.store(at, best)
        tl.store(at + 1, best_token.to(tl.float32, bitcast=True))
        tl.store(at + 2, best_raw)
        tl.store(at + 3, best_score)
        tl.store(at + 4, raw_top)
        tl.store(at + 5, raw_sum)
        tl.store(at + 6, score_top)
        tl.store(at + 7, score_sum)


def _log_sum(values, top, total):  # type: ignore[no-untyped-def]
    """Return the running maximum and the sum of exponentials relative to it."""
    higher = tl.maximum(top, tl.max(values, 0))
    safe = tl.where(higher == float("-inf"), 0.0, higher)
    return higher, total * tl.exp(top - safe) + tl.sum(tl.exp(values - safe), 0)


def _join_kernel(  # type: ignore[no-untyped-def]
    parts_ptr, temperature_ptr, tokens_ptr, log_probs_ptr, raw_ptr, vocab, parts,
    PARTS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Join the parts of a row."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row = tl.program_id(0)
    part = tl.arange(0, PARTS)
    there = part < parts
    at = parts_ptr + (row * parts + part) * 8
    low = float("-inf")
    best = tl.load(at, mask=there, other=low)
    token = tl.load(at + 1, mask=there, other=0.0).to(tl.int32, bitcast=True)
    wins = tl.min(tl.where((best == tl.max(best, 0)) & there, token, vocab), 0)
    chosen = there & (token == wins)
    best_raw = tl.max(tl.where(chosen, tl.load(at + 2, mask=there, other=low), low), 0)
    best_score = tl.max(tl.where(chosen, tl.load(at + 3, mask=there, other=low), low), 0)
    raw_top = tl.load(at + 4, mask=there, other=low)
    raw_sum = tl.load(at + 5, mask=there, other=0.0)
    score_top = tl.load(at + 6, mask=there, other=low)
    score_sum = tl.load(at + 7, mask=there, other=0.0)
    raw_all, score_all = tl.max(raw_top, 0), tl.max(score_top, 0)
    raw_total = tl.log(tl.sum(raw_sum * tl.exp(raw_top - raw_all), 0)) + raw_all
    score_total = tl.log(tl.sum(score_sum * tl.exp(score_top - score_all), 0)) + score_all
    greedy = tl.load(temperature_ptr + row) == 0.0
    tl.store(tokens_ptr + row, tl.where(wins < vocab, wins, 0).to(tl.int64))
    tl.store(log_probs_ptr + row, tl.where(greedy, 0.0, best_score - score_total))
    tl.store(raw_ptr + row, best_raw - raw_total)


@cache
def _kernels() -> tuple[Any, Any, Any]:
    early = (release_next, wait_for_inputs)
    jitted(gumbel_tile, philox_words)
    jitted(_least_kept, _score_tile, _float_order)
    order = (_float_order, _float_of_order)
    threshold = jitted(_threshold_kernel, _score_tile, *order, _least_kept, *early)
    draw = jitted(_draw_kernel, _score_tile, _log_sum, gumbel_tile, *early)
    return threshold, draw, jitted(_join_kernel, *early)


def sample_triton(logits: Tensor, rows: SamplingRows) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens and log-probabilities; see :func:`rlcore.ops.sampling.sampler.sample`."""
    logits = logits.contiguous()
    # Expanded rows too have one number each in memory: kernels read one after the other.
    given = {name: x.contiguous() for name, x in vars(rows).items() if x is not None}
    rows = replace(rows, **given)
    count, vocab = logits.shape
    early = launch_options(logits.device)
    threshold, draw, join = _kernels()
    seen, penalty = rows.seen, rows.penalty
    penalise = seen is not None and penalty is not None
    words = (vocab + 31) // 32
    tile = min(TILE, max(16, 1 << (vocab - 1).bit_length()))
    truncate = rows.top_k is not None or rows.top_p is not None
    least = torch.empty(count, device=logits.device) if truncate else None
    if truncate:
        threshold[(count,)](
            logits, seen, rows.temperature, penalty, rows.top_k, rows.top_p, least, vocab, words,
            PENALISE=penalise, TOP_K=rows.top_k is not None, TOP_P=rows.top_p is not None,
            TILE=tile, num_warps=8, **early,
        )  # fmt: skip
    tokens = torch.empty(count, dtype=torch.int64, device=logits.device)
    log_probs, raw = (torch.empty(count, device=logits.device) for _ in range(2))
    span = tile * TILES_A_PROGRAM
    parts = -(-vocab // span)
    partial = torch.empty(count, parts, 8, device=logits.device) if parts > 1 else None
    draw[(count, parts)](
        logits, seen, rows.keys, rows.positions, rows.temperature, penalty, least, partial,
        tokens, log_probs, raw, vocab, words, span,
        PENALISE=penalise, TRUNCATE=truncate, WHOLE=parts == 1, TILE=tile, num_warps=8, **early,
    )  # fmt: skip
    if parts > 1:
        join[(count,)](
            partial, rows.temperature, tokens, log_probs, raw, vocab, parts,
            PARTS=1 << (parts - 1).bit_length(), **early,
        )  # fmt: skip
    return tokens, log_probs, raw
