"""The policy loss on sampled tokens: identities, plain loops, finite differences, presets."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.policy_loss import (
    PRESETS,
    Clip,
    Correction,
    kl_penalty,
    policy_loss,
)
from rlcore.ops.policy_loss.sequences import Sequences
from rlcore.tracking.metrics import unknown_names
from tests.ops.policy_cases import B, S, case, gradient


def test_papo_is_reinforce() -> None:
    c = case()
    loss, metrics = policy_loss(c["logp"], c["adv"], c["mask"], **PRESETS["papo"].loss_settings())
    spread = c["adv"][:, None].expand(B, S)
    assert -loss.item() == (spread * c["mask"]).sum().item() / c["mask"].sum().item()
    assert metrics["policy/objective"].item() == -loss.item()
    reinforce = -(spread * c["logp"])[c["mask"]].mean()
    difference = gradient(loss, c["logp"]) - gradient(reinforce, c["logp"])
    assert difference.abs().max() <= 1e-12


def test_at_the_same_weights_grpo_with_one_mean_over_tokens_is_papo() -> None:
    c = case()
    papo, _ = policy_loss(c["logp"], c["adv"], c["mask"], ratio="none")
    grpo, metrics = policy_loss(
        c["logp"], c["adv"], c["mask"], ratio="token", clip=Clip(), old_logp=c["logp"].detach()
    )
    assert torch.equal(gradient(papo, c["logp"]), gradient(grpo, c["logp"]))
    assert metrics["policy/clip_frac"].item() == 0.0


def test_forced_tokens_change_nothing() -> None:
    c = case()
    changed = c["logp"].detach().clone()
    changed[~c["mask"]] = torch.nan
    changed.requires_grad_()
    for name, preset in PRESETS.items():
        settings = preset.loss_settings()
        settings |= {"old_logp": c["old"], "behaviour_logp": c["mu"]}
        before, _ = policy_loss(c["logp"], c["adv"], c["mask"], **settings)
        settings |= {
            key: settings[key].masked_fill(~c["mask"], torch.nan)
            for key in ("old_logp", "behaviour_logp")
        }
        after, metrics = policy_loss(changed, c["adv"], c["mask"], **settings)
        assert all(math.isfinite(float(m)) for m in metrics.values()), name
        assert before.item() == after.item(), name
        slope = gradient(after, changed)
        assert (slope[~c["mask"]] == 0.0).all(), name


def test_each_sampled_token_has_a_gradient() -> None:
    c = case()
    loss, _ = policy_loss(c["logp"], c["adv"], c["mask"], **PRESETS["papo"].loss_settings())
    assert (gradient(loss, c["logp"])[c["mask"]] != 0.0).all()


def by_loops(c: dict[str, Tensor], ratio: str, clip: Clip | None, agg: str) -> float:
    """The objective, one token at a time."""
    sums, counts = [], []
    for b in range(B):
        inside = [s for s in range(S) if c["mask"][b, s]]
        if not inside:
            continue
        apart = [(c["logp"][b, s] - c["old"][b, s]).item() for s in inside]
        total = 0.0
        for d in apart:
            r = {
                "none": 1.0,
                "token": math.exp(d),
                "sequence": math.exp(sum(apart)),
                "geometric": math.exp(sum(apart) / len(apart)),
            }[ratio]
            a = float(c["adv"][b])
            value = r * a
            if clip is not None:
                value = min(value, min(max(r, 1 - clip.low), 1 + clip.high) * a)
                if clip.dual is not None and a < 0:
                    value = max(value, clip.dual * a)
            total += value
        sums.append(total)
        counts.append(len(inside))
    if agg == "token_mean":
        return sum(sums) / sum(counts)
    if agg == "seq_mean_token_mean":
        return sum(t / n for t, n in zip(sums, counts, strict=True)) / len(sums)
    return sum(sums) / len(sums)


@pytest.mark.parametrize("agg", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum"])
@pytest.mark.parametrize(
    ("ratio", "clip"),
    [
        ("none", None),
        *itertools.product(
            ["token", "sequence", "geometric"], [None, Clip(0.1, 0.28), Clip(0.2, 0.2, 1.05)]
        ),
    ],
)
def test_the_loss_equals_plain_loops(ratio: Any, clip: Clip | None, agg: Any) -> None:
    for seed in range(3):
        c = case(seed, apart=0.6)
        loss, _ = policy_loss(
            c["logp"], c["adv"], c["mask"], ratio=ratio, clip=clip, agg=agg, old_logp=c["old"]
        )
        assert -loss.item() == pytest.approx(by_loops(c, ratio, clip, agg), rel=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_packed_tokens_give_the_loss_of_padded_ones(name: str) -> None:
    c = case(1)
    settings = PRESETS[name].loss_settings() | {"behaviour_logp": c["mu"], "old_logp": c["old"]}
    padded, _ = policy_loss(c["logp"], c["adv"], c["mask"], **settings)
    order = torch.randperm(B * S, generator=torch.Generator().manual_seed(5))

    def pack(x: Tensor) -> Tensor:
        return x.reshape(-1)[order]

    settings |= {"behaviour_logp": pack(c["mu"]), "old_logp": pack(c["old"])}
    ids = pack(torch.arange(B)[:, None].expand(B, S))
    packed, _ = policy_loss(
        pack(c["logp"]), c["adv"], pack(c["mask"]), sequence_ids=ids, **settings
    )
    assert packed.item() == pytest.approx(padded.item(), rel=1e-12)
    assert torch.allclose(
        gradient(packed, c["logp"]), gradient(padded, c["logp"]), rtol=1e-11, atol=1e-14
    )


def test_no_token_gives_a_loss_of_zero_with_a_gradient_of_zero() -> None:
    c = case()
    nothing = torch.zeros(B, S, dtype=torch.bool)
    for name, preset in PRESETS.items():
        settings = preset.loss_settings() | {"behaviour_logp": c["mu"]}
        loss, metrics = policy_loss(c["logp"], c["adv"], nothing, **settings)
        assert loss.item() == 0.0, name
        assert (gradient(loss, c["logp"]) == 0.0).all(), name
        assert all(math.isfinite(float(m)) for m in metrics.values()), name
    none = torch.zeros(0, dtype=torch.float64, requires_grad=True)
    loss, metrics = policy_loss(
        none, none.detach(), none > 0, behaviour_logp=none.detach(), correction=Correction(),
        sequence_ids=torch.zeros(0, dtype=torch.int64),
    )  # fmt: skip
    assert loss.item() == 0.0
    assert all(math.isfinite(float(m)) for m in metrics.values())


def test_an_infinite_ratio_has_no_gradient_where_the_objective_is_flat() -> None:
    """A clipped token, one without advantage, and one that a correction leaves out."""
    for sign, clip, wanted in ((1.0, (0.2, 0.3), 1.3), (0.0, None, 0.0), (-1.0, (0.2, 0.3, 3), -3)):
        for ratio in ("token", "sequence", "geometric"):
            logp = torch.tensor([[-1.0, -2.0], [-0.5, -0.7]], requires_grad=True)
            old = logp.detach() - torch.tensor([[200.0, 100.0], [0.0, 0.0]])
            adv = torch.tensor([sign, 1.0])
            loss, metrics = policy_loss(
                logp, adv, torch.ones(2, 2, dtype=torch.bool), ratio=ratio, clip=clip,
                agg="seq_mean_token_mean", old_logp=old,
            )  # fmt: skip
            assert -loss.item() == pytest.approx((wanted + 1.0) / 2)
            of = 0.25 * (2.0 if ratio == "sequence" else 1.0)
            assert gradient(loss, logp).tolist() == [[0.0, 0.0], [-of, -of]], (ratio, sign)
            if clip is not None:
                assert metrics["policy/clip_frac"] == (0.5 if sign > 0 else 0.0)


def test_where_the_objective_grows_a_large_ratio_is_left_as_it_is() -> None:
    """Without a bound, up to the largest number; with one, up to it."""
    for adv, clip, log_ratio in (
        (-1.0, (0.2, 0.2), 80.0),
        (1.0, None, 80.0),
        (1.0, (0.2, 1e25), 55.0),
        (-1.0, (0.2, 0.2, 1e25), 55.0),
    ):
        logp = torch.tensor([[-1.0]], requires_grad=True)
        loss, _ = policy_loss(
            logp, torch.tensor([adv]), torch.ones(1, 1, dtype=torch.bool), ratio="token", clip=clip,
            old_logp=torch.tensor([[-1.0 - log_ratio]]),
        )  # fmt: skip
        assert -loss.item() == pytest.approx(adv * math.exp(log_ratio), rel=1e-4)
        assert gradient(loss, logp).item() == pytest.approx(loss.item())


def test_advantages_that_may_be_of_tokens_or_of_sequences_are_refused() -> None:
    logp, mask = torch.zeros(3, requires_grad=True), torch.ones(3, dtype=torch.bool)
    adv = torch.tensor([1.0, 10.0, 100.0])
    for ids in ([0, 0, 2], [1, 0, 2]):
        with pytest.raises(ConfigError, match="may be one a token or one a sequence"):
            policy_loss(logp, adv, mask, sequence_ids=torch.tensor(ids))
    loss, _ = policy_loss(logp, adv, mask, sequence_ids=torch.tensor([0, 1, 2]))
    assert -loss.item() == pytest.approx(37.0)
    loss, _ = policy_loss(logp, torch.full((3,), 5.0), mask, sequence_ids=torch.tensor([0, 0, 2]))
    assert -loss.item() == pytest.approx(5.0)


def test_bad_input_is_named() -> None:
    c = case()
    good = (c["logp"], c["adv"], c["mask"])
    for arguments, settings, words in (
        (good, {"ratio": "token2"}, "ratio must be one of"),
        (good, {"agg": "mean"}, "agg must be one of"),
        (good, {"ratio": "none", "clip": Clip()}, "never clipped"),
        (good, {"clip": "0.2"}, "clip must be a Clip"),
        (good, {"correction": Correction()}, "needs behaviour_logp"),
        (good, {"behaviour_logp": c["mu"], "correction": 3}, "correction must be"),
        (good, {"behaviour_logp": c["mu"][0]}, "behaviour_logp must be"),
        (good, {"old_logp": c["mu"][0]}, "old_logp must be"),
        ((c["logp"], c["adv"][:2], c["mask"]), {}, r"adv must be \[5, 7\].*got \[2\]"),
        ((c["logp"], c["adv"], c["mask"].double()), {}, "mask must be bool"),
        ((c["logp"][0], c["adv"], c["mask"][0]), {}, "packed .* no sequence_ids"),
    ):
        with pytest.raises(ConfigError, match=words):
            policy_loss(*arguments, **settings)
    for make, words in (
        (lambda: Clip(low=0.0), "clip.low must be > 0"),
        (lambda: Clip(dual=1.0), "clip.dual must be > 1"),
        (lambda: Correction(kind="is"), "correction.kind must be one of"),  # type: ignore[arg-type]
        (lambda: Correction(cap=-1.0), "correction.cap must be > 0"),
        (lambda: Correction(seq_band=(1.5, 2.0)), "seq_band must hold 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()


@pytest.mark.parametrize("agg", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum"])
@pytest.mark.parametrize("ratio", ["token", "sequence", "geometric"])
@pytest.mark.parametrize("clip", [None, Clip(0.1, 0.28), Clip(0.2, 0.2, 1.5)])
def test_gradients_equal_finite_differences(ratio: Any, agg: Any, clip: Clip | None) -> None:
    c = case(6, apart=0.4)

    def loss(logp: Tensor) -> Tensor:
        return policy_loss(
            logp, c["adv"], c["mask"], ratio=ratio, clip=clip, agg=agg, old_logp=c["old"]
        )[0]

    assert torch.autograd.gradcheck(loss, (c["logp"],), eps=1e-6, atol=1e-8, rtol=1e-6)


def test_cispo_cuts_the_weight_and_keeps_every_gradient() -> None:
    """MiniMax-M1's eq. 4: the gradient is sg[min(pi / old, 5)] A grad log pi, of every token."""
    c = case(3, apart=2.5)
    settings = PRESETS["cispo"].loss_settings() | {"behaviour_logp": c["old"]}
    loss, metrics = policy_loss(c["logp"], c["adv"], c["mask"], **settings)
    ratio = (c["logp"] - c["old"]).exp().detach()
    assert (ratio[c["mask"]] > 5.0).any()
    written = (ratio.clamp(max=5.0) * c["adv"][:, None] * c["logp"])[c["mask"]].mean()
    assert torch.allclose(gradient(-loss, c["logp"]), gradient(written, c["logp"]), atol=1e-13)
    assert metrics["is/weight_max"].item() == 5.0


