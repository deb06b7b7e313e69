"""A Hogwild worker that is killed comes back, and nothing is counted that was not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy_runs import ENVS, STREAMS, UNROLL, read_ledger, train

from rlcore.runtime import control as ctl

WORKERS, KILLS, MORE = 2, 2, 20


class KillInTurn:
    """Kills each worker once, and stops the run when both have trained again."""

    def __init__(self) -> None:
        self.updates_at_kill: list[int] = []
        self.workers: list[int] = []

    def __call__(self, run: Any, messages: list[dict[str, Any]]) -> None:
        started = [m["actor"] for m in messages if m["kind"] == "started"]
        if len(started) < WORKERS + len(self.workers):
            return
        rows = run.control.actor
        if self.workers:
            done = int(rows[self.workers[-1], ctl.UPDATES])
            if done < self.updates_at_kill[-1] + MORE:
                return
        if len(self.workers) == KILLS:
            run.request_stop()
        elif rows[:, ctl.UPDATES].min() >= MORE:
            worker = len(self.workers)
            run.seats[worker].child.process.kill()
            run.seats[worker].child.process.wait()
            self.workers.append(worker)
            self.updates_at_kill.append(int(rows[worker, ctl.UPDATES]))


def test_killed_workers_come_back_and_the_totals_are_those_of_the_work_done(tmp_path: Path) -> None:
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    config = {"stamps": str(stamps), "ledger": str(tmp_path / "ledger"), "slow_s": 0.003}
    watch = KillInTurn()
    outcome = train("local", "hogwild", actors=WORKERS, updates=10**9, config=config, watch=watch)
    assert outcome.error is None
    assert outcome.result["reason"] == "stop requested"
    lost = outcome.of_kind("actor_lost")
    assert [m["cause"] for m in lost] == ["killed by SIGKILL"] * KILLS
    assert [m["restart_in_s"] for m in lost] == [0.2] * KILLS  # the first failure of each
    assert outcome.records()[-1]["fault/restarts"] == KILLS
    assert outcome.records()[-1]["fault/healthy"] == WORKERS

    # A kill can fall between a gradient and its count; never is more counted than was done.
    ledger, totals = read_ledger(config), outcome.totals
    assert len(ledger) - KILLS <= totals["updates"] <= len(ledger)
    steps = sum(line["steps"] for line in ledger)
    assert steps - KILLS * UNROLL * ENVS <= totals["env_steps"] <= steps
    assert totals["env_steps"] == totals["trained_steps"]
    seen = [step for line in ledger for stream in line["rewards"] for step in stream]
    assert len(seen) == len(set(seen)) == len(ledger) * UNROLL
    # Every step that was played is in the ledger, but for the fragment each kill interrupted and
    # the one each worker may have begun when the run stopped.
    taken = sum(file.stat().st_size for file in stamps.iterdir())
    assert len(seen) <= taken <= len(seen) + (KILLS + WORKERS) * UNROLL
    assert len(list(stamps.iterdir())) == STREAMS + KILLS * STREAMS // WORKERS


def test_a_worker_that_keeps_dying_waits_longer_each_time_and_ends_the_run(tmp_path: Path) -> None:
    fault = {"kind": "kill", "actor": "actor 1", "step": 5}
    outcome = train(
        "local", "hogwild", actors=WORKERS, updates=10**9, config={"fault": fault}, max_restarts=2
    )
    assert "actors failed 3 times (runtime.max_restarts=2)" in str(outcome.error)
    assert "3 x  actor 1: killed by SIGKILL" in str(outcome.error)
    assert [m["restart_in_s"] for m in outcome.of_kind("actor_lost")] == [0.2, 0.4, None]
    assert outcome.totals["updates"] > 0  # what the other worker learnt is saved
