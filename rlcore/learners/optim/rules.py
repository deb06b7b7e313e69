"""Elementwise update rules on flat vectors: a direction becomes a parameter change, in place.

One implementation serves private and shared use. A rule is *bound* to a parameter vector ``theta``
and to its state; Hogwild workers bind theirs to vectors in shared memory (step counter included:
a private counter would give Adam a wrong bias correction), everyone else to fresh ones.
:mod:`rlcore.learners.optim.reference` has the same rules as scalar loops.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from rlcore.learners.base import StateSpec
from rlcore.learners.errors import LearnerStateError

SHARED_BLOCK = 1 << 15
"""Entries that a rule on shared vectors moves at a time: so few that workers seldom meet in one."""

Window = slice | None
"""Entries of the flat vectors; ``None`` is all of them."""


class FlatRule:
    """What the rules share: state, working memory, and runs of parameters that move together."""

    state: dict[str, Tensor]
    theta: Tensor
    bounds: list[int]

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the state for parameters that lie between consecutive ``bounds``."""
        raise NotImplementedError

    def bind(
        self, theta: Tensor, bounds: Sequence[int], state: dict[str, Tensor] | None = None
    ) -> None:
        """Act on ``theta`` with ``state`` (fresh where ``None``).

        Given ``state``, others are taken to act on it too: long vectors are then gone through in
        blocks, in an order of this process's own. Workers that step at the same time would
        otherwise run through memory side by side and overwrite each other's entries.

        Raises:
            LearnerStateError: ``state`` does not follow :meth:`state_spec`.
        """
        self._order = None if state is None else random.Random(os.getpid())
        self.theta = theta
        self.bounds = list(bounds)
        spec = self.state_spec(bounds, theta.dtype)
        if state is None:
            state = {
                name: torch.full(shape, start, dtype=dtype, device=theta.device)
                for name, (shape, dtype, start) in spec.items()
            }
        _check_state(state, spec)
        self.state = state
        self._scratch = torch.empty_like(theta)
        self.state_changed()

    def apply(self, grad: Tensor, lr: float, present: Sequence[int] | None = None) -> None:
        """Apply one gradient; parameters not in ``present`` keep value and state."""
        for start, stop in self._runs(present):
            self._apply(grad, lr, start, stop)

    def clone_state(self) -> dict[str, Tensor]:
        """Return a copy of the state, for trying steps that are taken back."""
        return {name: value.clone() for name, value in self.state.items()}

    def state_changed(self) -> None:
        """Take notice that someone else wrote to ``state``."""

    def scratch_bytes(self) -> int:
        """Return the bytes of working memory beyond ``state``."""
        return self._scratch.numel() * self._scratch.element_size()

    def predict(self, horizon: float, lr: float) -> Tensor:
        """Return ``theta`` moved on by ``horizon`` steps along the rule's present direction.

        A rule without memory of a direction predicts that nothing moves.
        """
        return self.theta.clone()

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        raise NotImplementedError

    def _runs(self, present: Sequence[int] | None) -> list[tuple[int, int]]:
        """Return runs of neighbouring parameters, as index pairs into ``bounds``."""
        return [(0, len(self.bounds) - 1)] if present is None else self._neighbours(present)

    @staticmethod
    def _neighbours(indices: Sequence[int]) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for index in indices:
            if runs and runs[-1][1] == index:
                runs[-1] = (runs[-1][0], index + 1)
            else:
                runs.append((index, index + 1))
        return runs

    def _windows(self, start: int, stop: int) -> list[Window]:
        """Return the entries of parameters ``start`` to ``stop``, cut into blocks where shared."""
        first, last = self.bounds[start], self.bounds[stop]
        if self._order is None or last - first <= SHARED_BLOCK:
            return [None if last - first == self.bounds[-1] else slice(first, last)]
        edges = [*range(first, last, SHARED_BLOCK), last]
        blocks: list[Window] = [slice(a, b) for a, b in pairwise(edges)]
        self._order.shuffle(blocks)
        return blocks


def _cut(window: Window, *vectors: Tensor) -> list[Tensor]:
    return list(vectors) if window is None else [vector[window] for vector in vectors]


