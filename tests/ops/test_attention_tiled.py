"""The kernels over listed tiles: outputs and gradients against the dense reference."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given

from rlcore.errors import ConfigError
from rlcore.ops.attention.dense import attention, plan_attention
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.tiled import tiled_attention, tiled_mask
from rlcore.ops.attention.tiles import TILE, tile_lists, tile_tables
from tests.ops.test_attention_masks import masks, random_mask
from tests.ops.triton_devices import DEVICES, INTERPRETED, LIMITS, relative_l2

Case = tuple[int, int, int, int, int]  # rows, tokens, heads, key heads, head size


def moved(mask: AttentionMask, device: str) -> AttentionMask:
    """Return the mask with its tensors on a device."""

    def there(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x.to(device)

    intervals = None if mask.intervals is None else tuple(x.to(device) for x in mask.intervals)
    return AttentionMask(
        causal=mask.causal,
        documents=there(mask.documents),
        blocks=there(mask.blocks),
        intervals=intervals,
        padding=there(mask.padding),
    )


def inputs_of(case: Case, dtype: torch.dtype) -> list[torch.Tensor]:
    """``q``, ``k``, ``v`` and a slope of the output, rounded to ``dtype``."""
    rows, length, heads, kv_heads, dim = case
    g = torch.Generator().manual_seed(sum(case))
    return [
        torch.randn(rows, length, n, dim, generator=g).to(dtype)
        for n in (heads, kv_heads, kv_heads, heads)
    ]


def results(
    mask: AttentionMask, inputs: list[torch.Tensor], device: str, dtype: torch.dtype, backend: str
) -> list[torch.Tensor]:
    """Return the output and the three gradients."""
    q, k, v, slope = (x.to(device, dtype).detach().clone() for x in inputs)
    for x in (q, k, v):
        x.requires_grad_()
    plan = plan_attention(moved(mask, device), q.shape[:2], q, backend)  # type: ignore[arg-type]
    out = attention(q, k, v, plan)
    out.backward(slope)
    return [out.detach(), *(x.grad for x in (q, k, v))]  # type: ignore[list-item]


def check_single(mask: AttentionMask, case: Case, device: str, backend: str = "triton") -> None:
    inputs = inputs_of(case, torch.float32)
    wanted = results(mask, inputs, "cpu", torch.float64, "reference")
    found = results(mask, inputs, device, torch.float32, backend)
    for one, other, bound in zip(found, wanted, (1e-5, 1e-4, 1e-4, 1e-4), strict=True):
        assert float((one.cpu().double() - other).abs().max()) <= bound


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("parts", "causal", "case"),
    [
        ((), True, (1, 130, 2, 1, 16)),
        ((), False, (1, 65, 1, 1, 16)),
        (("intervals",), True, (1, 300, 2, 2, 16)),
        (("intervals", "documents"), True, (2, 200, 2, 1, 32)),
        (("blocks",), False, (1, 256, 1, 1, 16)),
        (("padding",), True, (1, 129, 1, 1, 24)),
        (("documents", "padding"), False, (1, 140, 1, 1, 80)),
        (("intervals",), True, (1, 1, 3, 1, 128)),
    ],
)
def test_single_precision_equals_the_reference(
    parts: tuple[str, ...], causal: bool, case: Case, device: str
) -> None:
    mask = random_mask(3, case[0], case[1], set(parts), causal) if parts else None
    check_single(mask or AttentionMask(causal=causal), case, device)


@pytest.mark.gpu
@pytest.mark.timeout(600)  # exact products of heads of 128 take long to compile
@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("dim", [16, 40, 64, 128])
def test_both_ways_agree_on_a_gpu(dim: int, backend: str) -> None:
    for seed in range(4):
        parts = [{"intervals"}, {"intervals", "documents"}, {"documents", "padding"}, {"blocks"}]
        length = 500 + 37 * seed
        mask = random_mask(seed, 2, length, parts[seed], seed != 3)
        check_single(mask, (2, length, 4, 2, dim), "cuda", backend)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_more_rows_and_heads_than_an_axis_of_a_grid_holds() -> None:
    rows = 16_400
    mask = AttentionMask(documents=torch.arange(20).div(7).int().expand(rows, 20).contiguous())
    inputs = inputs_of((rows, 20, 4, 4, 16), torch.float32)
    found = results(mask, inputs, "cuda", torch.float32, "triton")
    wanted = results(mask, inputs, "cuda", torch.float64, "torch")
    for one, other in zip(found, wanted, strict=True):
        assert relative_l2(one, other) <= LIMITS[torch.float32]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dim", [32, 128])
def test_half_precision_stays_within_its_rounding(dim: int, device: str) -> None:
    """The interpreter knows products of float16, not of bfloat16."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float16
    case = (2, 700, 4, 2, dim) if device == "cuda" else (1, 150, 2, 1, dim)
    mask = random_mask(3, case[0], case[1], {"intervals", "documents"}, True)
    inputs = inputs_of(case, dtype)
    wanted = results(mask, inputs, "cpu", torch.float64, "reference")
    found = results(mask, inputs, device, dtype, "triton")
    again = results(mask, inputs, device, dtype, "triton")
    for one, other, twice in zip(found, wanted, again, strict=True):
        assert one.dtype == dtype
        assert relative_l2(one, other) <= LIMITS[torch.bfloat16]
        assert torch.equal(one, twice)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_hidden_has_no_gradient_at_all(device: str) -> None:
    # prefix of 40 | branches of 50, 60 and 30 | join
    ends = [40, 90, 150, 180, 200]
    gs, ps = torch.zeros(2, 1, 1, 200, dtype=torch.int32)
    for start, stop in itertools.pairwise(ends[:-1]):
        gs[..., start:stop], ps[..., start:stop] = 40, start
    q, k, v, _ = (x.to(device) for x in inputs_of((1, 200, 2, 1, 16), torch.float32))
    for branch in range(3):
        grown = [x.detach().clone().requires_grad_() for x in (q, k, v)]
        mask = moved(AttentionMask(intervals=(gs, ps)), device)
        out = attention(*grown, plan_attention(mask, (1, 200), q, "triton"))
        own = slice(ends[branch], ends[branch + 1])
        out[:, own].square().sum().backward()
        hidden = torch.ones(200, dtype=torch.bool)
        hidden[:40] = hidden[own] = False
        for x in grown[1:]:
            assert x.grad is not None
            assert (x.grad[:, hidden] == 0.0).all()
            assert (x.grad[:, :40].abs().amax((0, 2, 3)) > 0.0).all()
        changed = [x.clone() for x in (q, k, v)]
        for x in changed:
            x[:, hidden] += 1.0
        other = attention(*changed, plan_attention(mask, (1, 200), q, "triton"))
        assert torch.equal(other[:, own], out[:, own])


