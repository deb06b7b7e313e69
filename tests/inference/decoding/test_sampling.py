"""Keys, the law of drawn tokens, and the law of committed ones."""

import math

import pytest
import torch

from rlcore.inference.decoding import PromptBatch, build_decoder
from rlcore.inference.decoding.noise import POSITION_STREAM, draw_places, row_keys, uniform
from rlcore.ops.sampling.counter_rng import branch_key, gumbel, token_bits
from tests.inference.decoding.denoisers import MASK, Table


@pytest.mark.parametrize("seed", [0, 1, -5, 2**63, 2**64 + 7])
def test_row_keys_are_branch_keys(seed):
    ids = [0, 1, 2, 1023, 2**40, 2**62]
    assert row_keys(seed, torch.tensor(ids)).tolist() == [branch_key(seed, i) for i in ids]


def test_numbers_depend_on_key_position_and_step_alone():
    keys = row_keys(3, torch.arange(5))
    positions = torch.arange(7).expand(5, 7)
    steps = torch.tensor([0, 1, 2, 3, 4])
    _, places = draw_places(keys, positions, steps)
    assert places.view(5, 7).tolist() == [[(s << 32) + i for i in range(7)] for s in range(5)]
    order = uniform(keys, positions, steps, POSITION_STREAM)
    assert order.unique().numel() == order.numel()
    part = uniform(keys[2:4], positions[2:4, 3:5], steps[2:4], POSITION_STREAM)
    assert torch.equal(order[2:4, 3:5], part)
    assert not (order == uniform(keys, positions, steps + 1, POSITION_STREAM)).any()
    assert not (order == uniform(keys, positions, steps, 0)).any()
    assert order.min() >= 0
    assert order.max() < 1


def draws(logits, n, temperature):
    """Return ``n`` tokens of one law, as many rows and positions of a response."""
    rows, length = n // 100, 100
    model = Table(logits.expand(length, -1), 1)
    decoder = build_decoder(
        {"acceptance": {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 1}},
         "temperature": temperature}, model,
    )  # fmt: skip
    result = decoder.generate(PromptBatch.from_lists([[1]] * rows), length, seed=11)
    return result.tokens.flatten(), result.log_probs.flatten()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_drawn_tokens_have_the_tempered_law(temperature):
    g = torch.Generator().manual_seed(5)
    logits = torch.randn(65, generator=g, dtype=torch.float64)
    tokens, _ = draws(logits, 200_000, temperature)
    logits[MASK] = -math.inf
    expected = 200_000 * torch.softmax(logits / temperature, 0)
    counts = torch.bincount(tokens, minlength=65).double()
    assert counts[MASK] == 0
    keep = expected > 5
    rest = 200_000 - expected[keep].sum(), 200_000 - counts[keep].sum()
    cells = list(zip(expected[keep].tolist(), counts[keep].tolist(), strict=True))
    if float(rest[0]) > 5:
        cells.append((float(rest[0]), float(rest[1])))
    statistic = sum((seen - wanted) ** 2 / wanted for wanted, seen in cells)
    degrees = torch.tensor((len(cells) - 1) / 2, dtype=torch.float64)
    p_value = float(torch.special.gammaincc(degrees, torch.tensor(statistic / 2).double()))
    assert p_value > 1e-3


@pytest.mark.parametrize(
    "n", [500, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_the_mean_log_prob_of_a_large_vocabulary_is_minus_the_entropy(n):
    """Noise of too few bits draws too few unlikely tokens: the mean is then too high."""
    g = torch.Generator().manual_seed(7)
    logits = 3.0 * torch.randn(50_001, generator=g)
    logits[MASK] = -math.inf
    law = torch.log_softmax(logits.double(), 0)
    probs = law.exp()
    law = torch.where(probs > 0, law, 0.0)
    entropy = -float((probs * law).sum())
    deviation = math.sqrt(float((probs * law**2).sum()) - entropy**2)
    found = []
    for start in range(0, n, 500):
        keys = row_keys(start, torch.arange(500))
        noise = gumbel(token_bits(keys, torch.arange(500), 50_001))
        found.append(law[(logits + noise).argmax(-1)].flatten())
    mean = float(torch.cat(found).mean())
    assert abs(mean + entropy) < 3 * deviation / math.sqrt(n)


@pytest.mark.parametrize(
    ("of", "wanted"), [("sample", 1 - 0.4**2), ("distribution", 0.6)], ids=["sample", "law"]
)
def test_the_law_of_a_committed_token(of, wanted):
    """Two positions of law (0.6, 0.4); the first one committed, by probability."""
    rows = 40_000
    logits = torch.log(torch.tensor([1.0, 0.6, 0.4], dtype=torch.float64)).expand(2, -1)
    decoder = build_decoder(
        {"acceptance": {"name": "fixed_count", "schedule": {"name": "uniform", "per_pass": 1}},
         "confidence": {"name": "prob", "of": of}, "temperature": 1.0}, Table(logits, 1),
    )  # fmt: skip
    result = decoder.generate(PromptBatch.from_lists([[1]] * rows), 2, seed=1)
    first = result.tokens[result.commit_step == 0]
    share = float((first == 1).double().mean())
    assert abs(share - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / rows)
