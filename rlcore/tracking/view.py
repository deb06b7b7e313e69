"""What the console shows of a run: state, progress, returns, speed, lag, actors, losses, time left.

:class:`RunView` keeps the newest values and turns them into 8-12 rows; the live table and the plain
lines are two ways to print it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from rlcore.tracking.tracker import Record

EPISODE_WINDOW = 100
RATE_SMOOTHING = 0.3
LINE_LENGTH = 500

_LINE = (
    "tokens",
    "env steps",
    "return",
    "evaluation",
    "throughput",
    "lag",
    "actors",
    "loss",
    "time",
)
_NOTABLE = ("warning", "actor_lost", "checkpoint", "eval", "resumed", "note", "failed", "done")


class RunView:
    """The newest values of a run.

    Args:
        name: Run name.
        target_steps: Environment steps at which the run stops, if that is a limit.
        target_seconds: Wall time at which it stops, if that is a limit.
        actors: Actors the run should have.
        clock: Monotonic seconds; steps of the wall clock do not matter.
    """

    def __init__(
        self,
        name: str = "run",
        *,
        target_steps: int | None = None,
        target_seconds: float | None = None,
        actors: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.target_steps, self.target_seconds = target_steps, target_seconds
        self.actors = actors
        self.state = "starting"
        self.waiting_for: str | None = None
        self.values: Record = {}
        self._clock = clock
        self._record_at: float | None = None
        self._started_at = clock()
        self._rate: float | None = None
        self._started_actors: set[int] = set()

    def log(self, record: Record) -> None:
        """Take a record; evaluation records leave the training axes alone."""
        if any(name.startswith("eval/") for name in record):
            axes = ("step/", "time/")
            self.values |= {k: v for k, v in record.items() if not k.startswith(axes)}
            return
        self.values |= record
        if "step/update" not in record or "run/resumes" in record:
            return  # a checkpoint's numbers, or where a resumed run goes on: nothing was trained
        self._record_at = self._clock()
        if self.state == "starting":
            self.state, self.waiting_for = "training", None
        rate = record.get("perf/env_steps_per_s", record.get("perf/tokens_per_s"))
        if rate is not None and math.isfinite(rate):
            old = self._rate if self._rate is not None else rate
            self._rate = old + RATE_SMOOTHING * (rate - old)

    def event(self, kind: str, fields: Mapping[str, Any]) -> str | None:
        """Take an event; return the line to print for it, if it deserves one."""
        if kind == "state":
            self.state = str(fields.get("state", self.state))
            self.waiting_for = fields.get("waiting_for")
        elif kind == "started" and isinstance(fields.get("actor"), int):
            self._started_actors.add(fields["actor"])
        elif kind in ("done", "failed"):
            self.state = kind
        return event_line(kind, fields) if kind in _NOTABLE else None

    # -- derived values -------------------------------------------------------------------------

    def quiet_seconds(self) -> float:
        """Return the time since the last training record, or since the start."""
        since = self._record_at if self._record_at is not None else self._started_at
        return self._clock() - since

    def waiting(self) -> str:
        """Return what the run is waiting for, in words."""
        if self.waiting_for:
            return str(self.waiting_for)
        if self._record_at is None:
            if self.actors is not None and len(self._started_actors) < self.actors:
                return f"actors to start ({len(self._started_actors)} of {self.actors} ready)"
            return "the first update"
        if self.actors is not None and self.values.get("fault/healthy", self.actors) < self.actors:
            return f"the learner ({self._healthy()} actors healthy)"
        return "the learner"

    def eta_seconds(self) -> float | None:
        """Return the estimated time to the nearest limit; ``None`` if there is none."""
        times = []
        done = self.values.get("step/env")
        if self.target_steps and done is not None and self._rate:
            times.append(max(0.0, self.target_steps - done) / self._rate)
        wall = self.values.get("time/wall_s")
        if self.target_seconds and wall is not None:
            times.append(max(0.0, self.target_seconds - wall))
        return min(times) if times else None

    # -- text -----------------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str]]:
        """Return at most 12 (label, text) rows; those with nothing to show are left out."""
        rows = [
            ("state", self._state()),
            ("tokens" if self._reads_data() else "env steps", self._progress()),
            ("return", self._return()),
            ("evaluation", self._evaluation()),
            ("throughput", self._throughput()),
            ("lag", self._join("mean {lag/mean:.2f}", "max {lag/max:.0f}")),
            ("actors", self._healthy()),
            ("loss", self._loss()),
            ("policy", self._join("entropy {policy/entropy:.3g}", "KL {policy/kl:.2g}")),
            ("explained variance", self._join("{value/explained_variance:.2f}")),
            ("gradient norm", self._join("{optim/grad_norm:.3g}", "lr {optim/lr:.2g}")),
            ("time", self._time()),
        ]
        return [(label, text) for label, text in rows if text]

    def line(self) -> str:
        """Return the run's state as one line of text."""
        parts = [self._state()]
        for label, text in self.rows()[1:]:
            if label in _LINE and (label != "evaluation" or self._reads_data()):
                parts.append(f"{label} {text}" if label != "throughput" else text)
        return " | ".join(parts)

    def _state(self) -> str:
        if self.state in ("done", "failed"):
            return self.state
        if self._record_at is None or self.waiting_for or self.quiet_seconds() >= 10.0:
            return f"{self.state}, waiting for {self.waiting()} ({self.quiet_seconds():.0f} s)"
        return self.state

    def _progress(self) -> str:
        steps = self.values.get("step/env")
        if steps is None:
            return ""
        text = count_text(steps)
        if self.target_steps:
            text += (
                f" / {count_text(self.target_steps)} ({min(1.0, steps / self.target_steps):.0%})"
            )
        frames = self.values.get("step/frames", steps)
        return text + (f", {count_text(frames)} frames" if frames != steps else "")

    def _reads_data(self) -> bool:
        return "step/tokens" in self.values

    def _loss(self) -> str:
        if self._reads_data():
            return self._join("{loss/total:.4g}")
        return self._join("policy {loss/policy:.3g}", "value {loss/value:.3g}")

    def _return(self) -> str:
        mean = self.values.get("episode/return_mean")
        if self._reads_data():
            return ""
        if mean is None:
            return "no episode has ended yet" if self._record_at is not None else ""
        count = min(EPISODE_WINDOW, int(self.values.get("episode/count", EPISODE_WINDOW)))
        text = f"{mean:.4g}"
        std = self.values.get("episode/return_std")
        if std is not None and count > 1:
            # Standard error from the population deviation: s / sqrt(n) with s^2 = n/(n-1) std^2.
            text += f" ± {1.96 * std / math.sqrt(count - 1):.2g}"
        return f"{text} (last {count} episodes)"

    def _evaluation(self) -> str:
        if "eval/loss" in self.values:
            return self._join("loss {eval/loss:.4f}")
        if "eval/return_mean" not in self.values:
            return ""
        text = self._join("{eval/return_mean:.4g}")
        interval = self._join("[{eval/ci_low:.4g},", "{eval/ci_high:.4g}]", separator=" ")
        return f"{text} {interval}".strip()

    def _throughput(self) -> str:
        units = ("tokens", "updates") if self._reads_data() else ("env_steps", "updates")
        return ", ".join(
            f"{rate_text(self.values[name])} {unit.removeprefix('env_')}/s"
            for unit in units
            if (name := f"perf/{unit}_per_s") in self.values
        )

    def _healthy(self) -> str:
        healthy = self.values.get("fault/healthy")
        if healthy is None:
            return f"{len(self._started_actors)}/{self.actors}" if self.actors else ""
        text = f"{healthy:.0f}/{self.actors}" if self.actors else f"{healthy:.0f}"
        restarts = self.values.get("fault/restarts", 0)
        plural = "" if restarts == 1 else "s"
        return text + (f" ({restarts:.0f} restart{plural})" if restarts else "")

    def _time(self) -> str:
        wall = self.values.get("time/wall_s")
        text = duration_text(wall if wall is not None else self._clock() - self._started_at)
        eta = self.eta_seconds() if self.state not in ("done", "failed") else None
        return text + (f", {duration_text(eta)} left" if eta is not None else "")

    def _join(self, *templates: str, separator: str = ", ") -> str:
        parts = []
        for template in templates:
            name = template[template.index("{") + 1 : template.index(":")]
            if name in self.values:
                spec = template[template.index(":") + 1 : template.index("}")]
                text = format(self.values[name], spec)
                parts.append(template[: template.index("{")] + text + template.partition("}")[2])
        return separator.join(parts)


