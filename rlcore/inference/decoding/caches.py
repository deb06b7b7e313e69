"""Where the logits of a window come from: a whole pass, or the window over stored keys and values.

``exact`` says whether logits equal those of the whole pass. A bidirectional model lets every
position see every other, so that stored keys are stale as soon as a token is committed
(:class:`PrefixCache`, :class:`DualCache`); in a block-causal model a finished block never changes
(:class:`BlockCausalCache`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.cached_attention import RowMemory, encode
from rlcore.inference.decoding.denoiser import (
    Denoiser,
    TransformerDenoiser,
    block_of,
    finish_logits,
    masked_logits,
)
from rlcore.inference.decoding.errors import PromptError
from rlcore.inference.decoding.planners import BlockCausal, BlockPlanner, Plan, SemiAR
from rlcore.inference.decoding.state import GIVEN, DecodeState


class Cache(Protocol):
    """Computes logits of windows.

    Attributes:
        exact: Whether logits equal those of a whole pass up to rounding.
        reads_back: Whether a pass reads the device, which rules out CUDA graphs.
    """

    exact: ClassVar[bool]
    reads_back: ClassVar[bool]

    def check(self, denoiser: Denoiser, planner: BlockPlanner, guidance: float) -> None:
        """Refuse parts that the cache cannot serve."""
        ...

    def begin(self, denoiser: Denoiser, state: DecodeState) -> None:
        """Put what the cache needs into the state."""
        ...

    def logits(self, denoiser: Denoiser, state: DecodeState, plan: Plan, guidance: float) -> Tensor:
        """Return float logits ``[R, W, V]`` of the window, the mask token at minus infinity."""
        ...


@dataclass(frozen=True)
class NoCache:
    """Every pass reads the whole sequence."""

    exact: ClassVar[bool] = True
    reads_back: ClassVar[bool] = False

    def check(self, denoiser: Denoiser, planner: BlockPlanner, guidance: float) -> None:
        """See :class:`Cache`."""

    def begin(self, denoiser: Denoiser, state: DecodeState) -> None:
        """See :class:`Cache`."""

    def logits(self, denoiser: Denoiser, state: DecodeState, plan: Plan, guidance: float) -> Tensor:
        """See :class:`Cache`."""
        prompt = state.prompt_length
        known = None
        if guidance:
            given = state.commit_step == GIVEN
            known = torch.cat([given.new_ones(len(state), prompt), given], 1)
        return masked_logits(
            denoiser,
            state.ids,
            plan.positions + prompt,
            padding=state.real,
            prompt_length=prompt,
            known=known,
            guidance=guidance,
        )


@dataclass(frozen=True)
class BlockCausalCache:
    """Keys and values of finished blocks of a block-causal model: exact.

    A pass reads the block under way and the one before it. The one before has its final tokens, so
    its keys and values become permanent in the same pass, whatever block each row has reached.
    """

    exact: ClassVar[bool] = True
    reads_back: ClassVar[bool] = False

    def check(self, denoiser: Denoiser, planner: BlockPlanner, guidance: float) -> None:
        """See :class:`Cache`."""
        _check_parts("block_causal", denoiser, planner, guidance)
        mine = getattr(denoiser, "block_length", None)
        if mine is None or not isinstance(planner, SemiAR) or planner.block_length != mine:
            raise ConfigError(
                "cache block_causal wants a block-causal denoiser and a planner with its blocks, "
                f"got denoiser blocks {mine} and planner {planner}"
            )

    def begin(self, denoiser: Denoiser, state: DecodeState) -> None:
        """See :class:`Cache`.

        Raises:
            PromptError: A whole block is given between others that are not.
        """
        model = _transformer(denoiser)
        block = model.block_length or state.length
        _check_given(state, block)
        # One whole pass: the prompt's keys are final, and those of leading blocks that are given.
        memory = RowMemory.begin(model, state)
        whole = torch.arange(state.ids.shape[1], device=state.ids.device).expand(len(state), -1)
        hidden = encode(model, memory, state, whole, _block_visible(state, whole, block))
        if model.shift:
            state.rows["cache/last"] = hidden[:, state.prompt_length - 1]

    def logits(self, denoiser: Denoiser, state: DecodeState, plan: Plan, guidance: float) -> Tensor:
        """See :class:`Cache`."""
        model = _transformer(denoiser)
        block = plan.positions.shape[1]
        start = plan.positions[:, :1] + state.prompt_length
        places = start + torch.arange(-block, block, device=start.device)
        # Before the first block stands the prompt, whose keys are final already.
        places = places.masked_fill(places < state.prompt_length, _NOWHERE)
        visible = _block_visible(state, places, block)
        hidden = encode(model, RowMemory.of(model, state), state, places, visible)
        current = hidden[:, block:]
        if model.shift:
            before = hidden[:, block - 1]
            first = plan.positions[:, :1] == 0
            before = torch.where(first, state.rows["cache/last"], before)
            current = torch.cat([before[:, None], current[:, :-1]], 1)
        return finish_logits(model.model.head(current), model.mask_id)


@dataclass(frozen=True)
class PrefixCache:
    """Keys and values of everything before the block, from the pass that entered it: approximate.

    Later passes of the block read from its start to the end of the sequence (Fast-dLLM, Wu et al.
    2025). Reads back once a pass which rows enter a block.
    """

    exact: ClassVar[bool] = False
    reads_back: ClassVar[bool] = True
    suffix: ClassVar[bool] = True

    def check(self, denoiser: Denoiser, planner: BlockPlanner, guidance: float) -> None:
        """See :class:`Cache`."""
        _check_parts("prefix or dual", denoiser, planner, guidance)
        if getattr(denoiser, "block_length", None) is not None:
            raise ConfigError(
                "caches prefix and dual are approximations for bidirectional models; "
                "a block-causal denoiser has the exact cache block_causal"
            )

    def begin(self, denoiser: Denoiser, state: DecodeState) -> None:
        """See :class:`Cache`."""
        RowMemory.begin(_transformer(denoiser), state)
        state.rows["cache/entered"] = torch.full_like(state.place, -1)

    def logits(self, denoiser: Denoiser, state: DecodeState, plan: Plan, guidance: float) -> Tensor:
        """See :class:`Cache`."""
        model = _transformer(denoiser)
        start = plan.positions[:, 0]
        enters = start != state.rows["cache/entered"]
        state.rows["cache/entered"].copy_(start)
        merged = None
        for rows, whole in ((enters.nonzero()[:, 0], True), ((~enters).nonzero()[:, 0], False)):
            if len(rows):
                part = self._part(model, state, plan, rows, whole)
                if merged is None:
                    merged = part.new_empty(*plan.positions.shape, model.vocab_size)
                merged[rows] = part
        if merged is None:
            raise PromptError("a pass wants at least one row, got none")
        return merged

    def _part(
        self,
        model: TransformerDenoiser,
        state: DecodeState,
        plan: Plan,
        rows: Tensor,
        whole: bool,
    ) -> Tensor:
        """Return the logits of some rows, by a whole pass or from the block's start."""
        part = state.take(rows)
        size, prompt = part.ids.shape[1], part.prompt_length
        first = plan.positions[rows, :1] + prompt
        width = plan.positions.shape[1]
        if whole:
            places = torch.arange(size, device=rows.device).expand(len(rows), -1)
        else:
            reach = size - int(first.min()) if self.suffix else width
            # Shifted logits of the block's first position come from the token before it.
            places = first + torch.arange(-1 if model.shift else 0, reach, device=rows.device)
            places = places.masked_fill((places < 0) | (places >= size), _NOWHERE)
        visible = _real(part)[:, None].expand(-1, places.shape[1], -1)
        hidden = encode(model, RowMemory.of(model, part), part, places, visible)
        for name in RowMemory.names(model):
            state.rows[name][rows] = part.rows[name]
        wanted = plan.positions[rows] + prompt - (1 if model.shift else 0)
        offset = (wanted - places[:, :1]).clamp(min=0)
        picked = hidden.gather(1, offset[..., None].expand(-1, -1, hidden.shape[-1]))
        return finish_logits(model.model.head(picked), model.mask_id)


