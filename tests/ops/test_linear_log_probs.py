"""Log-probabilities of a linear head: every backend against ``log_softmax`` in float64."""

from __future__ import annotations

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.ops.log_prob import linear_cross_entropy, linear_log_probs
from tests.ops.triton_devices import DEVICES

F64 = torch.float64


def inputs(tokens: int, vocabulary: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 6, generator=generator, dtype=F64).requires_grad_()
    weight = torch.randn(vocabulary, 6, generator=generator, dtype=F64).requires_grad_()
    ids = torch.randint(vocabulary, (tokens,), generator=generator)
    return hidden, weight, ids


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("chunk", [None, 1, 4])
@pytest.mark.parametrize("skip", [True, False])
def test_values_and_gradients_are_those_of_log_softmax(backend, chunk, skip) -> None:
    hidden, weight, ids = inputs(11, 7)
    ids[[2, 9]] = -100
    with torch.no_grad():
        hidden[2] = float("nan")  # an ignored token counts for nothing, whatever it holds
    keep = ids != -100
    upstream = torch.arange(1.0, 12.0, dtype=F64)
    found = linear_log_probs(
        hidden, weight, ids, backend=backend, chunk=chunk, skip_ignored=skip, entropy=True
    )
    log_p = (hidden[keep] @ weight.T).log_softmax(-1)
    picked = log_p.gather(1, ids[keep, None]).squeeze(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    torch.testing.assert_close(found.log_probs[keep], picked, atol=1e-13, rtol=0)
    torch.testing.assert_close(found.entropy[keep], entropy, atol=1e-13, rtol=0)
    assert not found.log_probs[~keep].any()
    assert not found.entropy[~keep].any()
    total = (found.log_probs * upstream).sum() + (found.entropy * upstream.flip(0)).sum()
    wanted = (picked * upstream[keep]).sum() + (entropy * upstream.flip(0)[keep]).sum()
    for mine, other in zip(
        torch.autograd.grad(total, (hidden, weight)),
        torch.autograd.grad(wanted, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(mine.nan_to_num(7.0), other.nan_to_num(7.0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocabulary", [1, 65, 5000])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_the_kernels_equal_float64(device: str, vocabulary: int, softcap: float | None) -> None:
    hidden, weight, ids = (x.detach() for x in inputs(13, vocabulary))
    ids[5] = -100
    upstream = torch.linspace(-1.0, 2.0, 13, dtype=F64)
    for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        if dtype == torch.bfloat16 and device == "cpu":
            continue  # the interpreter's types
        rounded = [x.to(dtype).double().requires_grad_() for x in (hidden, weight)]
        ours = [x.detach().to(device, dtype).requires_grad_() for x in rounded]
        results = []
        for (h, w), place, backend in ((rounded, "cpu", "reference"), (ours, device, "triton")):
            found = linear_log_probs(
                h, w, ids.to(place), backend=backend, chunk=4, entropy=True, softcap=softcap
            )
            total = (found.log_probs * upstream.to(place)).sum() + found.entropy.sum()
            grads = torch.autograd.grad(total, (h, w))
            results.append([found.log_probs, found.entropy, *grads])
        for wanted, mine in zip(*results, strict=True):
            error = (mine.double().cpu() - wanted).norm() / wanted.norm().clamp(min=1e-3)
            assert float(error) < limit


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_is_the_weighted_sum(reduction) -> None:
    hidden, weight, ids = inputs(9, 5)
    weights = torch.rand(9, dtype=F64, generator=torch.Generator().manual_seed(1))
    log_p = linear_log_probs(hidden, weight, ids, backend="reference").log_probs
    wanted = -(weights * log_p).sum() / (weights.sum() if reduction == "mean" else 1.0)
    for backend in ("reference", "torch"):
        found = linear_cross_entropy(
            hidden,
            weight,
            ids,
            label_weights=weights,
            reduction=reduction,
            backend=backend,
            chunk=4,
        )
        torch.testing.assert_close(found, wanted, atol=1e-13, rtol=0)
        for mine, other in zip(
            torch.autograd.grad(found, (hidden, weight)),
            torch.autograd.grad(wanted, (hidden, weight), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


def test_shapes_and_types_that_do_not_fit() -> None:
    hidden, weight, ids = inputs(4, 3)
    for arguments, message in (
        ((hidden, weight[:, :5], ids), "hidden"),
        ((hidden, weight, ids[:3]), "tokens want int64"),
        ((hidden, weight.float(), ids), "one floating dtype"),
    ):
        with pytest.raises(ConfigError, match=message):
            linear_log_probs(*arguments)
