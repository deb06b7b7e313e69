"""Statistics of rows of logits: definition, minus infinity, backends, shapes, errors."""

from __future__ import annotations

import math

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.ops.sampling import head_statistics
from tests.ops.triton_devices import DEVICES


def rows(vocab: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    logits = 4 * torch.randn(9, vocab, generator=torch.Generator().manual_seed(vocab)).to(dtype)
    logits[1, 1:] = -torch.inf
    logits[2] = 1.5
    logits[3, ::2] = -torch.inf
    logits[3, -1] = 100.0
    logits[4] = logits[4].sort().values
    logits[5] = logits[5].sort(descending=True).values
    return logits


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("vocab", [1, 2, 50])
def test_statistics_are_those_of_the_softmax(vocab: int, backend: str) -> None:
    logits = rows(vocab)
    found = head_statistics(logits, backend=backend)
    law = logits.softmax(-1)
    ordered = logits.sort(-1, descending=True).values
    assert torch.equal(found.top, ordered[:, 0])
    assert torch.equal(found.top_id, (logits == ordered[:, :1]).int().argmax(-1))
    second = ordered[:, 1] if vocab > 1 else torch.full((9,), -torch.inf, dtype=torch.float64)
    assert torch.equal(found.second, second)
    torch.testing.assert_close(found.logsumexp, logits.logsumexp(-1), rtol=0, atol=1e-12)
    entropy = -torch.special.xlogy(law, law).sum(-1)
    torch.testing.assert_close(found.entropy, entropy, rtol=0, atol=1e-11)
    assert float(found.entropy[2]) == pytest.approx(math.log(vocab), abs=1e-12)
    assert float(found.entropy[1]) == 0.0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocab", [1, 2, 50, 4096, 9001])
def test_triton_equals_the_reference(vocab: int, device: str) -> None:
    logits = rows(vocab, torch.float32)
    ours = head_statistics(logits.to(device), backend="triton")
    again = head_statistics(logits.to(device), backend="triton")
    wanted = head_statistics(logits.double(), backend="reference")
    assert torch.equal(ours.top_id.cpu(), wanted.top_id)
    for name in ("top", "second", "logsumexp", "entropy"):
        found = getattr(ours, name)
        assert torch.equal(found, getattr(again, name))
        torch.testing.assert_close(
            found.double().cpu(), getattr(wanted, name), rtol=2e-6, atol=2e-5
        )


def test_leading_axes_are_kept() -> None:
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    found = head_statistics(logits)
    assert all(x.shape == (2, 3) for x in found)
    one = head_statistics(logits[1, 2])
    assert all(x.shape == () for x in one)
    assert torch.equal(one.entropy, found.entropy[1, 2])
    assert all(x.shape == (0, 3) for x in head_statistics(torch.zeros(0, 3, 7)))
    half = head_statistics(logits.bfloat16())
    assert half.logsumexp.dtype == torch.float32


@pytest.mark.parametrize(
    ("logits", "backend", "message"),
    [
        (torch.zeros(2, 0), "auto", r"V >= 1, got torch.float32 of shape \(2, 0\)"),
        (torch.zeros(2, 2).int(), "auto", "floating-point logits"),
        (torch.tensor(1.0), "auto", "floating-point logits"),
        (torch.zeros(2, 2), "numba", "no numba backend"),
    ],
)
def test_bad_input_is_named(logits: torch.Tensor, backend: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        head_statistics(logits, backend=backend)