def test_the_ratio_is_against_the_old_policy_where_both_are_given() -> None:
    c = case(4)
    alone, _ = policy_loss(c["logp"], c["adv"], c["mask"], old_logp=c["old"])
    both, _ = policy_loss(c["logp"], c["adv"], c["mask"], old_logp=c["old"], behaviour_logp=c["mu"])
    acted, _ = policy_loss(c["logp"], c["adv"], c["mask"], behaviour_logp=c["mu"])
    assert both.item() == alone.item() != acted.item()


@pytest.mark.parametrize("name", PRESETS)
def test_only_the_policy_is_differentiated(name: str) -> None:
    c = case()
    others = {key: c[key].clone().requires_grad_() for key in ("adv", "old", "mu")}
    settings = PRESETS[name].loss_settings() | {
        "old_logp": others["old"], "behaviour_logp": others["mu"], "correction": Correction()
    }  # fmt: skip
    a_token = others["adv"][:, None] * torch.ones(B, S, dtype=torch.float64)
    for adv in (others["adv"], a_token):
        loss, metrics = policy_loss(c["logp"], adv, c["mask"], **settings)
        found = torch.autograd.grad(loss, list(others.values()), allow_unused=True)
        assert found == (None, None, None)
        assert not any(value.requires_grad for value in metrics.values())


