"""Promise C4: save and resume equals a straight run bit for bit in ``serial``."""

from __future__ import annotations

import pytest
import torch
from toy_parts import OPTIMIZERS
from toy_runs import train

TIMED = ("seconds",)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resume_equals_the_straight_run_with_every_optimizer(optimizer: str) -> None:
    config = {"optimizer": optimizer}
    straight = train("inline", "serial", updates=30, config=config)
    first = train("inline", "serial", updates=13, config=config)
    second = train(
        "inline",
        "serial",
        updates=30,
        config=config,
        run_dir=first.run_dir,
        resume=first.result["saved"],
        epoch=1,
    )
    wanted, found = straight.checkpoint, second.checkpoint
    assert wanted.tensors.keys() == found.tensors.keys()
    for stem, tensors in wanted.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, found.tensors[stem][name]), f"{stem}: {name}"
    assert found.state["learner"] == wanted.state["learner"]
    totals = found.state["totals"]
    assert {k: v for k, v in totals.items() if k not in TIMED} == {
        k: v for k, v in wanted.state["totals"].items() if k not in TIMED
    }
