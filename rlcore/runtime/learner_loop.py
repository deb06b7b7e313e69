"""The learner's side of a run: take fragments, train, publish, free the slots, account for all.

``LearnerLoop.step`` is the one loop body of every schedule and placement; the schedule decides
which fragments it may take. Inline runs call it between fragments, local runs call it in a process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from rlcore.data.collate import Collator
from rlcore.data.ring import Fragment, TrajectoryRing
from rlcore.errors import LearnerError
from rlcore.learners.base import Batch, GradStamp, LossOutput, UpdateReport
from rlcore.runtime import control as ctl
from rlcore.runtime.contracts import Learns, Validation
from rlcore.runtime.control import Control
from rlcore.runtime.param_store import ParamStore
from rlcore.runtime.schedule import Schedule
from rlcore.runtime.stop import StopLimits
from rlcore.runtime.totals import LagWindow, Totals

Metrics = dict[str, float]


class TrainsBatches(Protocol):
    """The part of a learner that the loop needs."""

    version: int
    progress: float

    def update(
        self,
        batch: Batch | Sequence[Batch],
        loss_fn: Callable[[nn.Module, Batch], LossOutput],
        *,
        stamp: GradStamp | None = None,
        want_metrics: bool = True,
    ) -> UpdateReport:
        """Train on one batch, or on several as if they were one."""
        ...


@dataclass(slots=True)
class Phases:
    """Seconds the learner spent in each phase since the last report."""

    wait: float = 0.0
    collate: float = 0.0
    update: float = 0.0
    publish: float = 0.0
    validate: float = 0.0

    def take(self) -> Metrics:
        """Return ``time/*_s`` and start afresh."""
        names = ("wait", "collate", "update", "publish", "validate")
        values = {f"time/{name}_s": getattr(self, name) for name in names}
        for name in names:
            setattr(self, name, 0.0)
        return values


class LearnerLoop:
    """Trains on what actors deliver.

    Args:
        agent: Gives the loss.
        network: The network that ``learner`` trains.
        learner: Turns batches into new parameters.
        ring: Where fragments come from.
        store: Where new versions go.
        schedule: Which fragments may be taken.
        collator: Joins ``collator.count`` fragments into a batch.
        control: The control block.
        limits: When the run ends.
        frames_per_step: Emulator frames per environment step; ``None`` where steps are tokens.
        accumulate: Parts that the rows of a batch are split into for one update.
        validation: Measures the network between updates.
        report_every_s: Seconds between metric reports.
        totals: Counters to go on from.
        on_free: Called where a slot becomes free without an update; its writer may be asleep.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        agent: Learns,
        network: nn.Module,
        learner: TrainsBatches,
        ring: TrajectoryRing,
        store: ParamStore,
        schedule: Schedule,
        collator: Collator,
        control: Control,
        limits: StopLimits,
        *,
        frames_per_step: int | None = 1,
        accumulate: int = 1,
        validation: Validation | None = None,
        report_every_s: float = 1.0,
        totals: Totals | None = None,
        on_free: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent = agent
        self.network = network
        self.learner = learner
        self.ring = ring
        self.store = store
        self.schedule = schedule
        self.collator = collator
        self.control = control
        self.limits = limits
        self.frames_per_step = frames_per_step
        self.accumulate = accumulate
        self.validation = validation
        self.report_every_s = report_every_s
        self.totals = totals or Totals()
        self.stop_reason: str | None = None
        self._on_free = on_free
        self._clock = clock
        self._started = self._last_report = clock()
        self._seconds_before = self.totals.seconds
        self._held: list[Fragment] = []
        self._phases = Phases()
        self._lag = LagWindow()
        self._at_report = (self.totals.env_steps, self.totals.trained_steps, self.totals.updates)
        self._last: UpdateReport | None = None
        # Until the first report the 1st, 2nd, 4th, 8th, ... batch is measured too, so that a run
        # which ends before it leaves figures of its losses.
        self._taken, self._early = 0, 1
        self._state: dict[str, Tensor] = {}
        self._measured: Metrics = {}
        self._measured_at = -1

    # -- one turn -------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the published parameters: one more for every batch taken.

        A batch that was skipped or held no transition publishes the unchanged parameters again, so
        that lockstep, which counts batches, stays in step.
        """
        totals = self.totals
        return totals.updates + totals.skipped_updates + totals.empty_batches

    def updates_left(self) -> float:
        """Return how many updates ``stop.updates`` leaves; infinity without that limit."""
        limit = self.limits.updates
        return math.inf if limit is None else max(0, limit - self.totals.updates)

    def check_limits(self) -> None:
        """Set ``stop_reason`` if a limit is reached."""
        self.stop_reason = self.limits.reason(
            env_steps=self.totals.env_steps,
            updates=self.totals.updates,
            seconds=self.seconds(),
            returns=self.totals.returns,
            loss=self.totals.held_out_loss,
        )

    def publish(self) -> None:
        """Make the learner's current parameters the newest version of the store."""
        if not self._state:
            self._state = self.network.state_dict()
        self.store.publish(self._state, self.version)

    def ready(self) -> bool:
        """Return whether a batch may be complete, cheaply; used while waiting."""
        if not self.schedule.in_order:
            return len(self._held) + self.ring.ready_count() >= self.collator.count
        have = {fragment.stream for fragment in self._held}
        return all(
            stream in have or self.ring.next_in_order(stream) is not None
            for stream in range(self.ring.streams)
        )

    def step(self, before_publish: Callable[[], None] | None = None) -> bool:
        """Train once if a batch is there; return whether it was.

        Args:
            before_publish: Called after the update and before actors can see its parameters.

        Raises:
            NonFiniteError: By the learner's policy.
            LearnerError: A batch, or a damaged round that may not be missing, cannot be trained on.
        """
        fragments = self._take()
        if fragments is None:
            return False
        # Where every environment is being reset at once no row is a transition, and there is
        # nothing to take a mean over.
        report = self._update(fragments) if any(f.steps for f in fragments) else None
        started = self._clock()
        self._count(fragments, report)
        validation = self.validation
        if validation is not None and self.totals.updates % validation.every == 0:
            self._validate(validation)
            started = self._clock()
        self.check_limits()
        if before_publish is not None:
            before_publish()
        self.publish()
        for fragment in fragments:
            self.ring.release(fragment)
        self._phases.publish += self._clock() - started
        self.control.globals[ctl.LEARNER_BEAT] += 1
        return True

    def _update(self, fragments: list[Fragment]) -> UpdateReport:
        t0 = self._clock()
        batch = self.collator(fragments)
        totals = self.totals
        progress = self.limits.progress(env_steps=totals.env_steps, updates=totals.updates)
        self.learner.progress = progress
        self._taken += 1
        due = t0 - self._last_report >= self.report_every_s
        want_metrics = due or self._taken == self._early
        batch["progress"], batch["metrics"] = progress, want_metrics
        # The learner's own version counts applied updates only: its delay is to be the lag.
        lag = self.version - min(fragment.version for fragment in fragments)
        stamp = GradStamp(totals.updates - lag)
        t1 = self._clock()
        batches = batch if self.accumulate == 1 else self.collator.split(batch, self.accumulate)
        report = self.learner.update(
            batches, self.agent.loss, stamp=stamp, want_metrics=want_metrics
        )
        self._phases.collate += t1 - t0
        self._phases.update += self._clock() - t1
        if want_metrics:
            self._last = report
            self._early *= 2
        return report

    def _validate(self, validation: Validation) -> None:
        """Measure the network, once for each number of updates."""
        updates = self.totals.updates
        if updates == self._measured_at:
            return
        started = self._clock()
        self._measured = validation(self.network, updates)
        self._measured_at = updates
        self.totals.held_out_loss = self._measured["eval/loss"]
        self._phases.validate += self._clock() - started

    # -- choosing fragments ---------------------------------------------------------------------

    def _take(self) -> list[Fragment] | None:
        return self._take_in_order() if self.schedule.in_order else self._take_oldest()

    def _take_in_order(self) -> list[Fragment] | None:
        have = {fragment.stream for fragment in self._held}
        for stream in range(self.ring.streams):
            if stream not in have:
                slot = self.ring.next_in_order(stream)
                if slot is not None:
                    self._claim(slot)
        if len(self._held) < self.collator.count:
            return None
        return self._hand_over()

    def _take_oldest(self) -> list[Fragment] | None:
        wanted = self.collator.count - len(self._held)
        ready, left, writing = self.ring.oldest(wanted)
        if len(ready) < wanted or self.schedule.must_wait(self.version, left, writing):
            return None
        for slot in ready:
            self._claim(int(slot))
        return self._hand_over() if len(self._held) >= self.collator.count else None

    def _claim(self, slot: int) -> None:
        torn = self.ring.torn
        fragment = self.ring.claim(slot)
        self.totals.torn_fragments += self.ring.torn - torn
        if fragment is None:
            if self.schedule.in_order:
                raise LearnerError(
                    f"a fragment of stream {slot // self.ring.slots_per_stream} was damaged in "
                    f"shared memory at version {self.version}; {self.schedule.name} trains on "
                    "every round of every stream and cannot go on without it: resume from the last "
                    "checkpoint"
                )
            self._on_free()
            return
        if self.schedule.admits(self.version, fragment.version):
            self._held.append(fragment)
            return
        self.totals.env_steps += fragment.steps
        self.totals.dropped_steps += fragment.steps
        self.totals.dropped_fragments += 1
        self.totals.count_episodes(fragment)
        self.ring.release(fragment)
        self._on_free()

    def _hand_over(self) -> list[Fragment]:
        fragments, self._held = self._held, []
        return sorted(fragments, key=lambda f: (f.stream, f.round))

    # -- accounting -----------------------------------------------------------------------------

    def _count(self, fragments: list[Fragment], report: UpdateReport | None) -> None:
        totals, version = self.totals, self.version
        skipped = report is not None and bool(report.skipped)
        for fragment in fragments:
            totals.env_steps += fragment.steps
            totals.trained_steps += 0 if skipped else fragment.steps
            totals.count_episodes(fragment)
            self._lag.add(version - fragment.version, fragment.steps)
        if report is None:
            totals.empty_batches += 1
        elif skipped:
            totals.skipped_updates += 1
        else:
            totals.updates += 1

    def seconds(self) -> float:
        """Return the wall time of training so far, over all resumptions."""
        return self._seconds_before + self._clock() - self._started

    def waited(self, seconds: float) -> None:
        """Count time spent waiting for fragments."""
        self._phases.wait += seconds

    def records(self, final: bool = False) -> list[Metrics]:
        """Return the records that are due: a report, and what was measured on held-out data.

        With ``final`` the run has ended: there is a report, and a measurement of what the run has
        come to where a limit ended it.
        """
        if final and self.validation is not None and self.stop_reason is not None:
            self._validate(self.validation)
        report, measured = self.report(force=final), self._measured
        self._measured = {}
        found = [] if report is None else [report]
        return [*found, self._axes() | measured] if measured else found

    def _axes(self) -> Metrics:
        steps = self.totals.env_steps
        axes = {
            "step/env": steps,
            "step/update": self.totals.updates,
            "time/wall_s": self.seconds(),
        }
        return axes if self.frames_per_step is not None else axes | {"step/tokens": steps}

    def report(self, force: bool = False) -> Metrics | None:
        """Return a metric record if ``report_every_s`` has passed (or ``force``), else ``None``."""
        now = self._clock()
        elapsed = now - self._last_report
        if not force and (elapsed < self.report_every_s or self._last is None):
            return None
        totals = self.totals
        totals.seconds = self.seconds()
        record: Metrics = {
            **self._axes(),
            "lag/dropped": totals.dropped_fragments,
            "runtime/steps_dropped": totals.dropped_steps,
            "runtime/batches_empty": totals.empty_batches,
            "fault/nonfinite": totals.skipped_updates,
            "fault/torn": totals.torn_fragments,
        }
        record |= totals.episode_metrics() | self._lag.take()
        phases = self._phases.take()
        record |= phases
        record["runtime/learner_starved_frac"] = min(
            1.0, phases["time/wait_s"] / max(elapsed, 1e-9)
        )
        env, trained, updates = self._at_report
        span = max(elapsed, 1e-9)
        if self.frames_per_step is None:
            record["perf/tokens_per_s"] = (totals.trained_steps - trained) / span
        else:
            record["step/frames"] = totals.env_steps * self.frames_per_step
            record["perf/env_steps_per_s"] = (totals.env_steps - env) / span
            record["perf/trained_steps_per_s"] = (totals.trained_steps - trained) / span
        record["perf/updates_per_s"] = (totals.updates - updates) / span
        record |= self._update_metrics()
        self._at_report = (totals.env_steps, totals.trained_steps, totals.updates)
        self._last_report, self._early = now, 0
        return record

    def _update_metrics(self) -> Metrics:
        report, self._last = self._last, None
        if report is None:
            return {}
        values: dict[str, Any] = dict(report.metrics)
        values["optim/grad_norm"] = report.grad_norm
        values["loss/total"] = report.loss
        lr = getattr(self.learner, "lr", None)
        if lr is not None:
            values["optim/lr"] = lr
        return {
            name: float(value.detach()) if isinstance(value, Tensor) else float(value)
            for name, value in values.items()
            if value is not None
        }
