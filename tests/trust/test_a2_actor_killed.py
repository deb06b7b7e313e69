"""Promise A2: a killed actor is back within seconds; no fragment is trained on twice."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from toy_runs import ENVS, STREAMS, UNROLL, read_ledger, train

from rlcore.runtime import control as ctl

KILLS = 5
BACK_WITHIN_S = 5.0
STALL_WITHIN_S = 2.0


class Pulse:
    """The longest time between two updates of the learner, from the first one on."""

    def __init__(self) -> None:
        self.beat, self.since, self.longest = 0, 0.0, 0.0

    def look(self, run: Any, now: float) -> None:
        beat = int(run.control.globals[ctl.LEARNER_BEAT])
        if self.beat and beat != self.beat:
            self.longest = max(self.longest, now - self.since)
        if beat != self.beat:
            self.beat, self.since = beat, now


class Killer:
    """Kills a random actor with SIGKILL, waits until it trains again, and does so five times."""

    def __init__(self) -> None:
        self.random = random.Random(5)
        self.killed_at: list[float] = []
        self.back_after: list[float] = []
        self.due = 0.0
        self.born = time.monotonic()
        self.first_start = 0.0
        self.pulse = Pulse()

    def __call__(self, run: Any, messages: list[dict[str, Any]]) -> None:
        now = time.monotonic()
        self.pulse.look(run, now)
        started = sum(m["kind"] == "started" and m["actor"] is not None for m in messages)
        if started < 2 + len(self.killed_at):
            return
        self.first_start = self.first_start or now - self.born
        if len(self.back_after) < len(self.killed_at):
            self.back_after.append(now - self.killed_at[-1])
            self.due = now + self.random.uniform(0.05, 0.4)  # at any point of a fragment
        if len(self.killed_at) == KILLS:
            run.request_stop()
        elif now >= self.due and any(m["kind"] == "metrics" for m in messages):
            self.random.choice(run.seats).child.process.kill()
            self.killed_at.append(now)


@pytest.mark.alone
def test_five_kills_repeat_no_step_and_cost_seconds(tmp_path: Path) -> None:
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    config = {"stamps": str(stamps), "ledger": str(tmp_path / "ledger"), "slow_s": 0.003}
    killer = Killer()
    outcome = train("local", "async", actors=2, updates=10**9, config=config, watch=killer)
    assert outcome.error is None
    assert [m["cause"] for m in outcome.of_kind("actor_lost")] == ["killed by SIGKILL"] * KILLS
    assert len(killer.back_after) == KILLS
    # The wait between failures grows on purpose; the start itself may take longer on a machine that
    # is busy with other work, as the first one did.
    waits = [m["restart_in_s"] for m in outcome.of_kind("actor_lost")]
    starts = [after - wait for after, wait in zip(killer.back_after, waits, strict=True)]
    assert max(starts) < max(BACK_WITHIN_S, 1.5 * killer.first_start), starts
    assert max(waits) <= 0.2 * 2 ** (KILLS - 1)
    assert 0.0 < killer.pulse.longest < STALL_WITHIN_S

    seen = [step for line in read_ledger(config) for stream in line["rewards"] for step in stream]
    assert len(seen) == len(set(seen)) == len(read_ledger(config)) * STREAMS * UNROLL
    assert outcome.totals["torn_fragments"] == 0
    taken = sum(file.stat().st_size for file in stamps.iterdir())
    lost = sum(m["fragments_lost"] for m in outcome.of_kind("actor_lost"))
    assert lost <= KILLS  # the one it was writing, each time
    assert len(seen) <= taken
    assert outcome.totals["env_steps"] <= taken * ENVS
