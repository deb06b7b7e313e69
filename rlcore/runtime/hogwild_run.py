"""The parent's side of a Hogwild run: counting, stopping, checkpoints, supervision of workers."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlcore.errors import CheckpointError, ConfigError, RlcoreError
from rlcore.runtime import control as ctl
from rlcore.runtime.control import Control
from rlcore.runtime.hogwild import HogwildWorker, SharedTheta, initial_shared
from rlcore.runtime.nested_state import split_state
from rlcore.runtime.plan import Parts, RunPlan
from rlcore.runtime.process import Message
from rlcore.runtime.roles import make_checkpointer, open_checkpoint
from rlcore.runtime.supervisor import ActorSeat, Supervisor
from rlcore.runtime.totals import LagWindow, Totals

WORKERS_STOP_S = 10.0
Metrics = dict[str, float]


class HogwildMonitor:
    """Merges what workers report into one record, decides when to stop, writes checkpoints.

    Args:
        plan: The run.
        parts: The parts.
        shared: The shared parameters.
        control: The control block.
        totals: Counters to go on from.
    """

    def __init__(
        self, plan: RunPlan, parts: Parts, shared: SharedTheta, control: Control, totals: Totals
    ) -> None:
        self.plan = plan
        self.control = control
        self.totals = totals
        self.limits = plan.limits()
        if parts.env_spec is None:
            raise ConfigError("runtime.schedule 'hogwild' needs environments, got a data set")
        self.frames_per_step = parts.env_spec.frames_per_step
        self.network = parts.agent.build_network()
        self.learner = shared.make_learner(self.network, parts, lock=False)
        self.checkpointer = make_checkpointer(plan)
        self.saved: Path | None = None
        self._before = replace(totals)
        self._started = self._last_report = self._last_save = time.monotonic()
        self._at_report = (totals.env_steps, totals.updates)
        self._lag = LagWindow()
        self._records: list[Metrics] = []

    @property
    def before(self) -> tuple[int, int]:
        """Environment steps and updates of the run before this start."""
        return self._before.env_steps, self._before.updates

    def add(self, message: Message) -> None:
        """Take one worker's report."""
        self.totals.returns.extend(message["returns"])
        self.totals.lengths.extend(message["lengths"])
        self.totals.episodes += len(message["returns"])
        lag_sum, steps, largest = message["lag"]
        self._lag.steps += steps
        self._lag.weighted += lag_sum
        self._lag.largest = max(self._lag.largest, largest)
        if message["record"]:
            self._records.append(message["record"])

    def refresh(self) -> str | None:
        """Bring the counters up to date and return why the run is over, if it is."""
        sums, before, totals = self.control.actor.sum(axis=0), self._before, self.totals
        totals.env_steps = totals.trained_steps = before.env_steps + int(sums[ctl.STEPS])
        totals.updates = before.updates + int(sums[ctl.UPDATES])
        totals.skipped_updates = before.skipped_updates + int(sums[ctl.SKIPPED])
        totals.empty_batches = before.empty_batches + int(sums[ctl.EMPTY])
        totals.seconds = before.seconds + time.monotonic() - self._started
        if self.control.stop_requested:
            return "stop requested"
        return self.limits.reason(
            env_steps=totals.env_steps,
            updates=totals.updates,
            seconds=totals.seconds,
            returns=totals.returns,
        )

    def report(self, force: bool = False) -> Metrics | None:
        """Return a metric record if it is time and workers have reported."""
        now = time.monotonic()
        span = now - self._last_report
        if not force and (span < self.plan.report_every_s or not self._records):
            return None
        totals = self.totals
        steps, updates = self._at_report
        record: Metrics = {
            "step/env": totals.env_steps,
            "step/frames": totals.env_steps * self.frames_per_step,
            "step/update": totals.updates,
            "time/wall_s": totals.seconds,
            "fault/nonfinite": totals.skipped_updates,
            "runtime/batches_empty": totals.empty_batches,
            "perf/env_steps_per_s": (totals.env_steps - steps) / max(span, 1e-9),
            "perf/trained_steps_per_s": (totals.env_steps - steps) / max(span, 1e-9),
            "perf/updates_per_s": (totals.updates - updates) / max(span, 1e-9),
        }
        record |= totals.episode_metrics() | self._lag.take()
        names = sorted({name for values in self._records for name in values})
        for name in names:
            values = [r[name] for r in self._records if name in r]
            record[name] = sum(values) / len(values)
        self._records, self._last_report = [], now
        self._at_report = (totals.env_steps, totals.updates)
        return record

    def save_if_due(self, final: bool = False) -> Message | None:
        """Write a checkpoint if it is time; return the event."""
        every = self.plan.checkpoint_every_s
        if not final and (every is None or time.monotonic() - self._last_save < every):
            return None
        started = time.monotonic()
        self.learner.pull()
        self.learner.version = self.totals.updates
        tensors, values = split_state(self.learner.state_dict())
        state = {
            "version": self.totals.updates,
            "epoch": self.plan.epoch,
            "oldest_version": self.totals.updates,
            "learner": values,
            "totals": self.totals.to_json(),
            "streams": [],
        }
        self._last_save = time.monotonic()
        try:
            self.saved = self.checkpointer.save(
                self.totals.env_steps,
                {"learner": tensors, "params-0": self.network.state_dict()},
                state,
                metrics=self.totals.episode_metrics(),
            )
        except CheckpointError as error:
            return {"kind": "checkpoint_failed", "message": str(error), "final": final}
        return {
            "kind": "checkpoint",
            "path": str(self.saved),
            "step": self.totals.env_steps,
            "update": self.totals.updates,
            "wall_s": self.totals.seconds,
            "seconds": time.monotonic() - started,
            "bytes": sum(file.stat().st_size for file in self.saved.iterdir()),
            "final": final,
        }


