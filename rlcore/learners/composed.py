"""The learner: estimator x optimizer x parallelism in one short loop.

``estimate -> reduce -> finite? -> clip by global norm -> update rule -> version + 1``
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlcore.errors import ConfigError, NonFiniteError
from rlcore.learners.accumulate import merge
from rlcore.learners.base import (
    Batch,
    GradEstimate,
    GradientEstimator,
    GradStamp,
    LossFn,
    ParallelStrategy,
    ParamSnapshot,
    StepContext,
    UpdateReport,
    UpdateRule,
)
from rlcore.learners.config import LearnerConfig
from rlcore.learners.errors import EmptyBatchError
from rlcore.learners.flat import FlatParameters
from rlcore.learners.nonfinite import BadUpdate, bad_tensors, first_bad
from rlcore.learners.optim.decay import weight_matrices
from rlcore.learners.optim.rules import Adam
from rlcore.learners.purity import check_purity
from rlcore.learners.schedule import step_size
from rlcore.learners.state import learner_state, load_learner_state
from rlcore.learners.tally import DeviceTally, HostTally, Tally


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
        deferred: Whether updates are counted and skipped without waiting for the device; ``None``
            does so on CUDA devices.

    Attributes:
        progress: Share of the step budget that is spent; set by the caller, read by annealing.
        keep_bad: Called with every update that is left out, before the next one; none by default.
            With it, each update waits for the device.

    Raises:
        ParameterError: ``network`` cannot be trained (see :class:`FlatParameters`), or ``theta``
            does not fit it.
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
        deferred: bool | None = None,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ConfigError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.network = network
        self.config = config
        self.reduction = reduction
        self.flat = FlatParameters(network)
        self.theta = self.flat.theta if theta is None else theta
        self.flat.check_vector(self.theta)
        self.estimator: GradientEstimator = config.estimator.build()
        self.parallel: ParallelStrategy = config.parallelism.build()
        self.rule: UpdateRule = config.optimizer.build()
        self.rule.bind(self.theta, self.flat.bounds, state)
        if isinstance(self.rule, Adam) and getattr(config.optimizer, "decay", "all") != "all":
            self.rule.decay_only(weight_matrices(network, self.flat))
        self.progress = 0.0
        self.keep_bad: Callable[[BadUpdate], None] | None = None
        self._lock = lock or contextlib.nullcontext
        limit = 1 if config.on_nonfinite == "raise" else config.max_consecutive_skips
        device = self.theta.device
        deferred = device.type == "cuda" if deferred is None else deferred
        self.tally: Tally = DeviceTally(limit, device) if deferred else HostTally(limit)
        self._backup: list[Tensor] = []
        self._loss: Tensor | None = None
        self._pure = not config.debug_purity

    @property
    def version(self) -> int:
        """One more per applied update; on a CUDA device reading it waits."""
        return self.tally.version

    @version.setter
    def version(self, value: int) -> None:
        self.tally.version = value

    @property
    def skipped(self) -> int:
        """Updates left out for a non-finite loss or gradient; on a CUDA device reading waits."""
        return self.tally.skipped

    @property
    def lr(self) -> float:
        """Step size at the current progress."""
        return step_size(self.config.optimizer, self.progress)

    def pull(self) -> None:
        """Copy the shared parameters into the network (Hogwild)."""
        if self.theta is not self.flat.theta:
            self.flat.theta.copy_(self.theta)

    def update(
        self,
        batch: Batch | Sequence[Batch],
        loss_fn: LossFn,
        *,
        stamp: GradStamp | None = None,
        want_metrics: bool = True,
    ) -> UpdateReport:
        """Train on one batch, or on several as if they were one (gradient accumulation).

        Args:
            batch: Whatever ``loss_fn`` understands; a list of such for one update from
                ``sum_r w_r g_r / sum_r w_r``.
            loss_fn: Returns a mean loss and its weight.
            stamp: Version the batch was acted with, for the reported delay.
            want_metrics: Whether the report carries update norm and metrics.

        Raises:
            NonFiniteError: By policy, or after too many skips in a row. On a CUDA device it is
                raised by a later call than the one that was skipped.
            LearnerError: The batch or the loss cannot be trained on; nothing was changed.
        """
        started = time.perf_counter()
        if self.tally.exceeded():
            raise self._error()
        self.flat.check_places()
        batches = batch if isinstance(batch, list | tuple) else (batch,)
        estimate = self._estimate(batches, loss_fn, stamp)
        estimated = time.perf_counter()
        version = self.tally.current()
        present = self.flat.gather(estimate.grads or {})
        if self.reduction == "sum":
            self.flat.grad.mul_(torch.nan_to_num(estimate.weight, 0.0, 0.0, 0.0))
        before = self.theta.clone() if want_metrics else None
        step = self._device_step if isinstance(self.tally, DeviceTally) else self._host_step
        norm, skipped = step(estimate, present)
        if self.keep_bad is not None and bool(skipped):
            bad = tuple(bad_tensors(self.flat, estimate.loss, batches))
            now = self.tally.version
            self.keep_bad(BadUpdate(batches, now, float(estimate.loss), float(norm), bad))
        if self.tally.exceeded() and not isinstance(self.tally, DeviceTally):
            raise self._error(batches)
        change = (self.theta - before).norm() if before is not None else norm.new_zeros(())
        return UpdateReport(
            version=self.tally.current(),
            loss=estimate.loss,
            grad_norm=norm,
            update_norm=change,
            delay=0 if stamp is None else version - stamp.version,
            n_grad_evals=estimate.n_evals,
            seconds={
                "estimate": estimated - started,
                "step": time.perf_counter() - estimated,
            },
            skipped=skipped,
            metrics=self._metrics(estimate, change) if want_metrics else {},
        )

    def _estimate(
        self, batches: Sequence[Batch], loss_fn: LossFn, stamp: GradStamp | None
    ) -> GradEstimate:
        stamp = stamp or GradStamp(0)
        contexts = []
        for batch in batches:
            if isinstance(batch, Mapping) and not batch:
                raise EmptyBatchError("the batch has no fields")
            contexts.append(StepContext(self.network, self.flat, batch, loss_fn, stamp))
        if not self._pure and contexts:
            check_purity(self.estimator, contexts[0])
            self._pure = True
        estimate = merge(self.estimator.estimate(context) for context in contexts)
        estimate = self.parallel.reduce(estimate)
        self._loss = estimate.loss
        return estimate

    def _host_step(self, estimate: GradEstimate, present: list[int] | None) -> tuple[Tensor, bool]:
        """Clip and apply, or skip; return the norm before clipping, and whether it was skipped."""
        grad, limit = self.flat.grad, self.config.max_grad_norm
        norm = self.parallel.global_norm(grad)
        size = float(norm)
        finite, zeroed = math.isfinite(size), False
        if not math.isfinite(float(estimate.loss)):
            finite = False
        elif not finite and self.config.on_nonfinite == "zero":
            torch.nan_to_num_(grad, nan=0.0, posinf=0.0, neginf=0.0)
            size = float(self.parallel.global_norm(grad))
            finite = zeroed = math.isfinite(size)
        clipped = finite and limit is not None and size > limit
        if clipped and limit is not None:
            grad.mul_(limit / size)
        if finite:
            with self._lock():
                self.rule.apply(grad, self.lr, present)
        self.tally.note(finite, zeroed, clipped)
        return norm, not finite

    def _device_step(
        self, estimate: GradEstimate, present: list[int] | None
    ) -> tuple[Tensor, Tensor]:
        """Do the same without reading anything back: apply, then take back what must be skipped."""
        assert isinstance(self.tally, DeviceTally)
        grad, limit = self.flat.grad, self.config.max_grad_norm
        norm = size = self.parallel.global_norm(grad)
        zeroed = clipped = torch.zeros((), dtype=torch.bool, device=grad.device)
        usable = (estimate.weight > 0) & torch.isfinite(estimate.weight)
        fit = torch.isfinite(estimate.loss) & usable & self.tally.within_limit()
        if self.config.on_nonfinite == "zero":
            torch.nan_to_num_(grad, nan=0.0, posinf=0.0, neginf=0.0)
            size = self.parallel.global_norm(grad)
            zeroed = norm.isfinite().logical_not() & size.isfinite() & fit
        applied = size.isfinite() & fit
        if limit is not None:
            clipped = applied & (size > limit)
            # Never by NaN: the padding between parameters would not be 0 any more.
            grad.mul_(torch.where(clipped, limit / size, 1.0))
        self._apply_where(applied, present)
        self.tally.note(applied, zeroed, clipped)
        return norm, applied.logical_not()

    def _apply_where(self, applied: Tensor, present: list[int] | None) -> None:
        tensors = [self.theta, *self.rule.state.values()]
        if not self._backup:
            self._backup = [torch.empty_like(tensor) for tensor in tensors]
        torch._foreach_copy_(self._backup, tensors)
        self.rule.apply(self.flat.grad, self.lr, present)
        for tensor, kept in zip(tensors, self._backup, strict=True):
            torch.where(applied, tensor, kept, out=tensor)

    def _error(self, batches: Sequence[Batch] = ()) -> NonFiniteError:
        return NonFiniteError(
            f"{first_bad(self.flat, self._loss, batches)} is not finite "
            f"({self.tally.in_a_row} updates in a row at version {self.version})"
        )

    def _metrics(self, estimate: GradEstimate, change: Tensor) -> dict[str, Tensor]:
        own = {
            "optim/clip_frac": self.tally.take_clip_frac(),
            "optim/update_norm": change,
            "optim/param_norm": self.theta.norm(),
        }
        if self.config.on_nonfinite == "zero":
            own["fault/zeroed"] = self.tally.zeroed_count()
        return estimate.metrics | own

    def declared_state_bytes(self) -> int:
        """Return the bytes that the learner keeps beyond the parameters themselves."""
        vectors = [self.flat.grad, *self.rule.state.values(), *self._backup]
        return sum(t.numel() * t.element_size() for t in vectors) + self.rule.scratch_bytes()

    def snapshot(self) -> ParamSnapshot:
        """Return a copy of the parameters with their version."""
        state = {name: p.detach().clone() for name, p in self.network.state_dict().items()}
        return ParamSnapshot(self.version, state, self.theta.dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on exactly: tensors by parameter name and JSON values."""
        return learner_state(self)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Restore what ``state_dict`` returned, or raise and change nothing.

        Args:
            state: The saved state.
            strict: Whether all names and the optimizer must be the same. Otherwise what is on
                both sides is taken; shapes must fit all the same.

        Raises:
            LearnerStateError: Names, shapes or the optimizer do not fit.
        """
        load_learner_state(self, state, strict)

    def close(self) -> None:
        """Nothing is held open."""
