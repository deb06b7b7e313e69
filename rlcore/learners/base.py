"""The learner contract: what a loss returns, what a gradient carries, what an update reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Batch = Mapping[str, Any]
ParamDict = dict[str, Tensor]


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


@dataclass(frozen=True, slots=True)
class GradStamp:
    """The parameter version a gradient was taken at, and by whom."""

    version: int
    worker: str = "learner"


@dataclass(slots=True)
class GradEstimate:
    """A direction from an estimator; ``grads`` is ``None`` where the estimator moves parameters itself.

    Names absent from ``grads`` are parameters the loss did not reach: they stay untouched.
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

    Attributes:
        version: The learner's version after the update (unchanged where ``skipped``).
        loss: Mean loss; ``grad_norm`` is taken before clipping; ``update_norm`` after the rule.
        delay: ``version_before - stamp.version``.
        seconds: Wall time by phase (``forward``, ``backward``, ``step``).
        skipped: True where a non-finite loss or gradient left everything as it was.
    """

    version: int
    loss: Tensor
    grad_norm: Tensor
    update_norm: Tensor
    delay: int
    n_grad_evals: int
    seconds: dict[str, float]
    skipped: bool
    metrics: dict[str, Tensor]


@dataclass(slots=True)
class ParamSnapshot:
    """A named set of tensors with the version they belong to."""

    version: int
    state: dict[str, Tensor]
    dtype: torch.dtype
    kind: str = "full"


class Learner(Protocol):
    """Turns batches into new parameters; ``version`` grows by one per applied update."""

    version: int

    def update(
        self, batch: Batch, loss_fn: LossFn, *, stamp: GradStamp | None = None
    ) -> UpdateReport: ...

    def snapshot(self) -> ParamSnapshot: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None: ...

    def close(self) -> None: ...
