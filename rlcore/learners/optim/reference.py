"""The update rules as scalar loops: slow, exact, readable.

Tests hold the fast ones against these.
"""

from __future__ import annotations

import math

Vector = list[float]


def sgd(
    theta: Vector, grads: list[Vector], lr: float, momentum: float = 0.0, dampening: float = 0.0
) -> Vector:
    """Return ``theta`` after SGD on ``grads`` in turn."""
    theta, m = list(theta), [0.0] * len(theta)
    for grad in grads:
        for i, g in enumerate(grad):
            m[i] = momentum * m[i] + (1 - dampening) * g
            theta[i] -= lr * m[i]
    return theta


def rmsprop(
    theta: Vector,
    grads: list[Vector],
    lr: float,
    alpha: float,
    eps: float,
    eps_inside: bool,
    g_init: float,
    momentum: float = 0.0,
) -> Vector:
    """Return ``theta`` after RMSProp on ``grads`` in turn (Mnih et al. 2016, eq. S2, S3)."""
    theta, mean, m = list(theta), [g_init] * len(theta), [0.0] * len(theta)
    for grad in grads:
        for i, d in enumerate(grad):
            mean[i] = alpha * mean[i] + (1 - alpha) * d * d
            root = math.sqrt(mean[i] + eps) if eps_inside else math.sqrt(mean[i]) + eps
            m[i] = momentum * m[i] + d / root
            theta[i] -= lr * m[i]
    return theta


def adam(
    theta: Vector,
    grads: list[Vector],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
) -> Vector:
    """Return ``theta`` after Adam(W) on ``grads`` in turn (Kingma & Ba 2015, algorithm 1)."""
    theta, m, v = list(theta), [0.0] * len(theta), [0.0] * len(theta)
    beta1, beta2 = betas
    for step, grad in enumerate(grads, start=1):
        for i, g in enumerate(grad):
            theta[i] -= lr * weight_decay * theta[i]
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            corrected = math.sqrt(v[i] / (1 - beta2**step)) + eps
            theta[i] -= lr * m[i] / (1 - beta1**step) / corrected
    return theta