def _resume(plan: RunPlan, parts: Parts) -> tuple[SharedTheta, Totals]:
    checkpoint = open_checkpoint(plan)
    shared = initial_shared(plan, parts, checkpoint)
    totals = Totals() if checkpoint is None else Totals.from_json(checkpoint.state["totals"])
    return shared, totals


def _late(workers: list[int]) -> Message:
    names = ", ".join(f"actor-{index:02d}" for index in workers)
    return {
        "kind": "warning",
        "message": f"{names} did not stop within {WORKERS_STOP_S:g} s; the last checkpoint may be "
        "taken while one of them applies an update",
    }


class HogwildSupervisor(Supervisor):
    """A local Hogwild run: ``plan.actors`` workers, no learner process."""

    actor_entry = "rlcore.runtime.hogwild:worker_main"

    def open_channels(self) -> None:
        """Make the shared parameters and the control block."""
        self.shared, totals = _resume(self.plan, self.parts)
        self.control = Control(self.plan.actors, self.plan.streams)
        self.monitor = HogwildMonitor(self.plan, self.parts, self.shared, self.control, totals)

    def shared_fds(self) -> dict[str, Any]:
        """Return the descriptors that workers inherit."""
        return {"theta": self.shared.block.fd, "control": self.control.fd}

    def start(self) -> None:
        """Start the workers; see :meth:`Supervisor.start` on threads."""
        if self.monitor.refresh() is not None:
            self.control.stop()  # what the run goes on from is past its limits already
        self.start_actors()

    def actor_args(self) -> dict[str, Any]:
        """Tell workers what was done before this start."""
        return {"before": self.monitor.before}

    def reclaim(self, streams: list[int]) -> int:
        """Nothing is shared but parameters: a dead worker loses the fragment it was playing."""
        return len(streams)

    def wake(self) -> None:
        """Workers never wait."""

    def close_channels(self) -> None:
        """Close the shared memory."""
        self.shared.block.close()
        self.control.block.close()

    def poll(self, timeout: float) -> list[Message]:
        """Wait up to ``timeout`` seconds and return what has happened."""
        out = self._count(super().poll(timeout))
        if self.finished:
            return out
        reason = self.monitor.refresh()
        if reason is not None:
            out += self._stop_workers()
        record = self.monitor.report(force=reason is not None)
        if record is not None:
            out.append({"kind": "metrics", "from": "monitor", "record": record | self.health()})
        event = self.monitor.save_if_due(final=reason is not None)
        if reason is not None:
            self._done = {"kind": "done", "reason": reason, "saved": str(self.monitor.saved or "")}
            self.finished = True
        return out + ([event] if event is not None else [])

    def _count(self, messages: list[Message]) -> list[Message]:
        """Take the workers' reports out of ``messages``."""
        for message in messages:
            if message["kind"] == "worker":
                self.monitor.add(message)
        return [message for message in messages if message["kind"] != "worker"]

    def _stop_workers(self) -> list[Message]:
        """Stop the workers; once none changes the parameters any more, bring the counters up."""
        self.control.stop()
        late: list[Message] = []
        deadline = time.monotonic() + WORKERS_STOP_S
        while running := [seat.index for seat in self.seats if self._trains(seat)]:
            if time.monotonic() > deadline:
                late = [_late(running)]
                break
            time.sleep(0.005)
        self.monitor.refresh()
        return self._count(self._receive()) + late

    def _trains(self, seat: ActorSeat) -> bool:
        phase = int(self.control.actor[seat.index, ctl.PHASE])
        if seat.child is None or phase in (ctl.STARTING, ctl.STOPPED):
            return False
        return seat.child.poll() is None

    def _watch_learner(self, now: float, messages: list[Message]) -> None:
        """There is no learner process to watch."""


