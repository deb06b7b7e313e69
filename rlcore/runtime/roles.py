"""What each process of a local run does: actor and learner, built from the same plan."""

from __future__ import annotations

import importlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from rlcore.data.collate import Collator
from rlcore.data.seeding import derive_seed
from rlcore.errors import ActorLostError, LearnerError
from rlcore.runtime import control as ctl
from rlcore.runtime.actor import Actor, Player, StreamPlayer
from rlcore.runtime.bad_batches import BadBatches
from rlcore.runtime.channels import Channels, parameter_layout
from rlcore.runtime.checkpoint import Checkpoint, Checkpointer
from rlcore.runtime.child import Messages
from rlcore.runtime.contracts import Agent
from rlcore.runtime.keeper import (
    CheckpointKeeper,
    StreamDumps,
    republish,
    restore_learner,
    stream_name,
    stream_state,
)
from rlcore.runtime.learner_loop import LearnerLoop
from rlcore.runtime.param_store import ParamReader
from rlcore.runtime.plan import Parts, RunPlan
from rlcore.runtime.row_player import RowPlayer
from rlcore.runtime.totals import Totals

WAIT_S = 0.2
INCARNATIONS_PER_EPOCH = 1_000_000


def load_parts(plan: RunPlan) -> Parts:
    """Make the parts that the plan's factory names."""
    module, _, name = plan.factory.partition(":")
    parts: Parts = getattr(importlib.import_module(module), name)(plan.config)
    return parts


def open_checkpoint(plan: RunPlan, only: Collection[str] | None = None) -> Checkpoint | None:
    """Load the checkpoint that the plan resumes from, if any; of its tensor files ``only`` some."""
    if plan.resume is None:
        return None
    return Checkpointer(Path(plan.resume).parent).load(plan.resume, only=only)


def open_streams(plan: RunPlan, streams: list[int], incarnation: int) -> Checkpoint | None:
    """Load what an actor needs of the checkpoint that the plan resumes from.

    A restarted actor plays fresh episodes and needs nothing; the checkpoint may be gone by then.
    """
    if incarnation > 0 or plan.make_schedule().exact_lag is None:
        return None
    return open_checkpoint(plan, only=[stream_name(stream) for stream in streams])


def make_checkpointer(plan: RunPlan) -> Checkpointer:
    """Return what writes and rotates the checkpoints of the run."""
    return Checkpointer(
        Path(plan.run_dir) / "checkpoints",
        keep=plan.checkpoint_keep,
        milestones=plan.milestones,
        config_hash=plan.config_hash,
        keep_best=plan.keep_best,
    )


def build_actor(
    plan: RunPlan,
    parts: Parts,
    channels: Channels,
    index: int,
    streams: list[int],
    checkpoint: Checkpoint | None,
) -> Actor:
    """Build actor ``index`` with its streams reset, or restored where a checkpoint holds them."""
    network = parts.agent.build_network() if parts.rows is None else nn.Module()
    reader = ParamReader(channels.store, network)
    incarnation = int(channels.control.actor[index, ctl.INCARNATION])
    players = []
    for stream in streams:
        player = _make_player(plan, parts, stream, network, index, incarnation)
        saved = stream_state(checkpoint, stream) if checkpoint is not None else None
        if saved is not None and incarnation == 0:
            player.set_state(saved)
        players.append(player)
    dumps = StreamDumps(stream_folder(plan))
    return Actor(
        index,
        players,
        channels.ring,
        reader,
        plan.make_schedule(),
        channels.control,
        dumps.write,
    )


def _make_player(
    plan: RunPlan, parts: Parts, stream: int, network: nn.Module, actor: int, incarnation: int
) -> Player:
    if parts.rows is not None:
        return RowPlayer(stream, plan.streams, parts.rows, plan.seed)
    env = parts.make_stream(stream, f"actor {actor}")
    player = StreamPlayer(stream, env, cast(Agent, parts.agent), network, plan.seed)
    player.reset(plan.epoch * INCARNATIONS_PER_EPOCH + incarnation)
    return player


def stream_folder(plan: RunPlan) -> Path:
    """Return where stream states wait for their checkpoint."""
    return Path(plan.run_dir) / "checkpoints" / ".streams"


def build_learner(
    plan: RunPlan, parts: Parts, channels: Channels, checkpoint: Checkpoint | None, emit: Any
) -> tuple[LearnerLoop, CheckpointKeeper]:
    """Build the learner's loop and its checkpoint keeper; publishes the first version."""
    torch.manual_seed(derive_seed(plan.seed, "init"))
    network = parts.agent.build_network().to(torch.device(plan.device))
    learner = parts.make_learner(network)
    learner.keep_bad = BadBatches(plan.run_dir, "learner", emit)
    totals = None
    if checkpoint is not None:
        totals = restore_learner(checkpoint, learner, channels.ring)
    loop = _make_loop(plan, parts, channels, network, learner, totals)
    keeper = CheckpointKeeper(
        make_checkpointer(plan),
        loop,
        learner,
        channels.store,
        channels.ring,
        channels.control,
        StreamDumps(stream_folder(plan)),
        plan.checkpoint_every_s,
        emit,
        plan.epoch,
    )
    if checkpoint is not None and keeper.exact:
        _say_what_restarts(checkpoint, emit)
    _publish_first(loop, keeper, channels, checkpoint)
    return loop, keeper


