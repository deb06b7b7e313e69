"""Step sizes over a run, and which parameters decay."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rlcore.errors import ConfigError
from rlcore.learners.base import LossOutput
from rlcore.learners.config import AdamConfig, AdamWConfig, LearnerConfig, SGDConfig
from rlcore.learners.flat import FlatParameters
from rlcore.learners.optim.decay import weight_matrices
from rlcore.learners.schedule import step_size


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [2.0, 2.0, 2.0, 2.0, 2.0]),
        ({"anneal": "linear"}, [2.0, 1.5, 1.0, 0.5, 0.0]),
        ({"anneal": "linear", "anneal_to": 0.1}, [2.0, 1.55, 1.1, 0.65, 0.2]),
        ({"anneal": "cosine"}, [2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5, 0.0]),
        ({"anneal": "cosine", "anneal_to": 0.5}, [2.0, 1.5 + 0.125**0.5, 1.5, 1.5 - 0.125**0.5, 1]),
        ({"warmup": 0.5}, [0.0, 1.0, 2.0, 2.0, 2.0]),
        ({"warmup": 0.5, "anneal": "linear"}, [0.0, 1.0, 2.0, 1.0, 0.0]),
        ({"warmup": 0.5, "anneal": "cosine", "anneal_to": 0.5}, [0.0, 1.0, 2.0, 1.5, 1.0]),
    ],
)
def test_step_sizes_at_the_quarters(settings, expected) -> None:
    optimizer = SGDConfig(lr=2.0, **settings)
    found = [step_size(optimizer, progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx(expected, abs=1e-15)


@given(
    st.sampled_from(["none", "linear", "cosine"]), st.floats(0, 0.9), st.floats(0, 0.9),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_it_rises_then_falls_between_its_bounds(anneal, warmup, end, a, b) -> None:
    end = 0.0 if anneal == "none" else end
    optimizer = AdamConfig(lr=1.0, anneal=anneal, anneal_to=end, warmup=warmup)
    first, second = sorted((a, b))
    low, high = step_size(optimizer, first), step_size(optimizer, second)
    assert 0.0 <= min(low, high) <= max(low, high) <= 1.0
    if second < warmup:
        assert low <= high
    elif first >= warmup:
        assert low >= high >= end - 1e-12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\)"),
        ({"warmup": math.nan}, "warmup must be in"),
        ({"anneal": "linear", "anneal_to": -0.1}, "anneal_to must be in"),
        ({"anneal_to": 0.1}, "anneal_to needs anneal"),
    ],
)
def test_impossible_schedules(settings, message: str) -> None:
    for cls in (SGDConfig, AdamConfig, AdamWConfig):
        with pytest.raises(ConfigError, match=message):
            cls(**settings)


def test_only_matrices_decay_and_as_torch_does() -> None:
    """The same as torch's AdamW with two groups, in float64, over several steps."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        net = nn.ModuleDict(
            {"embed": nn.Embedding(5, 4), "norm": nn.LayerNorm(4), "a": nn.Linear(4, 3),
             "b": nn.Linear(3, 5, bias=False)}
        )  # fmt: skip
        return net.double()

    def loss_of(net: nn.Module, step: int) -> torch.Tensor:
        ids = torch.tensor([step % 5, (step + 1) % 5])
        return net["b"](net["a"](net["norm"](net["embed"](ids)))).square().sum()

    ours, theirs = build(), build()
    optimizer = AdamWConfig(lr=0.05, weight_decay=0.3, decay="matrices")
    learner = LearnerConfig(optimizer=optimizer, max_grad_norm=None).build(ours)
    groups = [
        {"params": [theirs["a"].weight, theirs["b"].weight], "weight_decay": 0.3},
        {"params": [theirs["embed"].weight, *theirs["norm"].parameters(), theirs["a"].bias],
         "weight_decay": 0.0},
    ]  # fmt: skip
    reference = torch.optim.AdamW(groups, lr=0.05)
    for step in range(6):
        learner.update(
            {"step": step}, lambda net, b: LossOutput(loss_of(net, b["step"]), torch.tensor(1.0))
        )
        reference.zero_grad()
        loss_of(theirs, step).backward()
        reference.step()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=0, msg=name)


def test_a_tied_head_counts_as_an_embedding_and_untouched_matrices_stay() -> None:
    net = nn.Module()
    net.embed, net.head, net.map = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False), nn.Linear(2, 2)
    net.head.weight = net.embed.weight
    flat = FlatParameters(net)
    assert [flat.names[i] for i in weight_matrices(net, flat)] == ["map.weight"]
    optimizer = AdamWConfig(lr=0.1, weight_decay=0.5, decay="matrices")
    learner = LearnerConfig(optimizer=optimizer).build(net)
    before = net.map.weight.detach().clone()
    learner.update({"x": 0}, lambda n, _: LossOutput(n.embed.weight.sum(), torch.tensor(1.0)))
    assert torch.equal(net.map.weight, before)  # no gradient, no decay


def test_decay_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match="decay must be 'all' or 'matrices', got 'none'"):
        AdamWConfig(decay="none")
