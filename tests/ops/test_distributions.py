"""Action distributions: against torch.distributions, written-out gradients, sampling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal

from rlcore.errors import ConfigError
from rlcore.ops.activations import tanh
from rlcore.ops.distributions import categorical, gaussian


def f64(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(st.integers(1, 7), st.integers(0, 100))
def test_categorical_matches_torch(actions: int, seed: int) -> None:
    logits = f64(3, 5, actions, seed=seed, scale=3.0)
    action = torch.randint(actions, (3, 5), generator=torch.Generator().manual_seed(seed))
    peer = Categorical(logits=logits)
    for backend in ("reference", "torch"):
        log_prob, entropy = categorical.log_prob_and_entropy(logits, action, backend)
        torch.testing.assert_close(log_prob, peer.log_prob(action), rtol=0, atol=1e-12)
        torch.testing.assert_close(entropy, peer.entropy(), rtol=0, atol=1e-12)


def test_written_out_gradient_equals_autograd() -> None:
    logits = f64(4, 3, 5).requires_grad_()
    action = torch.tensor([[0, 4, 2], [1, 1, 1], [3, 0, 2], [4, 4, 0]])
    weights = f64(2, 4, 3, seed=1)
    grads = []
    for backend in ("reference", "torch"):
        log_prob, entropy = categorical.log_prob_and_entropy(logits, action, backend)
        loss = (weights[0] * log_prob + weights[1] * entropy).sum()
        grads.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(*grads, rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(
        lambda x: categorical.log_prob_and_entropy(x, action), (logits,)
    )


def test_gradient_of_the_log_probability_alone() -> None:
    logits = f64(2, 3).requires_grad_()
    action = torch.tensor([2, 0])
    log_prob, _ = categorical.log_prob_and_entropy(logits, action)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits)
    wanted = torch.nn.functional.one_hot(action, 3) - logits.softmax(-1)
    torch.testing.assert_close(grad, wanted, rtol=0, atol=1e-14)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="'fast'"):
        categorical.log_prob_and_entropy(f64(1, 2), torch.zeros(1, dtype=torch.int64), "fast")


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("actions", [2, 3, 18])
def test_categorical_samples_follow_the_softmax(actions: int) -> None:
    logits = f64(actions, seed=3).float().expand(100_000, actions)
    action, log_prob = categorical.sample(logits, torch.Generator().manual_seed(0))
    assert action.dtype == torch.int64
    counts = torch.bincount(action, minlength=actions).double()
    expected = logits[0].double().softmax(-1) * 100_000
    # Mean of the chi-square is its degrees of freedom; five standard deviations above.
    free = actions - 1
    assert chi_square(counts, expected) < free + 5 * math.sqrt(2 * free)
    torch.testing.assert_close(log_prob, Categorical(logits=logits).log_prob(action))


def test_samples_of_one_row_do_not_depend_on_the_others_logits() -> None:
    logits = f64(64, 4, seed=4)
    other = logits.clone()
    other[10:] = 0
    a, _ = categorical.sample(logits, torch.Generator().manual_seed(1))
    b, _ = categorical.sample(other, torch.Generator().manual_seed(1))
    assert torch.equal(a[:10], b[:10])


def test_impossible_actions_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    off = -math.inf
    logits = torch.tensor([[off, 0.0, off, 1.0, off]])
    for number in (0.0, 0.2, 0.5, 1.0 - 2.0**-24):
        monkeypatch.setattr(torch, "rand", lambda *_, x=number, **__: torch.tensor([x]))
        action, log_prob = categorical.sample(logits, torch.Generator())
        assert int(action) in (1, 3)
        assert log_prob.isfinite().all()


def test_rounding_of_the_sum_draws_no_impossible_action(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 probabilities may add up to no more than the largest uniform number."""
    largest = 1.0 - 2.0**-24
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([largest]))
    short = 0
    for actions in range(2, 200):
        logits = torch.zeros(1, actions + 1)
        logits[0, -1] = -math.inf
        short += float(logits.softmax(-1).cumsum(-1)[0, -1]) <= largest
        action, _ = categorical.sample(logits, torch.Generator())
        assert int(action) == actions - 1
    assert short


def test_modes() -> None:
    action, log_prob = categorical.mode(torch.tensor([[0.0, 2.0, 1.0]], dtype=torch.float64))
    assert action.tolist() == [1]
    assert log_prob.item() == pytest.approx(-math.log(1 + math.exp(-1) + math.exp(-2)))
    mean, log_density = gaussian.mode(f64(2, 3), torch.zeros(3, dtype=torch.float64))
    assert torch.equal(mean, f64(2, 3))
    torch.testing.assert_close(
        log_density, torch.full((2,), -1.5 * math.log(2 * math.pi), dtype=torch.float64)
    )


@pytest.mark.parametrize("shared", [True, False])
def test_gaussian_matches_torch(shared: bool) -> None:
    mean = f64(4, 5, 3)
    log_std = f64(3, seed=1) if shared else f64(4, 5, 3, seed=1)
    action = f64(4, 5, 3, seed=2)
    peer = Normal(mean, log_std.exp().expand_as(mean))
    torch.testing.assert_close(
        gaussian.log_prob(mean, log_std, action), peer.log_prob(action).sum(-1)
    )
    torch.testing.assert_close(gaussian.entropy(mean, log_std), peer.entropy().sum(-1))


def test_gaussian_samples_follow_the_normal_distribution() -> None:
    mean, log_std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])
    rows = 100_000
    action, log_prob = gaussian.sample(
        mean.expand(rows, 2), log_std, torch.Generator().manual_seed(0)
    )
    edges = torch.linspace(-2, 2, 17).double()
    probability = Normal(0.0, 1.0).cdf(edges)
    expected = torch.diff(probability, prepend=torch.zeros(1), append=torch.ones(1)) * rows
    for column in range(2):
        scaled = ((action[:, column] - mean[column]) / log_std[column].exp()).double()
        counts = torch.bincount(torch.bucketize(scaled, edges), minlength=18).double()
        assert chi_square(counts, expected) < 17 + 5 * math.sqrt(2 * 17)
    assert abs(torch.corrcoef(action.T)[0, 1]) < 5 / math.sqrt(rows)
    torch.testing.assert_close(log_prob, Normal(mean, log_std.exp()).log_prob(action).sum(-1))


def test_tanh_equals_torch() -> None:
    x = torch.cat([torch.linspace(-30, 30, 1001), torch.tensor([0.0, 1e4, -1e4])])
    for dtype, atol in ((torch.float32, 4e-7), (torch.float64, 1e-15)):
        torch.testing.assert_close(tanh(x.to(dtype)), x.to(dtype).tanh(), rtol=0, atol=atol)
        with torch.no_grad():
            torch.testing.assert_close(tanh(x.to(dtype)), x.to(dtype).tanh(), rtol=0, atol=atol)
    y = x.clone()
    tanh(y)
    assert torch.equal(x, y)
    assert tanh(torch.tensor(math.nan)).isnan()
    assert torch.autograd.gradcheck(tanh, (f64(7).requires_grad_(),))
