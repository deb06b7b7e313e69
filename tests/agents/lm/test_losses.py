"""Losses of language models against enumeration: every mask, every order, in float64."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.lm.losses import (
    causal_lm_loss,
    exact_count_loss,
    mask_exactly,
    mask_probability,
    mask_tokens,
    masked_diffusion_loss,
    stratified_times,
    uniform_counts,
)

V, L = 3, 4
F64 = torch.float64
MASKS = [m for m in itertools.product([False, True], repeat=L) if any(m)]


class Table:
    """Any distribution ``p(x_i | visible part)``: one row of logits for each masked input."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        inputs = itertools.product(range(V + 1), repeat=L)  # V stands for MASK
        self.log_p = {
            x: torch.randn(L, V, generator=generator, dtype=F64).log_softmax(-1) for x in inputs
        }

    def log_probs(self, x: tuple[int, ...], masked: tuple[bool, ...]) -> torch.Tensor:
        seen = tuple(V if m else v for v, m in zip(x, masked, strict=True))
        return self.log_p[seen][range(L), list(x)][None]


def chance(masked: tuple[bool, ...], p: float) -> float:
    """The probability of a mask, tokens being independent (``test_the_law_of_masks``)."""
    k = sum(masked)
    return p**k * (1 - p) ** (L - k)