@dataclass(frozen=True)
class DualCache(PrefixCache):
    """As :class:`PrefixCache`, with stale keys and values after the block too: approximate."""

    suffix: ClassVar[bool] = False


_NOWHERE = -1
"""Place of a query that is computed only to keep shapes static."""


def _check_given(state: DecodeState, block: int) -> None:
    """Refuse a block that is given whole between blocks that are not: no pass would encode it.

    Raises:
        PromptError: There is one.
    """
    open_ = state.masked.view(len(state), -1, block).any(2).to(torch.uint8)
    before, after = open_.cummax(1).values, open_.flip(1).cummax(1).values.flip(1)
    if bool(((open_ == 0) & (before == 1) & (after == 1)).any()):
        raise PromptError(
            f"cache block_causal: the prompt gives a whole block of {block} tokens between blocks "
            "that are to be decoded; use cache none"
        )


def _block_visible(state: DecodeState, places: Tensor, block: int) -> Tensor:
    """Return what each query sees, bool ``[R, Q, S]``: real tokens of its block and before."""
    of = block_of(state.ids.shape[1], state.prompt_length, block, places.device)
    mine = of[places.clamp(min=0)]
    return (of <= mine[..., None]) & _real(state)[:, None]


def _real(state: DecodeState) -> Tensor:
    return torch.ones_like(state.ids, dtype=torch.bool) if state.real is None else state.real


def _transformer(denoiser: Denoiser) -> TransformerDenoiser:
    if not isinstance(denoiser, TransformerDenoiser):
        raise ConfigError(f"caches want a TransformerDenoiser, got {type(denoiser).__name__}")
    return denoiser


def _check_parts(name: str, denoiser: Denoiser, planner: BlockPlanner, guidance: float) -> None:
    _transformer(denoiser)
    if guidance:
        raise ConfigError(f"cache {name} holds no unconditional half: cfg_scale must be 0")
    if not isinstance(planner, SemiAR):
        raise ConfigError(f"cache {name} wants planner semi_ar or block_causal, got {planner}")


def check_block_planner(denoiser: Denoiser, planner: BlockPlanner) -> None:
    """Refuse planner ``block_causal`` on a denoiser with other blocks.

    Raises:
        ConfigError: The blocks differ.
    """
    mine = getattr(denoiser, "block_length", None)
    if isinstance(planner, BlockCausal) and planner.block_length != mine:
        raise ConfigError(
            f"planner block_causal has blocks of {planner.block_length}, the denoiser of {mine}"
        )
