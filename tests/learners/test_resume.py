"""A learner saved to files and restored in a new process goes on with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from rlcore.data.tensor_file import load_tensors, save_tensors
from rlcore.learners.config import AdamConfig, LearnerConfig, RMSPropConfig, SGDConfig
from rlcore.learners.conformance import make, toy_batch, toy_loss
from rlcore.runtime.nested_state import split_state

CHILD = Path(__file__).parent / "resume_child.py"


@pytest.mark.parametrize(
    "optimizer",
    [
        SGDConfig(lr=0.05, momentum=0.9, anneal="linear"),
        AdamConfig(lr=0.01),
        RMSPropConfig(lr=0.01, momentum=0.5),
    ],
)
def test_a_new_process_goes_on_exactly(optimizer, tmp_path: Path) -> None:
    learner = make(LearnerConfig(optimizer=optimizer))
    for step in range(20):
        if step == 7:
            tensors, values = split_state(learner.state_dict())
            save_tensors(tmp_path / "state.safetensors", tensors)
            (tmp_path / "state.json").write_text(json.dumps(values))
        learner.progress = step / 20
        learner.update(toy_batch(step), toy_loss)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    arguments = [str(tmp_path), type(optimizer).__name__, json.dumps(asdict(optimizer))]
    subprocess.run([sys.executable, str(CHILD), *arguments], check=True, timeout=60, env=env)
    wanted, values = split_state(learner.state_dict())
    ended = load_tensors(tmp_path / "end.safetensors")
    assert set(ended) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(ended[name], value), name
    assert json.loads((tmp_path / "end.json").read_text()) == values
    assert values["version"] == 20
