"""The categorical distribution over ``A`` actions, given by unnormalised logits ``[..., A]``."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from rlcore.errors import ConfigError


def sample(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one action for each row by inverting the distribution function.

    One uniform number a row is used, so that the stream of random numbers does not depend on the
    number of actions. An action of probability zero is never drawn.

    Args:
        logits: ``[..., A]``.
        generator: Source of the uniform numbers, on the device of ``logits``.

    Returns:
        ``(action, log_prob)``: int64 and the dtype of ``logits``, both ``[...]``.
    """
    log_p = logits.log_softmax(-1)
    steps = log_p.exp().cumsum(-1)
    uniform = torch.rand(
        steps.shape[:-1], generator=generator, dtype=steps.dtype, device=steps.device
    ).unsqueeze_(-1)
    # Scaled by the last step, the number stays below it whatever the rounding of the sum.
    action = (uniform * steps[..., -1:] >= steps[..., :-1]).sum(-1)
    return action, log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def mode(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most probable action of each row and its log-probability."""
    action = logits.argmax(-1)
    return action, logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def log_prob_and_entropy(
    logits: Tensor, action: Tensor, backend: Literal["reference", "torch"] = "torch"
) -> tuple[Tensor, Tensor]:
    """Return ``log pi(action)`` and the entropy in nats, from one softmax.

    Args:
        logits: ``[..., A]``.
        action: ``[...]`` int64.
        backend: ``"reference"`` leaves the backward pass to autograd; ``"torch"`` has the gradient
            of both results written out, in one pass over ``[..., A]``.

    Returns:
        ``(log_prob, entropy)``, both ``[...]``.
    """
    if backend == "reference":
        log_p = logits.log_softmax(-1)
        log_prob = log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return log_prob, -(log_p.exp() * log_p).sum(-1)
    if backend != "torch":
        raise ConfigError(f"backend must be 'reference' or 'torch', got {backend!r}")
    log_prob, entropy, _ = _LogProbAndEntropy.apply(logits, action)  # type: ignore[no-untyped-call]
    return log_prob, entropy


class _LogProbAndEntropy(torch.autograd.Function):
    """The gradient of ``log p_a`` is ``onehot(a) - p``, that of ``H`` is ``-p (log p + H)``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_p = logits.log_softmax(-1)
        log_prob = log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        entropy = (log_p.exp().mul_(log_p)).sum(-1).neg_()
        return log_prob, entropy, log_p

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        _, entropy, log_p = output
        ctx.mark_non_differentiable(log_p)
        ctx.save_for_backward(inputs[1], entropy, log_p)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_log_prob: Tensor, by_entropy: Tensor, _: Any) -> tuple[Tensor, None]:
        action, entropy, log_p = ctx.saved_tensors
        inner = (log_p + entropy.unsqueeze(-1)).mul_(by_entropy.unsqueeze(-1))
        inner.add_(by_log_prob.unsqueeze(-1)).mul_(log_p.exp()).neg_()
        grad = inner.scatter_add_(-1, action.unsqueeze(-1), by_log_prob.unsqueeze(-1))
        return grad, None
