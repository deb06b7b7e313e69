"""Plays a trained policy and records it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.build import make_stream
from experiments.evaluate import load_policy
from experiments.runs import resolve_run
from rlcore.errors import ConfigError
from rlcore.runtime.evaluation import playing
from rlcore.tracking.video import prepare_headless, record_video

DEFAULT_FPS = 30


def play_run(
    run: str | Path,
    *,
    video: str | Path | None = None,
    selector: str = "latest",
    episodes: int = 1,
    deterministic: bool = True,
    seed: int | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Play episodes with a checkpoint's policy and write them to a video.

    Args:
        run: Run folder or selector.
        video: Target file; by default ``videos/step-N.mp4`` in the run folder.
        selector: ``latest``, ``best`` or ``step=N``.
        episodes: Whole episodes, one after the other.
        deterministic: Take the most likely action.
        seed: Root seed; by default the run's.
        note: Told if the video became a GIF, and how to get an mp4.

    Returns:
        ``video`` (path), ``return`` of each episode and ``frames``.

    Raises:
        ConfigError: The environment cannot be rendered to images.
        MissingDependencyError: No encoder is installed.
    """
    prepare_headless()
    torch.set_num_threads(1)
    config, parts, network, checkpoint = load_policy(run, selector)
    if config.env is None:
        raise ConfigError(
            f"{run} has no environment to play; of a language model: rlcore export {run} DIR, then "
            "rlcore generate DIR"
        )
    stream = make_stream(config.env, 1, label="player", render_mode="rgb_array", evaluation=True)
    env = stream.envs[0]  # type: ignore[attr-defined]
    step = checkpoint.state["totals"]["env_steps"]
    target = Path(video) if video else resolve_run(run).path / "videos" / f"step-{step:012d}.mp4"
    returns: list[float] = []
    metadata = {
        "env": config.env.id,
        "step": step,
        "returns": returns,
        "checkpoint": str(checkpoint.path),
    }
    count = 0

    def frames() -> Iterator[np.ndarray]:
        """Play while the encoder takes the pictures: no episode is too long for the memory."""
        nonlocal count
        for ended in playing(
            parts.agent,
            network,
            stream,
            episodes,
            seed=config.seed if seed is None else seed,
            deterministic=deterministic,
        ):
            count += 1
            returns.extend(episode.episode_return for episode in ended)
            yield _picture(env, config.env.id)

    try:
        fps = int(env.metadata.get("render_fps") or DEFAULT_FPS)
        path = record_video(frames(), target, fps=fps, metadata=metadata, note=note)
    finally:
        stream.close()
    return {"video": str(path), "return": returns, "frames": count}


def _picture(env: Any, name: str) -> np.ndarray:
    frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise ConfigError(f"{name} renders {type(frame).__name__}; wanted an RGB array")
    return frame
