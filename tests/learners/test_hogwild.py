"""Workers that update shared parameters, alone and four processes at a time."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from rlcore.learners.base import LossOutput
from rlcore.learners.config import (
    AdamConfig,
    AdamWConfig,
    LearnerConfig,
    RMSPropConfig,
    SGDConfig,
)
from rlcore.learners.errors import LearnerStateError, ParameterError
from rlcore.learners.optim.rules import SHARED_BLOCK

CHILD = Path(__file__).parent / "hogwild_child.py"
_spec = importlib.util.spec_from_file_location("hogwild_child", CHILD)
child = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(child)

WORKERS, UPDATES, SIZE = 4, 25, 1_000_000


def make_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> LossOutput:
    error = (network(batch["x"]) - batch["y"]).square()
    return LossOutput(error.mean(), torch.tensor(float(len(error))))


def batches(count: int) -> Iterator[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
        yield {"x": x, "y": x.sum(-1, keepdim=True).sin()}


OPTIMIZERS = [
    SGDConfig(lr=0.1),
    SGDConfig(lr=0.1, momentum=0.9, dampening=0.9),
    RMSPropConfig(lr=0.01),
    AdamConfig(lr=0.01, anneal="linear"),
    AdamWConfig(lr=0.01, weight_decay=0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_worker_is_serial_training_bit_for_bit(optimizer) -> None:
    config = LearnerConfig(optimizer=optimizer, max_grad_norm=0.5)
    serial = config.build(make_network(), reduction="sum")
    start = config.build(make_network())
    theta = start.theta.clone()
    state = start.rule.clone_state()
    worker = config.build(make_network(1), reduction="sum", theta=theta, state=state)
    for step, batch in enumerate(batches(20)):
        worker.pull()
        serial.progress = worker.progress = step / 20
        serial.update(batch, loss)
        report = worker.update(batch, loss)
        assert torch.equal(theta, serial.theta)
        assert float(report.update_norm) > 0
    assert all(torch.equal(state[name], serial.rule.state[name]) for name in state)
    assert theta.data_ptr() != worker.flat.theta.data_ptr()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_long_shared_vectors_move_block_by_block_to_the_same_bits(optimizer) -> None:
    sizes = [SHARED_BLOCK // 2 + 3, 3 * SHARED_BLOCK + 5, 7, SHARED_BLOCK + 1]
    bounds = [0, *itertools.accumulate(sizes)]
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(bounds[-1], generator=generator)
    private, shared = optimizer.build(), optimizer.build()
    private.bind(theta, bounds)
    shared.bind(theta.clone(), bounds, private.clone_state())
    for present in (None, [0, 1, 3], [1], None, [1, 2]):
        grad = torch.randn(bounds[-1], generator=generator)
        private.apply(grad, 0.01, present)
        shared.apply(grad, 0.01, present)
        assert torch.equal(shared.theta, private.theta)
        assert torch.equal(shared.predict(2.0, 0.01), private.predict(2.0, 0.01))
    for name, value in private.state.items():
        assert torch.equal(shared.state[name], value)


def test_the_gradient_is_that_of_the_pulled_copy() -> None:
    """Others' updates arrive with the next pull, not in the middle of an update."""
    config = LearnerConfig(optimizer=SGDConfig(lr=0.1), max_grad_norm=None)
    alone = config.build(make_network())
    theta = alone.theta.clone()
    worker = config.build(make_network(1), theta=theta, state={})
    worker.pull()
    (batch,) = batches(1)
    start = theta.clone()
    theta.add_(1.0)
    alone.update(batch, loss)
    worker.update(batch, loss)
    torch.testing.assert_close(theta - 1.0, alone.theta, rtol=0, atol=1e-15)
    assert torch.equal(worker.flat.theta, start)
    worker.pull()
    assert torch.equal(worker.flat.theta, theta)


