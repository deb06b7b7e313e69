"""The inline placement: actors and learner take turns in one process, in a fixed order.

The same objects as in a local run; only the waiting is gone. With the ``serial`` schedule two runs
with one seed give the same bits.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from rlcore.errors import RlcoreError
from rlcore.runtime import control as ctl
from rlcore.runtime.actor import Actor
from rlcore.runtime.channels import Channels, parameter_layout
from rlcore.runtime.plan import Parts, RunPlan
from rlcore.runtime.process import Message
from rlcore.runtime.roles import build_actor, build_learner, open_checkpoint, train_once


class InlineRun:
    """A run in this process, used as :class:`~rlcore.runtime.supervisor.Supervisor` is."""

    def __init__(self, plan: RunPlan, parts: Parts) -> None:
        self.plan = plan
        self.parts = parts
        spec = plan.fragment_spec(parts)
        self.channels = Channels(plan, spec, parameter_layout(parts), parts.agent.unroll)
        self.finished = False
        self.result: Message | None = None
        self._failure: RlcoreError | None = None
        self._messages: list[Message] = []
        self._actors: list[Actor] = []

    def start(self) -> None:
        """Build actors and learner."""
        torch.set_num_threads(self.plan.learner_threads)
        checkpoint = open_checkpoint(self.plan)
        self.loop, self.keeper = build_learner(
            self.plan, self.parts, self.channels, checkpoint, self._emit
        )
        self._actors = [
            build_actor(
                self.plan, self.parts, self.channels, i, self.plan.streams_of(i), checkpoint
            )
            for i in range(self.plan.actors)
        ]
        self._emit("started", actor=None)

    def _emit(self, kind: str, **fields: Any) -> None:
        self._messages.append({"kind": kind, "from": "inline", **fields})

    def poll(self, timeout: float) -> list[Message]:
        """Work for about ``timeout`` seconds and return what has happened.

        A failure is raised by the call after the one that sets ``finished``, as in a local run.

        Raises:
            RlcoreError: Acting or training cannot go on; the last checkpoint has what was learnt.
        """
        if self._failure is not None:
            raise self._failure
        deadline = time.monotonic() + timeout
        try:
            while not self.finished and time.monotonic() < deadline:
                self._turn()
        except RlcoreError as error:
            self._failure, self.finished = error, True
        messages, self._messages = self._messages, []
        return messages

    def _turn(self) -> None:
        if not self.keeper.finished:
            self._collect()
            self.keeper.turn()
        if not self.keeper.finished and not self.keeper.holds():
            train_once(self.loop, self.keeper)
            self.keeper.turn()
        for record in self.loop.records(final=self.keeper.finished):
            if "eval/loss" not in record:
                padded = float(self.channels.control.actor[:, ctl.PADDED].sum())
                record |= {"fault/restarts": 0.0, "fault/healthy": float(len(self._actors))}
                record["runtime/rows_padded"] = padded
            self._emit("metrics", record=record)
        if self.keeper.finished:
            self.finished = True
            self.result = {
                "kind": "done",
                "reason": self.loop.stop_reason or "stop requested",
                "saved": str(self.keeper.saved or ""),
            }

    def _collect(self) -> None:
        started = time.monotonic()
        try:
            for actor in self._actors:
                while actor.collect():
                    pass
        except RlcoreError as error:
            self.keeper.save_before_failing(str(error))
            raise
        self.loop.waited(time.monotonic() - started)

    def request_stop(self) -> None:
        """Finish the update at hand, checkpoint and stop."""
        self.channels.control.request_stop()

    def close(self) -> None:
        """Close the environments and free the shared memory."""
        for actor in self._actors:
            for player in actor.players:
                player.close()
        self._actors = []
        self.channels.close()
