"""The backward linear recurrence against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import LearnerError
from rlcore.ops.scan import linear_recurrence


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 1000))
def test_backends_equal_the_closed_form(steps: int, width: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    decay = torch.randn(steps, width, generator=g, dtype=torch.float64)
    inputs = torch.randn(steps, width, generator=g, dtype=torch.float64)
    wanted = torch.zeros_like(inputs)
    for t in range(steps):
        for k in range(t, steps):
            wanted[t] += decay[t:k].prod(0) * inputs[k]
    kept = inputs.clone()
    for backend in ("reference", "torch", "numba", "auto"):
        ours = linear_recurrence(decay, inputs, backend)
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(inputs, kept)


def test_shapes_must_agree() -> None:
    with pytest.raises(LearnerError, match=r"\(3, 2\)"):
        linear_recurrence(torch.zeros(3, 2), torch.zeros(2, 2))


@pytest.mark.gpu
@pytest.mark.parametrize(("steps", "width"), [(1, 1), (33, 129)])
def test_triton_equals_the_reference(steps: int, width: int) -> None:
    decay, inputs = torch.rand(2, steps, width, device="cuda").unbind(0)
    torch.testing.assert_close(
        linear_recurrence(decay, inputs, "triton"),
        linear_recurrence(decay, inputs, "reference"),
        rtol=1e-5,
        atol=1e-5,
    )
