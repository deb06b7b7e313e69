"""Batches of chain sums have the texts of the task, and its distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reasoning import ChainSumTask
from envs.reasoning.chain_sum_batch import chain_sums, texts


@given(seed=st.integers(0, 10**6), low=st.integers(2, 8), more=st.integers(0, 5))
def test_texts_are_those_of_the_task(seed, low, more):
    task = ChainSumTask(low, low + more)
    made = chain_sums(
        np.random.default_rng(seed), 50, low_terms=low, high_terms=low + more,
        prompt_length=30, response_length=150,
    )  # fmt: skip
    for prompt, response, answer, long in zip(
        texts(made.prompts), texts(made.responses), made.answers, made.long, strict=True
    ):
        terms = [int(term) for term in prompt[:-1].split("+")]
        item = task.draw(np.random.default_rng(0))
        item.meta["terms"] = terms
        item = type(item)("+".join(map(str, terms)) + "=", str(sum(terms)), item.meta)
        assert prompt == item.prompt
        assert int(answer) == sum(terms)
        assert response == (task.serial(item) if long else f"#{item.answer}")
        assert low <= len(terms) <= low + more
    assert (made.prompts[:, -1] >= 0).all()
    assert (made.responses[:, 0] >= 0).all()


def test_terms_and_lengths_are_uniform():
    made = chain_sums(np.random.default_rng(0), 20_000)
    counts = np.array([text.count("+") + 1 for text in texts(made.prompts)])
    assert np.abs(np.bincount(counts, minlength=9)[4:] / 20_000 - 0.2).max() < 0.015
    digits = np.bincount(made.prompts[(made.prompts >= 0) & (made.prompts < 10)], minlength=10)
    assert digits[0] == 0
    assert np.abs(digits[1:] / digits.sum() - 1 / 9).max() < 0.005
    assert abs(made.long.mean() - 0.5) < 0.015
    assert not chain_sums(np.random.default_rng(0), 9, long_share=0.0).long.any()


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"a text has .* characters, wanted 8"):
        chain_sums(rng, 20, prompt_length=8)
    with pytest.raises(ValueError, match="largest must be"):
        chain_sums(rng, 20, largest=10)
    with pytest.raises(ValueError, match="n must be"):
        chain_sums(rng, 0)
