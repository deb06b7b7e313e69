"""Go on from a saved learner in a process of its own: ``resume_child.py FOLDER CLASS JSON``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

import rlcore.learners.config as configs
from rlcore.data.tensor_file import load_tensors, save_tensors
from rlcore.learners.conformance import ToyNetwork, toy_batch, toy_loss
from rlcore.runtime.nested_state import join_state, split_state


def main(folder: Path, optimizer: str, settings: str) -> None:
    torch.set_num_threads(1)
    config = configs.LearnerConfig(optimizer=getattr(configs, optimizer)(**json.loads(settings)))
    learner = config.build(ToyNetwork(torch.float64, seed=99))
    values = json.loads((folder / "state.json").read_text())
    learner.load_state_dict(join_state(load_tensors(folder / "state.safetensors"), values))
    for step in range(7, 20):
        learner.progress = step / 20
        learner.update(toy_batch(step), toy_loss)
    tensors, values = split_state(learner.state_dict())
    save_tensors(folder / "end.safetensors", tensors)
    (folder / "end.json").write_text(json.dumps(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
