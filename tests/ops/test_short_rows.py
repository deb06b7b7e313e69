"""Attention of short rows against the definition, in Triton's interpreter and on a GPU."""

import importlib.util
import os
from dataclasses import replace

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.ops.attention.dense import AttentionPlan, attention, plan_attention
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.short_rows import key_tiles, short_row_attention
from rlcore.ops.rotary import rotate

interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1" or importlib.util.find_spec("triton") is None,
    reason="needs Triton and TRITON_INTERPRET=1",
)


def rows_of(batch, length, heads, kv_heads, dim, dtype=torch.float32, device="cpu"):
    g = torch.Generator().manual_seed(length)
    qkv = torch.randn(batch, length, heads + 2 * kv_heads, dim, generator=g, dtype=torch.float64)
    q, k, v = qkv.to(device, dtype).split((heads, kv_heads, kv_heads), 2)
    real = torch.arange(length) >= torch.randint(0, length + 1, (batch, 1), generator=g)
    real[0] = False
    return q, k, v, real.to(device)


def defined(q, k, v, real):
    """Return the reference's answer in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    real = torch.ones(q.shape[:2], dtype=torch.bool, device=q.device) if real is None else real
    mask = AttentionMask(causal=False, padding=real)
    return attention(q, k, v, plan_attention(mask, q.shape[:2], q, "reference"))


SHAPES = [(3, 5, 2, 2, 8), (2, 17, 4, 2, 16), (2, 80, 2, 1, 32), (1, 128, 1, 1, 24)]


@interpreted
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_in_the_interpreter(shape):
    q, k, v, real = rows_of(*shape)
    for padding in (real, None):
        found = short_row_attention(q, k, v, padding)
        assert torch.allclose(found.double(), defined(q, k, v, padding), atol=1e-5)
    plan = AttentionPlan("triton", causal=False, real=real)
    assert torch.equal(attention(q, k, v, plan), short_row_attention(q, k, v, real))


def angles(q):
    a = torch.rand(*q.shape[:2], q.shape[-1] // 2, generator=torch.Generator().manual_seed(1))
    return tuple(f(7 * a.to(q.device)) for f in (torch.cos, torch.sin))


@interpreted
@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_inside_is_rotation_before(shape):
    q, k, v, real = rows_of(*shape)
    rotary = angles(q)
    found = short_row_attention(q, k, v, real, rotary=rotary)
    turned = [rotate(x.double(), *(t.double() for t in rotary)) for x in (q, k)]
    assert torch.allclose(found.double(), defined(*turned, v, real), atol=1e-5)
    plan = AttentionPlan("triton", causal=False, real=real, rotates=True)
    assert torch.equal(attention(q, k, v, plan, rotary=rotary), found)
    before = attention(q, k, v, replace(plan, rotates=False), rotary=rotary)
    assert torch.allclose(before, found, atol=1e-5), "rotated once, whoever does it"


def test_rotation_before_other_backends():
    q, k, v, real = rows_of(2, 17, 4, 2, 16)
    rotary = angles(q)
    mask = AttentionMask(causal=False, padding=real)
    plan = plan_attention(mask, q.shape[:2], q, "torch")
    found = attention(q, k, v, plan, rotary=rotary)
    wanted = attention(rotate(q, *rotary), rotate(k, *rotary), v, plan)
    assert torch.equal(found, wanted)
    assert not torch.equal(found, attention(q, k, v, plan))


def test_tiles_hold_a_row_with_little_to_spare():
    for length in range(1, 129):
        first, rest = key_tiles(length)
        assert first >= 16
        assert rest == 0 or rest >= 16
        assert length <= first + rest < max(33, length * 4 / 3 + 16)
    assert key_tiles(80) == (64, 16)
    assert key_tiles(128) == (128, 0)


@interpreted
def test_angles_that_do_not_fit():
    q, k, v, real = rows_of(1, 5, 1, 1, 8)
    with pytest.raises(ConfigError, match=r"cos and sin of shape \(1, 5, 4\)"):
        short_row_attention(q, k, v, real, rotary=(torch.ones(1, 5, 8), torch.ones(1, 5, 8)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_on_a_gpu(shape, dtype):
    q, k, v, real = rows_of(*shape, dtype=dtype, device="cuda")
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    for padding in (real, None):
        found = short_row_attention(q, k, v, padding)
        assert torch.allclose(found.double(), defined(q, k, v, padding), atol=tolerance)
    rotary = angles(q)
    found = short_row_attention(q, k, v, real, rotary=rotary)
    turned = [rotate(x, *rotary) for x in (q, k)]
    assert torch.allclose(found.double(), defined(*turned, v, real), atol=tolerance)


@pytest.mark.gpu
def test_what_takes_the_kernel_on_a_gpu():
    q, _, _, real = rows_of(2, 80, 2, 1, 32, dtype=torch.bfloat16, device="cuda")
    mask = AttentionMask(causal=False, padding=real)
    with torch.no_grad():
        assert plan_attention(mask, (2, 80), q).real is real
        assert plan_attention(mask, (2, 80), q, "torch").seen is not None
        causal = AttentionMask(causal=True, padding=real)
        assert plan_attention(causal, (2, 80), q).real is None
    assert plan_attention(mask, (2, 80), q).real is None


@pytest.mark.gpu
@pytest.mark.parametrize(("dim", "rotates"), [(32, True), (64, True), (128, False)])
def test_rows_without_padding_take_the_kernel_where_they_are_rotated(dim: int, rotates: bool):
    q, k, v, _ = rows_of(3, 80, 2, 1, dim, dtype=torch.bfloat16, device="cuda")
    every = torch.ones(3, 80, dtype=torch.bool, device="cuda")
    rotary = angles(q)
    with torch.no_grad():
        plan = plan_attention(AttentionMask(causal=False), (3, 80), q, head_dim=dim)
        assert (plan.rotates, plan.real, plan.seen) == (rotates, None, None)
        for turn in (None, rotary):
            a, b = (x if turn is None else rotate(x, *turn) for x in (q, k))
            found = attention(q, k, v, plan, rotary=turn)
            assert torch.allclose(found.double(), defined(a, b, v, every), atol=2e-2)
        too_long = plan_attention(AttentionMask(causal=False), (3, 129), q, head_dim=dim)
        causal = plan_attention(AttentionMask(), (3, 80), q, head_dim=dim)
    assert not too_long.rotates
    assert not causal.rotates
    assert not plan_attention(AttentionMask(causal=False), (3, 80), q, head_dim=dim).rotates


def test_what_takes_a_dense_matrix_on_a_cpu():
    q, _, _, real = rows_of(2, 80, 2, 1, 32)
    mask = AttentionMask(causal=False, padding=real)
    with torch.no_grad():
        for backend in ("auto", "torch", "reference"):
            plan = plan_attention(mask, (2, 80), q, backend)
            assert plan.real is None
            assert torch.equal(plan.seen, mask.dense((2, 80), q.device))


@interpreted
def test_rows_that_are_too_long():
    q, k, v, real = rows_of(1, 130, 1, 1, 8)
    with pytest.raises(ConfigError, match="at most 128 tokens, got 130"):
        short_row_attention(q, k, v, real)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs it")
def test_a_cpu_is_refused():
    q, k, v, real = rows_of(1, 5, 1, 1, 8)
    with pytest.raises(ConfigError, match="wants tensors on cuda, got cpu"):
        short_row_attention(q, k, v, real)


@pytest.mark.parametrize(("dim", "rotates"), [(64, True), (66, False), (None, False)])
def test_heads_up_to_64_wide_are_turned_by_the_kernel(monkeypatch, dim, rotates):
    monkeypatch.setattr("rlcore.ops.attention.dense._takes_kernels", lambda like: True)
    with torch.no_grad():
        plan = plan_attention(AttentionMask(causal=False), (2, 8), torch.zeros(1), head_dim=dim)
    assert (plan.backend, plan.rotates) == ("torch", rotates)