def integrated(table: Table, x: tuple[int, ...]) -> torch.Tensor:
    """The 1/t objective integrated over t: Gauss-Legendre is exact for its polynomial in t."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    targets, total = torch.ones(1, L, dtype=torch.bool), torch.zeros((), dtype=F64)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        p = mask_probability(torch.tensor([node], dtype=F64), eps=0.0)
        for masked in MASKS:
            loss = masked_diffusion_loss(
                table.log_probs(x, masked), torch.tensor([masked]), p, targets
            ).loss
            total += weight * chance(masked, float(p)) * loss
    return total


def exact_count(table: Table, x: tuple[int, ...]) -> torch.Tensor:
    targets, total = torch.ones(1, L, dtype=torch.bool), torch.zeros((), dtype=F64)
    for masked in MASKS:
        k = sum(masked)
        loss = exact_count_loss(
            table.log_probs(x, masked), torch.tensor([masked]), torch.tensor([k]), targets
        ).loss
        total += loss / (L * math.comb(L, k))
    return total


def order_log_likelihoods(table: Table, x: tuple[int, ...]) -> torch.Tensor:
    """``log p(x)`` when decoded one token at a time, for each order."""
    found = []
    for order in itertools.permutations(range(L)):
        masked, total = [True] * L, torch.zeros((), dtype=F64)
        for i in order:
            total = total + table.log_probs(x, tuple(masked))[0, i]
            masked[i] = False
        found.append(total)
    return torch.stack(found)


@pytest.mark.parametrize("seed", range(3))
def test_objectives_are_equal_and_bound_the_likelihood(seed: int) -> None:
    table = Table(seed)
    for x in itertools.product(range(V), repeat=L):
        bound, counted = integrated(table, x), exact_count(table, x)
        torch.testing.assert_close(bound, counted, atol=1e-12, rtol=0)
        orders = order_log_likelihoods(table, x)
        # Both are the mean over decoding orders, an upper bound of the mixture over orders.
        torch.testing.assert_close(bound, -orders.mean() / L, atol=1e-12, rtol=0)
        mixture = -(orders.logsumexp(0) - math.log(len(orders))) / L
        assert bound >= mixture
        assert bound >= -orders.max() / L


def test_a_model_that_knows_the_truth_is_bounded_exactly() -> None:
    """Independent uniform tokens: every conditional is 1/V and the bound is tight."""
    table = Table(0)
    table.log_p = {x: torch.full((L, V), -math.log(V), dtype=F64) for x in table.log_p}
    torch.testing.assert_close(
        integrated(table, (0, 1, 2, 0)), torch.tensor(math.log(V), dtype=F64), atol=1e-12, rtol=0
    )


def test_the_law_of_masks() -> None:
    """Each target is masked with probability p, independently; other tokens never are."""
    rows, width = 40_000, 6
    generator = torch.Generator().manual_seed(5)
    uniforms = torch.rand(rows, width, generator=generator)
    targets = torch.tensor([False, True, True, True, False, True]).expand(rows, width)
    p = torch.full((rows,), 0.3)
    masked = mask_tokens(uniforms, p, targets)
    assert not masked[:, [0, 4]].any()
    free = masked[:, [1, 2, 3, 5]].float()
    bound = 4.5 * math.sqrt(0.3 * 0.7 / rows)
    assert (free.mean(0) - 0.3).abs().max() < bound
    pairs = (free.T @ free) / rows
    off = pairs[~torch.eye(4, dtype=torch.bool)]
    assert (off - 0.09).abs().max() < 4.5 * math.sqrt(0.09 * 0.91 / rows)


def test_masks_follow_the_probability_of_their_own_row() -> None:
    uniforms = torch.tensor([[0.1, 0.5, 0.9], [0.1, 0.5, 0.9]])
    targets = torch.ones(2, 3, dtype=torch.bool)
    masked = mask_tokens(uniforms, torch.tensor([0.4, 0.8]), targets)
    assert masked.tolist() == [[True, False, False], [True, True, False]]
    # A uniform of 0 is masked at every p > 0, and p = 1 masks everything.
    edge = mask_tokens(torch.zeros(2, 3), torch.tensor([1e-3, 1.0]), targets)
    assert edge.all()


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.2])
def test_mask_probability_is_the_line_through_eps_and_one(eps: float) -> None:
    t = torch.tensor([0.0, 0.25, 1.0], dtype=F64)
    expected = torch.tensor([eps, eps + 0.25 * (1 - eps), 1.0], dtype=F64)
    torch.testing.assert_close(mask_probability(t, eps), expected)


def test_stratified_times_cover_the_unit_interval() -> None:
    t = stratified_times(4, torch.tensor(0.5, dtype=F64))
    assert t.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert stratified_times(3, torch.tensor(0.0)).tolist()[0] == 0.0


@given(st.integers(1, 9))
def test_stratified_times_keep_expectations(rows: int) -> None:
    """Over u, the mean of f(t_b) is the integral of f: exact for cubics by quadrature in u."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    total = 0.0
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        t = stratified_times(rows, torch.tensor(node, dtype=F64))
        total += weight * float((4 * t**3 - 3 * t**2 + 2 * t).mean())
    assert total == pytest.approx(1.0, abs=1e-12)


def test_every_set_of_the_right_size_is_equally_likely() -> None:
    rows = 60_000
    generator = torch.Generator().manual_seed(1)
    targets = torch.tensor([True, False, True, True, True]).expand(rows, 5)
    counts = torch.full((rows,), 2)
    masked = mask_exactly(torch.rand(rows, 5, generator=generator), counts, targets)
    assert (masked.sum(-1) == 2).all()
    assert not masked[:, 1].any()
    sets = (masked.long() * torch.tensor([1, 2, 4, 8, 16])).sum(-1).bincount(minlength=32)
    sizes = sets[sets > 0].double()
    assert len(sizes) == math.comb(4, 2)
    assert float(((sizes - rows / 6) ** 2 / (rows / 6)).sum()) < 25  # chi-square, 5 d.o.f.


def test_counts_are_uniform_over_one_to_length() -> None:
    targets = torch.zeros(4, 5, dtype=torch.bool)
    targets[0], targets[1, :3], targets[2, 4] = True, True, True
    for u, expected in ((0.0, [1, 1, 1, 0]), (0.5, [3, 2, 1, 0]), (0.999999, [5, 3, 1, 0])):
        assert uniform_counts(torch.full((4,), u), targets).tolist() == expected
    grid = (torch.arange(1000) + 0.5) / 1000
    counts = uniform_counts(grid, torch.ones(1000, 5, dtype=torch.bool))
    assert counts.bincount().tolist() == [0, 200, 200, 200, 200, 200]


