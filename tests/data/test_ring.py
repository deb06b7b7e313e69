"""The trajectory ring: slot states, order, back-pressure, torn and corrupted slots."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlcore.data.ring import CHECKSUM, FREE, READING, READY, WRITING, Fragment, TrajectoryRing
from rlcore.data.spec import Field
from rlcore.errors import ConfigError
from rlcore.runtime.schedule import Schedule, asynchronous, lockstep

SPEC = {
    "obs": Field((3,), "float32", "overlap"),
    "reward": Field((), "float32"),
    "core_0": Field((2,), "float32", "initial"),
    "final_obs": Field((3,), "float32", "rows", 2),
}


def make_ring(streams: int = 2, slots: int = 2, **kwargs) -> TrajectoryRing:
    return TrajectoryRing(SPEC, streams=streams, slots_per_stream=slots, unroll=4, envs=5, **kwargs)


def write(ring: TrajectoryRing, stream: int, version: int = 0, fill: float = 1.0) -> int:
    slot, arrays = ring.begin_write(stream, version)
    for array in arrays.values():
        array[...] = fill
    ring.publish(slot, 20)
    return slot


def test_shapes_follow_the_spec():
    _, arrays = make_ring().begin_write(0, 0)
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {
        "obs": (5, 5, 3),
        "reward": (4, 5),
        "core_0": (5, 2),
        "final_obs": (2, 3),
    }


def test_a_slot_goes_round_its_four_states():
    ring = make_ring(streams=1, slots=1)
    assert ring.states().tolist() == [FREE]
    slot, _ = ring.begin_write(0, 7)
    assert ring.states().tolist() == [WRITING]
    ring.publish(slot, 3)
    assert ring.states().tolist() == [READY]
    fragment = ring.claim(slot)
    assert ring.states().tolist() == [READING]
    assert (fragment.stream, fragment.round, fragment.version, fragment.steps) == (0, 0, 7, 3)
    ring.release(fragment)
    assert ring.states().tolist() == [FREE]


def test_a_full_stream_blocks_alone():
    ring = make_ring(streams=2, slots=2)
    write(ring, 0)
    write(ring, 0)
    assert not ring.can_write(0)
    assert ring.can_write(1)
    with pytest.raises(RuntimeError, match="READY, wanted FREE"):
        ring.begin_write(0, 0)


def test_the_payload_is_shared_not_copied():
    ring = make_ring()
    other = make_ring(fd=ring.fd)
    slot = write(ring, 1, fill=2.5)
    fragment = other.claim(slot)
    assert (fragment.arrays["obs"] == 2.5).all()
    ring._arrays[slot]["obs"][0, 0, 0] = -1.0
    assert fragment.arrays["obs"][0, 0, 0] == -1.0


@pytest.mark.parametrize("byte", [0, 1, 100, 200, 255, -1])
def test_a_flipped_byte_is_never_consumed(byte):
    ring = make_ring()
    slot = write(ring, 0)
    raw = ring._words[slot].view("uint8")
    raw[byte] ^= 0x10
    assert ring.claim(slot) is None
    assert ring.torn == 1
    assert ring.states()[slot] == FREE


def test_a_wrong_checksum_or_header_is_never_consumed():
    ring = make_ring()
    slot = write(ring, 0)
    ring._header[slot, CHECKSUM] += 1
    assert ring.claim(slot) is None
    slot = write(ring, 0)
    ring._header[slot, 2] += ring.slots_per_stream  # a round that lives in this slot, but later
    assert ring.claim(slot) is None


def test_a_round_is_consumed_once():
    ring = make_ring(streams=1, slots=1)
    slot = write(ring, 0)
    fragment = ring.claim(slot)
    ring.release(fragment)
    ring._header[slot, 0] = READY  # the same round offered again
    assert ring.claim(slot) is None
    assert ring.torn == 1


def test_reclaim_frees_half_written_slots_only():
    ring = make_ring(streams=2, slots=2)
    whole = write(ring, 0)
    half, _ = ring.begin_write(0, 0)
    other, _ = ring.begin_write(1, 0)
    assert ring.reclaim([0]) == 1
    states = ring.states()
    assert (states[whole], states[half], states[other]) == (READY, FREE, WRITING)
    assert write(ring, 0) == half  # the next incarnation writes the same round again


def test_ready_is_sorted_by_age():
    ring = make_ring(streams=3, slots=2)
    late = write(ring, 0, version=5)
    early = write(ring, 2, version=3)
    middle = write(ring, 1, version=3)
    assert ring.oldest(3)[0].tolist() == [middle, early, late]
    assert ring.oldest(2)[0].tolist() == [middle, early]


def test_the_oldest_and_what_they_leave_are_of_one_look(monkeypatch):
    """A fragment finished while the ring is looked at still counts as being written."""
    ring = make_ring(streams=3, slots=1)
    young, other = write(ring, 0, version=4), write(ring, 1, version=5)
    straggler, _ = ring.begin_write(2, 3)
    order = ring._oldest_first

    def finish_meanwhile(slots):
        ring.publish(straggler, 1)
        return order(slots)

    assert ring.oldest(1)[0].tolist() == [young]
    assert ring.oldest(1)[1:] == ([3, 5], 1)
    monkeypatch.setattr(ring, "_oldest_first", finish_meanwhile)
    taken, left, writing = ring.oldest(1)
    assert (taken.tolist(), left, writing) == ([young], [3, 5], 1)
    schedule = asynchronous(1, streams=3, batch=3, on_stale="wait")
    assert schedule.must_wait(4, left, writing)
    assert not schedule.must_wait(4, left, 0)  # with none being written there is none to wait for
    monkeypatch.undo()
    taken, left, writing = ring.oldest(2)
    assert (taken.tolist(), left, writing) == ([straggler, young], [5], 0)
    assert ring.states()[other] == READY


def test_bad_geometry_is_refused():
    with pytest.raises(ConfigError, match="unroll must be >= 1, got 0"):
        TrajectoryRing(SPEC, streams=1, slots_per_stream=1, unroll=0, envs=1)
    with pytest.raises(ConfigError, match="0 slots"):
        make_ring(slots=0)
    with pytest.raises(ConfigError, match="got 0"):
        TrajectoryRing(SPEC, streams=1, slots_per_stream=1, unroll=1, envs=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(0, 3), max_size=40))
def test_rounds_arrive_in_order_and_unique(streams, slots, turns):
    ring = make_ring(streams, slots)
    seen: list[tuple[int, int]] = []
    for turn in turns:
        stream = turn % streams
        if ring.can_write(stream):
            write(ring, stream)
        elif (slot := ring.next_in_order(stream)) is not None:
            fragment = ring.claim(slot)
            seen.append((fragment.stream, fragment.round))
            ring.release(fragment)
    for stream in range(streams):
        rounds = [r for s, r in seen if s == stream]
        assert rounds == list(range(len(rounds)))


class Interleaving:
    """Three actors and a learner that take turns in an order drawn at random.

    Some actors are drawn seldom: their fragments are the ones that grow old.
    """

    streams = 3

    def __init__(self, schedule: Schedule, seed: int) -> None:
        self.schedule = schedule
        self.random = random.Random(seed)
        self.pace = [self.random.choice((1, 3, 10)) for _ in range(self.streams)]
        self.ring = make_ring(self.streams, schedule.slots_per_stream, checksum=False)
        self.version = 0
        self.writing: dict[int, int] = {}
        self.held: list[Fragment] = []
        self.dropped = 0
        self.trained: list[tuple[int, int]] = []
        self.lags: list[int] = []

    def turn(self) -> None:
        if self.random.random() < 0.4:
            self.learn()
        else:
            (stream,) = self.random.choices(range(self.streams), self.pace)
            self.act(stream)

    def act(self, stream: int) -> None:
        if stream in self.writing:
            self.ring.publish(self.writing.pop(stream), 1)
        elif self.ring.can_write(stream):
            self.writing[stream], _ = self.ring.begin_write(stream, self.version)

    def learn(self) -> bool:
        ready, left, writing = self.ring.oldest(self.schedule.batch - len(self.held))
        if len(self.held) + len(ready) < self.schedule.batch:
            return False
        if self.schedule.must_wait(self.version, left, writing):
            return False
        for slot in ready:
            fragment = self.ring.claim(int(slot))
            assert fragment is not None
            if self.schedule.admits(self.version, fragment.version):
                self.held.append(fragment)
            else:
                self.dropped += 1
                self.ring.release(fragment)
        if len(self.held) < self.schedule.batch:
            return True
        for fragment in self.held:
            self.lags.append(self.version - fragment.version)
            self.trained.append((fragment.stream, fragment.round))
        self.version += 1
        for fragment in self.held:
            self.ring.release(fragment)
        self.held = []
        return True

    def finish(self) -> None:
        """Let everybody write to the end; once nobody writes, waiting must end too."""
        for stream in list(self.writing):
            self.act(stream)
        while len(self.held) + self.ring.ready_count() >= self.schedule.batch:
            assert self.learn()


@settings(max_examples=100, deadline=None)
@given(
    slack=st.integers(0, 4),
    batch=st.integers(1, 3),
    ahead=st.integers(0, 3),
    wait=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_no_interleaving_exceeds_the_lag(slack, batch, ahead, wait, seed):
    least = -(-Interleaving.streams // batch) - 1
    schedule = asynchronous(
        least + slack,
        streams=Interleaving.streams,
        batch=batch,
        ahead=ahead,
        on_stale="wait" if wait else "drop",
    )
    run = Interleaving(schedule, seed)
    for _ in range(200):
        run.turn()
    run.finish()
    assert max(run.lags) <= schedule.max_lag
    assert not (wait and run.dropped)
    assert len(set(run.trained)) == len(run.trained)
    left = len(run.held) + run.ring.ready_count()
    assert len(run.trained) + run.dropped + left == run.ring.written.sum()


def test_waiting_looks_at_what_is_ready_too():
    """Two stragglers of version 0 are done at once, and one fragment leaves with each update."""
    schedule = asynchronous(2, streams=3, batch=1, on_stale="wait")
    must_wait = schedule.must_wait
    assert not must_wait(0, [0, 0], 2)
    assert must_wait(1, [0, 0], 2), "version 2 could train on one of them, version 3 on none"
    assert must_wait(1, [0, 0], 1)
    assert not must_wait(1, [0, 0], 0), "nobody writes: there is nothing to wait for"
    assert not must_wait(1, [0], 1)
    assert must_wait(2, [0], 1)
    assert not must_wait(2, [2, 2], 2)
    assert not asynchronous(2, streams=3, batch=1).must_wait(2, [0], 1)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_lockstep_lag_is_exact(lag):
    schedule = lockstep(lag)
    for round_ in range(10):
        assert schedule.version_for(round_) == max(0, round_ - lag)
    assert schedule.slots_per_stream == lag + 1


def test_async_slots_formula():
    def slots(max_lag, streams, batch, ahead):
        return asynchronous(max_lag, streams=streams, batch=batch, ahead=ahead).slots_per_stream

    assert slots(0, 4, 4, 2) == 1
    assert slots(4, 4, 4, 2) == 3
    assert slots(4, 4, 4, 9) == 5
    assert slots(7, 4, 1, 9) == 2
    with pytest.raises(ConfigError, match="wanted max_lag >= 3"):
        slots(2, 4, 1, 9)
    with pytest.raises(ConfigError, match=r"batch must be in \[1, 4\]"):
        slots(2, 4, 5, 9)


def test_checksum_can_be_turned_off():
    ring = make_ring(checksum=False)
    slot = write(ring, 0)
    ring._words[slot][0] ^= np.uint64(1)
    assert ring.claim(slot) is not None
