"""What a writer killed at any instruction leaves behind, and staging buffers of a GPU batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlcore.data.collate import Collator
from rlcore.data.ring import FREE, READY, STATE, TrajectoryRing
from rlcore.data.spec import Field

SPEC = {
    "obs": Field((3,), "float32", "overlap"),
    "reward": Field((), "float32"),
    "final_obs": Field((3,), "float32", "rows", 2),
    "final_row": Field((), "int64", "rows", 2),
}


def make_ring(slots: int = 2) -> TrajectoryRing:
    return TrajectoryRing(SPEC, streams=2, slots_per_stream=slots, unroll=4, envs=5)


@pytest.mark.parametrize("counted", [False, True])
def test_a_round_lost_to_a_kill_is_written_again(counted):
    """The writer dies before or after it has counted the round, but before the slot is READY."""
    ring = make_ring()
    for _ in range(3):
        slot, _ = ring.begin_write(0, 0)
        ring.publish(slot, 20)
        ring.release(ring.claim(slot))
    slot, _ = ring.begin_write(0, 0)
    if counted:
        ring.written[0] = 4
    assert ring.reclaim([0]) == 1
    assert ring.states()[slot] == FREE
    assert ring.written.tolist() == [3, 0]
    again, _ = ring.begin_write(0, 1, 1)
    ring.publish(again, 20)
    assert ring.claim(again).round == 3


def test_reclaiming_leaves_whole_fragments_and_other_streams_alone():
    ring = make_ring()
    whole, _ = ring.begin_write(0, 0)
    ring.publish(whole, 20)
    ring.begin_write(0, 0)
    other, _ = ring.begin_write(1, 0)
    assert ring.reclaim([0]) == 1
    assert ring._header[whole, STATE] == READY
    assert ring.written.tolist() == [1, 0]
    ring.publish(other, 20)
    assert ring.claim(other).round == 0


@pytest.mark.gpu
def test_staging_buffers_are_not_overwritten_while_a_copy_is_on_its_way():
    device = torch.device("cuda")
    spec = {**SPEC, "obs": Field((1 << 18,), "float32", "overlap")}
    ring = TrajectoryRing(spec, streams=2, slots_per_stream=1, unroll=4, envs=2, checksum=False)
    collate = Collator(spec, unroll=4, envs=2, count=2, device=device)
    fragments = []
    for stream in range(2):
        slot, arrays = ring.begin_write(stream, 0)
        arrays["final_row"].fill(-1)
        ring.publish(slot, 8)
        fragments.append(ring.claim(slot))
    batches = []
    for value in range(4):
        for fragment in fragments:
            fragment.arrays["obs"].fill(value)
        torch.cuda._sleep(50_000_000)  # the copies queue up behind it
        batches.append(collate(fragments))
    for value, batch in enumerate(batches):
        assert np.array_equal(batch["obs"].unique().cpu().numpy(), [value])
