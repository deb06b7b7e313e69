"""The transformer: packing, padding, positions, memory, compilation, initialisation, counts."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.nn.transformer import (
    AttentionMask,
    KVWrite,
    MixerConfig,
    MoeConfig,
    RopeScaling,
    Transformer,
    TransformerConfig,
)
from rlcore.nn.transformer.counts import active_parameters, flops_per_token, parameters
from rlcore.nn.transformer.positions import default_positions
from rlcore.nn.transformer.rotary import frequencies
from rlcore.ops.rotary import rotate
from tests.nn.transformer.models import SMALL, config, model, tokens
from tests.ops.triton_devices import DEVICES

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all at once": {
        "qk_norm": True, "qkv_bias": True, "tie_embeddings": True, "head_dim": 10,
        "rope_scaling": RopeScaling(type="llama3", factor=4.0, original_positions=16),
    },
    "layer norm, no rope": {"norm": "layer", "rope": False, "kv_heads": None},
    "experts": {"mlp": MoeConfig(experts=5, top_k=2, hidden=12, dense_layers=(0,))},
    "position tables": {"position_tables": (tuple(i // 5 for i in range(60)),
                                            tuple(i % 5 for i in range(60))), "rope": False},
    "bidirectional": {"causal": False, "kv_heads": 1},
}  # fmt: skip
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
TIGHT = 1e-12


@torch.no_grad()
def alone(module: Transformer, pieces: list[Tensor]) -> list[Tensor]:
    return [module(piece[None])[0] for piece in pieces]


# -- rows ------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(
    name=st.sampled_from(sorted(VARIANTS)),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    side=st.sampled_from(["left", "right"]),
    more=st.integers(0, 7),
)
def test_padding_on_either_side_changes_nothing(name, lengths, side, more) -> None:
    module = model(**VARIANTS[name])
    pieces = [tokens(1, n, seed=i)[0] for i, n in enumerate(lengths)]
    width = max(lengths) + more
    ids = torch.full((len(pieces), width), 7)
    padding = torch.zeros(len(pieces), width, dtype=torch.bool)
    for row, piece in enumerate(pieces):
        start = 0 if side == "right" else width - len(piece)
        ids[row, start : start + len(piece)] = piece
        padding[row, start : start + len(piece)] = True
    with torch.no_grad():
        together = module(ids, padding=padding)
    assert torch.isfinite(together).all()
    for row, wanted in enumerate(alone(module, pieces)):
        assert (together[row][padding[row]] - wanted).abs().max() <= TIGHT


@settings(max_examples=10)
@given(
    name=st.sampled_from(sorted(VARIANTS)),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    pad=st.integers(0, 4),
)
def test_packed_documents_equal_separate_rows(name, lengths, pad) -> None:
    module = model(**VARIANTS[name])
    pieces = [tokens(1, n, seed=i)[0] for i, n in enumerate(lengths)]
    total = sum(lengths)
    ids = torch.cat([*pieces, torch.full((pad,), 3)])[None]
    numbers = [i for i, n in enumerate(lengths) for _ in range(n)] + [-1] * pad
    padding = torch.arange(total + pad)[None] < total
    mask = AttentionMask(
        causal=module.config.causal, documents=torch.tensor(numbers, dtype=torch.int32)[None]
    )
    with torch.no_grad():
        packed = module(ids, mask=mask, padding=padding)[0]
    for piece, wanted in zip(
        packed.split([*lengths, pad])[:-1], alone(module, pieces), strict=True
    ):
        assert (piece - wanted).abs().max() <= TIGHT


@variants
def test_later_tokens_change_earlier_logits_only_without_causality(changes) -> None:
    module = model(**changes)
    ids = tokens(1, 9)
    other = ids.clone()
    other[0, 6] = (ids[0, 6] + 1) % 61
    with torch.no_grad():
        moved = (module(ids) - module(other)).abs().amax(-1)[0]
    if module.config.causal:
        assert moved[:6].max() == 0
    else:
        assert moved[:6].min() > 1e-6
    assert moved[6:].min() > 1e-9


def test_block_causal_equals_causal_over_blocks() -> None:
    """A block's logits are those of the prefix that ends with it, seen in both directions."""
    module = model(causal=False)
    ids = tokens(1, 12)
    blocks = (torch.arange(12) // 4).int()[None]
    with torch.no_grad():
        found = module(ids, mask=AttentionMask(causal=False, blocks=blocks))[0]
        for block in range(3):
            part = slice(4 * block, 4 * block + 4)
            # Within one layer a block's keys depend on later ones no more than here.
            mask = AttentionMask(causal=False, blocks=blocks[:, : 4 * block + 4])
            wanted = module(ids[:, : 4 * block + 4], mask=mask)[0, part]
            assert (found[part] - wanted).abs().max() <= TIGHT
        assert (found[:4] - module(ids[:, :4])[0]).abs().max() <= TIGHT
        ones = torch.arange(12).int()[None]
        causal = module(ids, mask=AttentionMask(causal=False, blocks=ones))
        assert (causal - module(ids, mask=AttentionMask(causal=True))).abs().max() <= TIGHT


def test_interval_mask_equals_separate_continuations() -> None:
    """Branches of a fork see the prefix alone; positions overlap; the join sees all."""
    module = model()
    ids = tokens(1, 8)[0]  # 0 1 | 2 3 | 4 5 6 | 7
    positions = torch.tensor([0, 1, 2, 3, 2, 3, 4, 5])
    gs = torch.tensor([[[0, 0, 2, 2, 2, 2, 2, 0]]], dtype=torch.int32)
    ps = torch.tensor([[[0, 0, 2, 2, 4, 4, 4, 0]]], dtype=torch.int32)
    mask = AttentionMask(intervals=(gs, ps))
    with torch.no_grad():
        found = module(ids[None], mask=mask, positions=positions[None])[0]
        first, second = module(ids[None, :4])[0], module(ids[[0, 1, 4, 5, 6]][None])[0]
    assert (found[:4] - first).abs().max() <= TIGHT
    assert (found[4:7] - second[2:]).abs().max() <= TIGHT


# -- positions -------------------------------------------------------------------------------------


def test_default_positions_count_real_tokens_of_each_document() -> None:
    ids = torch.zeros(1, 8, dtype=torch.int64)
    documents = torch.tensor([[0, 0, 0, 5, 5, 2, 2, 2]])
    padding = torch.tensor([[False, True, True, True, True, False, True, True]])
    plain = default_positions(ids, AttentionMask())
    assert plain.tolist() == [list(range(8))]
    by_document = default_positions(ids, AttentionMask(documents=documents))
    assert by_document.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    by_padding = default_positions(ids, AttentionMask(padding=padding))
    assert by_padding.tolist() == [[0, 0, 1, 2, 3, 3, 4, 5]]
    both = default_positions(ids, AttentionMask(documents=documents, padding=padding))
    assert both.tolist() == [[0, 0, 1, 0, 1, 0, 0, 1]]


def test_only_differences_of_positions_matter_to_rotary() -> None:
    module = model()
    ids, at = tokens(2, 9), torch.arange(9).expand(2, 9)
    with torch.no_grad():
        assert (module(ids, positions=at) - module(ids)).abs().max() == 0
        assert (module(ids, positions=at + 1000) - module(ids)).abs().max() < 1e-10
        assert (module(ids, positions=2 * at) - module(ids)).abs().max() > 1e-3


def test_rotation_is_that_of_the_complex_plane() -> None:
    made = config(head_dim=6, rope_theta=100.0)
    angles = frequencies(made)
    assert torch.allclose(angles, torch.tensor([100.0 ** (-2 * i / 6) for i in range(3)]).double())
    x = torch.randn(5, 2, 6, dtype=torch.float64)
    turn = torch.arange(5)[:, None] * angles
    found = rotate(x, turn.cos(), turn.sin())
    wanted = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(
        torch.ones(5, 1, 3, dtype=torch.float64), turn[:, None]
    )
    assert (found - torch.cat((wanted.real, wanted.imag), -1)).abs().max() < 1e-14


def test_stretched_frequencies_follow_their_formula() -> None:
    base = frequencies(config(head_dim=32))
    linear = frequencies(config(head_dim=32, rope_scaling=RopeScaling(type="linear", factor=3.0)))
    assert torch.allclose(linear, base / 3, rtol=1e-15)
    scaling = RopeScaling(type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_positions=64)  # fmt: skip
    found = frequencies(config(head_dim=32, rope_scaling=scaling))
    kinds = set()
    for angle, value in zip(base.tolist(), found.tolist(), strict=True):
        turns = 64 * angle / (2 * math.pi)
        if turns > 4:
            kind, wanted = "kept", angle
        elif turns < 1:
            kind, wanted = "divided", angle / 8
        else:
            share = (turns - 1) / 3
            kind, wanted = "ramp", (1 - share) * angle / 8 + share * angle
        kinds.add(kind)
        assert value == pytest.approx(wanted, rel=1e-13)
    assert kinds == {"kept", "divided", "ramp"}


def test_casting_a_model_does_not_round_its_frequencies() -> None:
    module = model()
    before = module.rotary.frequencies.clone()
    assert before.dtype == torch.float64
    module.bfloat16().float().double()
    assert torch.equal(module.rotary.frequencies, before)
    cos, _ = module.bfloat16().rotary(torch.tensor([4001]), torch.bfloat16)
    assert cos.dtype == torch.float32
    assert (cos.double() - (4001 * before).cos()).abs().max() < 1e-3


def test_position_tables_add_rows_of_their_embeddings() -> None:
    module = model(position_tables=((0, 1, 1), (2, 0, 2)), rope=False, layers=1)
    ids = tokens(1, 3)
    x = module.embedded(ids, torch.arange(3)[None])
    first, second = (e.weight for e in module.position_embeds)
    assert first.shape[0] == 2
    assert second.shape[0] == 3
    wanted = module.embed.weight[ids] + first[[0, 1, 1]] + second[[2, 0, 2]]
    assert torch.equal(x, wanted)


# -- memory ----------------------------------------------------------------------------------------


class Pool:
    """A KV cache that is read back by plain softmax: row 0's tokens so far, layer by layer."""

    def __init__(self, module: Transformer, writes: bool) -> None:
        made = module.config
        shape = (made.layers, 4, 8, made.num_kv_heads, made.head_size)
        self.keys, self.values = torch.zeros(2, *shape, dtype=torch.float64)
        self.length, self.writes = 0, writes

    def cache(self, layer: int) -> KVWrite | None:
        slots = torch.arange(self.length, self.length + self.count)
        return KVWrite(self.keys[layer], self.values[layer], slots) if self.writes else None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self.keys[layer].flatten(0, 1), self.values[layer].flatten(0, 1)
        end = self.length + self.count
        if not self.writes:
            keys[self.length : end], values[self.length : end] = k, v
        out = []
        for i in range(self.count):
            group = q.shape[1] // k.shape[1]
            seen = keys[: self.length + i + 1].repeat_interleave(group, 1)
            scores = torch.einsum("hd,nhd->hn", q[i], seen) / q.shape[-1] ** 0.5
            read = values[: self.length + i + 1].repeat_interleave(group, 1)
            out.append(torch.einsum("hn,nhd->hd", scores.softmax(-1), read))
        return torch.stack(out)


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("name", ["plain", "all at once", "experts", "position tables"])
def test_a_memory_gives_the_logits_of_the_whole_row(name: str, writes: bool) -> None:
    module = model(**VARIANTS[name])
    ids = tokens(1, 20)[0]
    pool, found = Pool(module, writes), []
    with torch.no_grad():
        for part in ids.split([6, 1, 1, 5, 7]):
            pool.count = len(part)
            positions = torch.arange(pool.length, pool.length + len(part))
            found.append(module(part, positions=positions, memory=pool))
            pool.length += len(part)
        wanted = module(ids[None])[0]
    assert (torch.cat(found) - wanted).abs().max() <= TIGHT


@pytest.mark.parametrize("name", ["plain", "all at once", "experts", "layer norm, no rope"])
def test_the_fused_form_gives_the_same_logits(name: str, monkeypatch) -> None:
    import rlcore.nn.transformer.model as module_under_test

    module, ids, results = model(**VARIANTS[name]).eval(), tokens(1, 9)[0], []
    calls = []
    for name_ in ("norm_linear", "norm_gated_linear", "linear_add"):
        original = getattr(module_under_test, name_)
        monkeypatch.setattr(
            module_under_test, name_,
            lambda *a, _n=name_, _f=original, **k: calls.append(_n) or _f(*a, **k),
        )  # fmt: skip
    for fused in (False, True):
        monkeypatch.setattr(module_under_test, "_can_fuse", lambda x, fused=fused: fused)
        pool = Pool(module, writes=True)
        pool.count = 9
        with torch.no_grad():
            results.append(module(ids, positions=torch.arange(9), memory=pool))
            results.append(module(ids.view(3, 3)))
    for plain, other in zip(results[:2], results[2:], strict=True):
        assert (plain - other).abs().max() <= TIGHT
    layers = 0 if "layer norm" in name else 2
    assert calls.count("norm_linear") == 2 * layers
    assert calls.count("norm_gated_linear") == 2 * (1 if name == "experts" else layers)
    calls.clear()
    module.train()(ids.view(3, 3))
    assert calls == [], "dropout hangs on modules that the fused form does not call"


def test_negative_slots_are_not_written() -> None:
    module = model(layers=1)
    pool = Pool(module, writes=True)
    pool.count = 2
    pool.cache = lambda layer: KVWrite(pool.keys[0], pool.values[0], torch.tensor([3, -1]))
    with torch.no_grad():
        module(torch.tensor([1, 2]), positions=torch.tensor([0, 1]), memory=pool)
    written = pool.keys[0].flatten(0, 1).abs().sum((-1, -2)) > 0
    assert written.nonzero().flatten().tolist() == [3]


@torch.no_grad()
def test_padding_beside_a_mask_is_part_of_it() -> None:
    module, ids = model(), tokens(2, 9)
    real = torch.arange(9) >= torch.tensor([[0], [3]])
    documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 6 + [1] * 3], dtype=torch.int32)
    beside = module(ids, mask=AttentionMask(documents=documents), padding=real)
    within = module(ids, mask=AttentionMask(documents=documents, padding=real))
    assert torch.equal(beside, within)
    # Positions count real tokens, as in a row of its own.
    assert (beside[1, 3:6] - module(ids[1:, 3:6])[0]).abs().max() <= TIGHT
    assert (beside[1, 6:] - module(ids[1:, 6:])[0]).abs().max() <= TIGHT


