"""Learners on a CUDA device: no waiting, no more memory than declared, the same updates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from rlcore.errors import NonFiniteError
from rlcore.learners.base import GradStamp, LossOutput
from rlcore.learners.config import (
    AdamConfig,
    AdamWConfig,
    LearnerConfig,
    RMSPropConfig,
    SGDConfig,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

OPTIMIZERS = [
    SGDConfig(lr=0.1, momentum=0.9),
    RMSPropConfig(lr=0.01, momentum=0.5),
    RMSPropConfig(lr=0.01, eps_inside=False, anneal="linear"),
    AdamConfig(lr=0.01),
    AdamWConfig(lr=0.01),
]


class Net(nn.Module):
    """Two layers; the second is skipped where the batch says so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor, short: bool) -> torch.Tensor:
        hidden = self.first(x).tanh()
        return hidden if short else self.second(hidden)


def loss(network: nn.Module, batch: dict) -> LossOutput:
    error = (network(batch["x"], batch["short"]) - batch["y"]).square()
    return LossOutput(error.mean(), batch["weight"], {"loss/value": error.detach().mean()})


def batches(device: str, dtype: torch.dtype, bad: tuple[int, ...] = ()) -> list[dict]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for step in range(12):
        x = torch.randn(32, 8, generator=generator, dtype=torch.float64)
        y = x.sum(-1, keepdim=True).expand(-1, 16).clone()
        if step in bad:
            y[3, 4] = float("nan")
        batch = {"x": x.to(device, dtype), "y": y.to(device, dtype), "short": step % 3 == 2}
        made.append({**batch, "weight": torch.tensor(32.0, device=device)})
    return made


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("policy", ["skip", "zero"])
@pytest.mark.parametrize("want_metrics", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_update_never_waits_for_the_device(optimizer, want_metrics: bool, policy: str) -> None:
    config = LearnerConfig(optimizer=optimizer, max_grad_norm=0.1, on_nonfinite=policy)
    learner = config.build(Net().cuda(), reduction="sum")
    made = batches("cuda", torch.float32, bad=(6,))
    for batch in made[:3]:
        learner.update(batch, loss)
    torch.cuda.synchronize()
    with waiting_is_an_error():
        for batch in made[3:10]:
            learner.update(batch, loss, stamp=GradStamp(2), want_metrics=want_metrics)
        learner.update(made[10:], loss, want_metrics=want_metrics)
    assert (learner.version, learner.skipped) == (10, 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_those_of_the_processor(optimizer) -> None:
    config = LearnerConfig(optimizer=optimizer, max_grad_norm=0.5)
    host = config.build(Net().double(), reduction="sum")
    device = config.build(Net().double().cuda(), reduction="sum")
    made = zip(*(batches(d, torch.float64, bad=(4, 5)) for d in ("cpu", "cuda")), strict=True)
    for step, (left, right) in enumerate(made):
        host.progress = device.progress = step / 12
        one = host.update(left, loss, stamp=GradStamp(0))
        two = device.update(right, loss, stamp=GradStamp(0))
        assert (one.version, one.delay, one.skipped) == (two.version, two.delay, two.skipped)
        torch.testing.assert_close(two.grad_norm.cpu(), one.grad_norm, equal_nan=True)
    torch.testing.assert_close(device.theta.cpu(), host.theta, rtol=1e-9, atol=1e-11)
    assert device.skipped == host.skipped == 2
    resumed = config.build(Net().double().cuda(), reduction="sum")
    resumed.load_state_dict(host.state_dict())
    assert torch.equal(resumed.theta.cpu(), host.theta)
    assert resumed.version == 10
    left, right = (batches(d, torch.float64)[2] for d in ("cpu", "cuda"))
    host.update(left, loss)
    resumed.progress = host.progress
    resumed.update(right, loss)
    torch.testing.assert_close(resumed.theta.cpu(), host.theta, rtol=1e-9, atol=1e-11)


def test_skips_stop_the_learner_late_but_spare_the_parameters() -> None:
    learner = LearnerConfig(optimizer=AdamConfig(), max_consecutive_skips=3).build(Net().cuda())
    good, bad = batches("cuda", torch.float32, bad=(1,))[:2]
    learner.update(good, loss)
    before = learner.theta.clone()
    with pytest.raises(NonFiniteError, match=r"3 updates in a row at version 1"):
        _until_it_raises(learner, [bad, bad, bad], good)
    assert torch.equal(learner.theta, before)


def _until_it_raises(learner, first: list[dict], then: dict) -> None:
    for batch in first:
        learner.update(batch, loss)
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        learner.update(then, loss)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_memory_is_what_is_declared(optimizer) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1024, 1024)

        def forward(self, x: torch.Tensor, short: bool) -> torch.Tensor:
            return self.layer(x)

    x = torch.randn(4, 1024, device="cuda")
    batch = {"x": x, "y": x, "short": False, "weight": torch.tensor(4.0, device="cuda")}
    network = Wide().cuda()
    network(x, False).sum().backward()  # the libraries' own work space
    network.zero_grad()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    learner = LearnerConfig(optimizer=optimizer).build(network)
    for _ in range(3):
        learner.update(batch, loss, want_metrics=False)
    network.zero_grad()
    kept = torch.cuda.memory_allocated() - before
    assert abs(kept - learner.declared_state_bytes()) < 65536
