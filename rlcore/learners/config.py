"""What a learner is made of: estimator x optimizer x parallelism, as plain dataclasses.

This module imports no torch, so that experiment files can be checked in a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rlcore.errors import ConfigError
from rlcore.learners.combinations import (
    EstimatorConfig,
    OptimizerConfig,
    ParallelismConfig,
    check_combination,
)

if TYPE_CHECKING:
    from torch import nn

    from rlcore.learners.base import GradientEstimator, ParallelStrategy, UpdateRule
    from rlcore.learners.composed import ComposedLearner

Anneal = Literal["none", "linear", "cosine"]
_FORBID: dict[str, Any] = {"extra": "forbid"}


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} must be > 0, got {value}")
    if value == math.inf:
        raise ConfigError(f"{name} must be finite, got {value}")


def _not_negative(name: str, value: float) -> None:
    if not value >= 0:
        raise ConfigError(f"{name} must be >= 0, got {value}")
    if value == math.inf:
        raise ConfigError(f"{name} must be finite, got {value}")


def _share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be in [0, 1), got {value}")


def _check_schedule(optimizer: OptimizerConfig) -> None:
    _share("warmup", optimizer.warmup)
    _share("anneal_to", optimizer.anneal_to)
    if optimizer.anneal_to and optimizer.anneal == "none":
        raise ConfigError(f"anneal_to needs anneal, got anneal_to {optimizer.anneal_to} without it")


@dataclass(frozen=True, kw_only=True, slots=True)
class SGDConfig:
    """Gradient descent: ``m <- momentum m + (1 - dampening) g``, ``theta <- theta - lr m``.

    Attributes:
        lr: Step size.
        momentum: Share of the last direction that is kept; 0 is plain SGD.
        dampening: Share of the gradient left out of the direction; equal to ``momentum`` it gives
            the moving average of Mnih et al. 2016, section 4.5. Needs momentum.
        anneal: ``linear`` or ``cosine`` lowers the step size over the run's step budget.
        anneal_to: Share of ``lr`` that is left at the end of it.
        warmup: Share of the budget over which the step size rises from 0.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: ClassVar[str] = "sgd"
    clashes: ClassVar[Mapping[str, str]] = {}
    lr: float = 1e-2
    momentum: float = 0.0
    dampening: float = 0.0
    anneal: Anneal = "none"
    anneal_to: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _positive("lr", self.lr)
        _check_schedule(self)
        _share("momentum", self.momentum)
        _share("dampening", self.dampening)
        if self.dampening and not self.momentum:
            raise ConfigError(f"dampening needs momentum > 0, got dampening {self.dampening}")

    def build(self) -> UpdateRule:
        """Return the update rule."""
        from rlcore.learners.optim.rules import SGD

        return SGD(self.momentum, self.dampening)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamConfig:
    """Adam (Kingma & Ba 2015, algorithm 1); ``eps`` outside the root, as in the paper.

    Attributes:
        lr: Step size.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
        anneal: ``linear`` or ``cosine`` lowers the step size over the run's step budget.
        anneal_to: Share of ``lr`` that is left at the end of it.
        warmup: Share of the budget over which the step size rises from 0.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: ClassVar[str] = "adam"
    clashes: ClassVar[Mapping[str, str]] = {}
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    anneal: Anneal = "none"
    anneal_to: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _positive("lr", self.lr)
        _check_schedule(self)
        _positive("eps", self.eps)
        for beta in self.betas:
            _share("betas", beta)

    def build(self) -> UpdateRule:
        """Return the update rule."""
        from rlcore.learners.optim.rules import Adam

        return Adam(self.betas, self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWConfig:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    Attributes:
        lr: Step size.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
        weight_decay: Share of the weights, times ``lr``, taken off each update.
        decay: What it applies to: ``all`` parameters, or weight ``matrices`` alone, which leaves
            out norms, biases and embeddings.
        anneal: ``linear`` or ``cosine`` lowers the step size over the run's step budget.
        anneal_to: Share of ``lr`` that is left at the end of it.
        warmup: Share of the budget over which the step size rises from 0.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: ClassVar[str] = "adamw"
    clashes: ClassVar[Mapping[str, str]] = {}
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    decay: Literal["all", "matrices"] = "all"
    anneal: Anneal = "none"
    anneal_to: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _positive("lr", self.lr)
        _check_schedule(self)
        _positive("eps", self.eps)
        for beta in self.betas:
            _share("betas", beta)
        _not_negative("weight_decay", self.weight_decay)
        if self.decay not in ("all", "matrices"):
            raise ConfigError(f"decay must be 'all' or 'matrices', got {self.decay!r}")

    def build(self) -> UpdateRule:
        """Return the update rule."""
        from rlcore.learners.optim.rules import Adam

        return Adam(self.betas, self.eps, self.weight_decay)


@dataclass(frozen=True, kw_only=True, slots=True)
class RMSPropConfig:
    """RMSProp: ``g <- alpha g + (1 - alpha) d^2`` (Mnih et al. 2016, eq. S2 and S3).

    The paper and TensorFlow put ``eps`` inside the root and TensorFlow starts ``g`` at 1;
    ``torch.optim.RMSprop`` puts it outside and starts at 0.

    Attributes:
        lr: Step size.
        alpha: Decay of the squared gradient.
        eps: Floor of the denominator.
        eps_inside: True divides by ``sqrt(g + eps)``, false by ``sqrt(g) + eps``.
        g_init: Starting value of ``g``.
        momentum: Share of the last direction that is kept.
        anneal: ``linear`` or ``cosine`` lowers the step size over the run's step budget.
        anneal_to: Share of ``lr`` that is left at the end of it.
        warmup: Share of the budget over which the step size rises from 0.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: ClassVar[str] = "rmsprop"
    clashes: ClassVar[Mapping[str, str]] = {}
    lr: float = 7e-4
    alpha: float = 0.99
    eps: float = 0.1
    eps_inside: bool = True
    g_init: float = 1.0
    momentum: float = 0.0
    anneal: Anneal = "none"
    anneal_to: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _positive("lr", self.lr)
        _check_schedule(self)
        _positive("eps", self.eps)
        _share("alpha", self.alpha)
        _share("momentum", self.momentum)
        _not_negative("g_init", self.g_init)

    def build(self) -> UpdateRule:
        """Return the update rule."""
        from rlcore.learners.optim.rules import RMSProp

        return RMSProp(self.alpha, self.eps, self.eps_inside, self.g_init, self.momentum)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackpropConfig:
    """The exact gradient, by reverse-mode differentiation."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: ClassVar[str] = "backprop"
    clashes: ClassVar[Mapping[str, str]] = {}

    def build(self) -> GradientEstimator:
        """Return the estimator."""
        from rlcore.learners.estimators.backprop import Backprop

        return Backprop()


@dataclass(frozen=True, kw_only=True, slots=True)
class SingleConfig:
    """One process holds all parameters and sees all data."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: ClassVar[str] = "single"
    clashes: ClassVar[Mapping[str, str]] = {}

    def build(self) -> ParallelStrategy:
        """Return the strategy."""
        from rlcore.learners.parallel.single import Single

        return Single()


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerConfig:
    """How batches become new parameters.

    Attributes:
        estimator: How a direction is found.
        optimizer: How a direction becomes a parameter change.
        parallelism: Who holds which parameters.
        max_grad_norm: Gradients of a larger global norm are scaled down to it; null never.
        on_nonfinite: What a NaN or infinite loss or gradient does: ``skip`` leaves everything as it
            was and counts, ``zero`` takes the bad gradient entries as 0, ``raise`` stops the run.
        max_consecutive_skips: Skips in a row after which the run stops.
        accumulate: Parts that the rows of an update are split into, one after the other, to bound
            memory; with ``data``.
        device: ``auto`` takes a CUDA device where there is one.
        threads: Intra-op threads of the learner's process.
        debug_purity: Compute the first batch's gradient twice and stop if the two differ: a loss
            may depend on parameters, buffers, batch and random state alone.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    estimator: EstimatorConfig = field(default_factory=BackpropConfig)
    optimizer: OptimizerConfig = field(default_factory=RMSPropConfig)
    parallelism: ParallelismConfig = field(default_factory=SingleConfig)
    max_grad_norm: float | None = 40.0
    on_nonfinite: Literal["skip", "raise", "zero"] = "skip"
    max_consecutive_skips: int = 5
    accumulate: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    debug_purity: bool = False

    def __post_init__(self) -> None:
        if self.max_grad_norm is not None:
            _positive("max_grad_norm", self.max_grad_norm)
        for name in ("max_consecutive_skips", "accumulate", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        check_combination(self.estimator, self.optimizer, self.parallelism)

    def build(self, network: nn.Module, **options: Any) -> ComposedLearner:
        """Return the learner of ``network``; ``options`` are those of ``ComposedLearner``."""
        from rlcore.learners.composed import ComposedLearner

        return ComposedLearner(network, self, **options)
