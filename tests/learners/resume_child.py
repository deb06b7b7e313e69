"""Goes on with saved learners from update 7 to 20, in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from experiments.registry import components, find
from rlcore.learners.composed import ComposedLearner
from rlcore.learners.config import LearnerConfig, RMSPropConfig, SGDConfig
from rlcore.learners.conformance import ToyNetwork, endless_gradient, toy_batch, toy_loss
from rlcore.runtime.nested_state import join_state, split_state

LAST = 20
CONFIGS = {
    name: LearnerConfig(optimizer=find("optimizer", name)()) for name in components("optimizer")
}
CONFIGS["momentum"] = LearnerConfig(optimizer=SGDConfig(momentum=0.9), max_grad_norm=0.5)
CONFIGS["rmsprop momentum"] = LearnerConfig(optimizer=RMSPropConfig(momentum=0.9, anneal="linear"))


def make(name: str, seed: int = 0) -> ComposedLearner:
    return CONFIGS[name].build(ToyNetwork(torch.float32, seed), reduction="sum")


def train(learner: ComposedLearner, start: int, stop: int) -> None:
    """Do the updates from ``start`` to ``stop``; some of them are skipped."""
    for step in range(start, stop):
        learner.progress = step / LAST
        loss = endless_gradient if step in (5, 6, 7, 12) else toy_loss
        learner.update(toy_batch(step, dtype=torch.float32), loss)


def save(learner: ComposedLearner, path: Path) -> None:
    tensors, values = split_state(learner.state_dict())
    save_file(tensors, path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps(values))


def load(path: Path) -> dict:
    values = json.loads(path.with_suffix(".json").read_text())
    return join_state(load_file(path.with_suffix(".safetensors")), values)


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in CONFIGS:
        learner = make(name, seed=1)
        learner.load_state_dict(load(folder / f"{name} at 7"))
        train(learner, 7, LAST)
        save(learner, folder / f"{name} at {LAST}")


if __name__ == "__main__":
    main()
