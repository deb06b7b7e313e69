"""Small masked-diffusion models learn their tasks, and decoding rules order as published."""

import pytest

from experiments.bench.decode import compositions, measure
from experiments.bench.masked_beds import chain_sum_bed, sudoku_bed
from experiments.bench.masked_training import train
from rlcore.inference.decoding import TransformerDenoiser

pytestmark = [pytest.mark.learning, pytest.mark.slow, pytest.mark.timeout(1800)]


def accuracies(bed, names, n=1024):
    made = train(bed)
    denoiser = TransformerDenoiser(made.model)
    prompts, answers = bed.test(0, n)
    table = compositions(bed)
    return {
        name: measure(bed, denoiser, table[name], prompts, answers)["accuracy"] for name in names
    }


@pytest.mark.xfail(
    strict=True,
    reason="the small model reaches 0.88 at one a pass, 0.80 with both rules and 0.69 with "
    "ascending steps alone: it writes on behind finished answers where no end token is in sight",
)
def test_three_terms_of_one_digit():
    """About six minutes on two quiet cores."""
    found = accuracies(
        chain_sum_bed(small=True),
        ["full, 1 a pass", "ASS", "EOSER 0.01 + ASS", "EOSER 0.4, threshold 0.9"],
    )
    assert found["full, 1 a pass"] >= 0.9
    # log2 L passes with both rules are as good as L passes with none; without EOSER they are not.
    assert found["EOSER 0.01 + ASS"] >= found["full, 1 a pass"] - 0.02
    assert found["ASS"] <= found["EOSER 0.01 + ASS"] - 0.2


def test_sudoku_of_four_digits():
    """About three minutes on two quiet cores."""
    found = accuracies(sudoku_bed(box=2), ["1 a pass", "4 a pass", "threshold 0.95"])
    assert found["1 a pass"] >= 0.9
    assert found["4 a pass"] < found["1 a pass"]
    assert found["threshold 0.95"] >= 0.85