def event_line(kind: str, fields: Mapping[str, Any]) -> str:
    """Return an event as one line of at most 500 characters, none of them control characters."""
    message = fields.get("message")
    if message is None and kind in _SENTENCES:
        # An event with other fields is listed as it is.
        with contextlib.suppress(KeyError, TypeError, ValueError):
            message = _SENTENCES[kind](fields)
    if message is None:
        said = (f"{name} {value}" for name, value in fields.items() if value is not None)
        message = ", ".join(said)
    text = f"{kind}: {message}" if message else kind
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= LINE_LENGTH else clean[: LINE_LENGTH - 1] + "…"


def _actor_lost(fields: Mapping[str, Any]) -> str:
    delay = fields["restart_in_s"]
    then = "no restart is left" if delay is None else f"starts again in {delay:.2g} s"
    return f"{fields['from']}, {fields['cause']}; {then}"


_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "checkpoint": lambda f: (
        f"step {f['step']:,}, {bytes_text(f['bytes'])} in {f['seconds']:.2f} s, {f['path']}"
    ),
    "eval": lambda f: (
        f"return {f['eval/return_mean']:.4g} (95% interval {f['eval/ci_low']:.4g} to "
        f"{f['eval/ci_high']:.4g}), {f['file']}"
    ),
    "actor_lost": _actor_lost,
    "resumed": lambda f: f"at step {f['step']:,}, {f['checkpoint']}",
    "done": lambda f: f"{f['reason']}, {f['path']}",
}


def bytes_text(count: float) -> str:
    """Return a size with a unit: ``512 B``, ``83.5 kB``, ``1.2 GB``."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def count_text(count: float) -> str:
    """Return a count with a unit prefix: ``9500``, ``12.3k``, ``4.56M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= max(size, 1e4):
            return f"{count / size:.4g}{unit}"
    return f"{count:.0f}"


def rate_text(rate: float) -> str:
    """Return a rate: whole numbers from 10 on, two digits below, so that slow is not ``0``."""
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.2g}"


def duration_text(seconds: float) -> str:
    """Return a duration as ``42 s``, ``3:07 min`` or ``5:04 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