def test_nothing_flows_into_the_reference() -> None:
    logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    ref = torch.tensor([-1.5, -1.0], requires_grad=True)
    for estimator in ("k1", "k2", "k3"):
        penalty = kl_penalty(logp, ref, estimator).sum()  # type: ignore[arg-type]
        found = torch.autograd.grad(penalty, (logp, ref), allow_unused=True)
        assert found[0] is not None
        assert found[1] is None


def test_means_of_sequences_leave_unmasked_values_out() -> None:
    ids, mask = torch.tensor([0, 1, 0, 2]), torch.tensor([True, True, False, False])
    values = torch.tensor([1.0, 2.0, torch.nan, torch.inf])
    sequences = Sequences.of(values, ids)
    assert sequences.number == 3
    assert sequences.mean(values, mask).tolist() == [1.0, 2.0, 0.0]


def test_the_shares_of_clipped_tokens_by_hand() -> None:
    logp = torch.tensor([[0.0, 0.0, 0.0, 0.0, 9.0]], dtype=torch.float64)
    old = -torch.tensor([[1.5, 3.0, 0.5, 1.0, 1.0]], dtype=torch.float64).log()
    adv = torch.tensor([[1.0, -1.0, -1.0, 1.0, 1.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, True, False]])
    _, metrics = policy_loss(logp, adv, mask, clip=Clip(0.2, 0.2, 2.0), old_logp=old)
    assert metrics["policy/clip_frac"].item() == 0.5  # 1.5 upwards, 0.5 downwards
    assert metrics["policy/dual_clip_frac"].item() == 0.25  # -3 is held at -2
    assert metrics["policy/objective"].item() == pytest.approx((1.2 - 2.0 - 0.8 + 1.0) / 4)


