"""The learner contract: what a loss returns, what a gradient carries, what an update reports.

A learner is a choice on each of three axes, and each axis is a protocol here: an *estimator* finds
a direction, an *update rule* (the optimizer) turns it into a parameter change, a *parallel
strategy* says who holds which parameters and how replicas agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rlcore.learners.flat import FlatParameters
    from rlcore.learners.nonfinite import BadUpdate

Batch = Mapping[str, Any]
ParamDict = dict[str, Tensor]

StateSpec = dict[str, tuple[tuple[int, ...], torch.dtype, float]]
"""State tensors of an update rule by name: shape, dtype, starting value."""


@dataclass(slots=True)
class LossOutput:
    """What a loss function returns.

    Attributes:
        loss: Scalar, a **mean** over ``weight`` units.
        weight: Scalar, how many units (transitions, tokens, episodes) the mean runs over.
        metrics: Scalar tensors (detached) by metric name; never synchronised by the loss.
        aux: Anything else the caller of the loss wants back.
    """

    loss: Tensor
    weight: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    aux: object | None = None


LossFn = Callable[[nn.Module, Batch], LossOutput]
"""Pure in (parameters, buffers, batch, random state)."""


@dataclass(frozen=True, slots=True)
class GradStamp:
    """The parameter version a gradient was taken at, and by whom."""

    version: int
    worker: str = "learner"


@dataclass(slots=True)
class GradEstimate:
    """A direction from an estimator: the gradient of the **mean** loss.

    Attributes:
        grads: Gradients by parameter name. Absent names are parameters that the loss did not
            reach: they stay untouched. ``None`` where the estimator moves parameters itself.
        loss: Mean loss, a scalar.
        weight: Units that the mean runs over, a scalar.
        stamp: Where the gradient was taken.
        n_evals: Gradient evaluations that it cost.
        metrics: The loss's metrics.
    """

    grads: ParamDict | None
    loss: Tensor
    weight: Tensor
    stamp: GradStamp
    n_evals: int = 1
    metrics: dict[str, Tensor] = field(default_factory=dict)
    info: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class UpdateReport:
    """What one ``Learner.update`` did.

    On a CUDA device ``version``, ``delay`` and ``skipped`` are scalar tensors there, because
    the update does not wait for the device; ``int()`` or ``bool()`` of them waits.

    Attributes:
        version: The learner's version after the update (unchanged where ``skipped``).
        loss: Mean loss before the update.
        grad_norm: Global norm before clipping.
        update_norm: Global norm of the parameter change; 0 unless metrics were asked for.
        delay: Version before the update minus the version that the gradient is stamped with.
        n_grad_evals: Gradient evaluations that it cost.
        seconds: Wall time by phase (``estimate``, ``step``).
        skipped: True where a non-finite loss or gradient left everything as it was.
        metrics: The loss's metrics and the learner's own; empty unless asked for.
    """

    version: int | Tensor
    loss: Tensor
    grad_norm: Tensor
    update_norm: Tensor
    delay: int | Tensor
    n_grad_evals: int
    seconds: dict[str, float]
    skipped: bool | Tensor
    metrics: dict[str, Tensor]


@dataclass(slots=True)
class ParamSnapshot:
    """A named set of tensors with the version they belong to."""

    version: int
    state: dict[str, Tensor]
    dtype: torch.dtype
    kind: str = "full"


@dataclass(slots=True)
class StepContext:
    """What an estimator works from.

    Attributes:
        network: The module whose parameters are views of ``flat.theta``.
        flat: Names, shapes and order of the trainable parameters.
        batch: Whatever ``loss_fn`` understands.
        loss_fn: Gives a mean loss and its weight.
        stamp: Version of the parameters.
    """

    network: nn.Module
    flat: FlatParameters
    batch: Batch
    loss_fn: LossFn
    stamp: GradStamp


class GradientEstimator(Protocol):
    """First axis: how a direction is found."""

    def estimate(self, ctx: StepContext) -> GradEstimate:
        """Return the gradient of the mean loss of ``ctx.batch``."""
        ...


class UpdateRule(Protocol):
    """Second axis: how a direction becomes a parameter change, in place on a flat vector.

    Attributes:
        state: The state tensors that the rule is bound to, by name.
    """

    state: dict[str, Tensor]

    def state_spec(self, bounds: Sequence[int], dtype: torch.dtype) -> StateSpec:
        """Return the state for parameters that lie between consecutive ``bounds``.

        Each tensor has either one entry for each entry of the vector or one for each parameter.
        """
        ...

    def bind(
        self, theta: Tensor, bounds: Sequence[int], state: dict[str, Tensor] | None = None
    ) -> None:
        """Act on ``theta`` with ``state`` (fresh where ``None``)."""
        ...

    def apply(self, grad: Tensor, lr: float, present: Sequence[int] | None = None) -> None:
        """Apply one gradient; parameters not in ``present`` keep value and state."""
        ...

    def clone_state(self) -> dict[str, Tensor]:
        """Return a copy of the state, for trying steps that are taken back."""
        ...

    def state_changed(self) -> None:
        """Take notice that someone else wrote to ``state``."""
        ...

    def scratch_bytes(self) -> int:
        """Return the bytes of working memory beyond ``state``."""
        ...

    def predict(self, horizon: float, lr: float) -> Tensor:
        """Return ``theta`` moved on by ``horizon`` steps along the rule's present direction."""
        ...


class ParallelStrategy(Protocol):
    """Third axis: who holds which parameters, who sees which data, when replicas agree."""

    world_size: int

    def reduce(self, estimate: GradEstimate) -> GradEstimate:
        """Return the estimate of all ranks, weighted by their ``weight``."""
        ...

    def global_norm(self, flat_grad: Tensor) -> Tensor:
        """Return the L2 norm of the whole gradient, a scalar, over all ranks."""
        ...


class Learner(Protocol):
    """Turns batches into new parameters.

    Attributes:
        version: One more per applied update.
        progress: Share of the step budget that is spent, in [0, 1]; set by the caller.
        keep_bad: Called with every update that is left out for a non-finite loss or gradient.
    """

    version: int
    progress: float
    keep_bad: Callable[[BadUpdate], None] | None

    def update(
        self,
        batch: Batch | Sequence[Batch],
        loss_fn: LossFn,
        *,
        stamp: GradStamp | None = None,
        want_metrics: bool = True,
    ) -> UpdateReport:
        """Train on one batch, or on several as if they were one."""
        ...

    def snapshot(self) -> ParamSnapshot:
        """Return a copy of the parameters with their version."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on exactly: tensors and JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Restore what ``state_dict`` returned."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...
