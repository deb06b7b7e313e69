"""Promise L1: a non-finite loss or gradient changes no parameter and is counted."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from experiments.registry import components, find
from rlcore.errors import NonFiniteError
from rlcore.learners.base import LossOutput
from rlcore.learners.composed import ComposedLearner
from rlcore.learners.config import LearnerConfig
from rlcore.learners.nonfinite import BadUpdate

OPTIMIZERS = sorted(components("optimizer"))
CAUSES = ["input", "target", "loss", "loss alone", "gradient", "parameter"]
VALUES = ["nan", "inf", "-inf"]


class Poisoned(torch.autograd.Function):
    """The identity, with one entry of its gradient replaced."""

    @staticmethod
    def forward(ctx, x: Tensor, value: float) -> Tensor:
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.clone()
        grad.view(-1)[0] = ctx.value
        return grad, None


def make_learner(optimizer: str, deferred: bool, **options) -> ComposedLearner:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    config = LearnerConfig(optimizer=find("optimizer", optimizer)(), **options)
    return config.build(network, deferred=deferred)


def make_batch(seed: int, cause: str = "", value: float = 0.0) -> dict[str, object]:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))
    batch = {"x": x, "y": x.sum(-1, keepdim=True), "cause": cause, "value": value}
    if cause in ("input", "target"):
        batch["x" if cause == "input" else "y"].view(-1)[seed % 6] = value
    return batch


def loss(network: nn.Module, batch: dict) -> LossOutput:
    out = network(batch["x"])
    if batch["cause"] == "gradient":
        out = Poisoned.apply(out, batch["value"])
    mean = (out - batch["y"]).square().mean()
    if batch["cause"] == "loss":
        mean = mean * batch["value"]
    if batch["cause"] == "loss alone":
        mean = mean + batch["value"]  # its gradient is finite
    return LossOutput(mean, torch.tensor(6.0))


def contents(learner: ComposedLearner) -> dict[str, Tensor]:
    state = learner.state_dict()
    slots = state["optimizer"]["state"]
    moments = {f"{s}/{name}": v for s in slots for name, v in slots[s].items()}
    return {**state["network"], **moments}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name].nan_to_num(), right[name].nan_to_num()) for name in left
    )


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(max_examples=10)
@given(
    script=st.lists(
        st.none()
        | st.tuples(st.sampled_from(CAUSES[:-1]), st.sampled_from(["nan", "inf", "-inf"])),
        min_size=1,
        max_size=8,
    )
)
def test_bad_updates_between_good_ones_might_as_well_not_have_been(
    optimizer: str, deferred: bool, script: list[tuple[str, str] | None]
) -> None:
    learner = make_learner(optimizer, deferred, max_consecutive_skips=9)
    clean = make_learner(optimizer, deferred)
    good = bad = 0
    for step, fault in enumerate(script):
        before = contents(learner)
        batch = make_batch(step, *(("", 0.0) if fault is None else (fault[0], float(fault[1]))))
        report = learner.update(batch, loss)
        if fault is None:
            good += 1
            assert not report.skipped
            clean.update(batch, loss)
        else:
            bad += 1
            assert bool(report.skipped)
            assert float(report.update_norm) == 0.0
            assert same(contents(learner), before)
        assert (learner.version, learner.skipped) == (good, bad)
    assert same(contents(learner), contents(clean))


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("cause", CAUSES)
def test_five_in_a_row_stop_and_the_message_says_what_was_not_finite(
    cause: str, deferred: bool
) -> None:
    learner = make_learner("rmsprop", deferred)
    learner.update(make_batch(0), loss)
    if cause == "parameter":
        with torch.no_grad():
            learner.network[0].weight[1, 2] = math.nan
    before = contents(learner)
    # On a device the fifth is only seen by the call after it.
    for step in range(5 if deferred else 4):
        assert learner.update(make_batch(step, cause, math.nan), loss).skipped
    with pytest.raises(NonFiniteError) as error:
        learner.update(make_batch(5, cause, math.nan), loss)
    assert learner.skipped == 5
    assert learner.version == 1
    assert same(contents(learner), before)
    assert "5 updates in a row at version 1" in str(error.value)
    named = {"gradient": "gradient", "parameter": "parameter '0.weight'"}
    where = {"input": "batch['x']", "target": "batch['y']", "loss": "loss", "loss alone": "loss"}
    if not deferred:
        assert {**named, **where}[cause] in str(error.value)
    elif cause == "parameter":
        assert named[cause] in str(error.value)
    with pytest.raises(NonFiniteError):
        learner.update(make_batch(1), loss)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_good_update_starts_the_series_anew(deferred: bool) -> None:
    learner = make_learner("adam", deferred)
    for step in range(30):
        cause = "" if step % 5 == 4 else "loss"
        learner.update(make_batch(step, cause, math.inf), loss)
    assert (learner.version, learner.skipped) == (6, 24)


@pytest.mark.parametrize("deferred", [False, True])
def test_every_update_left_out_is_handed_over_with_its_batch(deferred: bool) -> None:
    learner = make_learner("adam", deferred)
    kept: list[BadUpdate] = []
    learner.keep_bad = kept.append
    causes = ["", "input", "", "loss", "gradient", "target"]
    batches = [make_batch(step, cause, math.nan) for step, cause in enumerate(causes)]
    for batch in batches:
        learner.update(batch, loss)
    bad = [step for step, cause in enumerate(causes) if cause]
    assert len(kept) == len(bad)
    assert all(update.batches[0] is batches[step] for update, step in zip(kept, bad, strict=True))
    assert [update.version for update in kept] == [1, 2, 2, 2]
    gradients = tuple(f"the gradient of '{n}'" for n, _ in learner.network.named_parameters())
    names = [tuple(tensor.name for tensor in update.tensors) for update in kept]
    assert names[0] == ("batch['x']", "the loss", *gradients)
    assert names[1] == ("the loss", *gradients)
    assert names[2] == gradients
    assert names[3] == ("batch['y']", "the loss", *gradients)
    first = kept[0].tensors[0]
    assert (first.entries, first.size, first.first) == (1, 18, (0, 1))
    assert all(math.isnan(update.grad_norm) for update in kept)
    assert [math.isnan(update.loss) for update in kept] == [True, True, False, True]


def test_the_last_of_a_series_is_handed_over_before_the_error() -> None:
    learner = make_learner("sgd", False)
    kept: list[BadUpdate] = []
    learner.keep_bad = kept.append
    for step in range(4):
        learner.update(make_batch(step, "loss", math.inf), loss)
    with pytest.raises(NonFiniteError):
        learner.update(make_batch(4, "loss", math.inf), loss)
    assert len(kept) == 5
