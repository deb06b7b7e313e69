"""The supervisor: starts the processes of a local run, watches, restarts and ends them.

It lives in the parent process. Actors are watched by exit status and by a beat that their step loop
itself writes, so a hung environment is seen; a dead actor's half-written slot is reclaimed and the
actor starts again with fresh episodes. When the parent dies, the kernel ends every child.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlcore.errors import (
    ActorLostError,
    EnvContractError,
    LearnerError,
    NonFiniteError,
    RlcoreError,
)
from rlcore.runtime import control as ctl
from rlcore.runtime.channels import Channels, parameter_layout
from rlcore.runtime.plan import Parts, RunPlan
from rlcore.runtime.process import ChildProcess, Message, describe_exit, wait_for_messages
from rlcore.runtime.restarts import RestartBudget

STOP_DEADLINE_S = 30.0
STACK_DUMP_S = 1.0
LEAVE_S = 3.0
GRACE_S = 2.0
_ERRORS: dict[str, type[RlcoreError]] = {
    error.__name__: error for error in (EnvContractError, NonFiniteError, LearnerError)
}


@dataclass(slots=True)
class ActorSeat:
    """One actor's place: the process in it and what is known of its progress."""

    index: int
    streams: list[int]
    child: ChildProcess | None = None
    restart_at: float = 0.0
    beat: int = -1
    phase: int = -1
    beat_at: float = 0.0
    seconds_per_beat: float = 0.0
    error: str | None = None
    fatal: RlcoreError | None = None


