"""Norm, head preparation, gate: their definitions, the kernels, gradients, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.ops.attention.paged import KVWrite
from rlcore.ops.norm import rms_norm
from rlcore.ops.rotary import HeadNorms, prepare_qkv, rotary_angles, rotate
from rlcore.ops.swiglu import silu_mul
from tests.ops.triton_devices import DEVICES, LIMITS, dtypes_of, relative_l2

HEADS = [(4, 4, 64), (6, 2, 32), (3, 1, 24)]


def draw(*shape: int, seed: int = 0, dtype=torch.float64, device: str = "cpu") -> torch.Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=g).to(device, dtype)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_rms_norm_is_its_formula(backend: str) -> None:
    x, residual, w = draw(3, 5, 12), draw(3, 5, 12, seed=9), draw(12)
    for total, found in (
        (x, rms_norm(x, w, 0.1, backend=backend)),
        (x + residual, rms_norm(x, w, 0.1, residual, backend=backend)[0]),
    ):
        wanted = w * total / (total.square().mean(-1, keepdim=True) + 0.1).sqrt()
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    assert torch.equal(rms_norm(x, w, 0.1, residual, backend=backend)[1], x + residual)
    alone = rms_norm(x[0, 0], w, 0.1, backend=backend)
    torch.testing.assert_close(alone, rms_norm(x, w, 0.1)[0, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_float32_statistics_round_float64(backend: str) -> None:
    x, w = draw(4, 33), draw(33)
    rounded = rms_norm(x, w, 1e-6, float32=True, backend=backend)
    wanted = w * F.rms_norm(x.float(), (33,), None, 1e-6).double()
    torch.testing.assert_close(rounded, wanted, rtol=0, atol=1e-6)
    assert not torch.equal(rounded, rms_norm(x, w, 1e-6, backend=backend))
    assert torch.equal((rounded / w).float().double() * w, rounded)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_silu_mul_is_its_formula(backend: str) -> None:
    gate, up = draw(4, 7), draw(4, 7, seed=3)
    found = silu_mul(torch.cat([gate, up], -1), backend=backend)
    torch.testing.assert_close(found, gate * torch.sigmoid(gate) * up, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("heads", HEADS)
def test_prepare_qkv_is_its_parts(heads: tuple[int, int, int], backend: str) -> None:
    h, k_heads, dim = heads
    qkv = draw(2, 5, (h + 2 * k_heads) * dim)
    norms = HeadNorms(draw(dim, seed=1), draw(dim, seed=2), 1e-3)
    angle = draw(2, 5, dim // 2)
    found = prepare_qkv(
        qkv, h, k_heads, norms=norms, rotary=(angle.cos(), angle.sin()), backend=backend
    )
    split = qkv.view(2, 5, h + 2 * k_heads, dim)
    for part, ours, weight in (
        (split[..., :h, :], found[0], norms.query),
        (split[..., h : h + k_heads, :], found[1], norms.key),
    ):
        normed = weight * part / (part.square().mean(-1, keepdim=True) + 1e-3).sqrt()
        pairs = torch.complex(*normed.chunk(2, -1)) * torch.polar(
            torch.ones_like(angle), angle
        ).unsqueeze(-2)
        wanted = torch.cat([pairs.real, pairs.imag], -1)
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)
    assert torch.equal(found[2], split[..., h + k_heads :, :])


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_prepare_qkv_writes_the_slots_that_are_there(backend: str) -> None:
    h, k_heads, dim = 2, 1, 4
    qkv = draw(4, 16)
    pool = torch.zeros(2, 3, 8, k_heads, dim, dtype=torch.float64)
    slots = torch.tensor([17, -1, 3, 0])
    _, k, v = prepare_qkv(qkv, h, k_heads, cache=KVWrite(pool[0], pool[1], slots), backend=backend)
    for written, new in zip(pool.flatten(1, 2), (k, v), strict=True):
        assert torch.equal(written[[17, 3, 0]], new[[0, 2, 3]])
        assert int((written != 0).any(-1).sum()) == 3


def kernel_inputs(heads: tuple[int, int, int], dtype: torch.dtype, device: str):
    h, k_heads, dim = heads
    options = {"dtype": dtype, "device": device}
    qkv = draw(7, (h + 2 * k_heads) * dim, **options)
    norms = HeadNorms(draw(dim, seed=1, **options), draw(dim, seed=2, **options), 1e-3)
    angle = draw(7, dim // 2, dtype=torch.float32, device=device)
    return qkv, norms, (angle.cos(), angle.sin())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_the_prepare_kernel_equals_float64(
    heads: tuple[int, int, int], normed: bool, turned: bool, device: str
) -> None:
    h, k_heads, dim = heads
    slots = torch.tensor([3, 9, -1, 22, 23, -1, 0], device=device)
    real = (slots >= 0).cpu()
    for dtype in dtypes_of(device):
        qkv, norms, rotary = kernel_inputs(heads, dtype, device)
        pool = torch.zeros(2, 3, 8, k_heads, dim, dtype=dtype, device=device)
        chosen = {"norms": norms if normed else None, "rotary": rotary if turned else None}
        ours = prepare_qkv(
            qkv, h, k_heads, **chosen, cache=KVWrite(pool[0], pool[1], slots), backend="triton"
        )
        bare = prepare_qkv(qkv, h, k_heads, **chosen, backend="triton")
        assert all(torch.equal(a, b) for a, b in zip(ours, bare, strict=True))
        exact = {
            "norms": HeadNorms(norms.query.double().cpu(), norms.key.double().cpu(), 1e-3)
            if normed
            else None,
            "rotary": tuple(x.double().cpu() for x in rotary) if turned else None,
        }
        wanted = prepare_qkv(qkv.double().cpu(), h, k_heads, **exact, backend="torch")
        for a, b in zip(ours, wanted, strict=True):
            assert a.dtype == dtype
            assert relative_l2(a, b) <= LIMITS[dtype]
        for written, new in zip(pool.flatten(1, 2).cpu(), ours[1:], strict=True):
            assert torch.equal(written[slots.cpu()[real]], new.cpu()[real])
            assert int((written != 0).any(-1).any(-1).sum()) == int(real.sum())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("rows", "dim"), [(1, 512), (9, 96), (70, 33), (3, 2500)])
def test_the_norm_kernel_equals_float64(rows: int, dim: int, device: str) -> None:
    for dtype in dtypes_of(device):
        x, residual, w = (
            draw(*s, dtype=dtype, device=device) for s in ((rows, dim), (rows, dim), (dim,))
        )
        residual = residual.flip(0)
        alone = rms_norm(x, w, 1e-3, backend="triton")
        added, total = rms_norm(x, w, 1e-3, residual, backend="triton")
        assert torch.equal(total, x + residual)
        for ours, summed in ((alone, x), (added, total)):
            wanted = rms_norm(summed.double().cpu(), w.double().cpu(), 1e-3, backend="torch")
            assert ours.dtype == dtype
            assert relative_l2(ours, wanted) <= LIMITS[dtype]
        assert torch.equal(alone, rms_norm(x, w, 1e-3, backend="triton"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", [1, 70, 1500])
def test_the_gate_kernel_equals_float64(width: int, device: str) -> None:
    for dtype in dtypes_of(device):
        x = draw(3, 2, 2 * width, dtype=dtype, device=device)
        ours = silu_mul(x, backend="triton")
        wanted = silu_mul(x.double().cpu(), backend="torch")
        assert relative_l2(ours, wanted) <= LIMITS[dtype]


@pytest.mark.parametrize("device", DEVICES)
def test_the_angle_kernel_equals_torch(device: str) -> None:
    positions = torch.tensor([0, 1, 7, 4095, 131_071], device=device)
    frequencies = 1e4 ** -(torch.arange(0, 24, dtype=torch.float64) / 24)
    cos, sin = rotary_angles(positions, frequencies.to(device))
    angle = positions.cpu().float()[:, None] * frequencies.float()
    torch.testing.assert_close(cos.cpu(), angle.cos(), rtol=0, atol=2e-6)
    torch.testing.assert_close(sin.cpu(), angle.sin(), rtol=0, atol=2e-6)


def test_gradients_flow_where_they_are_wanted() -> None:
    x, w = draw(2, 8).requires_grad_(), draw(8).requires_grad_()
    residual = draw(2, 8, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *a: rms_norm(a[0], a[1], 1e-2, a[2]), (x, w, residual))
    assert torch.autograd.gradcheck(silu_mul, (x,))
    angle = draw(2, 1)
    query, key = draw(2, seed=5).requires_grad_(), draw(2, seed=6).requires_grad_()
    prepare = lambda a, q, k: prepare_qkv(  # noqa: E731
        a, 2, 1, norms=HeadNorms(q, k, 1e-2), rotary=(angle.cos(), angle.sin())
    )
    assert torch.autograd.gradcheck(prepare, (x, query, key))


@pytest.mark.parametrize("device", DEVICES)
def test_a_kernel_refuses_to_drop_a_gradient(device: str) -> None:
    x = torch.randn(2, 8, device=device, requires_grad=True)
    with pytest.raises(ConfigError, match="has no gradient; got an input that requires one"):
        silu_mul(x, backend="triton")
    with torch.no_grad():
        assert silu_mul(x, backend="triton").shape == (2, 4)


def test_rotation_keeps_lengths_and_relative_angles() -> None:
    x, y = draw(1, 6), draw(1, 6, seed=1)

    def turned(v, p):
        angle = p * torch.tensor([1.0, 0.3, 0.01], dtype=torch.float64)
        return rotate(v, angle.cos(), angle.sin())

    for p, q in ((3, 1), (103, 101)):
        product = (turned(x, p) * turned(y, q)).sum()
        assert float(product) == pytest.approx(float((turned(x, 2) * y).sum()), abs=1e-12)
    assert math.isclose(float(turned(x, 9).norm()), float(x.norm()), rel_tol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rms_norm(draw(2, 8), draw(7), 0.1), r"got \(2, 8\), \(7,\) and None"),
        (lambda: rms_norm(draw(2, 8), draw(8), 0.1, draw(3, 8)), r"and \(3, 8\)"),
        (lambda: silu_mul(draw(2, 7)), r"an even last axis, got shape \(2, 7\)"),
        (lambda: prepare_qkv(draw(2, 15), 2, 1), r"for H=2 and K=1, got \(2, 15\)"),
        (
            lambda: prepare_qkv(draw(2, 16), 2, 1, rotary=(draw(2, 4), draw(2, 4))),
            r"cos and sin of shape \(2, 2\)",
        ),
        (
            lambda: prepare_qkv(draw(2, 16), 2, 1, norms=HeadNorms(draw(4), draw(3), 0.1)),
            r"head norms of width 4, got \(4,\) and \(3,\)",
        ),
        (
            lambda: prepare_qkv(
                draw(2, 16), 2, 1, cache=KVWrite(draw(1, 8, 2, 4), draw(1, 8, 2, 4), draw(2).long())
            ),
            r"a pool of \[n_blocks, block, 1, 4\]",
        ),
        (lambda: rotary_angles(torch.zeros(2, 2).long(), draw(4)), r"wants positions \[N\]"),
        (lambda: silu_mul(draw(2, 8), backend="numba"), "no numba backend"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
