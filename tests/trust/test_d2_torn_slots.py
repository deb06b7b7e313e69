"""Promise D2: torn or damaged slots are never consumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy_parts
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import make_plan, read_ledger

from rlcore.data.ring import READY, STATE, TrajectoryRing
from rlcore.data.spec import Field
from rlcore.errors import LearnerError
from rlcore.runtime.inline import InlineRun

SPEC = {"obs": Field((3,), "float32", "overlap"), "reward": Field((), "float32")}


@given(word=st.integers(0, 10**6), bit=st.integers(0, 63), fill=st.floats(-1e6, 1e6, width=32))
def test_one_wrong_bit_is_enough(word: int, bit: int, fill: float) -> None:
    ring = TrajectoryRing(SPEC, streams=1, slots_per_stream=1, unroll=3, envs=2)
    slot, arrays = ring.begin_write(0, 0)
    for array in arrays.values():
        array.fill(fill)
    ring.publish(slot, 6)
    words = ring._words[slot]
    words[word % len(words)] ^= np.uint64(1) << np.uint64(bit)
    assert ring.claim(slot) is None
    assert ring.torn == 1
    assert ring.can_write(0)


def test_an_old_payload_under_a_new_header_is_seen() -> None:
    """What a writer leaves that died after the header and was taken for whole."""
    ring = TrajectoryRing(SPEC, streams=1, slots_per_stream=1, unroll=3, envs=2)
    slot, _ = ring.begin_write(0, 0)
    ring.publish(slot, 6)
    ring.release(ring.claim(slot))
    ring.begin_write(0, 1)
    ring._header[slot, STATE] = READY
    assert ring.claim(slot) is None


def started(tmp_path: Path, schedule: str) -> tuple[InlineRun, dict]:
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    config = {"ledger": str(tmp_path / "ledger"), "stamps": str(stamps)}
    plan = make_plan(schedule, tmp_path, max_lag=0, updates=10, config=config)
    run = InlineRun(plan, toy_parts.build(plan.config))
    run.start()
    return run, config


def damage_next(run: InlineRun) -> list[float]:
    """Have the actors play, damage the fragment of stream 2, return its rewards."""
    for actor in run._actors:
        while actor.collect():
            pass
    ring = run.channels.ring
    slot = ring.slot_of(2, int(ring.consumed[2]))
    arrays = ring._arrays[slot]
    arrays["obs"][3, 1, 0] += 1.0
    return arrays["reward"][:, 0].tolist()


def test_a_damaged_fragment_is_counted_and_replaced(tmp_path: Path) -> None:
    run, config = started(tmp_path, "async")
    damaged = damage_next(run)
    while not run.finished:
        run.poll(0.05)
    run.close()
    lines = read_ledger(config)
    assert len(lines) == 10
    assert run.loop.totals.torn_fragments == 1
    seen = {step for line in lines for stream in line["rewards"] for step in stream}
    assert not seen & set(damaged)


def test_schedules_that_need_every_round_end_with_a_clear_error(tmp_path: Path) -> None:
    """A round of ``serial`` cannot be replaced by another; waiting for it would never end."""
    run, _ = started(tmp_path, "serial")
    damage_next(run)
    while not run.finished:
        messages = run.poll(0.05)
    assert any(m["kind"] == "checkpoint" for m in messages)
    with pytest.raises(LearnerError, match="stream 2 was damaged in shared memory at version 0"):
        run.poll(0.05)
    run.close()