def _check_state(state: dict[str, Tensor], spec: StateSpec) -> None:
    if set(state) != set(spec):
        raise LearnerStateError(f"state has {sorted(state)}; wanted {sorted(spec)}")
    for name, (shape, dtype, _) in spec.items():
        found = state[name]
        if found.shape != torch.Size(shape) or found.dtype != dtype:
            raise LearnerStateError(
                f"state {name!r} is {found.dtype} {tuple(found.shape)}; wanted {dtype} {shape}"
            )


class SGD(FlatRule):
    """``m <- momentum m + (1 - dampening) g``, ``theta <- theta - lr m``.

    Without momentum ``m`` is ``g``. Unlike in ``torch.optim.SGD`` the first ``m`` is dampened too.
    """

    def __init__(self, momentum: float = 0.0, dampening: float = 0.0) -> None:
        self.momentum = momentum
        self.dampening = dampening

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the momentum vector, where there is one."""
        return {"momentum": ((bounds[-1],), dtype, 0.0)} if self.momentum else {}

    def predict(self, horizon: float, lr: float) -> Tensor:
        """Return ``theta - horizon lr m`` (Kosson et al. 2021, weight prediction)."""
        if not self.momentum:
            return self.theta.clone()
        return self.theta.add(self.state["momentum"], alpha=-horizon * lr)

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        for window in self._windows(start, stop):
            theta, direction = _cut(window, self.theta, grad)
            if self.momentum:
                (m,) = _cut(window, self.state["momentum"])
                direction = m.mul_(self.momentum).add_(direction, alpha=1.0 - self.dampening)
            theta.add_(direction, alpha=-lr)


class RMSProp(FlatRule):
    """``g <- alpha g + (1 - alpha) d^2``, ``theta <- theta - lr d / sqrt(g + eps)``.

    Mnih et al. 2016, eq. S2 and S3. With ``eps_inside=False`` the denominator is ``sqrt(g) + eps``.
    With momentum the quotient is added to ``momentum m`` first, as in ``torch.optim.RMSprop``.
    """

    def __init__(
        self,
        alpha: float,
        eps: float,
        eps_inside: bool = True,
        g_init: float = 1.0,
        momentum: float = 0.0,
    ) -> None:
        self.alpha = alpha
        self.eps = eps
        self.eps_inside = eps_inside
        self.g_init = g_init
        self.momentum = momentum

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the mean squared gradient ``g``, and the momentum vector where there is one."""
        spec: StateSpec = {"g": ((bounds[-1],), dtype, self.g_init)}
        if self.momentum:
            spec["momentum"] = ((bounds[-1],), dtype, 0.0)
        return spec

    def predict(self, horizon: float, lr: float) -> Tensor:
        """Return ``theta - horizon lr m``."""
        if not self.momentum:
            return self.theta.clone()
        return self.theta.add(self.state["momentum"], alpha=-horizon * lr)

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        for window in self._windows(start, stop):
            theta, d, g, root = _cut(window, self.theta, grad, self.state["g"], self._scratch)
            g.mul_(self.alpha).addcmul_(d, d, value=1.0 - self.alpha)
            if self.eps_inside:
                torch.add(g, self.eps, out=root).sqrt_()
            else:
                torch.sqrt(g, out=root).add_(self.eps)
            if self.momentum:
                (m,) = _cut(window, self.state["momentum"])
                theta.add_(m.mul_(self.momentum).addcdiv_(d, root), alpha=-lr)
            else:
                theta.addcdiv_(d, root, value=-lr)


