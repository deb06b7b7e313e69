"""The learner: estimator x optimizer x parallelism in one short loop.

    estimate -> reduce -> finite? -> clip by global norm -> update rule -> version + 1
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rlcore.errors import ConfigError, LearnerError, NonFiniteError
from rlcore.learners.base import Batch, GradEstimate, GradStamp, LossFn, ParamSnapshot, UpdateReport
from rlcore.learners.config import LearnerConfig
from rlcore.learners.flat import FlatParameters

_CLIP_FLOOR = 1e-6


class ComposedLearner:
    """Trains ``network`` as ``config`` says.

    Args:
        network: Its trainable parameters become views of one flat vector.
        config: The three axes, clipping and the non-finite policy.
        reduction: ``mean``, or ``sum`` to scale the mean loss by its weight (as A3C and IMPALA do).
        theta: Vector that updates are applied to, instead of the network's own: Hogwild workers
            pass the shared one, take a private copy with ``pull`` and differentiate that.
        state: State of the update rule, in shared memory where ``theta`` is.
        lock: Held while an update is applied; ``None`` (Hogwild) applies without one.

    Attributes:
        version: One more per applied update.
        progress: Share of the step budget that is spent; set by the caller, read by annealing.
    """

    def __init__(
        self,
        network: nn.Module,
        config: LearnerConfig,
        *,
        reduction: str = "mean",
        theta: Tensor | None = None,
        state: dict[str, Tensor] | None = None,
        lock: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ConfigError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.network = network
        self.config = config
        self.reduction = reduction
        self.flat = FlatParameters(network)
        self.theta = self.flat.theta if theta is None else theta
        self.estimator = config.estimator.build()
        self.parallel = config.parallelism.build()
        self.rule = config.optimizer.build()
        self.rule.bind(self.theta, self.flat.bounds, state)
        self._lock = lock or contextlib.nullcontext
        self.version = 0
        self.progress = 0.0
        self.skipped = 0
        self._skips_in_a_row = 0

    @property
    def lr(self) -> float:
        """Step size at the current progress."""
        optimizer = self.config.optimizer
        return optimizer.lr * (1.0 - self.progress) if optimizer.anneal == "linear" else optimizer.lr

    def pull(self) -> None:
        """Copy the shared parameters into the network (Hogwild)."""
        if self.theta is not self.flat.theta:
            self.flat.theta.copy_(self.theta)

    def update(
        self,
        batch: Batch,
        loss_fn: LossFn,
        *,
        stamp: GradStamp | None = None,
        want_metrics: bool = True,
    ) -> UpdateReport:
        """Train on one batch.

        Args:
            batch: Whatever ``loss_fn`` understands.
            loss_fn: Returns a mean loss and its weight.
            stamp: Version the batch was acted with, for the reported delay.
            want_metrics: Whether the report carries update norm and the loss's metrics.

        Raises:
            NonFiniteError: By policy, or after too many skips in a row.
            LearnerError: The batch or the loss cannot be trained on.
        """
        stamp = stamp or GradStamp(self.version)
        started = time.perf_counter()
        estimate = self.estimator.estimate(
            self.network, self.flat, batch, loss_fn, stamp, self.reduction
        )
        estimate = self.parallel.reduce(estimate)
        estimated = time.perf_counter()
        present = self.flat.gather(estimate.grads or {})
        grad = self.flat.grad
        norm = self.parallel.global_norm(grad)
        skipped = False
        norm_value = float(norm)
        if not (math.isfinite(norm_value) and math.isfinite(float(estimate.loss))):
            skipped = self._nonfinite(estimate)
            norm_value = float(self.parallel.global_norm(grad))
        before = self.theta.clone() if want_metrics else None
        if not skipped:
            self._step(grad, norm_value, present)
        update_norm = (self.theta - before).norm() if before is not None else torch.zeros(())
        return UpdateReport(
            version=self.version,
            loss=estimate.loss,
            grad_norm=norm,
            update_norm=update_norm,
            delay=self.version - stamp.version - (not skipped),
            n_grad_evals=estimate.n_evals,
            seconds={
                "estimate": estimated - started,
                "step": time.perf_counter() - estimated,
            },
            skipped=skipped,
            metrics=self._metrics(estimate, norm_value) if want_metrics else {},
        )

    def _step(self, grad: Tensor, norm: float, present: list[int] | None) -> None:
        limit = self.config.max_grad_norm
        if limit is not None and norm > limit:
            grad.mul_(limit / (norm + _CLIP_FLOOR))
        with self._lock():
            self.rule.apply(grad, self.lr, present)
        self.version += 1
        self._skips_in_a_row = 0

    def _nonfinite(self, estimate: GradEstimate) -> bool:
        """Apply the non-finite policy; return whether the update is skipped."""
        policy = self.config.on_nonfinite
        if policy == "zero" and math.isfinite(float(estimate.loss)):
            torch.nan_to_num_(self.flat.grad, nan=0.0, posinf=0.0, neginf=0.0)
            self.skipped += 1
            return False
        self.skipped += 1
        self._skips_in_a_row += 1
        if policy == "raise" or self._skips_in_a_row >= self.config.max_consecutive_skips:
            raise NonFiniteError(
                f"{_first_bad(estimate)} is not finite ({self._skips_in_a_row} updates in a row "
                f"at version {self.version})"
            )
        return True

    def _metrics(self, estimate: GradEstimate, norm: float) -> dict[str, Tensor]:
        limit = self.config.max_grad_norm
        clipped = float(limit is not None and norm > limit)
        return estimate.metrics | {"optim/clip_frac": torch.tensor(clipped)}

    def snapshot(self) -> ParamSnapshot:
        """Return a copy of the parameters with their version."""
        state = {name: p.detach().clone() for name, p in self.network.state_dict().items()}
        return ParamSnapshot(self.version, state, self.theta.dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on exactly: tensors and JSON values."""
        return {
            "version": self.version,
            "skipped": self.skipped,
            "skips_in_a_row": self._skips_in_a_row,
            "optimizer": {
                "type": type(self.rule).__name__,
                "state": {name: value.clone() for name, value in self.rule.state.items()},
            },
            "network": self.snapshot().state,
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            LearnerError: Names, shapes or the optimizer do not fit (with ``strict``).
        """
        own = self.network.state_dict()
        loaded = state["network"]
        if strict and set(own) != set(loaded):
            odd = sorted(set(own) ^ set(loaded))
            raise LearnerError(f"parameters differ from the saved ones: {', '.join(odd)}")
        kind = state["optimizer"]["type"]
        if strict and kind != type(self.rule).__name__:
            raise LearnerError(f"saved optimizer is {kind}, wanted {type(self.rule).__name__}")
        with torch.no_grad():
            for name, value in loaded.items():
                if name in own:
                    _copy(name, own[name], value)
            for name, value in state["optimizer"]["state"].items():
                if name in self.rule.state:
                    _copy(f"optimizer {name}", self.rule.state[name], value)
            if self.theta is not self.flat.theta:
                self.theta.copy_(self.flat.theta)
        self.version = state["version"]
        self.skipped = state["skipped"]
        self._skips_in_a_row = state["skips_in_a_row"]

    def close(self) -> None:
        """Nothing is held open."""


def _copy(name: str, target: Tensor, value: Tensor) -> None:
    if target.shape != value.shape:
        raise LearnerError(f"{name} has shape {tuple(value.shape)}, wanted {tuple(target.shape)}")
    target.copy_(value)


def _first_bad(estimate: GradEstimate) -> str:
    for name, grad in (estimate.grads or {}).items():
        if not bool(torch.isfinite(grad).all()):
            return f"the gradient of {name!r}"
    if not bool(torch.isfinite(estimate.loss)):
        return "the loss"
    return "the gradient norm"
