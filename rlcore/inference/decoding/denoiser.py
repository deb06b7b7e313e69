"""What a masked-diffusion model is to decoding, and how a :class:`Transformer` becomes one."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from rlcore.errors import ConfigError
from rlcore.inference.decoding.errors import PromptError


class Denoiser(Protocol):
    """Predicts the tokens under the masks.

    Attributes:
        mask_id: The mask token: never a target.
        eos_id: The token that ends a sequence, or None.
        vocab_size: Width of the logits, the mask included.
    """

    mask_id: int
    eos_id: int | None
    vocab_size: int

    def __call__(self, ids: Tensor, *, positions: Tensor | None = None, **more: Any) -> Tensor:
        """Return logits ``[R, W, V]``.

        Args:
            ids: int64 ``[R, S]``, prompt and response.
            positions: int64 ``[R, W]``: where in the sequence logits are wanted; None for all.
            **more: ``padding`` (bool ``[R, S]``, True on real tokens) where rows are padded, and
                ``prompt_length`` where the denoiser has a ``block_length``.
        """
        ...


class TransformerDenoiser:
    """A :class:`rlcore.nn.transformer.Transformer` as a denoiser.

    The head runs on the wanted positions alone.

    Args:
        model: Module with ``hidden(ids, positions=, mask=, padding=, memory=)``, ``head(hidden)``
            and ``config``.
        mask_id: The mask token; None takes the configuration's.
        eos_id: The end token; None takes the configuration's.
        shift: Whether the logits at a position predict the next token, as in models made from
            autoregressive ones (Dream, Ye et al. 2025).
        block_length: Attention in blocks: a response position sees the prompt, earlier blocks and
            its own block. None attends everywhere.
        compile: Whether the transformer runs through ``torch.compile``.

    Raises:
        ConfigError: The model is causal, or has no mask token.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mask_id: int | None = None,
        eos_id: int | None = None,
        shift: bool = False,
        block_length: int | None = None,
        compile: bool = False,
    ) -> None:
        config: Any = model.config
        if config.causal:
            raise ConfigError(
                "a denoiser sees both sides of a mask: the model's causal must be False, got True"
            )
        mask_id = config.mask_id if mask_id is None else mask_id
        if mask_id is None or not 0 <= mask_id < config.vocab_size:
            raise ConfigError(
                f"a denoiser wants mask_id in 0 .. {config.vocab_size - 1}, got {mask_id}"
            )
        if block_length is not None and block_length < 1:
            raise ConfigError(f"block_length must be >= 1, got {block_length}")
        self.model: Any = model
        self.mask_id: int = mask_id
        self.eos_id: int | None = config.eos_id if eos_id is None else eos_id
        self.vocab_size: int = config.vocab_size
        self.shift = shift
        self.block_length = block_length
        self._hidden: Any = cast(Any, model).hidden
        if compile:
            self._hidden = torch.compile(self._hidden)

    def __call__(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        padding: Tensor | None = None,
        prompt_length: int = 0,
    ) -> Tensor:
        """See :class:`Denoiser`; ``prompt_length`` tells where the first block begins."""
        mask = None
        if self.block_length is not None:
            from rlcore.ops.attention.masks import AttentionMask

            block = block_of(ids.shape[1], prompt_length, self.block_length, ids.device)
            mask = AttentionMask(causal=False, blocks=block.to(torch.int32).expand_as(ids))
        hidden = self._hidden(ids, mask=mask, padding=padding)
        return self.predict(hidden, positions)

    def predict(self, hidden: Tensor, positions: Tensor | None) -> Tensor:
        """Return logits of ``hidden`` ``[R, S, D]`` at ``positions`` ``[R, W]``, or at all."""
        if positions is None:
            positions = torch.arange(hidden.shape[1], device=hidden.device)
            positions = positions.expand(len(hidden), -1)
        # The first token has no predecessor; a prompt is checked to have one.
        source = (positions - 1).clamp(min=0) if self.shift else positions
        index = source[..., None].expand(-1, -1, hidden.shape[-1])
        logits: Tensor = self.model.head(hidden.gather(1, index))
        return logits


def block_of(length: int, prompt_length: int, block_length: int, device: torch.device) -> Tensor:
    """Return the block of each position, int64 ``[length]``: 0 for the prompt, then 1, 2, ..."""
    place = torch.arange(length, device=device) - prompt_length
    return torch.where(place < 0, 0, place // block_length + 1)


def masked_logits(
    denoiser: Denoiser,
    ids: Tensor,
    positions: Tensor,
    *,
    padding: Tensor | None,
    prompt_length: int,
    known: Tensor | None = None,
    guidance: float = 0.0,
) -> Tensor:
    """Return float logits ``[R, W, V]`` with the mask token at minus infinity.

    Args:
        denoiser: The model.
        ids: int64 ``[R, S]``.
        positions: int64 ``[R, W]`` in the sequence.
        padding: bool ``[R, S]``, True on real tokens, or None.
        prompt_length: ``P``.
        known: bool ``[R, S]``: tokens of the prompt, hidden from the unconditional half.
        guidance: ``w`` of ``uncond + (1 + w)(cond - uncond)``; 0 asks for no second half.

    Returns:
        float32, or float64 where the model computes in float64.
    """
    more: dict[str, Any] = {}
    if padding is not None:
        more["padding"] = padding
    if getattr(denoiser, "block_length", None) is not None:
        more["prompt_length"] = prompt_length
    if not guidance:
        return finish_logits(denoiser(ids, positions=positions, **more), denoiser.mask_id)
    if known is None:
        raise PromptError("guidance wants to know which tokens belong to the prompt")
    if padding is not None:
        more["padding"] = padding.repeat(2, 1)
    both = torch.cat([ids, ids.masked_fill(known, denoiser.mask_id)])
    logits = denoiser(both, positions=positions.repeat(2, 1), **more)
    conditional, free = logits.chunk(2)
    return finish_logits(free + (1.0 + guidance) * (conditional - free), denoiser.mask_id)


def finish_logits(logits: Tensor, mask_id: int) -> Tensor:
    """Return logits in float32 or wider, the mask token at minus infinity."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    index = torch.arange(wide.shape[-1], device=wide.device)
    return wide.masked_fill(index == mask_id, -torch.inf)