class Supervisor:
    """A local run: one learner, ``plan.actors`` actors, shared memory between them.

    Args:
        plan: Geometry and limits.
        parts: The same parts that children build; used for shapes.
    """

    actor_entry = "rlcore.runtime.roles:actor_main"
    learner_entry = "rlcore.runtime.roles:learner_main"

    def __init__(self, plan: RunPlan, parts: Parts) -> None:
        self.plan = plan
        self.parts = parts
        self.open_channels()
        self.budget = RestartBudget(plan.max_restarts, plan.restart_window_s)
        self.seats = [ActorSeat(i, plan.streams_of(i)) for i in range(plan.actors)]
        self.learner: ChildProcess | None = None
        self.finished = False
        self._done: Message | None = None
        self._failure: RlcoreError | None = None
        self._stop_since: float | None = None
        self._blocked = (0, 0)
        self._memory_checked = 0.0

    # -- starting -------------------------------------------------------------------------------

    def open_channels(self) -> None:
        """Make the shared memory."""
        spec = self.plan.fragment_spec(self.parts)
        layout = parameter_layout(self.parts)
        self.channels = Channels(self.plan, spec, layout, self.parts.agent.unroll)
        self.control = self.channels.control

    def shared_fds(self) -> dict[str, Any]:
        """Return the descriptors that children inherit, by name."""
        return self.channels.fds()

    def start(self) -> None:
        """Start all processes.

        Call it, and ``poll``, from one thread that lives as long as the run. From the main thread
        the kernel ends every child with this process; from another thread the children themselves
        watch that this process lives, and notice its end within
        ``rlcore.runtime.child.PARENT_CHECK_S``.
        """
        self.learner = self._spawn("learner", self.learner_entry, {}, self.plan.learner_threads)
        self.start_actors()

    def start_actors(self) -> None:
        """Start every actor."""
        for seat in self.seats:
            self._seat(seat)

    def _spawn(self, name: str, entry: str, args: dict[str, Any], threads: int) -> ChildProcess:
        fds = self.shared_fds()
        numbers = {
            n for value in fds.values() for n in (value if isinstance(value, list) else [value])
        }
        log = Path(self.plan.run_dir) / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return ChildProcess(
            name, entry, {"plan": self.plan.to_json(), "fds": fds, **args}, numbers, log, threads
        )

    def _seat(self, seat: ActorSeat) -> None:
        row = self.control.actor[seat.index]
        row[ctl.PHASE] = ctl.STARTING
        seat.child = self._spawn(
            f"actor-{seat.index:02d}",
            self.actor_entry,
            {"index": seat.index, "streams": seat.streams} | self.actor_args(),
            self.plan.threads_per_actor,
        )
        seat.beat, seat.beat_at, seat.error = int(row[ctl.BEAT]), time.monotonic(), None

    def actor_args(self) -> dict[str, Any]:
        """Return what actors are told besides the plan."""
        return {}

    # -- watching -------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Message]:
        """Wait up to ``timeout`` seconds and return what has happened.

        A failure is raised by the call after the one that sets ``finished``, so that the messages
        which led to it are not lost.

        Raises:
            ActorLostError: Actors failed more often than allowed; the learner has checkpointed.
            EnvContractError: An environment broke the contract.
            LearnerError: The learner died, or a Hogwild worker cannot train on.
        """
        if self.finished and self._failure is not None:
            raise self._failure
        wait_for_messages(self._children(), timeout)
        messages = self._receive()
        now = time.monotonic()
        if not self._stopping:
            for seat in self.seats:
                self._watch(seat, now, messages)
        elif any(seat.child is None or seat.child.poll() is not None for seat in self.seats):
            self.control.abandon_streams()
        self._watch_learner(now, messages)
        return messages

    def _children(self) -> list[ChildProcess]:
        children = [seat.child for seat in self.seats if seat.child is not None]
        return children + ([self.learner] if self.learner is not None else [])

    @property
    def _stopping(self) -> bool:
        return self._stop_since is not None or self._done is not None

    def _receive(self) -> list[Message]:
        messages: list[Message] = []
        if self.learner is not None:
            messages += [self._from_learner(m) for m in self.learner.receive()]
        for seat in self.seats:
            for message in seat.child.receive() if seat.child is not None else []:
                if message["kind"] == "error":
                    self._actor_error(seat, message)
                messages.append({"from": f"actor-{seat.index:02d}", **message})
        return messages

    def _from_learner(self, message: Message) -> Message:
        if message["kind"] == "metrics" and "eval/loss" not in message["record"]:
            message["record"] |= self.health()
        elif message["kind"] == "done":
            self._done = message
        elif message["kind"] == "error" and self._failure is None:
            error = _ERRORS.get(message["type"], LearnerError)
            self._failure = error(f"learner: {message['message']}")
        return {"from": "learner", **message}

    def _actor_error(self, seat: ActorSeat, message: Message) -> None:
        seat.error = f"{message['type']}: {message['message']}"
        if message["fatal"]:
            error = _ERRORS.get(message["type"], LearnerError)
            seat.fatal = error(f"actor {seat.index}: {message['message']}")

    def health(self) -> dict[str, float]:
        """Return the actor-side metrics."""
        rows = self.control.actor
        blocked, busy = int(rows[:, ctl.BLOCKED_NS].sum()), int(rows[:, ctl.COLLECT_NS].sum())
        span = max(1, blocked + busy - sum(self._blocked))
        share = (blocked - self._blocked[0]) / span
        self._blocked = (blocked, busy)
        return {
            "fault/restarts": float(self.budget.total),
            "fault/healthy": float(self.working()),
            "runtime/actor_blocked_frac": share,
            "runtime/rows_padded": float(rows[:, ctl.PADDED].sum()),
        }

    def _watch(self, seat: ActorSeat, now: float, messages: list[Message]) -> None:
        if seat.child is None:
            if now >= seat.restart_at:
                self._seat(seat)
            return
        status = seat.child.poll()
        if status is not None:
            for message in seat.child.receive():
                if message["kind"] == "error":
                    self._actor_error(seat, message)
            cause = seat.error or describe_exit(status)
            self._lost(seat, cause, now, messages)
        elif self._hung(seat, now):
            seat.child.dump_stack()
            time.sleep(STACK_DUMP_S)
            seat.child.end()
            self._lost(
                seat, f"{self._silence(seat, now)} (stack in {seat.child.log})", now, messages
            )
        elif self._too_big(seat, now):
            seat.child.end()
            self._lost(
                seat, f"over runtime.memory_limit_mb={self.plan.memory_limit_mb}", now, messages
            )

    def _hung(self, seat: ActorSeat, now: float) -> bool:
        row = self.control.actor[seat.index]
        beat, phase = int(row[ctl.BEAT]), int(row[ctl.PHASE])
        if beat != seat.beat:
            each = (now - seat.beat_at) / (beat - seat.beat)
            seat.seconds_per_beat = max(each, 0.5 * seat.seconds_per_beat)
            seat.beat, seat.beat_at = beat, now
            self.budget.healthy(seat.index, now)
            return False
        if phase != seat.phase or phase in (ctl.WAITING, ctl.STOPPED):
            seat.phase, seat.beat_at = phase, now
            return False
        if phase == ctl.STARTING:
            return now - seat.beat_at > self.plan.start_deadline_s
        return now - seat.beat_at > max(self.plan.step_deadline_s, 20.0 * seat.seconds_per_beat)

    def _silence(self, seat: ActorSeat, now: float) -> str:
        if seat.phase == ctl.STARTING:
            return f"not started within runtime.start_deadline_s={self.plan.start_deadline_s:g}"
        return f"no step for {now - seat.beat_at:.1f} s"

    def _too_big(self, seat: ActorSeat, now: float) -> bool:
        limit = self.plan.memory_limit_mb
        if limit is None or seat.child is None or now - self._memory_checked < 0.5:
            return False
        if seat is self.seats[-1]:
            self._memory_checked = now
        return resident_mb(seat.child.pid) > limit

    def _lost(self, seat: ActorSeat, cause: str, now: float, messages: list[Message]) -> None:
        assert seat.child is not None
        seat.child.close()
        seat.child = None
        torn = self.reclaim(seat.streams)
        row = self.control.actor[seat.index]
        row[ctl.INCARNATION] += 1
        delay = self.budget.failed(seat.index, cause, now)
        messages.append(
            {
                "kind": "actor_lost",
                "from": f"actor-{seat.index:02d}",
                "cause": cause,
                "fragments_lost": torn,
                "restart_in_s": delay,
            }
        )
        if seat.fatal is not None:
            self._fail(seat.fatal)
        elif delay is None:
            self._fail_with_causes(
                f"actors failed {len(self.budget.causes)} times (runtime.max_restarts="
                f"{self.plan.max_restarts})"
            )
        elif self.working() < self.plan.min_healthy:
            self._fail_with_causes(
                f"{self.working()} of {len(self.seats)} actors work, wanted runtime.min_healthy="
                f"{self.plan.min_healthy}"
            )
        else:
            seat.restart_at = now + delay

    def reclaim(self, streams: list[int]) -> int:
        """Free what a dead actor was writing; return how many fragments that were."""
        return self.channels.ring.reclaim(streams)

    def working(self) -> int:
        """Return how many actors are not waiting for their restart."""
        return sum(seat.child is not None for seat in self.seats)

    def _fail_with_causes(self, what: str) -> None:
        self._fail(ActorLostError(f"{what}:\n{self.budget.summary()}"))

    # -- ending ---------------------------------------------------------------------------------

    def _fail(self, failure: RlcoreError) -> None:
        if self._failure is None:
            self._failure = failure
        self.request_stop()

    def request_stop(self) -> None:
        """Ask the learner to finish: checkpoint, then stop everyone."""
        self.control.request_stop()
        self.wake()
        if self._stop_since is None:
            self._stop_since = time.monotonic()

    def wake(self) -> None:
        """Wake everyone who waits."""
        self.channels.ready.signal()
        self.channels.signal_free()

    def _watch_learner(self, now: float, messages: list[Message]) -> None:
        if self.learner is None or self.finished:
            return
        status = self.learner.poll()
        if status is None:
            late = self._stop_since is not None and now - self._stop_since > STOP_DEADLINE_S
            if late:
                self._failure = self._failure or LearnerError(
                    f"the learner did not stop within {STOP_DEADLINE_S:g} s"
                )
                self.finished = True
            return
        messages += [self._from_learner(message) for message in self.learner.receive()]
        if self._done is None and self._failure is None:
            self._failure = LearnerError(
                f"the learner was lost ({describe_exit(status)}; log: {self.learner.log}); the "
                f"last checkpoint is in {self.plan.run_dir}/checkpoints"
            )
        self.finished = True

    @property
    def result(self) -> Message | None:
        """The learner's last word: why it stopped and what it saved."""
        return self._done

    def close(self) -> None:
        """End every process and free the shared memory; safe to call at any time."""
        self.control.stop()
        self.wake()
        deadline = time.monotonic() + LEAVE_S
        children = self._children()
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            time.sleep(0.01)
        deadline = time.monotonic() + GRACE_S
        for child in children:
            child.terminate()
        for child in children:
            child.end(max(0.0, deadline - time.monotonic()))
            child.close()
        self.learner = None
        for seat in self.seats:
            seat.child = None
        self.close_channels()

    def close_channels(self) -> None:
        """Close this process's descriptors of the shared memory."""
        self.channels.close()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 where it cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
