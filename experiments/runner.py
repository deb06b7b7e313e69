"""Runs an experiment from its file to its folder: plan, start, watch, track, evaluate, stop."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from experiments.driver_log import driver_log
from experiments.evaluator import Evaluator
from experiments.run_folder import RunFolder
from experiments.runs import CONFIG_FILE, Run, resolve_run
from experiments.schema import ExperimentConfig
from experiments.validate import ResolvedConfig, load_config
from rlcore.errors import ConfigError, RlcoreError
from rlcore.tracking.open_tracker import open_tracker
from rlcore.tracking.tracker import Tracker
from rlcore.tracking.view import RunView
from rlcore.tracking.wandb_sink import WandbSettings, choose_mode

if TYPE_CHECKING:
    from experiments.build import ExperimentParts
    from rlcore.runtime.checkpoint import Checkpoint
    from rlcore.runtime.placement import Placement
    from rlcore.runtime.plan import RunPlan
    from rlcore.runtime.process import Message

POLL_S = 0.25
STATUS_EVERY_S = 2.0


class Interrupted(RlcoreError):
    """The run was asked to stop by a signal; its checkpoint is written, if there was time for one.

    Attributes:
        signal: ``SIGINT`` or ``SIGTERM``.
        run: The interrupted run.
    """

    def __init__(self, name: str, run: Run) -> None:
        saved = any((run.path / "checkpoints").glob("step-*"))
        then = f"; go on with: rlcore run --resume {run.path}" if saved else " before a checkpoint"
        super().__init__(f"{name}: the run stopped{then}")
        self.signal = name
        self.run = run


def run(
    config: str | Path | dict[str, Any] | Sequence[str | Path],
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    out: str | Path = "runs",
    console: str | None = None,
    wandb: str | None = None,
    new: bool = False,
) -> Run:
    """Train as ``config`` says and return the run; the same as ``rlcore run``.

    Call it from the main thread, or from one that lives until it returns (it does if it waits):
    processes are tied to the thread that starts them.

    Args:
        config: YAML file, several of them (merged left to right), or a mapping.
        overrides: ``key=value`` strings.
        name: Name of the run folder; by default made from date, experiment name and seed.
        out: Folder that holds run folders.
        console: ``auto``, ``live``, ``plain`` or ``none``; by default what the experiment says.
        wandb: ``auto``, ``offline``, ``online`` or ``off``; by default what the experiment says.
        new: With an existing ``name``, make a folder with a new suffix instead of refusing.

    Raises:
        ConfigError: The experiment is not valid; nothing was started.
        DataError: There is no data set where the experiment says; nothing was started.
        RunFolderError: The folder exists or cannot be written.
        Interrupted: A signal stopped the run; it can be resumed.
        RlcoreError: Training failed; the message says where the last checkpoint is.
    """
    _check_overrides(overrides)
    resolved = load_config(config, overrides, try_out=True)
    settings = resolved.config
    # Refused before there is a folder:
    choose_mode(wandb or settings.track.wandb.mode)
    if settings.data is not None:
        from rlcore.data.tokens.dataset import read_index

        read_index(settings.data.path)
    folder = RunFolder.create(
        out,
        name or settings.name,
        settings.seed,
        resolved.text,
        source=resolved.source_text,
        overrides=overrides,
        command=_command(config, overrides),
        facts={
            "agent": settings.resolved_types().get("agent"),
            "environment" if settings.data is None else "data": settings.source_name,
            "config hash": resolved.hash,
        },
        threads={"actor": settings.runtime.threads_per_actor, "learner": settings.learner.threads},
        deterministic=settings.runtime.schedule in ("serial", "lockstep"),
        explicit=name is not None,
        new=new,
    )
    with folder:
        return Session(folder, resolved, console=console, wandb=wandb).train()


def _check_overrides(overrides: object) -> None:
    if isinstance(overrides, str) or not isinstance(overrides, Sequence):
        raise ConfigError(f"overrides must be a list of 'key=value' strings, got {overrides!r}")


def _command(config: object, overrides: Sequence[str]) -> str:
    if isinstance(config, str | Path):
        files = [str(config)]
    elif isinstance(config, Sequence):
        files = [str(path) for path in config]
    else:
        files = ["(settings given in Python)"]
    return " ".join(["rlcore run", *files, *overrides])


def resume(
    selector: str | Path,
    overrides: Sequence[str] = (),
    *,
    allow_change: Sequence[str] = (),
    console: str | None = None,
    wandb: str | None = None,
) -> Run:
    """Go on with a run exactly where its newest valid checkpoint is.

    Args:
        selector: Run folder, or for example ``runs/latest``.
        overrides: Changed settings; ``stop``, ``track``, ``eval`` and ``checkpoint`` may change
            freely, others only if named in ``allow_change``.
        allow_change: Settings that may change although they change the mathematics.

    Raises:
        CheckpointError: There is no usable checkpoint.
        ConfigError: A setting may not change.
    """
    from experiments.resume import check_changes, keep_settings

    _check_overrides(overrides)
    path = resolve_run(selector).path
    before = load_config(path / CONFIG_FILE)
    after = load_config(path / CONFIG_FILE, overrides)
    check_changes(before, after, allow_change)
    with RunFolder.open(path) as folder:
        if after.tree != before.tree:
            keep_settings(folder, before)
            folder.write_text(CONFIG_FILE, after.text)
        return Session(folder, after, console=console, wandb=wandb, resume=True).train()


class Session:
    """One stretch of training in one run folder.

    Args:
        folder: The locked run folder.
        resolved: The experiment.
        console: Overrides ``track.console``.
        wandb: Overrides ``track.wandb``'s mode.
        resume: Go on from the folder's newest checkpoint that belongs to the experiment.
    """

    def __init__(
        self,
        folder: RunFolder,
        resolved: ResolvedConfig,
        *,
        console: str | None = None,
        wandb: str | None = None,
        resume: bool = False,
    ) -> None:
        self.folder = folder
        self.resolved = resolved
        self.config: ExperimentConfig = resolved.config
        self.run = Run(folder.path)
        self.resume = resume
        self.tracker = self._open_tracker(console, wandb)
        self._signal: str | None = None
        self._evaluating = False
        self._last_status = 0.0
        self.evaluator = Evaluator(folder.path, self.config.eval)
        self._step = 0

    def _open_tracker(self, console: str | None, wandb: str | None) -> Tracker:
        config, track = self.config, self.config.track
        view = RunView(
            self.folder.path.name,
            target_steps=config.stop.env_steps or config.stop.tokens,
            target_seconds=config.stop.wall_time,
            actors=config.runtime.actors,
        )
        settings = dataclasses.asdict(track.wandb)
        if wandb is not None:
            settings["mode"] = wandb
        settings.pop("group", None)
        tags = (config.resolved_types().get("agent", ""), config.source_name)
        return open_tracker(
            self.folder.path,
            jsonl=track.jsonl,
            console=console or track.console,
            tensorboard=track.tensorboard,
            wandb=WandbSettings(
                mode=settings["mode"],
                project=settings["project"],
                entity=settings["entity"],
                name=self.folder.path.name,
                run_id=self.folder.path.name,
                group=track.wandb.group or config.name,
                tags=(*tags, *track.wandb.tags),
                config=self.resolved.tree,
            ),
            view=view,
            max_lag=config.runtime.max_lag if config.runtime.schedule == "async" else None,
        )

    # -- the run --------------------------------------------------------------------------------

    def train(self) -> Run:
        """Train until a limit is met; return the run."""
        with driver_log(self.folder.logs):
            return self._train()

    def _train(self) -> Run:
        self.tracker.event("state", state="starting", waiting_for="torch and the environments")
        try:
            with self._signals():
                placement, parts = self._place()
                try:
                    self._loop(placement)
                finally:
                    placement.close()
                    self.evaluator.close()
                self._finish(placement, parts)
        except RlcoreError as error:
            state = "interrupted" if isinstance(error, Interrupted) else "failed"
            if state == "failed":
                self.tracker.event("failed", message=str(error))
            self._status(self._stopped_state() if state == "interrupted" else state, str(error))
            raise
        except KeyboardInterrupt:
            done, name = "evaluation" if self._evaluating else "training", self._signal or "SIGINT"
            self._status(self._stopped_state(), f"{done} was stopped at once by {name}")
            raise Interrupted(name, self.run) from None
        except BaseException as error:
            self._status("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            self.tracker.close()
        return self.run

    def _place(self) -> tuple[Placement, ExperimentParts]:
        from rlcore.runtime.forked import prepare

        if self.config.runtime.placement == "local":
            prepare()  # what it imports takes as long as what this process imports now
        from experiments.build import ExperimentParts
        from experiments.planning import make_plan, streams_of
        from experiments.resume import earlier_hashes
        from rlcore.runtime.placement import place

        parts = ExperimentParts(
            self.config, streams_of(self.config), run_dir=self.folder.path.resolve()
        )
        plan, checkpoint = make_plan(
            self.resolved,
            parts,
            self.folder.path,
            resume=self.resume,
            earlier_hashes=earlier_hashes(self.folder.path) if self.resume else (),
        )
        if checkpoint is not None:
            self._mark_resumed(plan, checkpoint)
        placement = place(plan, parts, self.config.runtime.placement)
        self.tracker.event("state", state="starting", waiting_for="actors and learner")
        self._status("running")
        placement.start()
        return placement, parts

    def _mark_resumed(self, plan: RunPlan, checkpoint: Checkpoint) -> None:
        for reason in checkpoint.skipped:
            self.tracker.event("warning", message=f"checkpoint passed over: {reason}")
        totals = checkpoint.state["totals"]
        self._step = totals["env_steps"]
        self.tracker.resumed(
            env_steps=totals["env_steps"],
            updates=totals["updates"],
            wall_s=totals["seconds"],
            resumes=plan.epoch,
        )
        self.tracker.event("resumed", checkpoint=plan.resume, step=totals["env_steps"])

    def _loop(self, placement: Placement) -> None:
        stopping = False
        while not placement.finished:
            for message in placement.poll(POLL_S):
                self._take(message)
            if self._signal is not None and not stopping:
                stopping = True
                self.tracker.event("state", state="stopping", waiting_for="the last checkpoint")
                placement.request_stop()
            self._take_evaluation()
            now = time.monotonic()
            if now - self._last_status >= STATUS_EVERY_S:
                self._status("running")
        for message in placement.poll(0.0):
            self._take(message)

    def _take(self, message: Message) -> None:
        kind = message["kind"]
        fields = {k: v for k, v in message.items() if k not in ("kind", "traceback")}
        if kind == "metrics":
            if message["record"]:
                self._step = int(message["record"]["step/env"])
                self.tracker.log(message["record"])
            return
        if kind == "done":
            return  # the placement's result; the session says "done" once all is written
        if kind == "checkpoint":
            # With all axes: in a short run this is the first record there is.
            self.tracker.log(
                {
                    "step/env": message["step"],
                    "step/update": message["update"],
                    "time/wall_s": message["wall_s"],
                    "checkpoint/seconds": message["seconds"],
                    "checkpoint/bytes": message["bytes"],
                }
            )
            if not message["final"] and self.config.env is not None:
                self.evaluator.offer(message["step"])
        elif kind == "checkpoint_failed":
            self.tracker.event("warning", message=f"checkpoint not written: {message['message']}")
            if message["final"]:
                raise RlcoreError(
                    f"the final checkpoint was not written: {message['message']}; the one before "
                    f"it is kept: rlcore run --resume {self.folder.path}"
                )
            return
        self.tracker.event(kind, **fields)

    def _finish(self, placement: Placement, parts: ExperimentParts) -> None:
        reason = (placement.result or {}).get("reason", "")
        if self._signal is not None:
            raise Interrupted(self._signal, self.run)
        if self.config.eval.episodes and self.config.env is not None:
            self._evaluate()
        self.tracker.event("done", reason=reason, path=str(self.folder.path))
        self._status("finished", reason)

    def _evaluate(self) -> None:
        from experiments.evaluate import evaluate_run

        self.tracker.event("state", state="evaluating", waiting_for="evaluation episodes")
        self._evaluating = True
        result = evaluate_run(
            self.folder.path,
            episodes=self.config.eval.episodes,
            deterministic=self.config.eval.deterministic,
            num_envs=self.config.eval.num_envs,
        )
        self._log_evaluation(result)

    def _take_evaluation(self) -> None:
        result, error = self.evaluator.take()
        if error:
            self.tracker.event("warning", message=f"evaluation failed: {error}")
        if result is not None:
            self._log_evaluation(result)

    def _log_evaluation(self, result: dict[str, Any]) -> None:
        record = {k: v for k, v in result.items() if k.startswith(("eval/", "step/"))}
        self.tracker.log(record)
        self.tracker.event(
            "eval",
            file=result["file"],
            **{k: record[k] for k in ("eval/return_mean", "eval/ci_low", "eval/ci_high")},
        )

    # -- signals and status ---------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM into a request to stop; the second stops at once.

        During the final evaluation there is nothing left to save: the first one stops it.
        """

        def handle(number: int, _: FrameType | None) -> None:
            at_once = self._signal is not None or self._evaluating
            self._signal = signal.Signals(number).name
            if at_once:
                raise KeyboardInterrupt

        old = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                old[number] = signal.signal(number, handle)
        except ValueError:
            pass  # not the main thread: the caller owns the signals
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _stopped_state(self) -> str:
        return "preempted" if self._signal == "SIGTERM" else "interrupted"

    def _status(self, state: str, reason: str = "") -> None:
        self._last_status = time.monotonic()
        self.folder.write_status(state, step=self._step, reason=reason)