@pytest.mark.parametrize("device", DEVICES)
def test_queries_that_see_nothing_get_zeros_and_no_nan(device: str) -> None:
    padding = torch.arange(140)[None] >= 30
    inputs = inputs_of((1, 140, 1, 1, 16), torch.float32)
    out, dq, dk, dv = results(
        AttentionMask(padding=padding), inputs, device, torch.float32, "triton"
    )
    for x in (out, dq, dk, dv):
        assert torch.isfinite(x).all()
        assert (x[:, :30] == 0.0).all()
        assert (x[:, 30:].abs().amax(-1) > 0.0).sum() >= 109  # one key alone has no gradient


@pytest.mark.parametrize("device", DEVICES)
def test_a_compiled_call_is_one_graph(device: str) -> None:
    mask = moved(random_mask(3, 1, 140, {"intervals"}, True), device)
    q, k, v, _ = (x.to(device) for x in inputs_of((1, 140, 2, 1, 16), torch.float32))
    plan = plan_attention(mask, (1, 140), q, "triton")

    def loss(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attention(2.0 * q, k, v, plan).square().sum()

    backend = "inductor" if device == "cuda" else "aot_eager"
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    grads = []
    for function in (loss, compiled):
        own = [x.detach().clone().requires_grad_() for x in (q, k, v)]
        function(*own).backward()
        grads.append([x.grad for x in own])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("device", DEVICES)
def test_no_rows_and_no_tokens(device: str) -> None:
    for rows, length in ((0, 5), (2, 0)):
        q = torch.zeros(rows, length, 2, 16, device=device, requires_grad=True)
        out = attention(q, q, q, plan_attention(AttentionMask(), (rows, length), q, "triton"))
        assert out.shape == q.shape


@given(mask=masks)
def test_lists_hold_each_visible_tile_once(mask: AttentionMask) -> None:
    rows, length = mask.shape or (0, 0)
    visible, full = tile_tables(mask, (rows, length))
    lists = tile_lists(mask, (rows, length))
    if length % TILE:
        full = full.clone()
        full[:, :, -1] = False  # keys behind the row are tested
    tables = ((lists.of_queries, visible, full), (lists.of_keys, visible.mT, full.mT))
    for (full_list, fulls, open_list, opens), seen, whole in tables:
        for row, tile in itertools.product(range(rows), range(seen.shape[1])):
            listed = full_list[row, tile, : int(fulls[row, tile])].tolist()
            tested = open_list[row, tile, : int(opens[row, tile])].tolist()
            assert listed == whole[row, tile].nonzero().flatten().tolist()
            assert sorted(listed + tested) == seen[row, tile].nonzero().flatten().tolist()
    assert lists.visited.tolist() == visible.sum((1, 2)).tolist()


def test_bad_input_is_named() -> None:
    mask = tiled_mask(AttentionMask(), (1, 4))
    wide, q = torch.zeros(1, 4, 1, 136), torch.zeros(1, 4, 1, 16)
    with pytest.raises(ConfigError, match="head sizes up to 128, got 136"):
        tiled_attention(wide, wide, wide, mask, 1.0)
    with pytest.raises(ConfigError, match="one dtype"):
        tiled_attention(q, q, q.half(), mask, 1.0)
    with pytest.raises(ConfigError, match="positive scale, got -1"):
        tiled_attention(q, q, q, mask, -1.0)


def test_the_interpreter_is_asked_for_where_it_runs() -> None:
    """Without it, kernels on a CPU are refused instead of replaced."""
    q = torch.zeros(1, 4, 1, 16)
    if not INTERPRETED:
        with pytest.raises(ConfigError, match="wants tensors on cuda"):
            plan_attention(AttentionMask(), (1, 4), q, "triton")
    else:
        assert plan_attention(AttentionMask(), (1, 4), q, "triton").tiled is not None
