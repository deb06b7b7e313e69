"""One pass of the reverse process: plan, denoise, draw, rank, accept, commit, stop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.inference.decoding.acceptance import Acceptance
from rlcore.inference.decoding.caches import Cache
from rlcore.inference.decoding.confidence import Confidence, Drawn
from rlcore.inference.decoding.confidence_transforms import ConfidenceTransform
from rlcore.inference.decoding.denoiser import Denoiser
from rlcore.inference.decoding.logit_transforms import LogitTransform
from rlcore.inference.decoding.noise import draw_places
from rlcore.inference.decoding.planners import BlockPlanner, Plan
from rlcore.inference.decoding.state import DecodeState
from rlcore.inference.decoding.stop import StopRule
from rlcore.ops.sampling import SamplingRows, head_statistics, sample


@dataclass(frozen=True)
class Parts:
    """What a pass is made of; see :class:`rlcore.inference.decoding.pipeline.DecodingPipeline`."""

    denoiser: Denoiser
    planner: BlockPlanner
    acceptance: Acceptance
    confidence: Confidence
    logit_transforms: tuple[LogitTransform, ...]
    confidence_transforms: tuple[ConfidenceTransform, ...]
    cache: Cache
    stop: StopRule
    temperature: float
    guidance: float


@torch.no_grad()
def reverse_step(parts: Parts, state: DecodeState) -> None:
    """Advance every active row by one pass, in place; shapes are static, nothing is read back."""
    plan = parts.planner.plan(state)
    raw = parts.cache.logits(parts.denoiser, state, plan, parts.guidance)
    drawn, log_probs = draw(parts, state, plan, raw)
    confidence = parts.confidence(drawn, state)
    for rule in parts.confidence_transforms:
        confidence = rule(confidence, drawn, state)
    select = parts.acceptance.select(confidence, drawn, state)
    commit(state, plan, drawn.tokens, log_probs, select)
    state.step.add_(state.active.to(torch.int32))
    state.branch_forwards.add_(state.active.to(torch.int32) * (2 if parts.guidance else 1))
    parts.stop.apply(state, parts.denoiser.eos_id)


def draw(parts: Parts, state: DecodeState, plan: Plan, raw: Tensor) -> tuple[Drawn, Tensor]:
    """Return a token for every window position with what ranks it, and log-probabilities.

    Tokens are the largest of ``logits / T + Gumbel noise``; at temperature 0, of the logits. The
    log-probabilities ``[R, W]`` are the model's own: of its logits at the temperature (untempered
    at 0), before any transform.
    """
    law, scored = raw, raw
    for transform in parts.logit_transforms:
        if transform.affects == "both":  # the pipeline puts these first: both are still one
            law = scored = transform(law, plan, state, parts.temperature)
        elif transform.affects == "law":
            law = transform(law, plan, state, parts.temperature)
        else:
            scored = transform(scored, plan, state, parts.temperature)
    head = head_statistics(scored)
    if parts.temperature > 0:
        tokens, log_probs = _sample(parts.temperature, state, plan, law)
    else:
        tokens = head.top_id if law is scored else law.argmax(-1)
        log_probs = head.top - head.logsumexp
    if not (law is raw and scored is raw):
        log_probs = _log_probs(raw / (parts.temperature or 1.0), tokens)
    eligible = plan.valid & state.masked.gather(1, plan.positions) & state.active[:, None]
    drawn = Drawn(plan.positions, eligible, plan.must_commit, tokens, scored, head)
    return drawn, log_probs


def _sample(
    temperature: float, state: DecodeState, plan: Plan, law: Tensor
) -> tuple[Tensor, Tensor]:
    keys, places = draw_places(state.key, plan.positions, state.step)
    heat = torch.full(keys.shape, temperature, device=keys.device)
    found = sample(law.flatten(0, 1), SamplingRows(keys, places, heat))
    return found.tokens.view(plan.positions.shape), found.log_probs.view(plan.positions.shape)


def _log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(-1, tokens[..., None])[..., 0] - torch.logsumexp(logits, -1)


def commit(
    state: DecodeState, plan: Plan, tokens: Tensor, log_probs: Tensor, select: Tensor
) -> None:
    """Write the selected tokens with their step and log-probability, in place."""
    # Unselected window positions go to a spare column, so that none is written twice.
    spare = state.length
    index = plan.positions.masked_fill(~select, spare)
    written = torch.zeros_like(state.commit_step[:, :1], dtype=torch.bool).repeat(1, spare + 1)
    written = written.scatter(1, index, True)[:, :spare]
    _write(state.response, written, index, tokens)
    _write(state.log_probs, written, index, log_probs.float())
    steps = state.step.to(torch.int16)[:, None].expand_as(state.commit_step)
    state.commit_step.copy_(torch.where(written, steps, state.commit_step))


def _write(target: Tensor, written: Tensor, index: Tensor, values: Tensor) -> None:
    spread = values.new_zeros(len(target), target.shape[1] + 1).scatter(1, index, values)
    target.copy_(torch.where(written, spread[:, :-1], target))
