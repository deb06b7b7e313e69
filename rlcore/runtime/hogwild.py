"""Hogwild: every worker acts, differentiates and applies its own gradient to shared parameters.

Mnih et al. 2016, algorithm S3. There is no channel and no learner process: a worker pulls the
shared ``theta`` into its private copy, plays ``t_max`` steps with it, and applies the gradient of
that copy to the shared ``theta`` through a rule whose state is shared too, without a lock (Recht et
al. 2011). Playing, collating and updating are the same code as everywhere else. The parent watches,
counts and writes checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from rlcore.data.collate import Collator
from rlcore.data.ring import Fragment, TrajectoryRing
from rlcore.data.seeding import derive_seed
from rlcore.data.shared_memory import SharedBlock, align
from rlcore.errors import LearnerError
from rlcore.learners.base import GradStamp, UpdateReport
from rlcore.runtime import control as ctl
from rlcore.runtime.actor import StreamPlayer
from rlcore.runtime.bad_batches import BadBatches, Emit
from rlcore.runtime.checkpoint import Checkpoint
from rlcore.runtime.child import Messages
from rlcore.runtime.contracts import Agent
from rlcore.runtime.control import Control
from rlcore.runtime.nested_state import join_state
from rlcore.runtime.plan import Parts, RunPlan
from rlcore.runtime.roles import INCARNATIONS_PER_EPOCH, load_parts

StateSpec = dict[str, tuple[tuple[int, ...], torch.dtype, float]]


class SharedTheta:
    """The shared parameter vector and the update rule's state, in one block.

    Args:
        network: Gives sizes; its current values are the start of a new block.
        parts: Gives the update rule.
        fd: Block of another process; its values are kept.
    """

    def __init__(self, network: nn.Module, parts: Parts, fd: int | None = None) -> None:
        private: Any = parts.make_learner(network)
        flat, rule = private.flat, private.rule
        spec: StateSpec = rule.state_spec(flat.bounds, flat.theta.dtype)
        spec = {"theta": ((flat.bounds[-1],), flat.theta.dtype, 0.0), **spec}
        offsets, size = {}, 0
        for name, (shape, dtype, _) in spec.items():
            offsets[name] = size
            count = torch.Size(shape).numel()
            size = align(size + count * torch.empty(0, dtype=dtype).element_size())
        self.block = SharedBlock(size, fd)
        raw = torch.from_numpy(self.block.array((size,), "uint8"))
        self.state: dict[str, Tensor] = {}
        for name, (shape, dtype, start) in spec.items():
            count = torch.Size(shape).numel() * torch.empty(0, dtype=dtype).element_size()
            view = raw[offsets[name] : offsets[name] + count].view(dtype).view(shape)
            if fd is None:
                view.fill_(start)
            self.state[name] = view
        self.theta = self.state.pop("theta")
        if fd is None:
            self.theta.copy_(flat.theta)

    def make_learner(self, network: nn.Module, parts: Parts, lock: bool) -> Any:
        """Return a learner with a private network whose updates move the shared parameters."""
        return parts.make_learner(
            network,
            theta=self.theta,
            state=self.state,
            lock=self.block.lock if lock else None,
        )


class HogwildWorker:
    """One actor-learner.

    Args:
        plan: The run.
        parts: Agent, environments and learner.
        shared: Parameters of all workers.
        control: The control block; row ``index`` is this worker's.
        index: Which worker this is.
        before: Environment steps and updates of the run before this start.
        emit: Receives ``emit(kind, **fields)`` for events.
    """

    def __init__(
        self,
        plan: RunPlan,
        parts: Parts,
        shared: SharedTheta,
        control: Control,
        index: int,
        before: tuple[int, int] = (0, 0),
        emit: Emit = lambda kind, **fields: None,
    ) -> None:
        self.plan = plan
        self.agent = cast(Agent, parts.agent)
        self.control = control
        self.index = index
        self.row = control.actor[index]
        self.network = parts.agent.build_network()
        self.learner = shared.make_learner(self.network, parts, plan.hogwild_lock)
        self.learner.keep_bad = BadBatches(plan.run_dir, f"actor-{index:02d}", emit)
        self.limits = plan.limits()
        self.steps_before, self.updates_before = before
        spec = plan.fragment_spec(parts)
        streams = plan.streams_of(index)
        unroll = parts.agent.unroll
        self.ring = TrajectoryRing(
            spec, streams=1, slots_per_stream=1, unroll=unroll, envs=plan.envs, checksum=False
        )
        self.collator = Collator(
            spec, unroll=unroll, envs=plan.envs, count=1, device=torch.device("cpu")
        )
        incarnation = plan.epoch * INCARNATIONS_PER_EPOCH + int(self.row[ctl.INCARNATION])
        self.players = []
        for stream in streams:
            env = parts.make_stream(stream, f"actor {index}")
            player = StreamPlayer(stream, env, self.agent, self.network, plan.seed)
            player.reset(incarnation)
            self.players.append(player)
        self.rounds = [incarnation * (1 << 32)] * len(self.players)
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.lag_sum = self.lag_max = self.lag_steps = 0

    def version(self) -> int:
        """Return the number of updates applied by all workers."""
        return self.updates_before + int(self.control.actor[:, ctl.UPDATES].sum())

    def step(self, want_metrics: bool = False) -> UpdateReport | None:
        """Play one fragment of each stream and apply its gradient; return the last report."""
        report = None
        for i, player in enumerate(self.players):
            self.learner.pull()
            version = self.version()
            slot, arrays = self.ring.begin_write(0, version)
            steps, padded = player.play(slot, arrays, version, self.rounds[i], self._beat)
            self.rounds[i] += 1
            self.ring.publish(slot, steps)
            fragment = self.ring.claim(slot)
            assert fragment is not None
            self.row[ctl.PADDED] += padded * self.plan.envs
            if steps:
                report = self._update(fragment, version, want_metrics)
                self.row[ctl.SKIPPED if report.skipped else ctl.UPDATES] += 1
            else:
                self.row[ctl.EMPTY] += 1  # all environments are being reset: nothing to learn from
            self._count(arrays, steps, self.version() - version)
            self.ring.release(fragment)
        return report

    def _update(self, fragment: Fragment, version: int, want_metrics: bool) -> UpdateReport:
        batch = self.collator([fragment])
        env_steps = self.steps_before + self.control.steps()
        self.learner.progress = self.limits.progress(env_steps=env_steps, updates=version)
        batch["progress"], batch["metrics"] = self.learner.progress, want_metrics
        stamp = GradStamp(version, f"worker {self.index}")
        self.learner.version = self.version()  # delay counts the updates of all workers
        try:
            report: UpdateReport = self.learner.update(
                batch, self.agent.loss, stamp=stamp, want_metrics=want_metrics
            )
        except LearnerError as error:
            error.fatal = True  # the shared parameters, or the loss itself: a restart mends neither
            raise
        return report

    def over(self) -> bool:
        """Return whether the step or update budget is spent, by the shared counters."""
        steps = self.steps_before + self.control.steps()
        return (
            self.limits.reason(env_steps=steps, updates=self.version(), seconds=0.0, returns=())
            is not None
        )

    def _beat(self) -> None:
        self.row[ctl.BEAT] += 1

    def _count(self, arrays: Any, steps: int, lag: int) -> None:
        self.row[ctl.STEPS] += steps
        self.lag_sum += lag * steps
        self.lag_steps += steps
        self.lag_max = max(self.lag_max, lag)
        ended = arrays["episode_length"].nonzero()
        if len(ended[0]):
            self.returns += arrays["episode_return"][ended].tolist()
            self.lengths += arrays["episode_length"][ended].tolist()

    def take_report(self, report: Any) -> dict[str, Any]:
        """Return what happened since the last report, as JSON-able values."""
        record = {}
        if report is not None:
            values = dict(report.metrics)
            values |= {"optim/grad_norm": report.grad_norm, "loss/total": report.loss}
            record = {name: float(value) for name, value in values.items()}
            record["optim/lr"] = float(self.learner.lr)
        out = {
            "record": record,
            "returns": self.returns,
            "lengths": self.lengths,
            "lag": [self.lag_sum, self.lag_steps, self.lag_max],
        }
        self.returns, self.lengths = [], []
        self.lag_sum = self.lag_max = self.lag_steps = 0
        return out

    def close(self) -> None:
        """Close the environments."""
        for player in self.players:
            player.env.close()


def initial_shared(plan: RunPlan, parts: Parts, checkpoint: Checkpoint | None) -> SharedTheta:
    """Return fresh shared parameters, from the seed or from a checkpoint."""
    torch.manual_seed(derive_seed(plan.seed, "init"))
    network = parts.agent.build_network()
    shared = SharedTheta(network, parts)
    if checkpoint is not None:
        learner = shared.make_learner(network, parts, lock=False)
        learner.load_state_dict(
            join_state(checkpoint.tensors["learner"], checkpoint.state["learner"])
        )
    return shared


def worker_main(args: dict[str, Any], messages: Messages) -> None:
    """Run one worker process until the control block says stop."""
    plan = RunPlan.from_json(args["plan"])
    torch.set_num_threads(plan.threads_per_actor)
    parts = load_parts(plan)
    control = Control(plan.actors, plan.streams, args["fds"]["control"])
    shared = SharedTheta(parts.agent.build_network(), parts, args["fds"]["theta"])
    index = args["index"]
    steps, updates = args["before"]
    worker = HogwildWorker(plan, parts, shared, control, index, (steps, updates), messages.send)
    messages.send("started", actor=index)
    control.actor[index, ctl.PHASE] = ctl.COLLECTING
    run_worker(worker, lambda out: messages.send("worker", **out))
    control.actor[index, ctl.PHASE] = ctl.STOPPED
    worker.close()


def run_worker(worker: HogwildWorker, send: Callable[[dict[str, Any]], None]) -> None:
    """Step ``worker`` until the run stops, reporting as the plan says.

    Until the first report the 1st, 2nd, 4th, 8th, ... step is measured too, so that a run which
    ends before it leaves figures of its losses.
    """
    last, taken, early, unsent = time.monotonic(), 0, 1, None
    while not worker.control.stopping:
        if worker.over():
            worker.row[ctl.PHASE] = ctl.WAITING
            time.sleep(0.01)
            continue
        due = time.monotonic() - last >= worker.plan.report_every_s
        taken += 1
        report = worker.step(want_metrics=due or taken == early)
        if due:
            send(worker.take_report(report))
            last, early, unsent = time.monotonic(), 0, None
        elif taken == early:
            early, unsent = 2 * early, report
    send(worker.take_report(unsent))
