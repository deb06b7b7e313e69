"""When checkpoints are taken and what is in them.

In ``serial`` and ``lockstep`` a checkpoint is exact: it holds the parameters of every version that
an actor may still ask for, and the state of every stream (environments, recurrent cores) at the
start of the round that comes next. Going on from it repeats the uninterrupted run bit for bit. In
``async`` fragments in flight are discarded and streams start fresh episodes; counters and learner
go on.

Where an exact schedule cannot get all stream states (an actor is gone, a disk is full, environments
do not give their state), learner and counters are saved all the same at the end, and a warning says
that episodes in flight start afresh.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rlcore.data.ring import TrajectoryRing
from rlcore.errors import CheckpointError
from rlcore.runtime import control as ctl
from rlcore.runtime.actor import StreamState
from rlcore.runtime.checkpoint import Checkpoint, Checkpointer
from rlcore.runtime.control import NO_ROUND, Control
from rlcore.runtime.learner_loop import LearnerLoop
from rlcore.runtime.nested_state import join_state, split_state
from rlcore.runtime.param_store import ParamStore
from rlcore.runtime.totals import Totals
from rlcore.tensor_file import load_tensors, save_tensors

FINAL_DUMP_DEADLINE_S = 20.0
Emit = Callable[..., None]


class Restorable(Protocol):
    """The part of a learner that checkpoints need."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training goes on from."""
        ...

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Restore what ``state_dict`` returned."""
        ...


class StreamDumps:
    """Stream states on their way from actors to a checkpoint, as small files in the run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, stream: int, round_: int) -> Path:
        return self.folder / f"stream-{stream:04d}-round-{round_}"

    def write(self, stream: int, round_: int, state: StreamState) -> None:
        """Store the state of one stream at the start of ``round_``; whole or not at all.

        Raises:
            CheckpointError: The disk is full, or a value cannot be stored.
        """
        path = self._path(stream, round_)
        part = self.folder / f".{path.name}.{os.getpid()}"
        tensors = {name: torch.from_numpy(np.asarray(a)) for name, a in state["arrays"].items()}
        try:
            for suffix in (".safetensors", ".json"):
                if suffix == ".json":
                    part.write_text(json.dumps(state["json"]))
                else:
                    save_tensors(part, tensors)
                part.replace(path.with_suffix(suffix))
        except OSError as error:
            raise CheckpointError(
                f"the state of stream {stream} was not written to {self.folder}: "
                f"{error.strerror or error}"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def take(self, streams: int, round_: int) -> tuple[dict[str, dict[str, Tensor]], list[Any]]:
        """Return the states of all streams at ``round_``.

        Raises:
            CheckpointError: One is missing or damaged.
        """
        tensors, values = {}, []
        for stream in range(streams):
            path = self._path(stream, round_)
            try:
                tensors[stream_name(stream)] = load_tensors(path.with_suffix(".safetensors"))
                values.append(json.loads(path.with_suffix(".json").read_text()))
            except (OSError, ValueError) as error:
                raise CheckpointError(f"the state of stream {stream} is lost: {error}") from error
        return tensors, values

    def clear(self) -> None:
        """Remove all states, and what writers that were killed have left."""
        for file in self.folder.iterdir():
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


class CheckpointKeeper:
    """Decides when to checkpoint and assembles it.

    Args:
        checkpointer: Writes and rotates the folders.
        loop: The learner loop whose state is kept.
        learner: The learner.
        store: Its published parameters.
        ring: The ring, for its geometry.
        control: The control block.
        dumps: Where actors leave stream states.
        every_s: Seconds between checkpoints; ``None`` for the final one alone.
        emit: Receives ``emit(kind, **fields)`` for events.
        epoch: How many times the run was resumed.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        loop: LearnerLoop,
        learner: Restorable,
        store: ParamStore,
        ring: TrajectoryRing,
        control: Control,
        dumps: StreamDumps,
        every_s: float | None,
        emit: Emit,
        epoch: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.checkpointer = checkpointer
        self.loop = loop
        self.learner = learner
        self.store = store
        self.ring = ring
        self.control = control
        self.dumps = dumps
        self.every_s = every_s
        self.emit = emit
        self.epoch = epoch
        self.lag = loop.schedule.exact_lag
        self._clock = clock
        self._last = clock()
        self._stopping_since: float | None = None
        self._told_of_states = False
        self.finished = False
        self.saved: Path | None = None

    @property
    def exact(self) -> bool:
        """Whether checkpoints hold stream states."""
        return self.lag is not None

    def end_where_it_began(self, saved: Path) -> None:
        """Finish without a step: the checkpoint that the run resumes from is past its limits."""
        self.finished, self.saved = True, saved

    def before_first_publish(self) -> None:
        """Announce a final round that is too near to be announced later."""
        if self.lag is not None and self.loop.updates_left() <= self.lag:
            self.control.announce_final(self._at_limit())

    def before_publish(self) -> None:
        """Announce a checkpoint while no stream can yet have begun its round."""
        if self.lag is None:
            return
        version, final = self.loop.version, self.control.final_round
        if final != NO_ROUND:
            # A batch that became no update puts the limit off by a round; streams wait before it.
            if not self.stopping and self._at_limit() > final:
                self.control.announce_final(self._at_limit())
        elif self.loop.updates_left() <= self.lag:
            self.control.announce_final(self._at_limit())
        elif self.stopping:
            self.control.announce_final(version + self.lag)
        elif self._due() and self.control.checkpoint_round == NO_ROUND:
            # Until ``version`` is published no stream can have begun this round.
            self.control.checkpoint_round = version + self.lag

    def _at_limit(self) -> int:
        """Return the version that uses ``stop.updates`` up if each batch from now on is applied."""
        return self.loop.version + int(self.loop.updates_left())

    @property
    def stopping(self) -> bool:
        """Whether the run is to end."""
        return self.loop.stop_reason is not None or self.control.stop_requested

    def _due(self) -> bool:
        return self.every_s is not None and self._clock() - self._last >= self.every_s

    def turn(self) -> None:
        """Save if it is time; set ``finished`` after the final checkpoint. Call it each turn."""
        if self.lag is None:
            final = self.stopping  # asked once: a stop may be requested while a save goes on
            if final or self._due():
                self._save({}, [], final=final)
                self.finished = final
            return
        if self.control.checkpoint_due(self.loop.version):
            self._save_exact(self.loop.version)
        elif self.stopping:
            cause = self._why_not_wait()
            if cause:
                self._save_without_streams(cause)
                self.finished = True

    def _save_exact(self, round_: int) -> None:
        final = self.control.final_round == round_
        failed = np.flatnonzero(self.control.stream[:, ctl.FAILED_ROUND] == round_)
        try:
            if len(failed):
                raise CheckpointError(
                    f"stream {failed[0]} could not write its state; the log of its actor says why"
                )
            tensors, streams = self.dumps.take(self.ring.streams, round_)
        except CheckpointError as error:
            self._last = self._clock()
            if final:
                self._save_without_streams(str(error))
            else:
                self.emit("checkpoint_failed", message=str(error), final=False)
        else:
            self._warn_of_missing_states(streams)
            self._save(tensors, streams, final=final)
        self.dumps.clear()
        self.control.checkpoint_round = NO_ROUND
        self.finished = final

    def _why_not_wait(self) -> str:
        """Return why stream states will not come, or nothing while they may."""
        now = self._clock()
        if self._stopping_since is None:
            self._stopping_since = now
        if self.control.streams_abandoned:
            return "an actor is gone"
        if now - self._stopping_since > FINAL_DUMP_DEADLINE_S:
            return f"actors did not write their state within {FINAL_DUMP_DEADLINE_S:g} s"
        return ""

    def _save_without_streams(self, cause: str, final: bool = True) -> None:
        self.emit(
            "warning",
            message=f"{cause}: the last checkpoint holds learner and counters but no environments; "
            "a resume starts fresh episodes and does not repeat the uninterrupted run exactly",
        )
        self._save({}, [], final=final)

    def _warn_of_missing_states(self, streams: list[Any]) -> None:
        without = [i for i, values in enumerate(streams) if values["env"] is None]
        if without and not self._told_of_states:
            self._told_of_states = True
            self.emit(
                "warning",
                message=f"checkpoints cannot hold the environments of {len(without)} of "
                f"{len(streams)} streams: episodes in flight start afresh on resume, which then "
                f"does not repeat the uninterrupted run exactly ({streams[without[0]]['why']})",
            )

    def save_before_failing(self, cause: str) -> None:
        """Save the parameters that training fails with, if they are good."""
        tensors, _ = split_state(self.learner.state_dict())
        bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
        if bad:
            self.emit(
                "warning",
                message=f"no checkpoint of version {self.loop.version} was written: {bad[0]} is "
                "not finite",
            )
        elif self.lag is None:
            self._save({}, [], final=False)
        else:
            self._save_without_streams(cause, final=False)

    def holds(self) -> bool:
        """Return whether training must pause because a checkpoint is due at this very version."""
        return self.lag is not None and self.control.checkpoint_round == self.loop.version

    def _save(self, tensors: dict[str, dict[str, Tensor]], streams: list[Any], final: bool) -> None:
        loop = self.loop
        loop.totals.seconds = loop.seconds()
        learner_tensors, learner_values = split_state(self.learner.state_dict())
        tensors["learner"] = learner_tensors
        oldest = loop.version if self.lag is None else max(0, loop.version - self.lag)
        for version in range(oldest, loop.version + 1):
            tensors[f"params-{version - oldest}"] = self.store.state(version)
        state = {
            "version": loop.version,
            "epoch": self.epoch,
            "oldest_version": oldest,
            "learner": learner_values,
            "totals": loop.totals.to_json(),
            "streams": streams,
        }
        started = self._clock()
        try:
            path = self.checkpointer.save(
                loop.totals.env_steps, tensors, state, metrics=loop.totals.episode_metrics()
            )
        except CheckpointError as error:
            self.emit("checkpoint_failed", message=str(error), final=final)
        else:
            self.saved = path
            self.emit(
                "checkpoint",
                path=str(path),
                step=loop.totals.env_steps,
                update=loop.totals.updates,
                wall_s=loop.totals.seconds,
                seconds=self._clock() - started,
                bytes=sum(file.stat().st_size for file in path.iterdir()),
                final=final,
            )
        self._last = self._clock()


def restore_learner(checkpoint: Checkpoint, learner: Restorable, ring: TrajectoryRing) -> Totals:
    """Bring learner and ring back to a checkpoint; return the counters.

    Call it before anything is published: from then on actors write into the ring.

    Raises:
        CheckpointError: Something that belongs to the run is missing.
    """
    state, tensors = checkpoint.state, checkpoint.tensors
    with _all_there(checkpoint):
        learner.load_state_dict(join_state(tensors["learner"], state["learner"]))
        ring.start_at(state["version"])
        return Totals.from_json(state["totals"])


def republish(checkpoint: Checkpoint, store: ParamStore) -> None:
    """Publish every version of a checkpoint that actors may ask for, the newest last.

    Raises:
        CheckpointError: One is missing.
    """
    oldest, version = checkpoint.state["oldest_version"], checkpoint.state["version"]
    with _all_there(checkpoint):
        for published in range(oldest, version + 1):
            store.publish(checkpoint.tensors[f"params-{published - oldest}"], published)


@contextlib.contextmanager
def _all_there(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"{checkpoint.path}: {error} is missing from the checkpoint"
        ) from None


def stream_name(stream: int) -> str:
    """Return the name of a stream's tensor file in a checkpoint."""
    return f"stream-{stream:04d}"


def stream_state(checkpoint: Checkpoint, stream: int) -> StreamState | None:
    """Return the state of one stream in a checkpoint, or ``None`` where it has none (async)."""
    if not checkpoint.state["streams"]:
        return None
    tensors = checkpoint.tensors[stream_name(stream)]
    return {
        "json": checkpoint.state["streams"][stream],
        "arrays": {name: tensor.numpy() for name, tensor in tensors.items()},
    }