def test_exact_masks_hold_the_count_of_each_row() -> None:
    targets = torch.tensor([[True, True, True, False], [False, False, False, False]])
    uniforms = torch.tensor([[0.9, 0.1, 0.5, 0.0], [0.1, 0.2, 0.3, 0.4]])
    masked = mask_exactly(uniforms, torch.tensor([2, 0]), targets)
    assert masked.tolist() == [[False, True, True, False], [False] * 4]


def test_causal_loss_is_the_mean_over_targets() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, math.nan], [-4.0, -8.0, -16.0]], dtype=F64)
    log_probs.requires_grad_()
    targets = torch.tensor([[True, True, False], [True, False, False]])
    out = causal_lm_loss(log_probs, targets)
    assert out.loss.item() == pytest.approx(7 / 3)
    assert out.weight.item() == 3
    out.loss.backward()
    expected = [[-1 / 3, -1 / 3, 0.0], [-1 / 3, 0.0, 0.0]]
    torch.testing.assert_close(log_probs.grad, torch.tensor(expected, dtype=F64))


def test_diffusion_loss_by_hand_in_both_normalisations() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, math.inf]], dtype=F64)
    masked = torch.tensor([[True, False, True], [True, False, False]])
    targets = torch.tensor([[True, True, True], [True, False, False]])
    p = torch.tensor([0.5, 0.25], dtype=F64)
    batch = masked_diffusion_loss(log_probs, masked, p, targets)
    assert batch.loss.item() == pytest.approx((4 / 0.5 + 4 / 0.25) / 4)
    assert batch.weight.item() == 4
    rows = masked_diffusion_loss(log_probs, masked, p, targets, normalise="response")
    assert rows.loss.item() == pytest.approx((4 / 0.5 / 3 + 4 / 0.25 / 1) / 2)
    assert rows.weight.item() == 2


def test_weighted_merge_of_halves_is_the_whole() -> None:
    generator = torch.Generator().manual_seed(2)
    log_probs = -torch.rand(6, 5, generator=generator, dtype=F64)
    targets = torch.rand(6, 5, generator=generator) < 0.7
    masked = mask_tokens(torch.rand(6, 5, generator=generator), torch.full((6,), 0.5), targets)
    p = torch.rand(6, generator=generator, dtype=F64) + 0.1
    for normalise in ("batch", "response"):
        whole = masked_diffusion_loss(log_probs, masked, p, targets, normalise=normalise)
        halves = [
            masked_diffusion_loss(log_probs[s], masked[s], p[s], targets[s], normalise=normalise)
            for s in (slice(0, 2), slice(2, 6))
        ]
        weight = sum(h.weight for h in halves)
        merged = sum(h.loss * h.weight for h in halves) / weight
        torch.testing.assert_close(merged, whole.loss)
        assert weight == whole.weight


def test_rows_without_targets_count_for_nothing() -> None:
    log_probs = torch.tensor([[-1.0, -1.0], [-9.0, -9.0]], dtype=F64)
    targets = torch.tensor([[True, True], [False, False]])
    masked = torch.tensor([[True, False], [False, False]])
    p = torch.tensor([0.5, 0.5], dtype=F64)
    for normalise, weight in (("batch", 2), ("response", 1)):
        out = masked_diffusion_loss(log_probs, masked, p, targets, normalise=normalise)
        assert out.loss.item() == pytest.approx(1.0)
        assert out.weight.item() == weight
        counted = exact_count_loss(
            log_probs, masked, torch.tensor([1, 0]), targets, normalise=normalise
        )
        assert counted.loss.item() == pytest.approx(1.0)