def test_arguments_that_do_not_fit_are_refused() -> None:
    module = model()
    pool = Pool(module, writes=True)
    ids, real = tokens(1, 4), torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ConfigError, match="wants positions"):
        module(ids[0], memory=pool)
    with pytest.raises(ConfigError, match="neither mask nor padding"):
        module(ids[0], memory=pool, positions=torch.arange(4), mask=AttentionMask())
    with pytest.raises(ConfigError, match=r"want shape \[B, S\], got \(4,\)"):
        module(ids[0])
    with pytest.raises(ConfigError, match="rows of 4 tokens do not fit a position table of 3"):
        model(position_tables=((0, 1, 2),))(ids)
    with pytest.raises(ConfigError, match="given twice"):
        module(ids, padding=real, mask=AttentionMask(padding=real))


# -- training --------------------------------------------------------------------------------------


@variants
def test_gradients_are_those_of_finite_differences(changes) -> None:
    small = {"vocab_size": 5, "dim": 4, "layers": 2, "heads": 2, "kv_heads": 1, "hidden": 3}
    if changes.get("head_dim"):
        changes = changes | {"head_dim": 2}
    module = model(**(small | {k: v for k, v in changes.items() if k != "kv_heads"}))
    ids = tokens(2, 4, vocab=5)
    documents = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]], dtype=torch.int32)
    mask = AttentionMask(causal=module.config.causal, documents=documents)
    names = [name for name, _ in module.named_parameters()]

    def logits(*values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, given, (ids,), {"mask": mask})

    values = [p.detach().clone().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(logits, values, atol=1e-7, rtol=1e-6, fast_mode=True)
    logits(*values).square().sum().backward()
    for name, value in zip(names, values, strict=True):
        assert value.grad.abs().max() > 0, name


@variants
def test_recomputed_activations_give_the_same_gradients(changes) -> None:
    module, ids = model(**changes), tokens(2, 7)
    grads = []
    for recompute in (False, True):
        module.recompute = recompute
        module.zero_grad()
        module(ids).square().mean().backward()
        grads.append([p.grad.clone() for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_recomputing_keeps_less_for_the_backward_pass() -> None:
    module, ids = model(layers=4), tokens(2, 32)
    kept = []
    for recompute in (False, True):
        module.recompute = recompute
        size = 0

        def pack(x: Tensor) -> Tensor:
            nonlocal size
            size += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            module(ids)
        kept.append(size)
    assert kept[1] < kept[0] / 3


@pytest.mark.parametrize("name", [n for n in VARIANTS if n != "experts"])
def test_training_compiles_as_one_graph_with_the_same_gradients(name: str) -> None:
    module, ids = model(**VARIANTS[name]), tokens(2, 12)
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12], dtype=torch.int32)

    def loss(ids: Tensor, documents: Tensor) -> Tensor:
        mask = AttentionMask(causal=module.config.causal, documents=documents)
        return module.head(module.hidden(ids, mask=mask)).square().mean()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    grads = []
    for run in (loss, compiled):
        module.zero_grad()
        run(ids, documents).backward()
        grads.append([p.grad.clone() for p in module.parameters()])
    for one, other in zip(*grads, strict=True):
        assert (one - other).abs().max() < 1e-12


def test_the_compiled_graph_computes_cosines_once_for_all_layers() -> None:
    module, ids = model(layers=3), tokens(2, 12)
    calls = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        calls.extend(n for n in graph.graph.nodes if "cosines" in str(n.target))
        assert not any("cos" in str(n.target) for n in graph.graph.nodes if n not in calls)
        return graph

    torch.compiler.reset()
    compiled = torch.compile(module.__call__, fullgraph=True, backend=count)
    assert (compiled(ids) - module(ids)).abs().max() <= TIGHT
    assert len(calls) == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("length", [40, 150, 255])
def test_packed_rows_through_the_kernels_in_a_compiled_model(length: int, device: str) -> None:
    """The model's graph is one, and logits and gradients are those of float64 on a CPU."""
    reference, ids = model(), tokens(2, length)
    documents = (torch.arange(length) // 60).int().expand(2, length).contiguous()
    module = copy.deepcopy(reference).to(device, torch.float32)
    module.attention_backend = "triton"

    def logits(ids: Tensor, documents: Tensor) -> Tensor:
        return module(ids, mask=AttentionMask(documents=documents))

    torch.compiler.reset()
    backend = "inductor" if device == "cuda" else "aot_eager"
    compiled = torch.compile(logits, fullgraph=True, backend=backend)
    found = compiled(ids.to(device), documents.to(device))
    found.square().mean().backward()
    wanted = reference(ids, mask=AttentionMask(documents=documents))
    wanted.square().mean().backward()
    assert (found.cpu() - wanted).abs().max() < 1e-4
    for one, other in zip(module.parameters(), reference.parameters(), strict=True):
        assert one.grad is not None
        assert (one.grad.cpu() - other.grad).norm() <= 1e-4 * other.grad.norm() + 1e-7


def test_under_autocast_the_residual_stream_is_in_half_precision() -> None:
    module, ids = model(dtype=torch.float32), tokens(2, 9)
    seen = []
    module.blocks[1].register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        logits = module(ids)
    assert seen == [torch.bfloat16]
    assert (logits.float() - module(ids)).abs().max() < 0.3
    logits.float().mean().backward()
    assert module.embed.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("statistics", [True, False])
def test_statistics_are_float32_where_asked(statistics: bool) -> None:
    module = model(float32_statistics=statistics)
    x = torch.randn(3, 24, dtype=torch.float64)
    exact = module.norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    error = (module.norm(x) - exact).abs().max()
    assert (error > 1e-10) if statistics else (error < 1e-14)
    cos, _ = module.rotary(torch.tensor([777]), torch.float64)
    rounded = torch.equal(cos, cos.float().double())
    assert rounded == statistics


# -- initialisation and counts ---------------------------------------------------------------------


def test_initial_weights_have_the_documented_distribution() -> None:
    torch.manual_seed(0)
    module = Transformer(
        config(vocab_size=500, dim=128, layers=8, hidden=256, qkv_bias=True, qk_norm=True,
               mlp=MoeConfig(experts=4, hidden=64, dense_layers=(0, 1)), init_std=0.05)
    )  # fmt: skip
    residual = 0.05 / math.sqrt(16)
    seen = set()
    for name, parameter in module.named_parameters():
        value = parameter.detach()
        if name.endswith("bias"):
            assert value.abs().max() == 0
        elif "norm" in name:
            assert torch.equal(value, torch.ones_like(value))
        else:
            last = name.endswith(("out.weight", "down.weight", "mlp.down"))
            seen.add((last, name.split(".")[-2] if "weight" in name else name.split(".")[-1]))
            wanted = residual if last else 0.05
            bound = 5 / math.sqrt(2 * value.numel())
            assert value.std() == pytest.approx(wanted, rel=bound), name
            assert abs(value.mean()) < 5 * wanted / math.sqrt(value.numel()), name
    assert {"embed", "qkv", "gate_up", "router", "lm_head"} <= {n for last, n in seen if not last}
    assert {n for last, n in seen if last} == {"out", "down"}


def test_the_same_seed_gives_the_same_weights() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(list(Transformer(config()).parameters()))
    first, second, third = drawn
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], third[0])


