"""Elementwise update rules on flat vectors: a direction becomes a parameter change, in place.

One implementation serves private and shared use. A rule is *bound* to a parameter vector ``theta``
and to its state; Hogwild workers bind theirs to vectors in shared memory (step counter included:
a private counter would give Adam a wrong bias correction), everyone else to fresh ones.
:mod:`rlcore.learners.optim.reference` has the same rules as scalar loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

StateSpec = dict[str, tuple[tuple[int, ...], torch.dtype, float]]
"""State tensors by name: shape, dtype, starting value."""


class UpdateRule(Protocol):
    """Turns a gradient into a parameter change."""

    state: dict[str, Tensor]

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the state for parameters that lie between consecutive ``bounds``."""
        ...

    def bind(self, theta: Tensor, bounds: Sequence[int], state: dict[str, Tensor] | None) -> None:
        """Act on ``theta`` with ``state`` (fresh where ``None``)."""
        ...

    def apply(self, grad: Tensor, lr: float, present: Sequence[int] | None = None) -> None:
        """Apply one gradient; parameters not in ``present`` keep value and state."""
        ...


class FlatRule:
    """What the rules share: state, and runs of parameters that move together."""

    state: dict[str, Tensor]

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the state for parameters that lie between consecutive ``bounds``."""
        raise NotImplementedError

    def bind(
        self, theta: Tensor, bounds: Sequence[int], state: dict[str, Tensor] | None = None
    ) -> None:
        """Act on ``theta`` with ``state`` (fresh where ``None``)."""
        self.theta = theta
        self.bounds = list(bounds)
        spec = self.state_spec(bounds, theta.dtype)
        if state is None:
            state = {
                name: torch.full(shape, start, dtype=dtype, device=_device(name, theta))
                for name, (shape, dtype, start) in spec.items()
            }
        if set(state) != set(spec):
            raise ValueError(f"state must have {sorted(spec)}, got {sorted(state)}")
        self.state = state
        self._scratch = torch.empty_like(theta)

    def apply(self, grad: Tensor, lr: float, present: Sequence[int] | None = None) -> None:
        """Apply one gradient; parameters not in ``present`` keep value and state."""
        for start, stop in self._runs(present):
            self._apply(grad, lr, start, stop)

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        raise NotImplementedError

    def _runs(self, present: Sequence[int] | None) -> list[tuple[int, int]]:
        """Return runs of neighbouring parameters, as index pairs into ``bounds``."""
        if present is None:
            return [(0, len(self.bounds) - 1)]
        runs: list[tuple[int, int]] = []
        for index in present:
            if runs and runs[-1][1] == index:
                runs[-1] = (runs[-1][0], index + 1)
            else:
                runs.append((index, index + 1))
        return runs

    def _cut(self, start: int, stop: int, *vectors: Tensor) -> list[Tensor]:
        if start == 0 and stop == len(self.bounds) - 1:
            return list(vectors)
        window = slice(self.bounds[start], self.bounds[stop])
        return [vector[window] for vector in vectors]


def _device(name: str, theta: Tensor) -> torch.device:
    return torch.device("cpu") if name == "step" else theta.device


class SGD(FlatRule):
    """``m <- momentum m + g``, ``theta <- theta - lr m`` (``m`` is ``g`` without momentum)."""

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = momentum

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the momentum vector, where there is one."""
        return {"momentum": ((bounds[-1],), dtype, 0.0)} if self.momentum else {}

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        theta, direction = self._cut(start, stop, self.theta, grad)
        if self.momentum:
            (m,) = self._cut(start, stop, self.state["momentum"])
            direction = m.mul_(self.momentum).add_(direction)
        theta.add_(direction, alpha=-lr)


class RMSProp(FlatRule):
    """``g <- alpha g + (1 - alpha) d^2``, ``theta <- theta - lr d / sqrt(g + eps)``.

    Mnih et al. 2016, eq. S2 and S3. With ``eps_inside=False`` the denominator is ``sqrt(g) + eps``.
    """

    def __init__(self, alpha: float, eps: float, eps_inside: bool = True, g_init: float = 1.0):
        self.alpha = alpha
        self.eps = eps
        self.eps_inside = eps_inside
        self.g_init = g_init

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the mean squared gradient ``g``."""
        return {"g": ((bounds[-1],), dtype, self.g_init)}

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        theta, d, g, root = self._cut(
            start, stop, self.theta, grad, self.state["g"], self._scratch
        )
        g.mul_(self.alpha).addcmul_(d, d, value=1.0 - self.alpha)
        if self.eps_inside:
            torch.add(g, self.eps, out=root).sqrt_()
        else:
            torch.sqrt(g, out=root).add_(self.eps)
        theta.addcdiv_(d, root, value=-lr)


class Adam(FlatRule):
    """Adam; with ``weight_decay`` AdamW (the decay is decoupled from the gradient)."""

    def __init__(
        self, betas: tuple[float, float], eps: float, weight_decay: float = 0.0
    ) -> None:
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return both moments and one step counter a parameter tensor."""
        size = bounds[-1]
        return {
            "exp_avg": ((size,), dtype, 0.0),
            "exp_avg_sq": ((size,), dtype, 0.0),
            "step": ((len(bounds) - 1,), torch.float64, 0.0),
        }

    def _runs(self, present: Sequence[int] | None) -> list[tuple[int, int]]:
        """Split runs where step counters differ: each has its own bias correction."""
        steps = self.state["step"].tolist()
        runs: list[tuple[int, int]] = []
        for start, stop in super()._runs(present):
            for index in range(start, stop):
                if runs and runs[-1][1] == index and steps[runs[-1][0]] == steps[index]:
                    runs[-1] = (runs[-1][0], index + 1)
                else:
                    runs.append((index, index + 1))
        return runs

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        theta, d, m, v, root = self._cut(
            start,
            stop,
            self.theta,
            grad,
            self.state["exp_avg"],
            self.state["exp_avg_sq"],
            self._scratch,
        )
        counter = self.state["step"][start:stop]
        counter.add_(1.0)
        step = float(counter[0])
        beta1, beta2 = self.betas
        if self.weight_decay:
            theta.mul_(1.0 - lr * self.weight_decay)
        m.lerp_(d, 1.0 - beta1)
        v.mul_(beta2).addcmul_(d, d, value=1.0 - beta2)
        torch.sqrt(v, out=root).div_((1.0 - beta2**step) ** 0.5).add_(self.eps)
        theta.addcdiv_(m, root, value=-lr / (1.0 - beta1**step))
