"""Experts: the mixture is a loop over experts, routing is stored and replayed exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.nn.transformer import AttentionMask, MoeConfig, Routing
from rlcore.nn.transformer.moe import mix_experts, moe_layers
from rlcore.ops.routing import balance_loss, route
from tests.nn.transformer.models import config, model, tokens

MOE = {"mlp": MoeConfig(experts=5, top_k=2, hidden=12, dense_layers=(1,)), "layers": 3}


def naive(x: Tensor, experts: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Each token through each of its experts, one after the other."""
    out = torch.zeros_like(x)
    for token in range(len(x)):
        for choice in range(experts.shape[1]):
            expert = int(experts[token, choice])
            gate, up = (gate_up[expert] @ x[token]).chunk(2)
            out[token] += weights[token, choice] * (down[expert] @ (F.silu(gate) * up))
    return out


@given(
    count=st.integers(1, 20), experts=st.integers(1, 6), top_k=st.integers(1, 6),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_mixture_equals_the_naive_loop(count, experts, top_k, seed) -> None:
    top_k = min(top_k, experts)
    g = torch.Generator().manual_seed(seed)
    x, weights, gate_up, down = (
        torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True)
        for shape in ((count, 4), (count, top_k), (experts, 6, 4), (experts, 4, 3))
    )
    chosen = torch.rand(count, experts, generator=g).topk(top_k, -1).indices
    inputs = (x, weights, gate_up, down)
    found = mix_experts(x, chosen, weights, gate_up, down)
    wanted = naive(x, chosen, weights, gate_up, down)
    assert (found - wanted).abs().max() < 1e-12
    cotangent = torch.randn(wanted.shape, generator=g, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(found, inputs, cotangent),
        torch.autograd.grad(wanted, inputs, cotangent, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-11


def test_experts_without_tokens_and_all_tokens_on_one_expert() -> None:
    x = torch.randn(7, 4, dtype=torch.float64)
    gate_up = torch.randn(3, 6, 4, dtype=torch.float64)
    down = torch.randn(3, 4, 3, dtype=torch.float64)
    chosen, weights = torch.full((7, 1), 2), torch.rand(7, 1, dtype=torch.float64)
    found = mix_experts(x, chosen, weights, gate_up, down)
    assert (found - naive(x, chosen, weights, gate_up, down)).abs().max() < 1e-12


# -- routing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_route_takes_the_most_probable_experts(normalise: bool) -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]], dtype=torch.float64)
    routed = route(logits, 2, normalise=normalise)
    p = logits.softmax(-1)
    assert torch.equal(routed.probabilities, p)
    assert routed.experts.tolist() == [[1, 2], [2, 0]]
    wanted = torch.stack((p[0, [1, 2]], p[1, [2, 0]]))
    if normalise:
        wanted = wanted / wanted.sum(-1, keepdim=True)
    assert (routed.weights - wanted).abs().max() < 1e-15


def test_route_replays_a_choice_with_the_present_probabilities() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([[0, 2]], dtype=torch.int16)
    routed = route(logits, 2, normalise=True, chosen=chosen)
    assert routed.experts.tolist() == [[0, 2]]
    ratio = (routed.weights[0, 1] / routed.weights[0, 0]).log()
    assert ratio.item() == pytest.approx(1.0)  # 2 - 1
    ratio.backward()
    assert torch.allclose(logits.grad, torch.tensor([[-1.0, 0.0, 1.0]]).double())


def test_route_takes_the_softmax_of_half_precision_in_float32() -> None:
    logits = torch.randn(3, 4)
    half = route(logits.bfloat16(), 2, normalise=True)
    assert half.probabilities.dtype == torch.float32
    assert half.weights.dtype == torch.bfloat16
    double = route(logits.double(), 2, normalise=False, float32=True)
    assert torch.equal(double.probabilities, logits.softmax(-1))
    assert double.weights.dtype == torch.float64


@given(
    count=st.integers(1, 30), experts=st.integers(1, 6), top_k=st.integers(1, 4),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_balance_loss_is_its_formula(count, experts, top_k, seed) -> None:
    top_k = min(top_k, experts)
    g = torch.Generator().manual_seed(seed)
    p = torch.randn(count, experts, generator=g, dtype=torch.float64).softmax(-1)
    chosen = p.topk(top_k, -1).indices
    valid = torch.rand(count, generator=g) < 0.7
    for mask in (None, valid):
        used = range(count) if mask is None else mask.nonzero().flatten().tolist()
        wanted = 0.0
        for e in range(experts):
            hits = sum(int(chosen[t, k]) == e for t in used for k in range(top_k))
            share = hits / max(1, len(used)) / top_k
            mean = sum(float(p[t, e]) for t in used) / max(1, len(used))
            wanted += experts * share * mean
        assert float(balance_loss(p, chosen, mask)) == pytest.approx(wanted, abs=1e-12)


def test_balance_loss_is_one_when_all_experts_are_used_alike_and_more_otherwise() -> None:
    p = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    assert float(balance_loss(p, torch.arange(6)[:, None] % 3)) == pytest.approx(1.0)
    one = torch.tensor([[0.8, 0.1, 0.1]], dtype=torch.float64).expand(6, 3)
    assert float(balance_loss(one, torch.zeros(6, 1, dtype=torch.int64))) == pytest.approx(2.4)


def test_balance_loss_equals_that_of_transformers() -> None:
    qwen = pytest.importorskip("transformers.models.qwen3_moe.modeling_qwen3_moe")
    logits = torch.randn(2, 9, 5)
    mask = torch.rand(2, 9) < 0.8
    routed = route(logits, 2, normalise=True)
    theirs = qwen.load_balancing_loss_func((logits.flatten(0, 1),), 5, 2, mask.long())
    # Theirs takes shares of tokens, which sum to top_k.
    assert float(2 * balance_loss(routed.probabilities, routed.experts, mask)) == pytest.approx(
        float(theirs), rel=1e-5
    )


# -- stored routing --------------------------------------------------------------------------------


def test_replayed_routing_gives_the_same_logits_and_gradients() -> None:
    module, ids = model(**MOE), tokens(2, 9)
    record = Routing()
    first = module(ids, routing=record)
    grads = torch.autograd.grad(first.square().sum(), list(module.parameters()))
    assert sorted(record.experts) == [0, 2] == moe_layers(module.config)
    table = record.table()
    assert table.shape == (2, 9, 2, 2)
    assert table.dtype == torch.int16
    replay = Routing.from_table(table, module.config)
    again = module(ids, routing=replay)
    assert torch.equal(again, first)
    assert torch.equal(replay.table(), table)
    other = torch.autograd.grad(again.square().sum(), list(module.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(grads, other, strict=True))


def test_replay_overrules_the_router_of_changed_weights() -> None:
    module, ids = model(**MOE), tokens(2, 9)
    record = Routing()
    module(ids, routing=record)
    with torch.no_grad():
        for block in (module.blocks[0], module.blocks[2]):
            block.mlp.router.weight.neg_()
    free, bound = Routing(), Routing(record.experts)
    free_logits, bound_logits = module(ids, routing=free), module(ids, routing=bound)
    assert not torch.equal(free.experts[0], record.experts[0])
    assert torch.equal(bound.experts[0], record.experts[0])
    assert torch.equal(bound.experts[2], record.experts[2])
    assert (free_logits - bound_logits).abs().max() > 1e-6


def test_routing_of_packed_and_padded_rows_is_that_of_the_rows_alone() -> None:
    module = model(**MOE)
    first, second = tokens(1, 4, seed=1), tokens(1, 5, seed=2)
    ids = torch.cat((first, second), 1)
    documents = torch.tensor([[0] * 4 + [1] * 5], dtype=torch.int32)
    packed = Routing()
    module(ids, mask=AttentionMask(documents=documents), routing=packed)
    for part, piece in ((slice(0, 4), first), (slice(4, 9), second)):
        one = Routing()
        module(piece, routing=one)
        assert torch.equal(packed.table()[:, part], one.table())


def test_the_models_balance_loss_is_the_mean_over_layers_and_trains_routers() -> None:
    module, ids = model(**MOE), tokens(2, 9)
    valid = torch.rand(2, 9) < 0.7
    record = Routing()
    module(ids, routing=record)
    loss = record.balance_loss(valid)
    layers = [balance_loss(record.probabilities[i], record.experts[i], valid) for i in (0, 2)]
    assert loss.item() == pytest.approx(sum(layers).item() / 2)
    loss.backward()
    for layer in (0, 2):
        assert module.blocks[layer].mlp.router.weight.grad.abs().max() > 0


def test_recomputed_activations_keep_the_record() -> None:
    module, ids = model(**MOE), tokens(2, 9)
    results = []
    for recompute in (False, True):
        module.recompute = recompute
        module.zero_grad()
        record = Routing()
        (module(ids, routing=record).square().mean() + record.balance_loss()).backward()
        results.append([record.table(), *(p.grad.clone() for p in module.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_wrong_tables_are_refused() -> None:
    module, ids = model(**MOE), tokens(2, 9)
    with pytest.raises(ConfigError, match=r"wants \[..., 2, K\], got \(2, 9, 3, 2\)"):
        Routing.from_table(torch.zeros(2, 9, 3, 2), module.config)
    with pytest.raises(ConfigError, match=r"want shape \(2, 9, 2\), got \(2, 9, 1\)"):
        module(ids, routing=Routing({0: torch.zeros(2, 9, 1)}))
    with pytest.raises(ConfigError, match="no forward pass"):
        Routing().balance_loss()
    assert moe_layers(config()) == []


@pytest.mark.gpu
def test_grouped_products_on_a_gpu_equal_the_loop() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = ((300, 64), (300, 2), (5, 96, 64), (5, 64, 48))
    x, weights, gate_up, down = (torch.randn(s, generator=g) * 0.3 for s in shapes)
    chosen = torch.rand(300, 4, generator=g).topk(2, -1).indices  # expert 4 gets nothing
    results = []
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.bfloat16)):
        inputs = [
            t.bfloat16().to(device, dtype).requires_grad_() for t in (x, weights, gate_up, down)
        ]
        out = mix_experts(inputs[0], chosen.to(device), *inputs[1:])
        out.square().sum().backward()
        results.append([t.detach().cpu().double() for t in (out, *(i.grad for i in inputs))])
    for wanted, found in zip(*results, strict=True):
        assert (found - wanted).norm() < 2e-2 * wanted.norm()
