"""From a validated experiment to the runtime's plan: streams, capacities, device, checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from experiments.build import ExperimentParts, build_parts, plan_config
from experiments.schema import ExperimentConfig
from experiments.validate import ResolvedConfig
from rlcore.errors import ConfigError
from rlcore.runtime.checkpoint import Checkpoint, Checkpointer
from rlcore.runtime.config import default_streams
from rlcore.runtime.plan import RunPlan, factory_name, final_obs_capacity

FREE_SECTIONS = ("name", "stop", "track", "eval", "checkpoint", "include")
"""Sections that do not change what a run computes."""


def math_hash(tree: dict[str, Any]) -> str:
    """Return a hash of the settings that change what a run computes."""
    kept = {key: value for key, value in tree.items() if key not in FREE_SECTIONS}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def streams_of(config: ExperimentConfig) -> int:
    """Return the number of streams the experiment's environments are divided into."""
    runtime = config.runtime
    return runtime.streams or default_streams(config.width, runtime.actors)


def learner_device(config: ExperimentConfig) -> str:
    """Return the device that ``learner.device`` means on this machine.

    Raises:
        ConfigError: ``cuda`` is wanted and there is none.
    """
    import torch

    wanted = config.learner.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("learner.device is 'cuda' but torch sees no CUDA device; wanted 'cpu'")
    if wanted == "auto":
        shared = config.runtime.schedule == "hogwild"  # its parameters are in shared CPU memory
        return "cuda" if torch.cuda.is_available() and not shared else "cpu"
    return wanted


def make_plan(
    resolved: ResolvedConfig,
    parts: ExperimentParts,
    run_dir: Path,
    *,
    resume: bool = False,
    earlier_hashes: Collection[str] = (),
) -> tuple[RunPlan, Checkpoint | None]:
    """Return the plan, and the checkpoint it resumes from if it is to ``resume``.

    The checkpoint must carry the :func:`math_hash` of the experiment or one of ``earlier_hashes``,
    which it had before its settings were changed.

    Raises:
        CheckpointError: Resuming without a usable checkpoint.
        ConfigError: The numbers do not fit together.
    """
    config, runtime = resolved.config, resolved.config.runtime
    streams = streams_of(config)
    checkpoint = None
    if resume:
        checkpoint = Checkpointer(
            run_dir / "checkpoints",
            config_hash=math_hash(resolved.tree),
            earlier_hashes=earlier_hashes,
        ).load("latest")
    plan = RunPlan(
        factory=factory_name(build_parts),
        config=plan_config(resolved.tree, streams, parts.probe, run_dir.resolve()),
        run_dir=str(run_dir.resolve()),
        seed=config.seed,
        actors=runtime.actors,
        streams=streams,
        envs=parts.envs,
        batch=runtime.batch or streams,
        schedule=runtime.schedule,
        lag=runtime.lag,
        max_lag=runtime.max_lag,
        ahead=runtime.ahead,
        on_stale=runtime.on_stale,
        final_obs_capacity=_final_obs_capacity(parts),
        hogwild_lock=runtime.hogwild_lock,
        checksum=runtime.checksum,
        threads_per_actor=runtime.threads_per_actor,
        learner_threads=config.learner.threads,
        accumulate=config.learner.accumulate,
        device=learner_device(config),
        start_deadline_s=runtime.start_deadline_s,
        step_deadline_s=runtime.step_deadline_s,
        max_restarts=runtime.max_restarts,
        restart_window_s=runtime.restart_window_s,
        min_healthy=runtime.min_healthy,
        memory_limit_mb=runtime.memory_limit_mb,
        report_every_s=config.track.every,
        checkpoint_every_s=config.checkpoint.every,
        checkpoint_keep=config.checkpoint.keep,
        milestones=config.checkpoint.milestones,
        keep_best=config.checkpoint.keep_best,
        config_hash=math_hash(resolved.tree),
        stop=_limits(config),
        resume=None if checkpoint is None else str(checkpoint.path),
        epoch=0 if checkpoint is None else checkpoint.state.get("epoch", 0) + 1,
    )
    return plan, checkpoint


def _final_obs_capacity(parts: ExperimentParts) -> int:
    """Return how many final observations a fragment has room for."""
    spec = parts.env_spec
    if spec is None or parts.probe is None:
        return 0
    itemsize = np.dtype(spec.obs_dtype).itemsize
    return final_obs_capacity(
        int(np.prod(spec.obs_shape, dtype=np.int64)) * itemsize,
        unroll=parts.agent.unroll,
        envs=parts.envs,
        autoreset=parts.probe.autoreset,
    )


def _limits(config: ExperimentConfig) -> dict[str, Any]:
    """Return when the run stops, by the names of :class:`rlcore.runtime.stop.StopLimits`."""
    stop = config.stop
    return {
        "env_steps": stop.env_steps or stop.tokens,
        "updates": stop.updates,
        "seconds": stop.wall_time,
        "episode_return": stop.return_,
        "loss": stop.loss,
    }
