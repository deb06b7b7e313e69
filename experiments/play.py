"""Plays a trained policy and records it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.build import make_stream
from experiments.evaluate import load_policy
from experiments.runs import resolve_run
from rlcore.errors import ConfigError
from rlcore.runtime.evaluation import play_episodes
from rlcore.tracking.video import prepare_headless, record_video

MAX_FRAMES = 20_000
DEFAULT_FPS = 30


def play_run(
    run: str | Path,
    *,
    video: str | Path | None = None,
    selector: str = "latest",
    episodes: int = 1,
    deterministic: bool = True,
    seed: int | None = None,
) -> dict[str, Any]:
    """Play episodes with a checkpoint's policy and write them to a video.

    Args:
        run: Run folder or selector.
        video: Target file; by default ``videos/step-N.mp4`` in the run folder.
        selector: ``latest``, ``best`` or ``step=N``.
        episodes: Whole episodes, one after the other.
        deterministic: Take the most likely action.
        seed: Root seed; by default the run's.

    Returns:
        ``video`` (path), ``return`` of each episode and ``frames``.

    Raises:
        ConfigError: The environment cannot be rendered to images.
        MissingDependencyError: No encoder is installed.
    """
    prepare_headless()
    torch.set_num_threads(1)
    config, parts, network, checkpoint = load_policy(run, selector)
    stream = make_stream(config.env, 1, label="player", render_mode="rgb_array", evaluation=True)
    env = stream.envs[0]  # type: ignore[attr-defined]
    frames: list[np.ndarray] = []

    def grab() -> None:
        if len(frames) < MAX_FRAMES:
            frame = env.render()
            if not isinstance(frame, np.ndarray):
                raise ConfigError(
                    f"{config.env.id} renders {type(frame).__name__}; wanted an RGB array"
                )
            frames.append(frame)

    try:
        played = play_episodes(
            parts.agent,
            network,
            stream,
            episodes,
            seed=config.seed if seed is None else seed,
            deterministic=deterministic,
            on_step=grab,
        )
        fps = int(env.metadata.get("render_fps") or DEFAULT_FPS)
    finally:
        stream.close()
    step = checkpoint.state["totals"]["env_steps"]
    target = Path(video) if video else resolve_run(run).path / "videos" / f"step-{step:012d}.mp4"
    target.parent.mkdir(parents=True, exist_ok=True)
    returns = [episode.episode_return for episode in played]
    metadata = {
        "env": config.env.id,
        "step": step,
        "returns": returns,
        "checkpoint": str(checkpoint.path),
    }
    path = record_video(_each(frames), target, fps=fps, metadata=metadata)
    return {"video": str(path), "return": returns, "frames": len(frames)}


def _each(frames: list[np.ndarray]) -> Iterator[np.ndarray]:
    yield from frames
