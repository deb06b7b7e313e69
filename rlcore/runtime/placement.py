"""Where a run's parts run: one function from a plan to a running placement."""

from __future__ import annotations

from typing import Protocol

from rlcore.errors import ConfigError
from rlcore.runtime.hogwild_run import HogwildSupervisor, InlineHogwild
from rlcore.runtime.inline import InlineRun
from rlcore.runtime.plan import Parts, RunPlan
from rlcore.runtime.process import Message
from rlcore.runtime.supervisor import Supervisor


class Placement(Protocol):
    """A started or startable run, whatever its placement and schedule."""

    finished: bool

    @property
    def result(self) -> Message | None:
        """Why the run stopped and what it saved, once it is ``finished``."""
        ...

    def start(self) -> None:
        """Start everything."""
        ...

    def poll(self, timeout: float) -> list[Message]:
        """Wait or work for about ``timeout`` seconds and return what has happened."""
        ...

    def request_stop(self) -> None:
        """Finish the update at hand, checkpoint and stop."""
        ...

    def close(self) -> None:
        """End all processes and free all shared memory."""
        ...


def place(plan: RunPlan, parts: Parts, placement: str) -> Placement:
    """Return the run of ``plan`` in ``placement`` (``inline`` or ``local``), not yet started.

    Raises:
        ConfigError: There is no such placement.
    """
    hogwild = plan.schedule == "hogwild"
    if placement == "inline":
        return InlineHogwild(plan, parts) if hogwild else InlineRun(plan, parts)
    if placement == "local":
        return HogwildSupervisor(plan, parts) if hogwild else Supervisor(plan, parts)
    raise ConfigError(f"runtime.placement must be inline or local, got {placement!r}")
