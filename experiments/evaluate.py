"""Evaluation of a checkpoint on fresh, separately seeded environments."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.build import ExperimentParts, make_stream
from experiments.runs import resolve_run
from experiments.schema import ExperimentConfig
from experiments.validate import load_config
from rlcore.errors import CheckpointError, ConfigError, RunFolderWriteError
from rlcore.runtime.checkpoint import Checkpoint, Checkpointer
from rlcore.runtime.config import default_streams
from rlcore.runtime.evaluation import Episode, play_episodes
from rlcore.tracking.statistics import summarise_episodes

DEFAULT_ENVS = 10
_log = logging.getLogger(__name__)


def load_policy(
    run: str | Path, selector: str = "latest"
) -> tuple[ExperimentConfig, ExperimentParts, nn.Module, Checkpoint]:
    """Return configuration, parts, network and checkpoint of a run.

    Args:
        run: Run folder, or a selector such as ``runs/latest``.
        selector: ``latest``, ``best`` or ``step=N``.

    Raises:
        CheckpointError: No usable checkpoint fits.
        RunFolderError: There is no such run.
    """
    folder = resolve_run(run).path
    config = load_config(folder / "config.resolved.yaml").config
    streams = config.runtime.streams or default_streams(config.width, config.runtime.actors)
    parts = ExperimentParts(config, streams)
    checkpoint = _checkpointer(folder, config).load(selector)
    network = parts.agent.build_network()
    network.load_state_dict(newest_parameters(checkpoint))
    return config, parts, network, checkpoint


def newest_parameters(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the network's state in a checkpoint: what actors had, or else the learner's own."""
    newest = checkpoint.state["version"] - checkpoint.state["oldest_version"]
    published = checkpoint.tensors[f"params-{newest}"]
    prefix = "network/"
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.get("learner", {}).items()
        if name.startswith(prefix)
    }
    return published or own


def evaluate_run(
    run: str | Path,
    *,
    episodes: int = 100,
    deterministic: bool = True,
    selector: str = "latest",
    seed: int | None = None,
    num_envs: int | None = None,
) -> dict[str, Any]:
    """Evaluate a run's checkpoint, write ``eval/<step>.json`` and return its content.

    Args:
        run: Run folder or selector.
        episodes: Whole episodes to play.
        deterministic: Take the most likely action.
        selector: Which checkpoint.
        seed: Root seed; by default the run's, on a stream of its own.
        num_envs: Environments to step together.
    """
    if isinstance(episodes, bool) or not isinstance(episodes, int) or episodes < 1:
        raise ConfigError(f"episodes must be a whole number >= 1, got {episodes!r}")
    torch.set_num_threads(1)
    config, parts, network, checkpoint = load_policy(run, selector)
    if config.data is not None:
        result = measure_held_out(config, parts, network)
    else:
        result = evaluate_network(
            config,
            parts,
            network,
            episodes=episodes,
            deterministic=deterministic,
            seed=config.seed if seed is None else seed,
            num_envs=num_envs,
        )
    totals = checkpoint.state["totals"]
    result |= {
        "step/env": totals["env_steps"],
        "step/update": totals["updates"],
        "checkpoint": str(checkpoint.path),
    }
    if config.data is not None:
        result["step/tokens"] = totals["env_steps"]
    folder = resolve_run(run).path / "eval"
    path = folder / f"{totals['env_steps']:012d}.json"
    try:
        folder.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise RunFolderWriteError(f"{path} cannot be written: {error.strerror}") from error
    _record(_checkpointer(folder.parent, config), checkpoint, result)
    return result | {"file": str(path)}


def measure_held_out(
    config: ExperimentConfig, parts: ExperimentParts, network: nn.Module
) -> dict[str, Any]:
    """Return the loss on the held-out split of an experiment's data set.

    Raises:
        DataError: It has none.
    """
    from experiments.data_parts import open_data
    from experiments.planning import learner_device

    every = config.eval.every or 1
    wanted = replace(config, eval=replace(config.eval, every=every, samples=0))
    measured: dict[str, Any] = open_data(wanted, verify=False).validation(
        network.to(learner_device(config)), 0
    )
    return measured


def _checkpointer(folder: Path, config: ExperimentConfig) -> Checkpointer:
    return Checkpointer(folder / "checkpoints", keep_best=config.checkpoint.keep_best)


def _record(checkpointer: Checkpointer, checkpoint: Checkpoint, result: dict[str, Any]) -> None:
    """Add the figures to the checkpoint's manifest, where ``checkpoint.keep_best`` finds them."""
    metrics = {name: value for name, value in result.items() if name.startswith("eval/")}
    numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
    try:
        checkpointer.record_metrics(checkpoint.path, numbers)
    except CheckpointError as error:
        _log.warning("the evaluation is not noted in the checkpoint: %s", error)


def evaluate_network(
    config: ExperimentConfig,
    parts: ExperimentParts,
    network: nn.Module,
    *,
    episodes: int,
    deterministic: bool,
    seed: int,
    num_envs: int | None = None,
) -> dict[str, Any]:
    """Play episodes with ``network`` and return them with their statistics."""
    started = time.monotonic()
    count = min(episodes, num_envs or config.eval.num_envs or DEFAULT_ENVS)
    stream = make_stream(config.env, count, label="evaluator", evaluation=True)
    try:
        played = play_episodes(
            parts.agent, network, stream, episodes, seed=seed, deterministic=deterministic
        )
    finally:
        stream.close()
    return summary(played) | {
        "deterministic": deterministic,
        "seed": seed,
        "seconds": time.monotonic() - started,
    }


def summary(played: list[Episode]) -> dict[str, Any]:
    """Return the ``eval/*`` metrics of ``played`` and every episode."""
    metrics: dict[str, Any] = summarise_episodes(
        [episode.episode_return for episode in played], [episode.length for episode in played]
    )
    return metrics | {
        "episodes": [
            {
                "env": episode.env,
                "return": episode.episode_return,
                "length": episode.length,
                "seed": episode.seed,
            }
            for episode in played
        ]
    }
