"""Learner settings: refusals by name, the table of combinations, no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from rlcore.errors import ConfigError
from rlcore.learners.config import (
    AdamConfig,
    AdamWConfig,
    BackpropConfig,
    LearnerConfig,
    RMSPropConfig,
    SGDConfig,
    SingleConfig,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGDConfig(lr=0.0), "lr must be > 0, got 0.0"),
        (lambda: SGDConfig(lr=float("nan")), "lr must be > 0, got nan"),
        (lambda: SGDConfig(momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: SGDConfig(dampening=0.5), "dampening needs momentum > 0"),
        (lambda: SGDConfig(momentum=0.5, dampening=1.0), r"dampening must be in \[0, 1\)"),
        (lambda: AdamConfig(betas=(0.9, 1.0)), r"betas must be in \[0, 1\), got 1.0"),
        (lambda: AdamConfig(eps=0.0), "eps must be > 0"),
        (lambda: AdamConfig(eps=float("inf")), "eps must be finite, got inf"),
        (lambda: SGDConfig(lr=float("inf")), "lr must be finite, got inf"),
        (lambda: AdamWConfig(weight_decay=float("inf")), "weight_decay must be finite, got inf"),
        (lambda: AdamWConfig(weight_decay=-0.1), "weight_decay must be >= 0, got -0.1"),
        (lambda: AdamWConfig(weight_decay=float("nan")), "weight_decay must be >= 0, got nan"),
        (lambda: RMSPropConfig(alpha=1.0), r"alpha must be in \[0, 1\)"),
        (lambda: RMSPropConfig(g_init=-1.0), "g_init must be >= 0, got -1.0"),
        (lambda: RMSPropConfig(momentum=-0.1), r"momentum must be in \[0, 1\)"),
        (lambda: LearnerConfig(max_grad_norm=0.0), "max_grad_norm must be > 0"),
        (lambda: LearnerConfig(max_consecutive_skips=0), "max_consecutive_skips must be >= 1"),
        (lambda: LearnerConfig(threads=0), "threads must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_named(make, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_papers_defaults() -> None:
    rmsprop = RMSPropConfig()
    assert (rmsprop.alpha, rmsprop.eps, rmsprop.eps_inside, rmsprop.g_init) == (
        0.99,
        0.1,
        True,
        1.0,
    )
    learner = LearnerConfig()
    assert (learner.on_nonfinite, learner.max_consecutive_skips) == ("skip", 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """An estimator that moves parameters by itself."""

    name: ClassVar[str] = "projection"
    clashes: ClassVar[Mapping[str, str]] = {
        "adamw": "it moves parameters itself; use 'none'",
        "single": "it wants many processes",
    }

    def build(self) -> Any:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharded(SingleConfig):
    """A parallelism that one optimizer cannot work under."""

    name: ClassVar[str] = "sharded"
    clashes: ClassVar[Mapping[str, str]] = {"sgd": "for the sake of the test; use 'adam'"}


def test_clashes_name_both_keys_and_a_way_out() -> None:
    with pytest.raises(ConfigError) as caught:
        LearnerConfig(estimator=Projection(), optimizer=AdamWConfig(), parallelism=Sharded())
    assert str(caught.value) == (
        "estimator 'projection' does not go with learner.optimizer 'adamw': it moves parameters "
        "itself; use 'none'"
    )
    with pytest.raises(ConfigError, match=r"'projection' does not go with learner\.parallelism 's"):
        LearnerConfig(estimator=Projection(), optimizer=SGDConfig())
    with pytest.raises(ConfigError, match=r"'sharded' does not go with learner\.optimizer 'sgd'"):
        LearnerConfig(optimizer=SGDConfig(), parallelism=Sharded())
    LearnerConfig(estimator=BackpropConfig(), optimizer=AdamConfig(), parallelism=Sharded())


def test_configuration_needs_no_torch() -> None:
    code = (
        "import sys, rlcore.learners.config as c; c.LearnerConfig(); "
        "bad = {'torch', 'numpy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