@variants
def test_counted_parameters_are_those_of_the_module(changes) -> None:
    module = Transformer(config(**changes))
    assert parameters(module.config) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["plain", "all at once", "experts"])
def test_flops_are_those_that_torch_counts(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    module, rows, length = model(dtype=torch.float32, **VARIANTS[name]), 2, 11
    ids = tokens(rows, length)
    module.attention_backend = "reference"  # products that the counter sees: all S x S of them
    for training in (False, True):
        with FlopCounterMode(display=False) as counter:
            logits = module(ids)
            if training:
                logits.sum().backward()
        wanted = rows * length * flops_per_token(module.config, length, training=training)
        assert counter.get_total_flops() == wanted


def test_active_parameters_count_the_experts_of_one_token() -> None:
    dense, sparse = config(hidden=24), config(mlp=MoeConfig(experts=8, top_k=2, hidden=12))
    assert active_parameters(sparse) == active_parameters(dense) + 2 * 24 * 8
    assert active_parameters(config(tie_embeddings=True)) == active_parameters(config())


def test_a_model_of_125_million_parameters_is_one() -> None:
    made = TransformerConfig(vocab_size=50_304, dim=768, layers=12, heads=12, hidden=2048,
                             tie_embeddings=True)  # fmt: skip
    assert parameters(made) == 123_587_328
    assert made.hidden_size == TransformerConfig(vocab_size=2, dim=768).hidden_size == 2048


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be >= 1, got 0"),
        ({"heads": 5}, "multiple of heads"),
        ({"kv_heads": 3}, "multiple of kv_heads, got 4 and 3"),
        ({"head_dim": 5}, "even head width, got 5"),
        ({"hidden": 0}, "hidden must be >= 1 or null"),
        ({"norm": "batch"}, "norm must be rms or layer"),
        ({"norm_eps": 0.0}, "norm_eps must be > 0"),
        ({"rope_theta": float("nan")}, "rope_theta must be > 0"),
        ({"init_std": -1.0}, "init_std must be > 0"),
        ({"mask_id": 61}, r"mask_id must lie in 0\.\.60, got 61"),
        ({"eos_id": -1}, "eos_id"),
        ({"pad_id": 99}, "pad_id"),
        ({"position_tables": ((),)}, "position table"),
        ({"position_tables": ((0, -1),)}, "position table"),
        ({"mlp": MoeConfig(dense_layers=(2,))}, r"dense_layers must lie in 0\.\.1, got \[2\]"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MoeConfig(top_k=9), "top_k=9, experts=8"),
        (lambda: MoeConfig(top_k=0), "top_k=0"),
        (lambda: MoeConfig(hidden=0), "moe.hidden"),
        (lambda: RopeScaling(type="yarn"), "linear or llama3"),
        (lambda: RopeScaling(factor=0.5), "factor must be >= 1"),
        (lambda: RopeScaling(factor=float("nan")), "factor"),
        (lambda: RopeScaling(low_freq_factor=4.0), "low_freq_factor"),
        (lambda: RopeScaling(original_positions=0), "original_positions"),
        (lambda: config(mixer=MixerConfig(type="fourier")), "mixer.type"),
    ],
)
def test_impossible_parts_are_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_defaults_derive_from_the_width() -> None:
    made = TransformerConfig(vocab_size=2, dim=100, heads=5)
    assert (made.num_kv_heads, made.head_size, made.hidden_size) == (5, 20, 320)
    assert config(mlp=MoeConfig(top_k=4)).expert_size == SMALL["hidden"] // 4
    assert config().expert_size == 0


def test_the_config_loads_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from rlcore.nn.transformer import TransformerConfig, MoeConfig; "
        "TransformerConfig(vocab_size=3); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_the_package_are_found_on_demand() -> None:
    import rlcore.nn.transformer as package

    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018
