"""The definition: all logits at once."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.ops.log_prob.chunked import Head


def reference_log_probs(
    hidden: Tensor, weight: Tensor, tokens: Tensor, bias: Tensor | None, head: Head, entropy: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``(log_probs, log_z, entropy)``, each ``[N]``; arguments as of the chunked form."""
    logits = hidden @ weight.T
    if bias is not None:
        logits = logits + bias
    if logits.dtype != torch.float64:
        logits = logits.float()
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    logits = logits / head.temperature
    all_log_probs = logits.log_softmax(-1)
    log_probs = all_log_probs.gather(1, tokens[:, None]).squeeze(1)
    uncertainty = -(all_log_probs.exp() * all_log_probs).sum(-1) if entropy else None
    return log_probs, logits.logsumexp(-1), uncertainty