class InlineHogwild:
    """Hogwild in one process: workers take turns; with one worker this is serial A3C."""

    def __init__(self, plan: RunPlan, parts: Parts) -> None:
        self.plan = plan
        self.shared, totals = _resume(plan, parts)
        self.control = Control(plan.actors, plan.streams)
        self.monitor = HogwildMonitor(plan, parts, self.shared, self.control, totals)
        self.parts = parts
        self.workers: list[HogwildWorker] = []
        self.finished = False
        self.result: Message | None = None
        self._failure: RlcoreError | None = None
        self._events: list[Message] = []

    def start(self) -> None:
        """Build the workers."""
        before = self.monitor.before
        self.workers = [
            HogwildWorker(self.plan, self.parts, self.shared, self.control, i, before, self._emit)
            for i in range(self.plan.actors)
        ]

    def _emit(self, kind: str, **fields: Any) -> None:
        self._events.append({"kind": kind, "from": "inline", **fields})

    def poll(self, timeout: float) -> list[Message]:
        """Work for about ``timeout`` seconds and return what has happened.

        A failure is raised by the call after the one that sets ``finished``, as in a local run.

        Raises:
            RlcoreError: Acting or training cannot go on; the last checkpoint has the good
                parameters.
        """
        if self._failure is not None:
            raise self._failure
        deadline = time.monotonic() + timeout
        reason = self.monitor.refresh()
        while reason is None and time.monotonic() < deadline:
            reason = self._turn()
        out, self._events = self._events, []
        record = self.monitor.report(force=reason is not None)
        if record is not None:
            out.append({"kind": "metrics", "from": "inline", "record": record})
        event = self.monitor.save_if_due(final=reason is not None)
        out += [event] if event is not None else []
        if reason is not None:
            self.finished = True
            self.result = {"kind": "done", "reason": reason, "saved": str(self.monitor.saved or "")}
        return out

    def _turn(self) -> str | None:
        """Have each worker train once; return why the run is over, if it is."""
        for worker in self.workers:
            try:
                report = worker.step(want_metrics=True)
            except RlcoreError as error:
                self._failure = error
                self.monitor.refresh()
                return str(error)
            self.monitor.add(worker.take_report(report))
            reason = self.monitor.refresh()
            if reason is not None:
                return reason
        return None

    def request_stop(self) -> None:
        """Finish the update at hand, checkpoint and stop."""
        self.control.request_stop()

    def close(self) -> None:
        """Close environments and shared memory."""
        for worker in self.workers:
            worker.close()
        self.workers = []
        self.shared.block.close()
        self.control.block.close()
