"""The compiled loops of decode steps beside their reference twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.ops.attention.paged import KVWrite, PagedBatch, paged_attention
from rlcore.ops.norm import rms_norm
from rlcore.ops.rotary import HeadNorms, prepare_qkv
from rlcore.ops.sampling import SamplingRows, sample
from rlcore.ops.swiglu import silu_mul

pytest.importorskip("numba")

from rlcore.ops.exp_numba import exponentials
from rlcore.ops.linear_numba import linear_kernel
from rlcore.ops.numba_jit import compiled
from rlcore.ops.swiglu_numba import gate_kernel

DTYPES = [(torch.float64, 1e-12), (torch.float32, 5e-6)]


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize("shape", [(1, 8), (5, 33), (2, 3, 16), (0, 4)])
def test_norms_equal_the_reference(dtype, bound, shape) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape, dtype=dtype), torch.randn(shape[-1], dtype=dtype)
    ours = rms_norm(x, weight, 1e-5, backend="numba")
    assert ours.dtype == dtype
    if x.numel():
        theirs = rms_norm(x, weight, 1e-5, backend="reference")
        assert (ours - theirs).abs().max() <= bound
        both = rms_norm(x, weight, 1e-5, x, backend="numba")
        assert torch.equal(both[1], x + x)
    strided = torch.randn(shape[-1], 6, dtype=dtype).t()
    ours = rms_norm(strided, weight, 1e-5, backend="numba")
    assert (ours - rms_norm(strided, weight, 1e-5, backend="reference")).abs().max() <= bound


def test_what_has_no_compiled_gradient_or_statistics_is_refused() -> None:
    x, weight = torch.randn(2, 4), torch.ones(4, requires_grad=True)
    with pytest.raises(ConfigError, match="'numba' of this operation has no gradient"):
        rms_norm(x, weight, 1e-5, backend="numba")
    wide = x.double()
    with pytest.raises(ConfigError, match="statistics of float64 in float64 only"):
        rms_norm(wide, wide[0], 1e-5, float32=True, backend="numba")


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("dim", [8, 36])
def test_prepared_heads_equal_the_reference(
    dtype, bound, normed, turned, written, heads, kv_heads, dim
) -> None:
    torch.manual_seed(1)
    tokens = 5
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * dim, dtype=dtype)
    norms = HeadNorms(*torch.randn(2, dim, dtype=dtype), 1e-6) if normed else None
    angles = torch.randn(tokens, dim // 2, dtype=dtype)
    rotary = (angles.cos(), angles.sin()) if turned else None
    slots = torch.tensor([3, -1, 0, 7, 5])
    results = []
    for backend in ("numba", "reference"):
        pools = torch.zeros(2, 2, 4, kv_heads, dim, dtype=dtype)
        cache = KVWrite(*pools, slots) if written else None
        found = prepare_qkv(
            qkv, heads, kv_heads, norms=norms, rotary=rotary, cache=cache, backend=backend
        )
        results.append((*found, pools))
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= bound


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("dim", [6, 40])
def test_paged_attention_equals_the_reference(dtype, bound, heads, kv_heads, dim) -> None:
    torch.manual_seed(2)
    block, blocks = 4, 24
    keys, values = torch.randn(2, blocks, block, kv_heads, dim, dtype=dtype)
    table = torch.randperm(blocks)[:20].view(5, 4).int()
    # Partly filled blocks in the middle, a row that sees nothing, one of a single slot.
    fill = torch.tensor([[4, 4, 4, 3], [2, 4, 1, 4], [0, 0, 0, 0], [1, 0, 0, 0], [4, 3, 0, 0]])
    for counts in ([1, 1, 1, 1, 1], [3, 1, 2, 1, 0]):
        starts = torch.tensor([0, *counts]).cumsum(0).int()
        tokens = int(starts[-1])
        q = torch.randn(tokens, heads, dim, dtype=dtype)
        batch = PagedBatch(starts, table, fill.int(), torch.zeros(tokens).long(), 3, 4)
        ours = paged_attention(q, keys, values, batch, backend="numba")
        theirs = paged_attention(q, keys, values, batch, backend="reference")
        assert (ours - theirs).abs().max() <= bound
        assert (ours[int(starts[2])] == 0).all()


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
def test_samples_equal_the_reference(dtype, bound) -> None:
    draw = torch.Generator().manual_seed(3)

    def integers(low: int, high: int, *shape: int, kind: torch.dtype = torch.int64):
        return torch.randint(low, high, shape, generator=draw, dtype=kind)

    for trial in range(60):
        count, vocab = 7, int(integers(1, 300))
        logits = (torch.randn(count, vocab, generator=draw, dtype=torch.float64) * 3).to(dtype)
        logits = logits.round() if trial % 3 == 0 else logits  # equals
        if trial % 5 == 0 and vocab > 3:
            logits[:, ::3] = -torch.inf
        settings = {
            "keys": integers(-(2**62), 2**62, count),
            "positions": integers(0, 2**40, count),
            "temperature": torch.tensor([0, 1, 0.5, 2, 0, 1, 1.3]),
        }
        if trial % 2:
            settings["top_k"] = integers(0, 20, count, kind=torch.int32)
        if trial % 4 > 1:
            top_p = torch.rand(count, generator=draw).clamp(0.05)
            settings["top_p"] = top_p.masked_fill(torch.rand(count, generator=draw) < 0.3, 1.0)
        if trial % 7 == 1:
            settings["penalty"] = torch.rand(count, generator=draw) + 0.5
            words = (vocab + 31) // 32
            settings["seen"] = integers(-(2**31), 2**31 - 1, count, words, kind=torch.int32)
        rows = SamplingRows(**settings)
        ours = sample(logits, rows, backend="numba")
        theirs = sample(logits, rows, backend="reference")
        assert torch.equal(ours.tokens, theirs.tokens), trial
        for mine, other in zip(ours[1:], theirs[1:], strict=True):
            assert mine.dtype == other.dtype
            assert torch.allclose(mine, other, rtol=bound, atol=bound), trial


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 2, 4, 7, 8, 33])
@pytest.mark.parametrize(("width", "columns"), [(1, 1), (3, 7), (16, 4), (33, 5), (70, 12)])
def test_products_of_matrices(dtype, bound, rows, width, columns) -> None:
    draw = np.random.default_rng(0)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    x, weight, out = (
        draw.standard_normal(shape).astype(kind)
        for shape in ((rows, width), (columns, width), (rows, columns))
    )
    wanted = x.astype(np.float64) @ weight.T.astype(np.float64)
    added = out.copy()
    linear_kernel()(x, weight, added, True)
    assert np.abs(added - wanted - out).max(initial=0) <= bound * 10
    linear_kernel()(x, weight, out, False)
    assert np.abs(out - wanted).max(initial=0) <= bound * 10


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1.5e-7), (np.float64, 1e-15)])
def test_exponentials(dtype, bound) -> None:
    row = compiled(exponentials)
    x = np.linspace(-86.5, 88.7, 1_000_003).astype(dtype)
    found, wanted = x.copy(), np.exp(x.astype(np.float64))
    row(found)
    assert found.dtype == dtype
    assert np.abs(found / wanted - 1).max() <= bound
    edges = np.array([0, -np.inf, np.inf, np.nan, 1e4, -1e4, -90, 88.73], dtype)
    row(edges)
    with np.errstate(over="ignore"):
        wanted = np.exp(np.array([0, -np.inf, np.inf, np.nan, 1e4, -1e4, -90, 88.73], dtype))
    assert np.allclose(edges, wanted, rtol=bound, atol=1e-37, equal_nan=True)


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize("shape", [(0, 6), (1, 2), (5, 66)])
def test_gates_equal_the_reference(dtype, bound, shape) -> None:
    torch.manual_seed(4)
    gate_up = torch.randn(shape, dtype=dtype) * 20
    out = np.empty((shape[0], shape[1] // 2), gate_up.numpy().dtype)
    gate_kernel()(gate_up.numpy(), out)
    wanted = silu_mul(gate_up, backend="reference")
    assert torch.allclose(torch.from_numpy(out), wanted, rtol=bound, atol=bound)
