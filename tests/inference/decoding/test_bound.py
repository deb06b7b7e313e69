"""The training objective on a model small enough to write out every mask and every order."""

import itertools
import math

import pytest
import torch

from agents.lm.losses import exact_count_loss, masked_diffusion_loss
from tests.inference.decoding.denoisers import Mixing

V, L = 3, 4


def log_probs_of(model, x, masked):
    """Return the log-probability of every true token given those that are not masked."""
    ids = x.masked_fill(masked, 0)
    logits = model(ids)
    logits[..., 0] = -torch.inf
    return torch.log_softmax(logits, -1).gather(-1, x[..., None])[..., 0]


def sets():
    """Return every set of masked positions as bool ``[16, 4]``."""
    return torch.tensor(list(itertools.product([False, True], repeat=L)))


@pytest.mark.parametrize("row", [[1, 2, 2, 1], [3, 1, 1, 2], [2, 2, 2, 2]])
def test_both_objectives_agree_and_bound_the_likelihood(row):
    model = Mixing(V + 1, seed=3)
    x = torch.tensor([row])
    every = sets()
    rows = x.expand(len(every), -1)
    log_probs = log_probs_of(model, rows, every)
    targets = torch.ones_like(every)
    counts = every.sum(1)

    # 1/t objective: Gauss-Legendre quadrature over t of the expectation over mask sets is exact,
    # because p^(m - 1) (1 - p)^(L - m) is a polynomial.
    nodes, weights = _legendre(4)
    integrated = 0.0
    for t, weight in zip(nodes, weights, strict=True):
        for k in range(1, len(every)):
            chance = t ** int(counts[k]) * (1 - t) ** int(L - counts[k])
            p = torch.tensor([t], dtype=torch.float64)
            loss = masked_diffusion_loss(
                log_probs[k : k + 1], every[k : k + 1], p, targets[k : k + 1]
            ).loss
            integrated += weight * chance * float(loss)

    # Exact counts: l uniform in 1..L, every set of l positions equally likely.
    exact = 0.0
    for k in range(1, len(every)):
        chance = 1 / L / math.comb(L, int(counts[k]))
        loss = exact_count_loss(
            log_probs[k : k + 1], every[k : k + 1], counts[k : k + 1], targets[k : k + 1]
        ).loss
        exact += chance * float(loss)
    assert integrated == pytest.approx(exact, abs=1e-6)

    # It is the mean over orders of the autoregressive loss, which is at least -log of their mean.
    orders = []
    for order in itertools.permutations(range(L)):
        masked, total = torch.ones(1, L, dtype=torch.bool), 0.0
        for i in order:
            total += float(log_probs_of(model, x, masked)[0, i])
            masked[0, i] = False
        orders.append(total)
    assert exact * L == pytest.approx(-sum(orders) / len(orders), abs=1e-6)
    assert exact * L >= -math.log(sum(map(math.exp, orders)) / len(orders)) - 1e-9


def _legendre(n):
    """Return nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(n)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()
