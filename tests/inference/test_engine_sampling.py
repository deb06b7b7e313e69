"""Forked children draw independently from the right law; groups have the right shape."""

from __future__ import annotations

import numpy as np
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.request import Request
from tests.inference.engine_cases import small_model

PROMPT = [1, 2, 3, 4, 5]


def chi_square(counts: np.ndarray, law: np.ndarray) -> float:
    """The p-value of counts under a law; cells that are expected less than 5 times are joined."""
    order = np.argsort(law)
    rare = np.cumsum(law[order]) * counts.sum() < 5
    joined = [counts[order][rare].sum(), *counts[order][~rare]]
    expected = [law[order][rare].sum(), *law[order][~rare]]
    found, wanted = np.asarray(joined, float), np.asarray(expected) * counts.sum()
    keep = wanted > 0
    value = float((((found - wanted) ** 2)[keep] / wanted[keep]).sum())
    freedom = int(keep.sum()) - 1
    half = torch.tensor(freedom / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(half, torch.tensor(value / 2, dtype=torch.float64)))


def law_after(ids: list[int], model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0, -1].softmax(-1).numpy()


def test_children_draw_from_the_parents_next_law() -> None:
    model = small_model(vocab=12)
    engine = Engine(model, EngineConfig(num_blocks=2000, block_size=4, max_rows=512))
    counts = np.zeros(12, int)
    for seed in range(10):
        params = SamplingParams(seed=seed)
        handle = engine.submit(Request(prompt=PROMPT, max_new_tokens=300, sampling=params))
        children = handle.root.fork(300)
        engine.step()
        np.add.at(counts, [child.token_ids[0] for child in children], 1)
        handle.abort()
    assert counts.sum() == 3000
    assert chi_square(counts, law_after(PROMPT, model)) > 0.01


def test_samples_of_a_prompt_draw_from_its_law() -> None:
    model = small_model(vocab=12)
    engine = Engine(model, EngineConfig(num_blocks=2000, block_size=4, max_rows=512))
    counts = np.zeros(12, int)
    pairs = np.zeros((12, 12), int)
    for seed in range(6):
        request = Request(
            prompt=PROMPT, max_new_tokens=1, n=500, sampling=SamplingParams(seed=seed)
        )
        ids = [int(trace.ids[-1]) for trace in engine.generate([request])]
        np.add.at(counts, ids, 1)
        np.add.at(pairs, (ids[0::2], ids[1::2]), 1)
    law = law_after(PROMPT, model)
    assert chi_square(counts, law) > 0.01
    # Neighbours are independent of each other.
    assert chi_square(pairs.ravel(), np.outer(law, law).ravel()) > 0.01


def test_a_wrong_law_is_noticed() -> None:
    law = law_after(PROMPT, small_model(vocab=12))
    r = np.random.default_rng(0)
    right = np.bincount(r.choice(12, 3000, p=law / law.sum()), minlength=12)
    flat = 0.9 * law + 0.1 / 12
    wrong = np.bincount(r.choice(12, 3000, p=flat / flat.sum()), minlength=12)
    assert chi_square(right, law) > 0.01 > chi_square(wrong, law)


def test_seeds_samples_and_branches_differ_and_repeat() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=400, prefix_cache=False))

    def ids(seed: int, n: int) -> list[list[int]]:
        params = SamplingParams(seed=seed)
        request = Request(prompt=PROMPT, max_new_tokens=12, n=n, sampling=params)
        return [trace.new_ids.tolist() for trace in engine.generate([request])]

    four = ids(0, 4)
    assert len({tuple(x) for x in four}) == 4
    assert ids(0, 4) == four
    assert ids(0, 1)[0] == four[0]  # a sample does not depend on how many there are
    assert ids(1, 1)[0] != four[0]


def test_greedy_tokens_have_probability_one_under_their_law() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=40))
    params = SamplingParams(temperature=0.0)
    trace = engine.generate([Request(prompt=PROMPT, max_new_tokens=9, sampling=params)])[0]
    assert (trace.log_probs == 0).all()
    assert (trace.raw_log_probs[trace.drawn] < 0).all()


def test_a_penalty_is_a_branchs_own() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=200, block_size=4))
    params = SamplingParams(temperature=0.0, repetition_penalty=50.0)
    prompt = [7]
    trace = engine.generate([Request(prompt=prompt, max_new_tokens=40, sampling=params)])[0]
    # So strong a penalty never lets a token come twice while another is left with a logit > 0.
    with torch.no_grad():
        logits = model(torch.from_numpy(trace.ids)[None])[0]
    for q in range(1, len(trace)):
        seen = set(trace.ids[:q].tolist())
        row = logits[q - 1].clone()
        index = torch.tensor(sorted(seen))
        row[index] = torch.where(row[index] > 0, row[index] / 50, row[index] * 50)
        assert int(row.argmax()) == trace.ids[q]
    # Nor does a row remember what the branch before saw.
    one_row = Engine(model, EngineConfig(num_blocks=200, block_size=4, max_rows=1))
    for _ in range(2):
        assert one_row.generate([Request(prompt=prompt, max_new_tokens=40, sampling=params)])[
            0
        ].ids.tolist() == (trace.ids.tolist())
        one_row.generate([Request(prompt=[*range(48)], max_new_tokens=1, sampling=params)])
    # Siblings: what one draws is not seen by the other.
    handle = engine.submit(Request(prompt=[7], max_new_tokens=40, sampling=params))
    first, second = handle.root.fork(2, [[1], [2]])
    for _ in range(6):
        engine.step()
    for child, token in ((first, 1), (second, 2)):
        alone = engine.generate([Request(prompt=[7, token], max_new_tokens=4, sampling=params)])[0]
        assert child.token_ids[1:5] == alone.new_ids.tolist()
    handle.abort()
