"""The fused dense layer against its two operators, bit for bit and by finite differences."""

from __future__ import annotations

import pytest
import torch

from rlcore.ops.activations import dense_tanh, tanh


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 9), (9, 4), (1, 1), (6, 6)])
@pytest.mark.parametrize("grad", [True, False])
def test_dense_tanh_is_tanh_of_the_affine_map(
    dtype: torch.dtype, inputs: int, outputs: int, grad: bool
) -> None:
    x, w, b = (
        draw(*shape, seed=seed, dtype=dtype)
        for seed, shape in enumerate([(33, inputs), (outputs, inputs), (outputs,)])
    )
    with torch.set_grad_enabled(grad):
        found = dense_tanh(x, w, b)
    torch.testing.assert_close(found, tanh(torch.addmm(b, x, w.t())), rtol=0, atol=0)
    tolerance = 1e-15 if dtype == torch.float64 else 3e-7
    torch.testing.assert_close(found, torch.tanh(x @ w.t() + b), rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (5, 3)])
def test_gradients_of_dense_tanh(inputs: int, outputs: int) -> None:
    x, w, b = (
        draw(*shape, seed=seed).requires_grad_()
        for seed, shape in enumerate([(7, inputs), (outputs, inputs), (outputs,)])
    )
    assert torch.autograd.gradcheck(dense_tanh, (x, w, b))
    assert torch.autograd.gradgradcheck(dense_tanh, (x, w, b))
    alone = torch.autograd.grad(dense_tanh(x.detach(), w, b.detach()).sum(), w)[0]
    torch.testing.assert_close(alone, torch.autograd.grad(torch.tanh(x @ w.t() + b).sum(), w)[0])


def test_dense_tanh_leaves_its_arguments_alone() -> None:
    x, w, b = draw(5, 3, seed=0), draw(4, 3, seed=1), draw(4, seed=2)
    before = [x.clone(), w.clone(), b.clone()]
    dense_tanh(x, w, b)
    for now, then in zip((x, w, b), before, strict=True):
        assert torch.equal(now, then)
