"""The tables of rows on the device: what a tried-out step may not touch, what an upload brings."""

from __future__ import annotations

import numpy as np
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.graph_runner import GraphKey, GraphRunner
from rlcore.inference.request import Request
from rlcore.inference.rows import RowTable
from tests.inference.engine_cases import small_model

SHARED = ("token", "position", "key", "active", "tail", "top_k", "temperature", "top_p", "penalty")


def running(**settings: object) -> GraphRunner:
    """An engine's runner in the middle of penalised requests."""
    config = EngineConfig(num_blocks=64, block_size=4, max_rows=8, overlap=True, **settings)
    engine = Engine(small_model(torch.float32), config)
    for seed, penalty in enumerate((1.0, 1.3, 2.0)):
        sampling = SamplingParams(
            seed=seed, temperature=0.5 + seed, top_k=seed, top_p=0.9, repetition_penalty=penalty
        )
        engine.submit(Request(prompt=[seed, 7, 9, 4, 2], max_new_tokens=40, sampling=sampling))
    for _ in range(6):
        engine.step()
    assert isinstance(engine.runner, GraphRunner)
    return engine.runner


def test_a_step_that_is_tried_out_leaves_no_trace_in_the_rows() -> None:
    """A graph is captured after such steps, when the rows of the first replay are there already."""
    runner = running()
    rows = runner.rows
    assert rows.seen is not None
    kept = [rows._longs, rows._ints, rows._floats, rows.seen, rows.lists(rows.width)]
    before = [x.clone() for x in kept]
    with torch.inference_mode(), rows.idle():
        for _ in range(2):
            runner._step(GraphKey(8, rows.width, True, True))
        assert not torch.equal(rows.seen, before[3]), "else the step tried nothing out"
    for value, earlier in zip(kept, before, strict=True):
        assert torch.equal(value, earlier)


def test_the_device_has_what_the_host_has() -> None:
    runner = running()
    host, rows = runner.rows.host, runner.rows
    occupied = host.occupied()
    assert len(occupied) == 3
    for name in SHARED:
        if name != "token":  # drawn on the device
            found = getattr(rows, name)[occupied].numpy()
            np.testing.assert_array_equal(found, getattr(host, name)[occupied], err_msg=name)
    np.testing.assert_array_equal(rows.table[occupied], host.table[occupied, : rows.width])
    np.testing.assert_array_equal(rows.fill[occupied], host.fill[occupied, : rows.width])


def test_fields_of_a_type_lie_together() -> None:
    table = RowTable(5, 3, 4, 100)
    for group, names in (
        ("longs", ("token", "position", "key")),
        ("ints", ("active", "tail", "top_k")),
        ("floats", ("temperature", "top_p", "penalty")),
        ("lists", ("table", "fill")),
    ):
        for place, name in enumerate(names):
            assert np.shares_memory(getattr(table, group)[place], getattr(table, name))
