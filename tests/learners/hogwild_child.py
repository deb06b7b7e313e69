"""One Hogwild worker: applies gradients of known value to shared parameters when told to.

Each line on stdin is one task; each line on stdout says that it was done, so that the parent can
start all workers together.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import nn

from rlcore.learners.base import LossOutput
from rlcore.learners.config import AdamConfig, LearnerConfig, SGDConfig
from rlcore.learners.optim.rules import SGD
from rlcore.runtime.hogwild import SharedTheta


class Vector(nn.Module):
    """One parameter of ``size`` zeros."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.zeros(size))


def constant_loss(network: nn.Module, value: float) -> LossOutput:
    """Return a loss with the gradient ``value`` everywhere: no work, and a known sum."""
    return LossOutput(value * network.p.sum(), torch.tensor(1.0))


class SlowSGD(SGD):
    """Reads, sleeps, then writes: what others write meanwhile is lost."""

    def apply(self, grad: Any, lr: float, present: Any = None) -> None:
        read = self.theta.clone()
        time.sleep(0.002)
        self.theta.copy_(read.sub_(grad, alpha=lr))


class SlowSGDConfig:
    name: ClassVar[str] = "slow"
    clashes: ClassVar[Mapping[str, str]] = {}
    lr, anneal, anneal_to, warmup = 1.0, "none", 0.0, 0.0

    def build(self) -> SlowSGD:
        return SlowSGD()


OPTIMIZERS = {"sgd": SGDConfig(lr=1.0), "slow": SlowSGDConfig(), "adam": AdamConfig(lr=0.01)}


def open_shared(size: int, optimizer: str, fd: int | None = None) -> tuple[SharedTheta, Any]:
    """Return the shared parameters and the parts that a worker makes its learner from."""
    config = LearnerConfig(optimizer=OPTIMIZERS[optimizer], max_grad_norm=None)
    parts = SimpleNamespace(make_learner=config.build)
    return SharedTheta(Vector(size), parts, fd), parts


def work(task: dict[str, Any]) -> None:
    shared, parts = open_shared(task["size"], task["optimizer"], task["fd"])
    network = Vector(task["size"])
    learner = shared.make_learner(network, parts, lock=task["lock"])
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(task["updates"]):
        learner.pull()
        learner.update(task["value"], constant_loss, want_metrics=False)
    print("done", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        work(json.loads(line))


if __name__ == "__main__":
    main()
