"""Prompts through graphs: what padding adds is seen by nobody, and shapes come again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlcore.inference import prefill_graphs
from rlcore.inference.config import EngineConfig
from rlcore.inference.engine import Engine
from rlcore.inference.graph_runner import GraphRunner
from rlcore.inference.prefill import PrefillBatch
from rlcore.inference.prefill_graphs import PrefillShape, padded
from rlcore.inference.request import Request
from rlcore.inference.rows import NO_WRITE
from tests.inference.engine_cases import small_model


def random_batch(seed: int) -> PrefillBatch:
    g = np.random.default_rng(seed)
    counts = g.integers(1, 30, g.integers(1, 7))
    tokens, width = int(counts.sum()), int(g.integers(1, 12))
    return PrefillBatch(
        ids=g.integers(0, 99, tokens),
        positions=g.integers(0, 999, tokens),
        slots=g.integers(0, 999, tokens),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        table=g.integers(0, 99, (len(counts), width)).astype(np.int32),
        fill=g.integers(1, 5, (len(counts), width)).astype(np.int32),
    )


@pytest.mark.parametrize("seed", range(20))
def test_padding_adds_tokens_of_no_chunk_that_are_not_written(seed: int) -> None:
    batch = random_batch(seed)
    shape = PrefillShape.around(batch)
    assert all(number & (number - 1) == 0 for number in shape)
    longs, ints = padded(batch, shape)
    tokens, (chunks, width) = len(batch.ids), batch.table.shape
    assert longs.shape == (3, shape.tokens)
    np.testing.assert_array_equal(longs[:, :tokens], [batch.ids, batch.positions, batch.slots])
    assert (longs[2, tokens:] == NO_WRITE).all()
    entries = shape.chunks * shape.width
    starts, table, fill = np.split(ints, [shape.chunks + 1, shape.chunks + 1 + entries])
    np.testing.assert_array_equal(starts[: chunks + 1], batch.starts)
    assert (starts[chunks:] == tokens).all()
    for found, wanted in ((table, batch.table), (fill, batch.fill)):
        whole = found.reshape(shape.chunks, shape.width)
        np.testing.assert_array_equal(whole[:chunks, :width], wanted)
        assert whole[chunks:].sum() + whole[:, width:].sum() == 0
    assert shape.longest >= batch.max_query


def generate(requests: list[Request], **settings: object) -> tuple[list[list[int]], Engine]:
    config = EngineConfig(num_blocks=64, block_size=4, max_rows=8, prefix_cache=False, **settings)
    engine = Engine(small_model(torch.float32), config)
    # One by one: each prompt is a pass of its own.
    return [engine.generate([request])[0].ids.tolist() for request in requests], engine


def test_prompts_through_graphs_give_the_tokens_of_plain_passes() -> None:
    g = np.random.default_rng(0)
    lengths = (40, 35, 33, 60, 40)
    requests = [Request(prompt=g.integers(0, 20, n).tolist(), max_new_tokens=6) for n in lengths]
    found, engine = generate(requests, overlap=True)
    assert found == generate(requests, overlap=False)[0]
    assert isinstance(engine.runner, GraphRunner)
    # 64 tokens in lists of up to 16 blocks: met by the first, captured by the second.
    assert engine.runner.prefills.shapes == [PrefillShape(64, 1, 16, 64)]


def test_long_passes_are_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_graphs, "MOST_TOKENS", 32)
    requests = [Request(prompt=[1] * 40, max_new_tokens=2) for _ in range(3)]
    _, engine = generate(requests, overlap=True)
    assert isinstance(engine.runner, GraphRunner)
    assert engine.runner.prefills.shapes == []


def test_graphs_are_of_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_graphs, "MOST_GRAPHS", 1)
    lengths = (40, 40, 70, 70, 70, 40)
    requests = [Request(prompt=[1] * n, max_new_tokens=2) for n in lengths]
    found, engine = generate(requests, overlap=True)
    assert isinstance(engine.runner, GraphRunner)
    assert engine.runner.prefills.shapes == [PrefillShape(64, 1, 16, 64)]
    assert found == generate(requests, overlap=False)[0]
