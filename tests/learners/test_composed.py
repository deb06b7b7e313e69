"""The learner's loop: step size, reduction, reports, saved state, purity, warnings by name."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from rlcore.errors import ConfigError, NonFiniteError
from rlcore.learners.base import GradStamp, LossOutput
from rlcore.learners.config import AdamConfig, LearnerConfig, RMSPropConfig, SGDConfig
from rlcore.learners.conformance import ToyNetwork, contents, make, toy_batch, toy_loss
from rlcore.learners.errors import ImpureLossError, LearnerStateError
from rlcore.tracking.metrics import unknown_names

PLAIN = LearnerConfig(optimizer=SGDConfig(lr=0.1), max_grad_norm=None)


def linear_loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> LossOutput:
    """The gradient of ``weight`` is ``batch["g"]``, whatever the parameters."""
    weight = torch.tensor(batch.get("weight", 1.0))
    return LossOutput((network.weight * batch["g"]).sum(), weight)


def one_weight(config: LearnerConfig, **options):
    network = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(network.weight)
    return config.build(network, **options), network


def test_linear_annealing_follows_progress() -> None:
    config = replace(PLAIN, optimizer=SGDConfig(lr=0.5, anneal="linear"))
    learner, network = one_weight(config)
    moved = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        learner.progress = progress
        before = network.weight.detach().clone()
        learner.update({"g": torch.tensor([[1.0, -2.0]])}, linear_loss)
        moved.append(float((before - network.weight.detach())[0, 0]))
    assert moved == pytest.approx([0.5, 0.375, 0.25, 0.0], abs=1e-15)
    assert learner.lr == 0.0
    learner, _ = one_weight(PLAIN)
    learner.progress = 0.9
    assert learner.lr == 0.1


def test_sum_scales_by_the_weight_and_clips_after_it() -> None:
    batch = {"g": torch.tensor([[3.0, 4.0]]), "weight": 6.0}
    learner, network = one_weight(PLAIN, reduction="sum")
    report = learner.update(batch, linear_loss)
    assert network.weight.tolist() == [pytest.approx([-1.8, -2.4])]
    assert float(report.grad_norm) == pytest.approx(30.0)
    learner, network = one_weight(replace(PLAIN, max_grad_norm=10.0), reduction="sum")
    learner.update(batch, linear_loss)
    assert network.weight.tolist() == [pytest.approx([-0.6, -0.8])]
    with pytest.raises(ConfigError, match="'mean' or 'sum', got 'max'"):
        one_weight(PLAIN, reduction="max")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_parts_merge_by_weight(reduction: str) -> None:
    learner, network = one_weight(replace(PLAIN, optimizer=SGDConfig(lr=1.0)), reduction=reduction)
    parts = [
        {"g": torch.tensor([[4.0, 0.0]]), "weight": 1.0},
        {"g": torch.tensor([[0.0, 8.0]]), "weight": 3.0},
    ]
    report = learner.update(parts, linear_loss)
    scale = 4.0 if reduction == "sum" else 1.0
    assert network.weight.tolist() == [pytest.approx([-1.0 * scale, -6.0 * scale])]
    assert (learner.version, report.n_grad_evals) == (1, 2)


def test_a_parameter_reached_by_one_part_only_counts_as_zero_in_the_others() -> None:
    learner = make(PLAIN)
    before = contents(learner)

    def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> LossOutput:
        output = toy_loss(network, batch)
        extra = network.unused.sum() if len(batch["x"]) == 2 else 0.0
        return replace(output, loss=output.loss + extra)

    learner.update([toy_batch(0, rows=2), toy_batch(1, rows=6)], loss)
    moved = before["unused"] - learner.network.unused.detach()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * 2 / 8))


def test_report() -> None:
    learner = make(LearnerConfig(max_grad_norm=1e-3, on_nonfinite="zero"))
    report = learner.update(toy_batch(0), toy_loss, stamp=GradStamp(0))
    assert report.delay == 0
    assert set(report.seconds) == {"estimate", "step"}
    assert {"loss/value", "optim/clip_frac", "optim/update_norm", "optim/param_norm"} <= set(
        report.metrics
    )
    assert unknown_names(report.metrics) == []
    assert not any(value.requires_grad for value in report.metrics.values())
    norm = torch.cat([p.detach().flatten() for p in learner.flat.parameters]).norm()
    torch.testing.assert_close(report.metrics["optim/param_norm"], norm)
    quiet = learner.update(toy_batch(1), toy_loss, want_metrics=False)
    assert quiet.metrics == {}
    assert float(quiet.update_norm) == 0.0


def test_clip_frac_is_the_share_since_it_was_last_asked_for() -> None:
    learner, _ = one_weight(replace(PLAIN, max_grad_norm=1.0))
    for size in (5.0, 0.5, 1.0):
        batch = {"g": torch.tensor([[size, 0.0]])}
        learner.update(batch, linear_loss, want_metrics=False)
    report = learner.update({"g": torch.tensor([[2.0, 0.0]])}, linear_loss)
    assert float(report.metrics["optim/clip_frac"]) == 0.5
    report = learner.update({"g": torch.tensor([[0.1, 0.0]])}, linear_loss)
    assert float(report.metrics["optim/clip_frac"]) == 0.0


def test_overflowing_norm_is_named_and_not_zeroed() -> None:
    for policy in ("raise", "zero", "skip"):
        config = replace(PLAIN, on_nonfinite=policy, max_consecutive_skips=1)
        learner, network = one_weight(config)
        with pytest.raises(NonFiniteError, match="the gradient norm is not finite"):
            learner.update({"g": torch.tensor([[1e200, 1e200]], dtype=torch.float64)}, linear_loss)
        assert not network.weight.detach().any()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda learner, batch: batch["reward"][3].fill_(math.nan), r"batch\['reward'\] at \[3, 0"),
        (lambda learner, batch: batch["x"][1].fill_(math.inf), r"batch\['x'\] at \[1, 0"),
        (lambda learner, batch: learner.theta[0].fill_(math.nan), r"the parameter 'body' is not"),
        (lambda learner, batch: batch["reward"].fill_(1e300), r"the loss is not finite \(1 upd"),
    ],
)
def test_the_first_bad_tensor_is_named(spoil, words: str) -> None:
    learner = make(replace(PLAIN, on_nonfinite="raise"))
    batch = toy_batch(0)
    batch["log_mu"] = torch.tensor([-math.inf])
    spoil(learner, batch)
    with pytest.raises(NonFiniteError, match=words):
        learner.update(batch, toy_loss)


def test_an_applied_update_ends_a_row_of_skips() -> None:
    learner = make(LearnerConfig(max_consecutive_skips=3))
    bad = {**toy_batch(0), "reward": torch.full((6, 2), math.nan, dtype=torch.float64)}
    for _ in range(4):
        for batch in (bad, bad, toy_batch(1)):
            learner.update(batch, toy_loss)
    assert (learner.version, learner.skipped) == (4, 8)
    for _ in range(2):
        learner.update(bad, toy_loss)
    with pytest.raises(NonFiniteError, match="3 updates in a row at version 4"):
        learner.update(bad, toy_loss)


def test_deferred_skips_stop_the_learner_and_freeze_the_parameters() -> None:
    config = LearnerConfig(optimizer=AdamConfig(), max_consecutive_skips=3)
    learner = config.build(ToyNetwork(torch.float64), deferred=True)
    bad = {**toy_batch(0), "reward": torch.full((6, 2), math.nan, dtype=torch.float64)}
    learner.update(toy_batch(0), toy_loss)
    before = contents(learner)
    for _ in range(3):
        assert bool(learner.update(bad, toy_loss).skipped)
    # As if the news had not reached the host yet: good batches are not applied any more.
    learner.tally.exceeded = lambda: False
    report = learner.update(toy_batch(1), toy_loss)
    assert bool(report.skipped)
    assert int(report.version) == 1
    for name, value in contents(learner).items():
        assert torch.equal(value, before[name])
    del learner.tally.exceeded
    with pytest.raises(NonFiniteError, match="updates in a row at version 1"):
        learner.update(toy_batch(1), toy_loss)


def test_a_deferred_batch_of_weight_zero_is_skipped() -> None:
    learner = LearnerConfig().build(ToyNetwork(torch.float64), deferred=True)
    estimate = learner.estimator.estimate
    learner.estimator.estimate = lambda ctx: replace(estimate(ctx), weight=torch.tensor(0.0))
    assert bool(learner.update(toy_batch(0), toy_loss).skipped)


# -- saved state ------------------------------------------------------------------------------


def test_state_is_by_parameter_name() -> None:
    learner = make(LearnerConfig(optimizer=AdamConfig()))
    learner.update(toy_batch(0), toy_loss)
    state = learner.state_dict()
    assert state["optimizer"]["type"] == "adam"
    slots = state["optimizer"]["state"]
    assert set(slots) == {"exp_avg", "exp_avg_sq", "step"}
    assert set(slots["exp_avg"]) == {"body", "bias", "unused", "head"}
    assert slots["exp_avg"]["head"].shape == (2, 5)
    assert {name: float(v) for name, v in slots["step"].items()} == {
        "body": 1.0, "bias": 1.0, "unused": 0.0, "head": 1.0,
    }  # fmt: skip
    assert state["version"] == 1
    kept = slots["exp_avg"]["head"].clone()
    learner.update(toy_batch(1), toy_loss)
    assert torch.equal(slots["exp_avg"]["head"], kept)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: s.pop("version"), "lacks 'version'"),
        (lambda s: s["network"].pop("head"), "parameters differ from the saved ones: head"),
        (lambda s: s["network"].update(more=torch.ones(1)), "saved ones: more"),
        (
            lambda s: s["network"].update(head=torch.ones(3, 5)),
            r"'head' has shape \(3, 5\), wanted",
        ),
        (lambda s: s["optimizer"].update(type="sgd"), "saved optimizer is 'sgd'; wanted 'adam'"),
        (lambda s: s["optimizer"]["state"].pop("step"), "optimizer state differ.*: step"),
        (lambda s: s["optimizer"]["state"]["exp_avg"].pop("bias"), "exp_avg differ.*: bias"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(damage, words: str) -> None:
    config = LearnerConfig(optimizer=AdamConfig())
    saved = config.build(ToyNetwork(torch.float64, seed=3)).state_dict()
    damage(saved)
    learner = make(config)
    before = contents(learner)
    with pytest.raises(LearnerStateError, match=words):
        learner.load_state_dict(saved)
    for name, value in contents(learner).items():
        assert torch.equal(value, before[name])


def test_without_strict_what_is_on_both_sides_is_taken() -> None:
    saved = (
        LearnerConfig(optimizer=RMSPropConfig()).build(ToyNetwork(torch.float64, 3)).state_dict()
    )
    wanted = saved["network"]["body"].clone()
    del saved["network"]["head"]
    learner = make(LearnerConfig(optimizer=AdamConfig()))
    head = learner.network.head.detach().clone()
    learner.load_state_dict(saved, strict=False)
    assert torch.equal(learner.network.body, wanted)
    assert torch.equal(learner.network.head, head)


def test_loading_reaches_shared_parameters() -> None:
    config = LearnerConfig(optimizer=RMSPropConfig())
    saved = config.build(ToyNetwork(torch.float64, seed=3))
    saved.update(toy_batch(0), toy_loss)
    theta = torch.zeros_like(saved.theta)
    worker = config.build(
        ToyNetwork(torch.float64), theta=theta, state={"g": torch.zeros_like(theta)}
    )
    worker.load_state_dict(saved.state_dict())
    assert torch.equal(theta, saved.theta)


def test_snapshot_is_a_copy() -> None:
    learner = make(PLAIN)
    snapshot = learner.snapshot()
    before = {name: value.clone() for name, value in snapshot.state.items()}
    learner.update(toy_batch(0), toy_loss)
    assert snapshot.version == 0
    assert set(before) == set(ToyNetwork(torch.float64).state_dict())
    assert all(torch.equal(snapshot.state[name], value) for name, value in before.items())


# -- purity -----------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(2)
        self.calls = 0


def noisy_loss(network: Noisy, batch: dict[str, torch.Tensor]) -> LossOutput:
    out = network.norm(network.drop(network.layer(batch["x"])))
    return LossOutput((out - batch["reward"]).square().mean(), torch.tensor(6.0))


def test_buffers_and_random_state_may_be_used() -> None:
    torch.manual_seed(1)
    checked = Noisy()
    plain = Noisy()
    plain.load_state_dict(checked.state_dict())
    config = LearnerConfig(debug_purity=True)
    learners = [config.build(checked), replace(config, debug_purity=False).build(plain)]
    for learner in learners:
        torch.manual_seed(2)
        for step in range(2):
            learner.update(toy_batch(step, dtype=torch.float32), noisy_loss)
    for name, value in plain.state_dict().items():
        assert torch.equal(checked.state_dict()[name], value), name


def counting_loss(network: Noisy, batch: dict[str, torch.Tensor]) -> LossOutput:
    network.calls += 1
    output = noisy_loss(network, batch)
    return replace(output, loss=output.loss * network.calls)


def writing_loss(network: Noisy, batch: dict[str, torch.Tensor]) -> LossOutput:
    network.layer.bias.data.add_(1.0)
    return noisy_loss(network, batch)


@pytest.mark.parametrize(
    ("loss", "words"),
    [(counting_loss, "the loss differs"), (writing_loss, r"wrote to parameter 'layer\.bias'")],
)
def test_an_impure_loss_is_found_in_debug_mode(loss, words: str) -> None:
    learner = LearnerConfig(debug_purity=True).build(Noisy())
    with pytest.raises(ImpureLossError, match=words):
        learner.update(toy_batch(0, dtype=torch.float32), loss)


# -- cost -------------------------------------------------------------------------------------


@pytest.mark.bench
def test_an_update_costs_little_more_than_its_gradient() -> None:
    network = nn.Sequential(
        nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    batch, weight = {"x": torch.randn(32, 4)}, torch.tensor(32.0)

    def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> LossOutput:
        return LossOutput(network(batch["x"]).square().mean(), weight)

    def bare() -> None:
        for p in network.parameters():
            p.grad = None
        loss(network, batch).loss.backward()

    learner = LearnerConfig(optimizer=AdamConfig()).build(network)
    spent = {"bare": [], "update": []}
    for _ in range(500):
        for name, call in (
            ("bare", bare),
            ("update", lambda: learner.update(batch, loss, want_metrics=False)),
        ):
            started = time.perf_counter()
            call()
            spent[name].append(time.perf_counter() - started)
    lower = {name: sorted(values)[len(values) // 4] for name, values in spent.items()}
    assert lower["update"] - lower["bare"] < 100e-6, lower
