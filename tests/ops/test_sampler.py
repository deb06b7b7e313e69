"""The sampler: law, truncation, penalties, log-probabilities, backends, independent rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.ops.sampling import SamplingRows, branch_key, mark_seen, sample
from rlcore.ops.sampling.sampler_reference import row_law
from tests.ops.triton_devices import DEVICES


def same_rows(count: int, temperature: float, device: str = "cpu", first: int = 0) -> SamplingRows:
    """Rows of one key at consecutive positions."""
    return SamplingRows(
        torch.full((count,), branch_key(11), device=device),
        torch.arange(first, first + count, device=device),
        torch.full((count,), temperature, device=device),
    )


def mixed(rows: int, vocab: int, seed: int = 0, dtype: torch.dtype = torch.float32):
    """Logits and settings in which every feature is used by some rows, and not by others."""
    g = torch.Generator().manual_seed(seed)
    r = torch.arange(rows)
    settings = SamplingRows(
        torch.tensor([branch_key(seed, i) for i in range(rows)]),
        torch.randint(0, 2**40, (rows,), generator=g),
        torch.tensor([0.0, 0.5, 1.0, 2.0])[r % 4],
        torch.tensor([0, 3, 50, 0, 1], dtype=torch.int32)[r % 5],
        torch.tensor([1.0, 0.9, 0.3])[r % 3],
        torch.tensor([1.0, 1.3, 0.8, 2.0])[(r // 2) % 4],
        torch.randint(-(2**31), 2**31, (rows, (vocab + 31) // 32), generator=g).int(),
    )
    logits = 3 * torch.randn(rows, vocab, generator=g)
    logits[:, ::7] = -torch.inf
    logits[:, 1::5] = logits[:, 1:2]  # ties
    return logits.to(dtype), settings


def to(rows: SamplingRows, device: str) -> SamplingRows:
    return SamplingRows(*(None if x is None else x.to(device) for x in vars(rows).values()))


def chi_square_p(counts: torch.Tensor, law: torch.Tensor) -> float:
    """The chance of a larger chi-square; tokens of few expected draws are taken together."""
    expected = law.double() * counts.sum()
    rare = expected < 10
    counts, expected = (
        torch.cat([x[~rare], x[rare].sum(0, keepdim=True)]) for x in (counts.double(), expected)
    )
    there = expected > 0
    assert float(counts[~there].sum()) == 0
    counts, expected = counts[there], expected[there]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2.0), statistic / 2))


WHERE = [pytest.param("cpu", "torch", id="torch"), *(
    pytest.param(*device.values, "triton", marks=device.marks, id=f"triton-{device.values[0]}")
    for device in DEVICES
)]  # fmt: skip


@pytest.mark.parametrize(("device", "backend"), WHERE)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_law_is_the_softmax(temperature: float, device: str, backend: str) -> None:
    interpreted = backend == "triton" and device == "cpu"
    size, draws = (8, 400) if interpreted else (64, 200_000)
    logits = torch.randn(size, generator=torch.Generator().manual_seed(3)).to(device)
    rows = same_rows(draws, temperature, device)
    drawn = sample(logits.expand(draws, -1), rows, backend=backend)
    law = (logits.double() / temperature).softmax(0).cpu()
    assert chi_square_p(drawn.tokens.bincount(minlength=size).cpu(), law) > 1e-3
    wanted = law.log()[drawn.tokens.cpu()]
    torch.testing.assert_close(drawn.log_probs.double().cpu(), wanted, rtol=0, atol=1e-5)


def test_the_law_test_notices_a_colder_sampler() -> None:
    logits = torch.randn(64, generator=torch.Generator().manual_seed(3))
    drawn = sample(logits.expand(200_000, -1), same_rows(200_000, 0.98), backend="torch")
    law = logits.double().softmax(0)
    assert chi_square_p(drawn.tokens.bincount(minlength=64), law) < 1e-3


@pytest.mark.parametrize(("device", "backend"), WHERE)
def test_a_large_vocabulary_keeps_its_entropy(device: str, backend: str) -> None:
    """Mean log-probability is minus the entropy, within three standard errors, at V = 50,000."""
    draws = 40_000 if device == "cuda" else 400 if backend == "torch" else 12
    logits = 2 * torch.randn(50_000, generator=torch.Generator().manual_seed(4)).to(device)
    found = []
    for first in range(0, draws, 400):
        count = min(400, draws - first)
        rows = same_rows(count, 1.0, device, first)
        found.append(sample(logits.expand(count, -1), rows, backend=backend).raw_log_probs)
    log_law = logits.double().log_softmax(0)
    entropy = -(log_law.exp() * log_law).sum()
    deviation = (log_law.exp() * (log_law + entropy) ** 2).sum().sqrt()
    mean = torch.cat(found).double().mean()
    assert abs(float(mean + entropy)) < 3 * float(deviation) / math.sqrt(draws)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("vocab", [1, 33, 100])
def test_torch_equals_the_reference(vocab: int, dtype: torch.dtype) -> None:
    logits, rows = mixed(60, vocab, vocab, dtype)
    logits[:, 0] = 0.5
    ours = sample(logits, rows, backend="torch")
    twin = sample(logits, rows, backend="reference")
    assert torch.equal(ours.tokens, twin.tokens)
    assert ours.log_probs.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(ours[1:], twin[1:], rtol=0, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("vocab", [1, 33, 100, 5000, 40_001])
@pytest.mark.parametrize("features", ["all", "penalty", "truncation", "none"])
def test_triton_equals_torch(vocab: int, features: str, device: str) -> None:
    logits, rows = mixed(60 if device == "cuda" or vocab < 1000 else 12, vocab, vocab)
    logits[:, 0] = 0.5
    if features in ("penalty", "none"):
        rows = replace(rows, top_k=None, top_p=None)
    if features in ("truncation", "none"):
        rows = replace(rows, penalty=None, seen=None)
    ours = sample(logits.to(device), to(rows, device), backend="triton")
    again = sample(logits.to(device), to(rows, device), backend="triton")
    twin = sample(logits, rows, backend="torch")
    assert torch.equal(ours.tokens.cpu(), twin.tokens)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    torch.testing.assert_close(ours.raw_log_probs.cpu(), twin.raw_log_probs, rtol=2e-6, atol=8e-6)
    off = (ours.log_probs.cpu() - twin.log_probs).abs() - 2e-6 * twin.log_probs.abs()
    for i in (off > 8e-6).nonzero()[:, 0].tolist():
        # Where the mass that top-p keeps ends is known up to the rounding of its sum: the row may
        # keep one token more or less, whose share all its log-probabilities then have.
        assert rows.top_p is not None
        assert float(rows.top_p[i]) < 1.0
        law = row_law(logits[i], rows, i)
        assert float(off[i]) <= 8e-6 + 1.1 * float(law[law.isfinite()].min().exp())


@pytest.mark.parametrize("device", DEVICES)
def test_triton_takes_half_precision_as_it_is(device: str) -> None:
    logits, rows = mixed(24, 300, 5)
    logits = logits.to(torch.float16)
    ours = sample(logits.to(device), to(rows, device), backend="triton")
    twin = sample(logits.float(), rows, backend="torch")
    assert torch.equal(ours.tokens.cpu(), twin.tokens)


def law_of(logits: list[float], **settings) -> list[float]:
    x = torch.tensor(logits, dtype=torch.float64)
    given = {k: torch.tensor([v]) for k, v in settings.items()}
    given = {"temperature": torch.ones(1)} | given
    zero = torch.zeros(1, dtype=torch.int64)
    return row_law(x, SamplingRows(zero, zero, **given), 0).exp().tolist()


def test_the_law_by_hand() -> None:
    logs = [math.log(p) for p in (0.1, 0.4, 0.2, 0.3)]
    assert law_of(logs) == pytest.approx([0.1, 0.4, 0.2, 0.3])
    assert law_of(logs, top_k=2) == pytest.approx([0, 4 / 7, 0, 3 / 7])
    assert law_of(logs, top_p=0.7) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=1e-9)
    assert law_of(logs, top_p=0.71) == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9])
    assert law_of(logs, top_p=0.01) == [0, 1, 0, 0]
    # Top-p counts what top-k left: of 4/7 and 3/7 the first is enough.
    assert law_of(logs, top_k=2, top_p=0.57) == [0, 1, 0, 0]
    assert law_of(logs, temperature=0.0) == [0, 1, 0, 0]
    assert law_of([2.0, 2.0, 1.0], top_k=1) == pytest.approx([0.5, 0.5, 0])  # ties stay
    halves = law_of([1.0, -1.0, 3.0], penalty=2.0, seen=[0b011])
    assert halves == pytest.approx(torch.tensor([0.5, -2.0, 3.0]).softmax(0).tolist())
    # The penalty comes before the temperature, the temperature before top-p.
    assert law_of([2.0, 1.5], penalty=4.0, seen=[1], temperature=0.0) == [0, 1]
    assert law_of(logs, temperature=2.0, top_p=0.4)[3] > 0.4


@pytest.mark.parametrize("backend", ["reference", "torch", "numba"])
def test_what_lies_at_the_edge_of_top_p_is_left_out(backend: str) -> None:
    """Half the mass is reached by the first token exactly: the others have no share."""
    if backend == "numba":
        pytest.importorskip("numba", reason="the extra rlcore[fast]")
    law = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    rows = replace(same_rows(200, 1.0), top_p=torch.full((200,), 0.5))
    drawn = sample(law.log().expand(200, -1), rows, backend=backend)
    assert drawn.tokens.tolist() == [1] * 200
    assert drawn.log_probs.abs().max() == 0
    more = sample(
        law.log().expand(200, -1), replace(rows, top_p=rows.top_p + 0.01), backend=backend
    )
    assert more.tokens.unique().tolist() == [0, 1, 2]


@given(
    seed=st.integers(0, 2**30),
    vocab=st.integers(1, 40),
    k=st.integers(0, 50),
    p=st.floats(0.01, 1.0),
    t=st.floats(0.1, 3.0),
)
def test_drawn_tokens_lie_in_the_law(seed: int, vocab: int, k: int, p: float, t: float) -> None:
    logits = 2 * torch.randn(1, vocab, generator=torch.Generator().manual_seed(seed)).double()
    rows = SamplingRows(
        torch.full((50,), branch_key(seed)),
        torch.arange(50),
        torch.full((50,), t),
        torch.full((50,), k, dtype=torch.int32),
        torch.full((50,), p),
    )
    drawn = sample(logits.expand(50, -1), rows, backend="torch")
    law = row_law(logits[0], rows, 0)
    torch.testing.assert_close(drawn.log_probs, law[drawn.tokens], rtol=0, atol=1e-9)
    assert bool(torch.isfinite(drawn.log_probs).all())


@pytest.mark.parametrize(("device", "backend"), WHERE)
def test_expanded_and_strided_rows_are_read_as_what_they_say(device: str, backend: str) -> None:
    """One key for all rows is a view of one number: kernels must not step through memory."""
    logits, rows = mixed(24, 90, 3)
    logits, rows = logits.to(device), to(rows, device)
    wide = {
        name: torch.stack([x, torch.full_like(x, 77)], -1)[..., 0] for name, x in vars(rows).items()
    }
    wide["keys"] = rows.keys[:1].expand(24)
    wide["temperature"] = torch.tensor([0.7], device=device).expand(24)
    assert not any(x.is_contiguous() for x in wide.values())
    plain = {name: x.clone(memory_format=torch.contiguous_format) for name, x in wide.items()}
    found = sample(logits, SamplingRows(**wide), backend=backend)
    wanted = sample(logits, SamplingRows(**plain), backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("device", "backend"), WHERE)
def test_a_row_does_not_depend_on_its_batch(device: str, backend: str) -> None:
    logits, rows = mixed(40, 130, 8)
    logits, rows = logits.to(device), to(rows, device)
    whole = sample(logits, rows, backend=backend)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1)).to(device)
    fields = {k: None if x is None else x[order] for k, x in vars(rows).items()}
    mixed_up = sample(logits[order], SamplingRows(**fields), backend=backend)
    assert torch.equal(mixed_up.tokens, whole.tokens[order])
    for row in (0, 1, 17, 39):
        one = {k: None if x is None else x[row : row + 1] for k, x in vars(rows).items()}
        alone = sample(logits[row : row + 1], SamplingRows(**one), backend=backend)
        assert torch.equal(alone.tokens, whole.tokens[row : row + 1])


def test_keys_and_positions_change_the_draw() -> None:
    logits = torch.zeros(1, 1000)
    rows = same_rows(1, 1.0)
    base = int(sample(logits, rows).tokens)
    assert base == int(sample(logits, rows).tokens)
    assert base != int(sample(logits, replace(rows, positions=rows.positions + 1)).tokens)
    assert base != int(sample(logits, replace(rows, keys=rows.keys + 1)).tokens)
    assert base != int(sample(logits, replace(rows, keys=rows.keys + 2**40)).tokens)


def test_marked_tokens_are_seen() -> None:
    seen = torch.zeros(3, 4, dtype=torch.int32)
    mark_seen(seen, torch.tensor([0, 2]), torch.tensor([31, 127]))
    mark_seen(seen, torch.tensor([0]), torch.tensor([0]))
    mark_seen(seen, torch.tensor([0]), torch.tensor([31]))
    bits = (seen[:, :, None] >> torch.arange(32)) & 1
    assert bits.flatten(1).nonzero().tolist() == [[0, 0], [0, 31], [2, 127]]


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_no_rows(backend: str) -> None:
    drawn = sample(torch.zeros(0, 5), same_rows(0, 1.0), backend=backend)
    assert [tuple(x.shape) for x in drawn] == [(0,)] * 3


@pytest.mark.parametrize(
    ("logits", "changes", "message"),
    [
        (torch.zeros(2, 0), {}, r"V >= 1, got torch.float32 of shape \(2, 0\)"),
        (torch.zeros(2, 3).long(), {}, "floating-point logits"),
        (torch.zeros(3, 3), {}, r"keys of SamplingRows must be torch.int64 of shape \(3,\)"),
        (
            torch.zeros(2, 3),
            {"temperature": torch.ones(2).double()},
            "temperature of .* torch.float64",
        ),
        (torch.zeros(2, 3), {"top_k": torch.ones(2).long()}, "top_k of .* got torch.int64"),
        (torch.zeros(2, 3), {"penalty": torch.ones(2)}, "penalty and seen .* go together"),
        (
            torch.zeros(2, 33),
            {"penalty": torch.ones(2), "seen": torch.zeros(2, 1).int()},
            r"seen of SamplingRows must be torch.int32 of shape \(2, 2\)",
        ),
    ],
)
def test_bad_input_is_named(logits: torch.Tensor, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample(logits, replace(same_rows(2, 1.0), **changes))
