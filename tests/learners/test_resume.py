"""A learner restored in another process goes on bit for bit."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlcore.runtime.nested_state import split_state

CHILD = Path(__file__).parent / "resume_child.py"
_spec = importlib.util.spec_from_file_location("resume_child", CHILD)
child = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(child)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved learners: from this process after 7 updates, from another one after 20."""
    path = tmp_path_factory.mktemp("learners")
    for name in child.CONFIGS:
        learner = child.make(name)
        child.train(learner, 0, 7)
        child.save(learner, path / f"{name} at 7")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, str(CHILD), str(path)], env=env, check=True, timeout=60)
    return path


@pytest.mark.parametrize("name", child.CONFIGS)
def test_update_7_to_20_in_another_process(name: str, folder: Path) -> None:
    unbroken = child.make(name)
    child.train(unbroken, 0, child.LAST)
    tensors, values = split_state(unbroken.state_dict())
    resumed, resumed_values = split_state(child.load(folder / f"{name} at {child.LAST}"))
    assert resumed_values == values
    assert resumed.keys() == tensors.keys()
    assert all(torch.equal(resumed[key], tensors[key]) for key in tensors)
    assert (values["version"], values["skipped"]) == (16, 4)
    start, _ = split_state(child.load(folder / f"{name} at 7"))
    assert not torch.equal(start["network/head"], tensors["network/head"])


def test_a_series_of_skips_ends_with_the_run(folder: Path) -> None:
    saved = child.load(folder / "sgd at 7")
    assert (saved["version"], saved["skipped"]) == (5, 2)
    learner = child.make("sgd")
    learner.load_state_dict(saved)
    assert learner.tally.in_a_row == 0
    learner.tally.in_a_row = 4
    learner.load_state_dict(saved)
    assert learner.tally.in_a_row == 0