@pytest.mark.parametrize(
    "clip", [Clip(0.2, 0.3, 2.0), (0.2, 0.3, 2.0), {"low": 0.2, "high": 0.3, "dual": 2.0}]
)
def test_a_clip_is_written_in_three_ways(clip: Any) -> None:
    old = -torch.tensor([[1.5, 3.0, 0.5]], dtype=torch.float64).log()
    logp, adv = torch.zeros_like(old), torch.tensor([[1.0, -1.0, -1.0]], dtype=torch.float64)
    loss, _ = policy_loss(logp, adv, logp == 0, clip=clip, old_logp=old)
    assert -loss.item() == pytest.approx((1.3 - 2.0 - 0.8) / 3)


def test_metrics_are_in_the_table() -> None:
    c = case()
    for preset in PRESETS.values():
        settings = preset.loss_settings() | {"behaviour_logp": c["mu"], "correction": Correction()}
        _, metrics = policy_loss(c["logp"], c["adv"], c["mask"], **settings)
        assert unknown_names(metrics) == []
        assert {"policy/objective", "is/weight_mean", "is/dropped_frac"} <= set(metrics)


def test_presets_are_what_the_papers_say() -> None:
    assert PRESETS["papo"].advantage_settings() == {"mean": "group", "std": "batch"}
    assert PRESETS["papo"].ratio == "none"
    assert PRESETS["papo"].clip is None
    assert PRESETS["grpo"].clip == Clip(0.2, 0.2)
    assert PRESETS["grpo"].agg == "seq_mean_token_mean"
    assert PRESETS["dapo"].clip == Clip(0.2, 0.28, 10.0)
    assert PRESETS["dapo"].agg == "token_mean"
    assert PRESETS["gspo"].ratio == "geometric"
    assert PRESETS["dr_grpo"].std == "none"
    assert PRESETS["dr_grpo"].agg == "seq_mean_token_sum"
    assert {p.kl for p in PRESETS.values()} == {"k3"}
    assert PRESETS["gspo"].clip == Clip(3e-4, 4e-4)
    assert PRESETS["rloo"].advantage_settings() == {"mean": "loo", "std": "none"}
    assert PRESETS["rloo"].agg == "seq_mean_token_sum"
    assert PRESETS["reinforce_pp"].advantage_settings() == {"mean": "batch", "std": "batch"}
    flags = {name: (p.kl_coef, p.drop_invalid, p.drop_constant) for name, p in PRESETS.items()}
    nothing = dict.fromkeys(PRESETS, (0.0, False, False))
    assert flags == nothing | {
        "papo": (0.0, True, False), "grpo": (0.04, False, False), "dapo": (0.0, False, True)
    }  # fmt: skip
