"""Mirrors a run to Weights & Biases; offline unless a key is found, never asking, never blocking.

Use it through :class:`rlcore.tracking.background.BackgroundSink`. The command line, host and
environment, which W&B would record by itself, are kept out.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from rlcore.errors import ConfigError
from rlcore.redact import Redactor, netrc_passwords
from rlcore.tracking.tracker import Record

Mode = Literal["auto", "offline", "online", "off"]
MODES = ("auto", "offline", "online", "off")
DEFAULT_HOST = "api.wandb.ai"
MIN_INTERVAL_S = 1.0
INIT_TIMEOUT_S = 20.0
FINISH_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbSettings:
    """What a W&B run is called and where it goes.

    Attributes:
        mode: ``auto`` is online where a key is set, else offline.
        project: Project name.
        entity: User or team; the key's default if ``None``.
        name: Shown name of the run.
        run_id: Stable id, so that a resumed online run goes on in place.
        group: Experiment name.
        job_type: Kind of run: ``train``, ``eval``, ``bench``.
        tags: For example agent, environment, commit.
        config: The resolved experiment; redacted before it is handed over.
    """

    mode: Mode = "auto"
    project: str = "rlcore"
    entity: str | None = None
    name: str | None = None
    run_id: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def has_key(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a W&B key is in the environment or in netrc."""
    environ = os.environ if environ is None else environ
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(environ.get("WANDB_BASE_URL", "")).hostname or DEFAULT_HOST
    return host in netrc_passwords(environ)


def choose_mode(
    requested: str, environ: Mapping[str, str] | None = None
) -> tuple[Literal["online", "offline", "off"], str | None]:
    """Return the mode to use and one line to say about it, if any.

    Raises:
        ConfigError: Unknown mode, or ``online`` without a key (W&B would ask for one).
    """
    environ = os.environ if environ is None else environ
    if requested not in MODES:
        raise ConfigError(f"track.wandb must be one of {', '.join(MODES)}, got {requested!r}")
    if requested in ("off", "offline"):
        return ("off" if requested == "off" else "offline"), None
    keyed = has_key(environ)
    if requested == "online":
        if not keyed:
            raise ConfigError(
                "track.wandb is online but no key was found in WANDB_API_KEY or netrc; set one "
                "(`wandb login` writes netrc), or use track.wandb=offline"
            )
        return "online", None
    wish = environ.get("WANDB_MODE", "").lower()
    if wish in ("disabled", "offline"):
        return ("off" if wish == "disabled" else "offline"), None
    if keyed and environ.get("RLCORE_OFFLINE") != "1":
        return "online", None
    why = "RLCORE_OFFLINE=1" if keyed else "no key in WANDB_API_KEY or netrc"
    return (
        "offline",
        f"W&B logs offline ({why}); upload with `wandb sync RUN/wandb/offline-*`",
    )


class WandbSink:
    """Logs to one W&B run, training records at most once a second.

    Args:
        settings: Names and mode (``online`` or ``offline``).
        run_dir: W&B's files go to ``run_dir/wandb``.
        redactor: Applied to config, names and tags.
        clock: Monotonic seconds.
    """

    name = "wandb"

    def __init__(
        self,
        settings: WandbSettings,
        run_dir: str | Path,
        *,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        self._wandb: Any = wandb
        self._clock = clock
        self._logged_at = -MIN_INTERVAL_S
        self._pending: Record | None = None
        self._best: float | None = None
        self._run: Any = wandb.init(**init_arguments(settings, run_dir, redactor or Redactor()))
        self._run.define_metric("*", step_metric="step/env")

    def log(self, record: Record) -> None:
        """Log a record; training records within a second of the last are replaced by the newest."""
        if "eval/return_mean" in record:
            self._run.log(record)
            self._summarise(record)
            return
        self._pending = record
        if self._clock() - self._logged_at >= MIN_INTERVAL_S:
            self._send()

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Upload videos and note how the run ended; other events stay in ``events.jsonl``."""
        if kind == "video" and str(fields.get("path", "")).endswith(".mp4"):
            path = str(fields["path"])
            video = self._wandb.Video(path, format="mp4")
            self._run.log({"eval/video": video, "step/env": fields.get("env_steps", 0)})
        elif kind in ("done", "failed"):
            self._run.summary["run/state"] = kind

    def close(self) -> None:
        """Send what is pending and finish the run."""
        self._send()
        self._run.finish()

    def _send(self) -> None:
        if self._pending is not None:
            self._run.log(self._pending)
            self._pending, self._logged_at = None, self._clock()

    def _summarise(self, record: Record) -> None:
        value = record["eval/return_mean"]
        self._run.summary["eval/final_return_mean"] = value
        if self._best is None or value > self._best:
            self._best = value
            self._run.summary["eval/best_return_mean"] = value
            self._run.summary["eval/best_step"] = record.get("step/env", 0)


def init_arguments(
    settings: WandbSettings, run_dir: str | Path, redactor: Redactor
) -> dict[str, Any]:
    """Return the arguments of ``wandb.init``: named, redacted, and without host or command line."""
    from wandb import Settings

    online = settings.mode == "online"
    return {
        "mode": settings.mode,
        "dir": str(run_dir),
        "project": settings.project,
        "entity": settings.entity,
        "name": redactor.data(settings.name),
        "group": redactor.data(settings.group),
        "job_type": settings.job_type,
        "tags": [tag[:64] for tag in redactor.data(settings.tags) if tag] or None,
        "config": redactor.data(settings.config),
        "id": _run_id(settings.run_id) if online and settings.run_id else None,
        "resume": "allow" if online and settings.run_id else None,
        "save_code": False,
        "settings": Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            program="rlcore",
            program_relpath="rlcore",
            host="",
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
        ),
    }


def _run_id(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:120]
