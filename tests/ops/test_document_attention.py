"""Packed documents as a list of sequences: bounds, values, gradients, what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.ops.attention.dense import attention, plan_attention
from rlcore.ops.attention.documents import document_bounds
from rlcore.ops.attention.masks import AttentionMask


def packed(seed: int, rows: int, length: int) -> torch.Tensor:
    """Documents in one piece each; a number may be used again in another row."""
    generator = torch.Generator().manual_seed(seed)
    changes = torch.rand(rows, length, generator=generator) < 0.2
    return changes.cumsum(1).to(torch.int32)


def heads(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_bounds_by_hand() -> None:
    documents = torch.tensor([[4, 4, 5, 5], [5, 5, 5, 6]], dtype=torch.int32)
    bounds = document_bounds(documents)
    assert bounds.dtype == torch.int32
    assert bounds.tolist() == [0, 2, 4, 7, 8]
    assert document_bounds(documents[:1, :1]).tolist() == [0, 1]


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 3),
    length=st.integers(1, 40),
    kv_heads=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([None, 0.7]),
)
def test_values_and_gradients_are_the_references(seed, rows, length, kv_heads, scale) -> None:
    mask = AttentionMask(documents=packed(seed, rows, length))
    results = []
    for backend in ("reference", "varlen"):
        q = heads(0, rows, length, 4, 8).requires_grad_()
        k, v = (heads(s, rows, length, kv_heads, 8).requires_grad_() for s in (1, 2))
        plan = plan_attention(mask, (rows, length), q, backend)
        assert (plan.bounds is None) == (backend == "reference")
        out = attention(q, k, v, plan, scale=scale)
        out.backward(heads(3, rows, length, 4, 8))
        results.append((out.detach(), q.grad, k.grad, v.grad))
    for wanted, found in zip(*results, strict=True):
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-11


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "documents=False"),
        ({"documents": torch.zeros(1, 4), "causal": False}, "causal=False"),
        ({"documents": torch.zeros(1, 4), "blocks": torch.zeros(1, 4)}, "'blocks'"),
        ({"documents": torch.zeros(1, 4), "padding": torch.ones(1, 4).bool()}, "'padding'"),
    ],
)
def test_other_masks_are_refused(parts: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_attention(AttentionMask(**parts), (1, 4), heads(0, 1, 4, 2, 8), "varlen")


@pytest.mark.gpu
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_the_kernels_equal_float64(kv_heads: int) -> None:
    documents = packed(5, 3, 300)
    inputs = [heads(s, 3, 300, n, 64).bfloat16() for s, n in enumerate((4, kv_heads, kv_heads, 4))]
    results = []
    for device, dtype, backend in (
        ("cpu", torch.float64, "reference"),
        ("cuda", torch.bfloat16, "varlen"),
    ):
        q, k, v, g = (x.to(device, dtype).requires_grad_() for x in inputs)
        mask = AttentionMask(documents=documents.to(device))
        out = attention(q, k, v, plan_attention(mask, (3, 300), q, backend))
        out.backward(g.detach())
        results.append([x.detach().cpu().double() for x in (out, q.grad, k.grad, v.grad)])
    for wanted, found in zip(*results, strict=True):
        assert (found - wanted).norm() <= 2e-2 * wanted.norm()


@pytest.mark.gpu
def test_single_precision_is_refused_on_a_gpu() -> None:
    mask = AttentionMask(documents=torch.zeros(1, 4, dtype=torch.int32, device="cuda"))
    q = torch.zeros(1, 4, 2, 64, device="cuda")
    with pytest.raises(ConfigError, match="float16 or bfloat16"):
        plan_attention(mask, (1, 4), q, "varlen")
