"""The record that reinforcement learning needs: tokens, the pass of each, old log-probabilities.

A committed token never changes, so the state before pass ``s`` is rebuilt from two bytes a token
instead of being stored: what was committed earlier, and masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlcore.inference.decoding.denoiser import Denoiser, masked_logits
from rlcore.inference.decoding.errors import TrajectoryNotMonotone
from rlcore.inference.decoding.state import GIVEN, DecodeState


@dataclass(frozen=True)
class TrajectoryBatch:
    """Decoded rows and how they came about.

    Attributes:
        prompt: int32 ``[B, P]``, left-padded.
        prompt_mask: bool ``[B, P]``, True on real tokens.
        tokens: int32 ``[B, L]``.
        commit_step: int16 ``[B, L]``: pass of each position, or MASKED, FILLED, GIVEN.
        n_steps: int16 ``[B]``: passes of each row.
        old_logp: float32 ``[B, L]``: log-probability of each committed token when it was drawn.
        temperature: Temperature of the draw; log-probabilities are at 1 where it is 0.
        policy_version: int64 ``[B]``: version of the weights.
        sampler_fingerprint: Identity of the pipeline's settings.
        nfe: int32 ``[B]``.
        mask_id: The mask token.
        guidance: Strength of guidance in the log-probabilities.
        reward: float32 ``[B]`` or None.
        aux: Anything else that travels with the rows, first axis row.
    """

    prompt: Tensor
    prompt_mask: Tensor
    tokens: Tensor
    commit_step: Tensor
    n_steps: Tensor
    old_logp: Tensor
    temperature: float
    policy_version: Tensor
    sampler_fingerprint: str
    nfe: Tensor
    mask_id: int
    guidance: float = 0.0
    reward: Tensor | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def state(self, step: int) -> Tensor:
        """Return the responses before pass ``step``, int64 ``[B, L]``."""
        known = (self.commit_step >= 0) & (self.commit_step < step)
        known = known | (self.commit_step == GIVEN)
        return self.tokens.long().masked_fill(~known, self.mask_id)

    def committed(self, step: int) -> Tensor:
        """Return the positions that pass ``step`` committed, bool ``[B, L]``."""
        return self.commit_step == step


def replay(
    denoiser: Denoiser,
    trajectory: TrajectoryBatch,
    steps: Sequence[int] | None = None,
    *,
    chunk: int = 1,
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Score each transition on the state that the rollout saw.

    Args:
        denoiser: The model; gradients flow where they are enabled.
        trajectory: The rows.
        steps: Passes to score; None for all.
        chunk: Passes scored in one forward, as further rows.

    Yields:
        ``(steps, log_probs, chosen)`` for each chunk: log-probabilities ``[len(steps), B, L]`` of
        the tokens committed at those passes, 0 elsewhere, and which those are.
    """
    if steps is None:
        steps = range(int(trajectory.n_steps.max()))
    for start in range(0, len(steps), chunk):
        part = list(steps[start : start + chunk])
        chosen = torch.stack([trajectory.committed(step) for step in part])
        yield part, _score(denoiser, trajectory, part, chosen), chosen


def replay_log_probs(denoiser: Denoiser, trajectory: TrajectoryBatch, *, chunk: int = 1) -> Tensor:
    """Return the log-probability of every committed token, ``[B, L]``; 0 elsewhere."""
    total: Tensor | None = None
    for _, log_probs, _ in replay(denoiser, trajectory, chunk=chunk):
        part = log_probs.sum(0)
        total = part if total is None else total + part
    return torch.zeros_like(trajectory.old_logp) if total is None else total


def _score(
    denoiser: Denoiser, trajectory: TrajectoryBatch, steps: list[int], chosen: Tensor
) -> Tensor:
    n, (rows, length) = len(steps), trajectory.tokens.shape
    prompt_length = trajectory.prompt.shape[1]
    responses = torch.cat([trajectory.state(step) for step in steps])
    ids = torch.cat([trajectory.prompt.long().repeat(n, 1), responses], 1)
    flat = chosen.reshape(n * rows, length)
    width = max(1, int(flat.sum(1).max()))
    # Chosen positions first, so that the head runs on as few as possible.
    places = torch.argsort(~flat, dim=1, stable=True)[:, :width]
    given = trajectory.commit_step == GIVEN
    known = torch.cat([torch.ones_like(trajectory.prompt, dtype=torch.bool), given], 1)
    real = torch.cat([trajectory.prompt_mask, torch.ones_like(given)], 1)
    logits = masked_logits(
        denoiser,
        ids,
        places + prompt_length,
        padding=None if bool(real.all()) else real.repeat(n, 1),
        prompt_length=prompt_length,
        known=known.repeat(n, 1),
        guidance=trajectory.guidance,
    )
    targets = trajectory.tokens.long().repeat(n, 1).gather(1, places)
    tempered = logits / (trajectory.temperature or 1.0)
    picked = tempered.gather(-1, targets[..., None])[..., 0] - torch.logsumexp(tempered, -1)
    picked = torch.where(flat.gather(1, places), picked, 0.0)
    spread = picked.new_zeros(n * rows, length).scatter(1, places, picked)
    return spread.view(n, rows, length)


class Recorder:
    """What is kept of the passes beside the compact record.

    Args:
        compact: Whether the compact record must be enough to rebuild every state.
        states: Whether each row's responses before every pass are kept, for debugging; reads the
            device in every pass.
    """

    def __init__(self, *, compact: bool = True, states: bool = False) -> None:
        self.compact = compact
        self.states = states
        self._seen: dict[int, list[Tensor]] = {}

    def check(self, parts: Sequence[object]) -> None:
        """Refuse parts that edit or re-mask committed tokens.

        Raises:
            TrajectoryNotMonotone: A part says ``monotone = False`` and the record is compact.
        """
        edits = [type(p).__name__ for p in parts if not getattr(p, "monotone", True)]
        if self.compact and edits:
            raise TrajectoryNotMonotone(
                f"{', '.join(edits)} edits committed tokens: states cannot be rebuilt from commit "
                "steps; record with compact=False"
            )

    def begin(self) -> None:
        """Forget earlier rows."""
        self._seen.clear()

    def observe(self, state: DecodeState) -> None:
        """Keep the responses of active rows before a pass."""
        for row in state.active.nonzero()[:, 0].tolist():
            self._seen.setdefault(int(state.place[row]), []).append(state.response[row].clone())

    def seen(self, row: int) -> Tensor:
        """Return the responses of a row before each of its passes, int64 ``[nfe, L]``."""
        return torch.stack(self._seen[row])
