"""Promise C6: checkpoints of every format so far load; later ones say which release can.

``formats/<version>`` holds a checkpoint as the first release with that format wrote it. It is never
written again: a change that cannot read it needs a new format version.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rlcore.errors import CheckpointError
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.checkpoint_manifest import FORMAT_VERSION
from rlcore.runtime.json_state import restore_generator

FORMATS = Path(__file__).with_name("formats")


def test_there_is_one_of_each_format() -> None:
    stored = sorted(int(path.name) for path in FORMATS.iterdir())
    assert stored == list(range(1, FORMAT_VERSION + 1))


def test_format_1_loads_with_all_its_values() -> None:
    found = Checkpointer(FORMATS / "1", config_hash="c0ffee").load()
    assert (found.step, found.skipped) == (120, [])
    assert found.metrics == {"episode/return_mean": 12.5}
    learner = found.tensors["learner"]
    assert torch.equal(learner["optimizer/0/square_avg"], torch.tensor([0.0, 0.25, 0.5, 0.75]))
    assert torch.equal(learner["bf16"], torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
    assert learner["flag"].shape == ()
    assert learner["flag"].item() is True
    weights = found.tensors["params-0"]["w"]
    assert torch.equal(weights, torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    assert found.state["version"] == 6
    assert found.state["best"] == -math.inf
    generator, same = (
        np.random.Generator(np.random.PCG64()),
        np.random.Generator(np.random.PCG64(7)),
    )
    restore_generator(generator, found.state["rng"])
    same.random(3)
    assert generator.random() == same.random()


def test_a_later_format_names_the_release_that_reads_it(tmp_path: Path) -> None:
    shutil.copytree(FORMATS / "1", tmp_path / "later")
    (manifest,) = (tmp_path / "later").glob("*/MANIFEST.json")
    later = {"format": FORMAT_VERSION + 1, "written_by": "7.1.0", "anything": [1]}
    manifest.write_text(json.dumps(later))
    with pytest.raises(CheckpointError, match=r"install rlcore>=7\.1\.0"):
        Checkpointer(tmp_path / "later").load()