class Adam(FlatRule):
    """Adam (Kingma & Ba 2015, algorithm 1); with ``weight_decay`` AdamW (decoupled decay).

    There is a step counter for each parameter tensor, as one that had no gradient for a while
    needs another bias correction. On a CUDA device the counters live there and are never read
    back.
    """

    def __init__(self, betas: tuple[float, float], eps: float, weight_decay: float = 0.0) -> None:
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self._decayed: list[tuple[int, int]] | None = None

    def decay_only(self, indices: Sequence[int]) -> None:
        """Let weight decay apply to these parameters alone, given in rising order."""
        self._decayed = self._neighbours(indices)

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return both moments and one step counter a parameter tensor."""
        size = bounds[-1]
        return {
            "exp_avg": ((size,), dtype, 0.0),
            "exp_avg_sq": ((size,), dtype, 0.0),
            "step": ((len(bounds) - 1,), torch.float64, 0.0),
        }

    def state_changed(self) -> None:
        """Look whether all parameters have taken equally many steps."""
        steps = self.state["step"].tolist()
        self._equal_steps = len(set(steps)) <= 1

    def apply(self, grad: Tensor, lr: float, present: Sequence[int] | None = None) -> None:
        """Apply one gradient; parameters not in ``present`` keep value and state."""
        if present is not None and len(present) < len(self.bounds) - 1:
            self._equal_steps = False
        super().apply(grad, lr, present)

    def predict(self, horizon: float, lr: float) -> Tensor:
        """Return ``theta`` after ``horizon`` steps of the present corrected moments."""
        moved = self.theta.clone()
        for start, stop in self._runs(None):
            step = self._step(start)
            if not step:
                continue
            scale, shift, size = self._corrections(step, lr)
            for window in self._windows(start, stop):
                out, m, v = _cut(window, moved, self.state["exp_avg"], self.state["exp_avg_sq"])
                out.addcdiv_(m, v.sqrt().mul_(scale).add_(shift), value=-horizon * size)
        return moved

    def _runs(self, present: Sequence[int] | None) -> list[tuple[int, int]]:
        """Split runs where step counters differ: each has its own bias correction."""
        runs = super()._runs(present)
        counter = self.state["step"]
        if counter.is_cuda:
            if self._equal_steps:
                return runs
            return [(i, i + 1) for start, stop in runs for i in range(start, stop)]
        steps = counter.tolist()
        split: list[tuple[int, int]] = []
        for start, stop in runs:
            first = start
            for index in range(start + 1, stop + 1):
                if index == stop or steps[index] != steps[first]:
                    split.append((first, index))
                    first = index
        return split

    def _step(self, start: int) -> float | Tensor:
        counter = self.state["step"]
        return counter[start] if counter.is_cuda else float(counter[start])

    def _corrections(
        self, step: float | Tensor, lr: float
    ) -> tuple[float | Tensor, float | Tensor, float]:
        """Return ``scale``, ``shift``, ``size``.

        Then ``theta`` moves by ``-size m / (scale sqrt(v) + shift)``. On a device the
        first moment's correction goes into the denominator, because the factor of a fused division
        has to be a Python number.
        """
        beta1, beta2 = self.betas
        if isinstance(step, Tensor):
            first, second = 1.0 - beta1**step, (1.0 - beta2**step).sqrt()
            return first / second, self.eps * first, lr
        return 1.0 / (1.0 - beta2**step) ** 0.5, self.eps, lr / (1.0 - beta1**step)

    def _apply(self, grad: Tensor, lr: float, start: int, stop: int) -> None:
        self.state["step"][start:stop].add_(1.0)
        if self.weight_decay and self._decayed is not None:
            for first, last in self._decayed:
                a, b = max(first, start), min(last, stop)
                if a < b:
                    chosen = self.theta[self.bounds[a] : self.bounds[b]]
                    chosen.mul_(1.0 - lr * self.weight_decay)
        beta1, beta2 = self.betas
        moments = self.state["exp_avg"], self.state["exp_avg_sq"]
        scale, shift, size = self._corrections(self._step(start), lr)
        for window in self._windows(start, stop):
            theta, d, m, v, root = _cut(window, self.theta, grad, *moments, self._scratch)
            if self.weight_decay and self._decayed is None:
                theta.mul_(1.0 - lr * self.weight_decay)
            m.lerp_(d, 1.0 - beta1)
            v.mul_(beta2).addcmul_(d, d, value=1.0 - beta2)
            torch.sqrt(v, out=root).mul_(scale).add_(shift)
            theta.addcdiv_(m, root, value=-size)
