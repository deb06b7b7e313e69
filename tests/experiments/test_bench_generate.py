"""``rlcore bench generate``: both sides make the tokens that they are timed for."""

from __future__ import annotations

import pytest

from experiments.bench import generate_cpu as bench
from experiments.bench.suite import BENCHES


@pytest.mark.parametrize("temperature", bench.TEMPERATURES.values())
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_side_makes_all_tokens_and_times_them(side, temperature, monkeypatch) -> None:
    pytest.importorskip("transformers")
    made = []
    monkeypatch.setattr(bench, "NEW", 5)
    monkeypatch.setattr(bench, "ROUNDS", 1)
    rate = bench._rate
    monkeypatch.setattr(bench, "_rate", lambda run: made.append(run()) or rate(run))
    assert getattr(bench, side)(3, temperature)["value"] > 0
    assert made == [15]
    assert BENCHES["generate"] is bench.generate
