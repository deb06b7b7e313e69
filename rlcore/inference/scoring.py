"""What else a model might have said: the most probable tokens in the place of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rlcore.errors import ConfigError

CHUNK = 256


@torch.no_grad()
def alternatives(
    model: Any, prompt: Sequence[int], new: Sequence[int], top: int
) -> list[list[tuple[int, float]]]:
    """Return the ``top`` most probable tokens where each new token stands, best first.

    The law is the softmax of the model's logits, in float32 or better, without temperature.

    Args:
        model: A causal :class:`rlcore.nn.transformer.Transformer`.
        prompt: At least one token.
        new: Tokens that followed it.
        top: How many to return for each.

    Returns:
        ``(token, log-probability in nats)`` pairs for each new token.

    Raises:
        ConfigError: There is no prompt, or ``top`` is below 1.
    """
    if not prompt or top < 1:
        raise ConfigError(
            f"alternatives want a prompt and top >= 1, got {len(prompt)} tokens and top={top}"
        )
    device = next(model.parameters()).device
    ids = torch.tensor([[*prompt, *new]], device=device)
    # The state at a position predicts the token after it.
    hidden = model.hidden(ids[:, :-1])[0, len(prompt) - 1 :]
    rows: list[list[tuple[int, float]]] = []
    for part in hidden.split(CHUNK):
        logits = model.head(part)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        best = torch.log_softmax(logits, -1).topk(min(top, logits.shape[-1]))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        rows += [list(zip(tokens, values, strict=True)) for tokens, values in pairs]
    return rows
