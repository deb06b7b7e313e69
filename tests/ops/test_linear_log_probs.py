"""Log-probabilities of a linear head: every backend against ``log_softmax`` in float64."""

from __future__ import annotations

import pytest
import torch
import torch.utils._python_dispatch

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


@pytest.mark.gpu
def test_more_rows_than_an_axis_of_a_grid_has_places() -> None:
    hidden, weight, ids = (x.detach().cuda() for x in inputs(70_000, 17))
    found = []
    for backend, dtype in (("triton", torch.float32), ("torch", F64)):
        h, w = (x.to(dtype).requires_grad_() for x in (hidden, weight))
        log_probs = linear_log_probs(h, w, ids, backend=backend).log_probs
        found.append([log_probs, *torch.autograd.grad(log_probs.sum(), (h, w))])
    for mine, wanted in zip(*found, strict=True):
        assert float((mine.double() - wanted).norm() / wanted.norm()) < 1e-5


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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocabulary", [1, 65, 20_000])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_the_kernel_of_the_loss_equals_float64(device, vocabulary, softcap) -> None:
    hidden, weight, ids = (x.detach() for x in inputs(13, vocabulary))
    ids[[0, 5]] = -100
    weights = torch.linspace(0.0, 2.0, 13, dtype=F64)
    for dtype, half, limit in (
        (torch.float32, False, 1e-5),
        (torch.bfloat16, False, 2e-2),
        (torch.bfloat16, True, 2e-2),
    ):
        if dtype == torch.bfloat16 and device == "cpu":
            continue  # the interpreter's types
        rounded = [x.to(dtype).double().requires_grad_() for x in (hidden, weight)]
        ours = [x.detach().to(device, dtype).requires_grad_() for x in rounded]
        results = []
        for (h, w), place, backend in ((rounded, "cpu", "reference"), (ours, device, "triton")):
            found = linear_cross_entropy(
                h, w, ids.to(place), label_weights=weights.to(place), z_loss=0.1, chunk=4,
                softcap=softcap, temperature=0.8, half_logits=half, backend=backend,
            )  # fmt: skip
            results.append([found, *torch.autograd.grad(found, (h, w))])
        for wanted, mine in zip(*results, strict=True):
            error = (mine.double().cpu() - wanted).norm() / wanted.norm().clamp(min=1e-3)
            assert float(error) < limit


@pytest.mark.parametrize("device", DEVICES)
def test_a_token_outside_the_vocabulary_does_not_pass_unseen(device: str) -> None:
    hidden, weight, ids = (x.detach().to(device) for x in inputs(3, 5))
    ids[1] = 5
    hidden = hidden.float().requires_grad_()
    assert linear_cross_entropy(hidden, weight.float(), ids, backend="triton").isnan()


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Records the number of elements of each dtype's largest result."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(x, torch.Tensor):
                self.elements[x.dtype] = max(self.elements.get(x.dtype, 0), x.numel())
        return out


def _all_settings(loss: bool):
    """A call and its gradient with every feature on, padding among the tokens."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 250, 8, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(512, 8, generator=generator).bfloat16().requires_grad_()
    bias = torch.randn(512, generator=generator).bfloat16().requires_grad_()
    ids = torch.randint(512, (4, 250), generator=generator)
    ids[:, 200:] = -100
    settings = {"bias": bias, "softcap": 5.0, "temperature": 0.7, "chunk": 16, "backend": "torch"}
    if loss:
        found = linear_cross_entropy(hidden, weight, ids, z_loss=0.01, **settings)
    else:
        answer = linear_log_probs(hidden, weight, ids, entropy=True, **settings)
        found = answer.log_probs.sum() + answer.entropy.sum() + answer.log_z.sum()
    found.backward()


@pytest.mark.parametrize("loss", [False, True])
def test_nothing_of_the_size_of_all_logits_is_made(loss: bool) -> None:
    """1,000 tokens of 512 words, 16 at a time: nothing is as large as 8,192 logits, or 8,000."""
    with _Largest() as seen:
        _all_settings(loss)
    assert seen.elements[torch.float32] <= 16 * 512
    assert seen.elements[torch.bfloat16] <= 16 * 512
    assert max(seen.elements.values()) <= 16 * 512


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("chunk", [3, 64])
def test_every_setting_together_has_the_gradients_of_the_definition(skip: bool, chunk: int) -> None:
    results = []
    for backend in ("reference", "torch"):
        hidden, weight, ids = inputs(11, 7)
        bias = torch.linspace(-1.0, 1.0, 7, dtype=F64).requires_grad_()
        ids[[0, 4, 10]] = -7
        settings = {
            "bias": bias, "softcap": 2.5, "temperature": 0.6, "ignore_index": -7, "chunk": chunk,
            "skip_ignored": skip, "backend": backend,
        }  # fmt: skip
        found = linear_log_probs(hidden, weight, ids, entropy=True, **settings)
        upstream = torch.arange(1.0, 12.0, dtype=F64)
        total = (upstream * (found.log_probs + 0.3 * found.log_z - 0.2 * found.entropy)).sum()
        total = total + linear_cross_entropy(
            hidden, weight, ids, label_weights=upstream, z_loss=0.05, **settings
        )
        grads = torch.autograd.grad(total, (hidden, weight, bias))
        results.append([*found, total.detach(), *grads])
    for wanted, mine in zip(*results, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-11, rtol=0)
    assert not results[1][0][[0, 4, 10]].any()


def test_shapes_and_types_that_do_not_fit() -> None:
    hidden, weight, ids = inputs(4, 3)
    for arguments, message in (
        ((hidden, weight[:, :5], ids), "hidden"),
        ((hidden, weight, ids[:3]), "tokens want int64"),
        ((hidden, weight.float(), ids), "one floating dtype"),
    ):
        with pytest.raises(ConfigError, match=message):
            linear_log_probs(*arguments)
