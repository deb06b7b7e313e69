"""Which choices on the three axes of a learner go together.

Every configuration class says what it does not go with, so that a new backend brings its own row of
the table and no list here has to grow. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any, ClassVar, Protocol

from rlcore.errors import ConfigError


class AxisConfig(Protocol):
    """What the configuration of an estimator, an optimizer or a parallelism has in common.

    Attributes:
        name: What ``type:`` says in experiment files.
        clashes: Names on the other axes that this one does not go with, each with the reason and
            with what to use instead.
    """

    name: ClassVar[str]
    clashes: ClassVar[Mapping[str, str]]


class EstimatorConfig(AxisConfig, Protocol):
    """How a direction is found."""

    def build(self) -> Any:
        """Return a :class:`rlcore.learners.base.GradientEstimator`."""
        ...


class OptimizerConfig(AxisConfig, Protocol):
    """How a direction becomes a parameter change.

    Attributes:
        lr: Step size at the start.
        anneal: ``none``, or how ``lr`` falls over the run's step budget.
        anneal_to: Share of ``lr`` that is left at the end of it.
        warmup: Share of the budget over which the step size rises.
    """

    @property
    def lr(self) -> float: ...  # noqa: D102 - an attribute

    @property
    def anneal(self) -> str: ...  # noqa: D102 - an attribute

    @property
    def anneal_to(self) -> float: ...  # noqa: D102 - an attribute

    @property
    def warmup(self) -> float: ...  # noqa: D102 - an attribute

    def build(self) -> Any:
        """Return a :class:`rlcore.learners.base.UpdateRule`."""
        ...


class ParallelismConfig(AxisConfig, Protocol):
    """Who holds which parameters and who sees which data."""

    def build(self) -> Any:
        """Return a :class:`rlcore.learners.base.ParallelStrategy`."""
        ...


def check_combination(
    estimator: EstimatorConfig, optimizer: OptimizerConfig, parallelism: ParallelismConfig
) -> None:
    """Check that the three choices mean something together.

    Raises:
        ConfigError: Two of them clash; names both keys, the reason and a way out.
    """
    axes: dict[str, AxisConfig] = {
        "estimator": estimator,
        "optimizer": optimizer,
        "parallelism": parallelism,
    }
    for (axis, config), (other_axis, other) in permutations(axes.items(), 2):
        if other.name in config.clashes:
            raise ConfigError(
                f"{axis} '{config.name}' does not go with learner.{other_axis} '{other.name}': "
                f"{config.clashes[other.name]}"
            )
