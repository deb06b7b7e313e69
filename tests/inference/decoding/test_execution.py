"""Buckets of rows, looks at finished rows, and when passes end."""

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.decoding import PromptBatch
from rlcore.inference.decoding.execution import (
    EagerRunner,
    choose_execution,
    row_bucket,
    run_passes,
)
from rlcore.inference.decoding.result import ResultBuffers
from rlcore.inference.decoding.state import DecodeState


def test_buckets_are_close_above():
    previous = 0
    for rows in range(1, 5000):
        bucket = row_bucket(rows)
        assert bucket >= max(rows, previous)
        assert bucket == 8 or bucket <= 1.5 * rows
        previous = bucket
    assert [row_bucket(n) for n in (1, 8, 9, 12, 13, 1024, 1025)] == [8, 8, 12, 12, 16, 1024, 1536]


def test_choice_of_execution():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_execution("auto", cpu, False) == "eager"
    assert choose_execution("auto", cuda, False) == "graph"
    assert choose_execution("auto", cuda, True) == "eager"
    assert choose_execution("eager", cuda, False) == "eager"
    with pytest.raises(ConfigError, match="reads the device"):
        choose_execution("graph", cuda, True)
    with pytest.raises(ConfigError, match="wants a CUDA device, got cpu"):
        choose_execution("graph", cpu, False)


def start(rows):
    state = DecodeState.begin(PromptBatch.from_lists([[2]] * rows), 6, 0, torch.arange(rows))
    state.rows["life"] = torch.arange(rows)
    state.rows["seen"] = torch.zeros(rows, dtype=torch.int64)
    return state


class Counting:
    """A pass after which row ``k`` has ``k`` passes left to live, and which notes the batch."""

    def __init__(self):
        self.batches = []

    def __call__(self, state):
        self.batches.append(len(state))
        state.step += state.active.to(torch.int32)
        state.ids[:, -1] = 100 + state.rows["life"]
        state.active.copy_(state.active & (state.step <= state.rows["life"]))


@pytest.mark.parametrize("every", [1, 3, 100])
def test_finished_rows_are_dropped_and_kept(every):
    state, step = start(7), Counting()
    kept = ResultBuffers(state)
    run_passes(EagerRunner(step, state), kept, limit=50, every=every)
    result = kept.result(PromptBatch.from_lists([[2]] * 7), None)
    assert result.nfe.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert result.tokens[:, -1].tolist() == [100 + k for k in range(7)]
    wanted = {1: [7, 6, 5, 4, 3, 2, 1], 3: [7] * 3 + [4] * 3 + [1] * 3, 100: [7] * 50}
    assert step.batches == wanted[every]


def test_passes_end_at_the_limit():
    state, step = start(7), Counting()
    kept = ResultBuffers(state)
    run_passes(EagerRunner(step, state), kept, limit=4, every=3)
    assert step.batches == [7, 7, 7, 4]
    result = kept.result(PromptBatch.from_lists([[2]] * 7), None)
    assert result.nfe.tolist() == [1, 2, 3, 4, 4, 4, 4]


def test_a_larger_state_takes_a_smaller_one():
    large, small = start(7), start(3)
    small.ids += 1
    small.active[1] = False
    large.copy_(small)
    assert torch.equal(large.ids[:3], small.ids)
    assert large.active.tolist() == [True, False, True] + [False] * 4
    taken = large.take(torch.tensor([2, 0]))
    assert torch.equal(taken.ids, large.ids[[2, 0]])
    assert taken.rows["life"].tolist() == [2, 0]
    assert taken.real is None
