"""Every registered combination of estimator, optimizer and parallelism keeps every promise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from experiments.registry import components, find
from rlcore.errors import ConfigError
from rlcore.learners.config import (
    AdamConfig,
    AdamWConfig,
    LearnerConfig,
    RMSPropConfig,
    SGDConfig,
)
from rlcore.learners.conformance import CHECKS, ToyNetwork, toy_batch, toy_loss


def combinations() -> Iterator[tuple[str, LearnerConfig]]:
    axes = ("estimator", "optimizer", "parallelism")
    for names in itertools.product(*(components(axis) for axis in axes)):
        parts = {axis: find(axis, name)() for axis, name in zip(axes, names, strict=True)}
        try:
            yield "-".join(names), LearnerConfig(**parts)
        except ConfigError:
            continue  # the table says that these do not go together
    yield "momentum", LearnerConfig(optimizer=SGDConfig(momentum=0.9, dampening=0.5))
    outside = RMSPropConfig(eps_inside=False, g_init=0.0, momentum=0.9)
    yield "rmsprop outside", LearnerConfig(optimizer=outside, max_grad_norm=0.5)
    yield "unclipped", LearnerConfig(max_grad_norm=None)


COMBINATIONS = dict(combinations())


def test_every_component_is_there() -> None:
    assert len(COMBINATIONS) >= 4 + 3
    for axis in ("estimator", "optimizer", "parallelism"):
        for name in components(axis):
            assert find(axis, name).name == name


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", COMBINATIONS)
def test_conformance(name: str, check: str) -> None:
    CHECKS[check](COMBINATIONS[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [None, 0.5])
def test_plain_sgd_is_a_hand_written_loop_bit_for_bit(
    dtype: torch.dtype, limit: float | None
) -> None:
    config = LearnerConfig(optimizer=SGDConfig(lr=0.1), max_grad_norm=limit)
    learner = config.build(ToyNetwork(dtype))
    network = ToyNetwork(dtype)
    clipped = 0
    for step in range(20):
        batch = toy_batch(step, dtype=dtype)
        learner.update(batch, toy_loss)
        network.zero_grad()
        toy_loss(network, batch).loss.backward()
        moving = [p for p in network.parameters() if p.grad is not None]
        assert len(moving) == 3
        with torch.no_grad():
            if limit is not None:
                # The same vector as the learner's, so that the norm has the same rounding.
                norm = float(torch.linalg.vector_norm(learner_layout(learner, network)))
                for p in moving:
                    p.grad.mul_(limit / norm if norm > limit else 1.0)
                clipped += norm > limit
            for p in moving:
                p.sub_(p.grad, alpha=0.1)
        for name, value in network.state_dict().items():
            assert torch.equal(learner.network.state_dict()[name], value), (step, name)
    assert learner.version == 20
    assert limit is None or clipped > 5


def learner_layout(learner, network):
    flat = torch.zeros_like(learner.flat.grad)
    for name, view in learner.flat.named(flat).items():
        grad = network.get_parameter(name).grad
        if grad is not None:
            view.copy_(grad)
    return flat


def test_clipping_is_torchs_to_rounding() -> None:
    config = LearnerConfig(optimizer=SGDConfig(lr=1.0), max_grad_norm=0.5)
    learner, network = config.build(ToyNetwork(torch.float64)), ToyNetwork(torch.float64)
    report = learner.update(toy_batch(0), toy_loss)
    toy_loss(network, toy_batch(0)).loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
    torch.testing.assert_close(report.grad_norm, norm, rtol=1e-12, atol=0)
    assert float(report.grad_norm) > 0.5
    assert float(report.update_norm) == pytest.approx(0.5, rel=1e-12)
    assert float(report.metrics["optim/clip_frac"]) == 1.0
    for name, p in network.named_parameters():
        if p.grad is not None:
            moved = p.detach() - learner.network.get_parameter(name).detach()
            torch.testing.assert_close(moved, p.grad, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "optimizer", [SGDConfig(momentum=0.9), RMSPropConfig(), AdamConfig(), AdamWConfig()]
)
@pytest.mark.parametrize("policy", ["skip", "zero"])
@pytest.mark.parametrize("check", ["version", "resume", "delay", "untouched", "merge"])
def test_deferred_updates_keep_the_promises_too(optimizer, policy, check, monkeypatch) -> None:
    build = LearnerConfig.build
    monkeypatch.setattr(
        LearnerConfig, "build", lambda self, net, **more: build(self, net, deferred=True, **more)
    )
    CHECKS[check](LearnerConfig(optimizer=optimizer, on_nonfinite=policy, max_grad_norm=1.0))


@pytest.mark.parametrize("limit", [None, 1.0])
def test_deferred_updates_are_the_others_to_rounding(limit) -> None:
    config = LearnerConfig(optimizer=AdamConfig(lr=0.01), max_grad_norm=limit)
    learners = [
        replace(config).build(ToyNetwork(torch.float64), deferred=flag) for flag in (False, True)
    ]
    for step in range(10):
        batch = toy_batch(step)
        if step % 4 == 2:
            batch["reward"][0, 0] = float("inf")
        reports = [learner.update(batch, toy_loss) for learner in learners]
        assert bool(reports[0].skipped) == bool(reports[1].skipped) == (step % 4 == 2)
        assert reports[0].version == int(reports[1].version)
        for name in ("optim/clip_frac", "optim/update_norm"):
            torch.testing.assert_close(
                reports[1].metrics[name].double(), reports[0].metrics[name].double()
            )
    torch.testing.assert_close(learners[0].theta, learners[1].theta, rtol=1e-12, atol=1e-12)
    assert learners[1].skipped == learners[0].skipped == 2
