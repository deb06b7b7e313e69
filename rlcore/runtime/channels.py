"""The shared memory of one run: ring, parameter store, control block and wake-ups together."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rlcore.data.ring import TrajectoryRing
from rlcore.data.shared_memory import Wakeup
from rlcore.data.spec import Field
from rlcore.runtime.control import Control
from rlcore.runtime.param_store import ParamStore, TensorLayout
from rlcore.runtime.plan import Parts, RunPlan


def parameter_layout(parts: Parts) -> TensorLayout:
    """Return what one version of the agent's network holds, without allocating its weights.

    It is empty where the experiment reads a data set: nothing acts with the parameters.
    """
    if parts.rows is not None:
        return TensorLayout.of(nn.Module())
    with torch.device("meta"):
        return TensorLayout.of(parts.agent.build_network())


class Channels:
    """Everything that processes of one run share.

    Args:
        plan: Geometry.
        spec: Arrays of one fragment.
        layout: Arrays of one parameter version.
        unroll: Steps in a fragment.
        fds: Descriptors from ``fds()`` of the process that made the channels.
    """

    def __init__(
        self,
        plan: RunPlan,
        spec: dict[str, Field],
        layout: TensorLayout,
        unroll: int,
        fds: dict[str, Any] | None = None,
    ) -> None:
        fds = fds or {}
        schedule = plan.make_schedule()
        self.ring = TrajectoryRing(
            spec,
            streams=plan.streams,
            slots_per_stream=schedule.slots_per_stream,
            unroll=unroll,
            envs=plan.envs,
            checksum=plan.checksum,
            fd=fds.get("ring"),
        )
        copies = max(2, (schedule.exact_lag or 0) + 1)
        self.store = ParamStore(layout, copies, fds.get("store"))
        self.control = Control(plan.actors, plan.streams, fds.get("control"))
        self.ready = Wakeup(_pair(fds, "ready"))
        """Signalled by actors when a fragment is READY; the learner waits on it."""
        self.free = [Wakeup(_pair(fds, f"free{i}")) for i in range(plan.actors)]
        """Signalled by the learner when slots are FREE; actor ``i`` waits on the ``i``-th."""

    def fds(self) -> dict[str, Any]:
        """Return the descriptors that a child must inherit to attach."""
        named: dict[str, Any] = {
            "ring": self.ring.fd,
            "store": self.store.fd,
            "control": self.control.fd,
            "ready": list(self.ready.fds),
        }
        return named | {f"free{i}": list(wakeup.fds) for i, wakeup in enumerate(self.free)}

    def signal_free(self) -> None:
        """Wake every actor."""
        for wakeup in self.free:
            wakeup.signal()

    def close(self) -> None:
        """Close all descriptors of this process."""
        for block in (self.ring.block, self.store.block, self.control.block):
            block.close()
        for wakeup in (self.ready, *self.free):
            wakeup.close()


def _pair(fds: dict[str, Any], name: str) -> tuple[int, int] | None:
    return (fds[name][0], fds[name][1]) if name in fds else None
