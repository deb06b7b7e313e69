"""Every acceptance rule against plain loops, on confidences with ties and ragged windows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.inference.decoding import PromptBatch, ScheduleMismatch
from rlcore.inference.decoding.acceptance import (
    EntropyBound,
    Factor,
    FixedCount,
    Hierarchical,
    Threshold,
)
from rlcore.inference.decoding.confidence import Confidence, Drawn
from rlcore.inference.decoding.schedules import AscendingSchedule, CustomSchedule, UniformSchedule
from rlcore.inference.decoding.state import DecodeState
from rlcore.ops.sampling import HeadStatistics
from tests.inference.decoding.denoisers import ranked

# Few distinct values, so that ties are common.
grid = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0])


@st.composite
def windows(draw, width=9):
    rows = draw(st.integers(1, 3))
    confidence = [[draw(grid) for _ in range(width)] for _ in range(rows)]
    eligible = [[draw(st.booleans()) for _ in range(width)] for _ in range(rows)]
    must = [draw(st.booleans()) for _ in range(rows)]
    return confidence, eligible, must


def drawn_of(eligible, must, entropy=None):
    eligible = torch.tensor(eligible)
    entropy = torch.zeros(eligible.shape, dtype=torch.float64) if entropy is None else entropy
    none = torch.zeros(())
    head = HeadStatistics(none, none, none, none, entropy)
    positions = torch.arange(eligible.shape[1]).expand_as(eligible)
    return Drawn(positions, eligible, torch.tensor(must), positions, none, head)


def selected(rule, confidence, eligible, must, entropy=None, state=None):
    values = torch.tensor(confidence, dtype=torch.float64)
    select = rule.select(values, drawn_of(eligible, must, entropy), state)
    assert select.dtype == torch.bool
    return [set(row.nonzero()[:, 0].tolist()) for row in select]


def items_of(confidence, eligible):
    return [(c, i) for i, (c, e) in enumerate(zip(confidence, eligible, strict=True)) if e]


def best_of(items):
    return {i for _, i in ranked(items)[:1]}


@given(windows(), st.sampled_from([-1.0, 0.3, 0.5, 0.9, 0.95, 1.5]))
def test_threshold(window, tau):
    for row, (confidence, eligible, must) in enumerate(zip(*window, strict=True)):
        items = items_of(confidence, eligible)
        wanted = {i for c, i in items if c > tau} or (best_of(items) if must else set())
        assert selected(Threshold(tau), *window)[row] == wanted


@given(windows(), st.sampled_from([0.2, 0.5, 1.0, 2.0, 4.0]))
def test_factor(window, factor):
    for row, (confidence, eligible, must) in enumerate(zip(*window, strict=True)):
        order = ranked(items_of(confidence, eligible))
        holds = [n for n in range(1, len(order) + 1) if (n + 1) * (1 - order[n - 1][0]) < factor]
        count = max(holds, default=1 if must else 0)
        assert selected(Factor(factor), *window)[row] == {i for _, i in order[:count]}


@given(windows(), st.sampled_from([(0.9, 0.5), (0.5, 0.5), (0.95, 0.1), (1.5, 1.2)]))
def test_hierarchical(window, bounds):
    high, low = bounds
    for row, (confidence, eligible, must) in enumerate(zip(*window, strict=True)):
        items = items_of(confidence, eligible)
        wanted = {i for c, i in items if c > high} | (best_of(items) if must else set())
        run = []
        for i in range(len(eligible) + 1):
            if i < len(eligible) and eligible[i]:
                run.append((confidence[i], i))
                continue
            wanted |= {i for c, i in ranked(run)[:1] if c > low}
            run = []
        assert selected(Hierarchical(high, low), *window)[row] == wanted


@given(windows(), st.sampled_from([0.0, 0.1, 0.75, 5.0]), st.booleans())
def test_entropy_bound(window, gamma, held_back):
    entropies = torch.tensor(window[0], dtype=torch.float64)
    # A transform may hold positions back: the order is then not that of the entropies.
    confidence = (-entropies * (1 + 9 * (torch.arange(9) % 2 if held_back else 0))).tolist()
    found = selected(EntropyBound(gamma), confidence, *window[1:], entropy=entropies)
    for row, eligible in enumerate(window[1]):
        order = ranked(items_of(confidence[row], eligible))
        wanted = set()
        for n in range(1, len(order) + 1):
            spent = [float(entropies[row, i]) for _, i in order[:n]]
            if sum(spent) - max(spent) <= gamma + 1e-12:
                wanted = {i for _, i in order[:n]}
        assert found[row] == wanted


def test_entropy_bound_leaves_out_the_largest_entropy_wherever_it_stands():
    """A transform may hold a sure position back: the order is not that of the entropies."""
    entropies = torch.tensor([[0.95, 0.1, 0.3]], dtype=torch.float64)
    confidence = [[-0.95, -1.0, -3.0]]
    for gamma, wanted in ((0.05, {0}), (0.1, {0, 1}), (0.39, {0, 1}), (0.41, {0, 1, 2})):
        found = selected(EntropyBound(gamma), confidence, [[True] * 3], [True], entropies)
        assert found == [wanted]


def state_of(masked_blocks, schedule, blocks):
    """Return a state whose rows have so many masked positions in each block."""
    given_rows = []
    for row in masked_blocks:
        tokens = []
        for masked, size in zip(row, blocks, strict=True):
            tokens += [-1] * masked + [2] * (size - masked)
        given_rows.append(tokens)
    prompts = PromptBatch.from_lists([[2]] * len(given_rows), given=torch.tensor(given_rows))
    state = DecodeState.begin(prompts, sum(blocks), 0, torch.arange(len(given_rows)))
    limit = FixedCount(schedule).begin(state, blocks)
    return state, limit


def test_fixed_count_follows_each_row_s_schedule():
    blocks = [4, 4]
    state, limit = state_of([[4, 4], [3, 0], [0, 0]], UniformSchedule(per_pass=3), blocks)
    assert limit == 4
    assert state.rows["accept/counts"].tolist() == [[3, 1, 3, 1], [3, 0, 0, 0], [0, 0, 0, 0]]
    assert state.rows["accept/steps"].tolist() == [4, 1, 0]
    assert FixedCount.count(state).tolist() == [3, 3, 0]
    state.step += 1
    assert FixedCount.count(state).tolist() == [1, 0, 0]
    state.step += 9
    assert FixedCount.count(state).tolist() == [1, 0, 0]
    assert state.active.tolist() == [True, True, False]


@given(windows(), st.integers(1, 9))
def test_fixed_count_takes_the_surest(window, count):
    rows = len(window[0])
    state, _ = state_of([[9]] * rows, UniformSchedule(per_pass=count), [9])
    found = selected(FixedCount(UniformSchedule(per_pass=count)), *window, state=state)
    for row, (confidence, eligible) in enumerate(zip(*window[:2], strict=True)):
        wanted = {i for _, i in ranked(items_of(confidence, eligible))[:count]}
        assert found[row] == wanted


def test_fixed_count_refuses_schedules_that_do_not_fit():
    with pytest.raises(ScheduleMismatch, match="commits 5 positions in 2 passes, but 6"):
        state_of([[6]], CustomSchedule((2, 3)), [6])
    with pytest.raises(ScheduleMismatch, match="block 0"):
        state_of([[4, 4]], AscendingSchedule(), [4, 4])

    class Short:
        def block_counts(self, masked):
            return [[m - 1] for m in masked]

    with pytest.raises(ScheduleMismatch, match=r"commits \[3\] positions a block, but \[4\]"):
        state_of([[4]], Short(), [4])


@pytest.mark.parametrize("rule", [Threshold(2.0), Factor(1.0), Hierarchical()])
def test_a_row_that_must_commit_commits_even_at_minus_infinity(rule):
    eligible = [[False, True, True]]
    assert selected(rule, [[5.0, -torch.inf, -torch.inf]], eligible, [True]) == [{1}]


def test_rules_refuse_confidences_they_are_not_made_for():
    with pytest.raises(ConfigError, match=r"wants a probability .* got 'margin'"):
        Factor(1.0).check(Confidence("margin"))
    with pytest.raises(ConfigError, match="wants confidence 'neg_entropy', got 'prob'"):
        EntropyBound(0.1).check(Confidence("prob"))
    Factor(1.0).check(Confidence("max_prob"))
    EntropyBound(0.1).check(Confidence("neg_entropy"))
    with pytest.raises(ConfigError, match=r"low <= high, got 0.9 and 0.5"):
        Hierarchical(0.5, 0.9)
    with pytest.raises(ConfigError, match=r"factor must be > 0, got 0"):
        Factor(0)
    with pytest.raises(ConfigError, match="gamma must be >= 0, got -1"):
        EntropyBound(-1)