def _make_loop(
    plan: RunPlan,
    parts: Parts,
    channels: Channels,
    network: nn.Module,
    learner: Any,
    totals: Totals | None,
) -> LearnerLoop:
    collator = Collator(
        channels.ring.spec,
        unroll=channels.ring.unroll,
        envs=plan.envs,
        count=plan.batch,
        device=torch.device(plan.device),
    )
    return LearnerLoop(
        parts.agent,
        network,
        learner,
        channels.ring,
        channels.store,
        plan.make_schedule(),
        collator,
        channels.control,
        plan.limits(),
        frames_per_step=None if parts.env_spec is None else parts.env_spec.frames_per_step,
        accumulate=plan.accumulate,
        validation=parts.validation,
        report_every_s=plan.report_every_s,
        totals=totals,
        on_free=channels.signal_free,
    )


def _publish_first(
    loop: LearnerLoop, keeper: CheckpointKeeper, channels: Channels, checkpoint: Checkpoint | None
) -> None:
    """Publish the versions that actors may ask for at the start, and let actors begin."""
    if checkpoint is None:
        keeper.before_first_publish()
        loop.publish()
    else:
        loop.check_limits()
        if loop.stop_reason is not None:
            keeper.end_where_it_began(checkpoint.path)
        else:
            keeper.before_first_publish()
        republish(checkpoint, channels.store)
    channels.control.announce_published()


def _say_what_restarts(checkpoint: Checkpoint, emit: Any) -> None:
    streams = checkpoint.state["streams"]
    without = sum(values["env"] is None for values in streams)
    if without or not streams:
        emit(
            "warning",
            message=f"{checkpoint.path.name} holds no environments for "
            f"{f'{without} of {len(streams)}' if streams else 'any of its'} streams: they start "
            "fresh episodes, so that this run does not repeat the uninterrupted one exactly",
        )


def train_once(loop: LearnerLoop, keeper: CheckpointKeeper) -> bool:
    """Train on a batch if there is one; a failure leaves a checkpoint of the good parameters.

    Raises:
        LearnerError: Training cannot go on.
    """
    try:
        return loop.step(keeper.before_publish)
    except LearnerError as error:
        keeper.save_before_failing(str(error))
        raise


def attach(args: dict[str, Any]) -> tuple[RunPlan, Parts, Channels]:
    """Rebuild plan, parts and channels in a child process."""
    plan = RunPlan.from_json(args["plan"])
    parts = load_parts(plan)
    spec = plan.fragment_spec(parts)
    channels = Channels(plan, spec, parameter_layout(parts), parts.agent.unroll, args["fds"])
    return plan, parts, channels


def actor_main(args: dict[str, Any], messages: Messages) -> None:
    """Run one actor until the control block says stop."""
    plan, parts, channels = attach(args)
    torch.set_num_threads(plan.threads_per_actor)
    control, index = channels.control, args["index"]
    row = control.actor[index]
    streams = args["streams"]
    checkpoint = open_streams(plan, streams, int(row[ctl.INCARNATION]))
    actor = build_actor(plan, parts, channels, index, streams, checkpoint)
    row[ctl.PHASE] = ctl.WAITING
    messages.send("started", actor=index)
    free, ready = channels.free[index], channels.ready
    if not free.wait_until(lambda: control.published or control.stopping, plan.start_deadline_s):
        raise ActorLostError(
            "the learner published no parameters within runtime.start_deadline_s="
            f"{plan.start_deadline_s:g} (its log: {plan.run_dir}/logs/learner.log)"
        )
    while not control.stopping:
        if actor.collect():
            ready.signal()
            continue
        row[ctl.PHASE] = ctl.WAITING
        started = time.monotonic_ns()
        free.wait_until(lambda: actor.can_collect() or control.stopping, WAIT_S)
        row[ctl.BLOCKED_NS] += time.monotonic_ns() - started
    row[ctl.PHASE] = ctl.STOPPED
    for player in actor.players:
        player.close()


def learner_main(args: dict[str, Any], messages: Messages) -> None:
    """Run the learner until its limits are met or the supervisor asks it to stop."""
    plan, parts, channels = attach(args)
    torch.set_num_threads(plan.learner_threads)
    control = channels.control
    loop, keeper = build_learner(plan, parts, channels, open_checkpoint(plan), messages.send)
    messages.send("started", actor=None)
    channels.signal_free()
    while not keeper.finished:
        if not keeper.holds() and train_once(loop, keeper):
            channels.signal_free()
            for record in loop.records():
                messages.send("metrics", record=record)
        else:
            wait_for_data(channels, loop, keeper)
        keeper.turn()
    for record in loop.records(final=True):
        messages.send("metrics", record=record)
    messages.send(
        "done", reason=loop.stop_reason or "stop requested", saved=str(keeper.saved or "")
    )
    control.stop()
    channels.signal_free()


def wait_for_data(channels: Channels, loop: LearnerLoop, keeper: CheckpointKeeper) -> None:
    """Block until a batch may be ready, a checkpoint may be due, or a little time has passed."""
    started = time.monotonic()
    if keeper.holds():
        time.sleep(0.001)
    else:
        channels.ready.wait_until(lambda: loop.ready() or channels.control.stop_requested, WAIT_S)
        if channels.control.stop_requested or loop.schedule.wait_for_stragglers:
            time.sleep(0.0002)
    loop.waited(time.monotonic() - started)