def test_a_skipped_update_leaves_the_shared_parameters() -> None:
    learner = LearnerConfig(optimizer=AdamConfig()).build(make_network())
    theta, state = learner.theta.clone(), learner.rule.clone_state()
    kept = theta.clone()
    worker = LearnerConfig(optimizer=AdamConfig()).build(make_network(), theta=theta, state=state)
    (batch,) = batches(1)
    assert worker.update({**batch, "y": batch["y"] / 0.0}, loss).skipped
    assert torch.equal(theta, kept)
    assert not any(value.any() for value in state.values())


def test_shared_tensors_that_do_not_fit_are_refused() -> None:
    config = LearnerConfig(optimizer=RMSPropConfig())
    size = config.build(make_network()).theta.numel()
    theta = torch.zeros(size, dtype=torch.float64)
    with pytest.raises(LearnerStateError, match=r"state has \[\]; wanted \['g'\]"):
        config.build(make_network(), theta=theta, state={})
    with pytest.raises(LearnerStateError, match=r"'g' is torch.float32"):
        config.build(make_network(), theta=theta, state={"g": torch.zeros(size)})
    for wrong in (theta[:-1], theta.float()):
        with pytest.raises(ParameterError, match="theta"):
            config.build(make_network(), theta=wrong, state={"g": torch.zeros_like(wrong)})


@pytest.fixture(scope="module")
def shares() -> Iterator[dict[str, object]]:
    made = {name: child.open_shared(SIZE, name)[0] for name in ("sgd", "slow", "adam")}
    yield made
    for shared in made.values():
        shared.block.close()


@pytest.fixture(scope="module")
def workers(shares) -> Iterator[list[subprocess.Popen[str]]]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = [
        subprocess.Popen(
            [sys.executable, str(CHILD)],
            pass_fds=[shared.block.fd for shared in shares.values()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for _ in range(WORKERS)
    ]
    yield running
    for process in running:
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


def run(workers, fd, optimizer, values, lock) -> None:
    """Let all workers do their updates at the same time."""
    for process, value in zip(workers, values, strict=True):
        task = {"fd": fd, "optimizer": optimizer, "value": value, "lock": lock}
        task |= {"size": SIZE, "updates": UPDATES}
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
    for word in ("ready\n", "done\n"):
        assert [process.stdout.readline() for process in workers] == [word] * WORKERS
        if word == "ready\n":
            for process in workers:
                process.stdin.write("\n")
                process.stdin.flush()


def test_with_the_lock_four_workers_sum_exactly(workers, shares) -> None:
    """A rule that sleeps between reading and writing loses nothing while the lock is held."""
    shared = shares["slow"]
    values = [-1.0, -2.0, -3.0, -4.0]
    run(workers, shared.block.fd, "slow", values, lock=True)
    assert (shared.theta[:SIZE] == -UPDATES * sum(values)).all()


@pytest.mark.alone
def test_without_it_less_than_one_update_in_a_hundred_is_lost(workers, shares) -> None:
    """The worst case: workers that do nothing but add meet in memory far more often than others."""
    shared = shares["sgd"]
    lost = []
    for _ in range(3):
        shared.theta.zero_()
        run(workers, shared.block.fd, "sgd", [-1.0] * WORKERS, lock=False)
        entries = shared.theta[:SIZE].double()
        assert float(entries.max()) <= WORKERS * UPDATES
        assert float(entries.min()) > 0
        lost.append(1.0 - float(entries.mean()) / (WORKERS * UPDATES))
    assert 0.0 <= sum(lost) / len(lost) < 0.01, lost


def test_four_workers_share_the_step_counter_of_adam(workers, shares) -> None:
    """Equal gradients in any order are those of one worker, if moments and counter are shared."""
    shared = shares["adam"]
    run(workers, shared.block.fd, "adam", [0.5] * WORKERS, lock=True)
    assert shared.state["step"].tolist() == [WORKERS * UPDATES]
    alone = LearnerConfig(optimizer=child.OPTIMIZERS["adam"], max_grad_norm=None)
    learner = alone.build(child.Vector(64))
    for _ in range(WORKERS * UPDATES):
        learner.update(0.5, child.constant_loss, want_metrics=False)
    gap = (shared.theta[:SIZE] - learner.theta[0]).abs().max()
    assert float(gap) < 1e-6 * float(learner.theta[0].abs())
