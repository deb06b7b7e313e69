"""A contact sheet of an episode: the picture of an environment on its page of the documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.references import chosen, make_policy
from rlcore.errors import ConfigError, MissingDependencyError
from rlcore.tracking.video import prepare_headless

Frame = np.ndarray[Any, Any]
GAP = 10
HEAD = 34
FOOT = 22
MAX_WIDTH = 1200
SMALLEST, LARGEST = 180, 380
"""Width of one frame in the sheet, in pixels: smaller ones are enlarged, larger ones reduced."""


def env_picture(
    id: str,
    out: Path,
    *,
    policy: str = "best",
    steps: int = 500,
    seed: int = 0,
    frames: int = 6,
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Play one episode and write evenly spaced frames of it, with step and return, as one picture.

    Args:
        id: Gymnasium id.
        out: Picture file; the suffix says which format.
        policy: ``best``, ``random`` or ``module:function`` (:mod:`envs.references`).
        steps: The episode is left after so many steps.
        seed: Of the environment.
        frames: How many.
        kwargs: Passed to the environment.

    Returns:
        ``policy``, ``steps`` played and ``return``.

    Raises:
        ConfigError: The environment cannot be made or has no pictures, or a number is wrong.
        MissingDependencyError: Pillow is not installed.
    """
    prepare_headless()
    if frames < 1 or steps < 1:
        raise ConfigError(f"{frames} frames of {steps} steps: both must be at least 1")
    env = _make(id, kwargs or {})
    try:
        name = chosen(id, policy)
        returns, pictures = _trace(env, id, name, steps, seed)
    except ImportError as error:
        raise MissingDependencyError(str(error)) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    finally:
        env.close()
    shown = np.unique(np.linspace(0, len(pictures) - 1, frames).round().astype(int)).tolist()
    captions = [f"step {k}   return {returns[k]:.4g}" for k in shown]
    title = f"{id}   policy {name.rpartition(':')[2]}   seed {seed}"
    sheet = contact_sheet([pictures[k] for k in shown], captions, title)
    _save(sheet, out)
    return {"policy": name, "steps": len(pictures) - 1, "return": returns[-1]}


def _make(id: str, kwargs: Mapping[str, Any]) -> Any:
    from envs.make import make_envs

    return make_envs(id, 1, kwargs=kwargs, render_mode="rgb_array", vectorization="sync")[0]  # type: ignore[index]


def _trace(
    env: Any, id: str, policy: str, steps: int, seed: int
) -> tuple[list[float], list[Frame]]:
    """Return the return so far and the picture before each step and at the end."""
    obs, info = env.reset(seed=seed)
    play = make_policy(policy, env, seed)
    returns, pictures = [0.0], [_drawn(env, id)]
    for _ in range(steps):
        obs, reward, terminated, truncated, info = env.step(play(obs, info))
        returns.append(returns[-1] + float(reward))
        pictures.append(_drawn(env, id))
        if terminated or truncated:
            break
    return returns, pictures


def _drawn(env: Any, id: str) -> Frame:
    try:
        picture = env.render()
    except NotImplementedError:
        picture = None
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise ConfigError(f"{id} gives no picture in render mode rgb_array")
    return picture


def contact_sheet(frames: Sequence[Frame], captions: Sequence[str], title: str) -> Frame:
    """Return frames of one size in a grid, each with its caption below, under a title.

    Args:
        frames: Uint8 ``[h, w, 3]`` each.
        captions: One for each.
        title: On top.

    Returns:
        Uint8 ``[height, width, 3]``.
    """
    from envs.core.canvas import Canvas

    high, wide = frames[0].shape[:2]
    width = max(SMALLEST, min(LARGEST, wide))
    height = round(high * width / wide)
    columns = max(1, min(len(frames), (MAX_WIDTH - GAP) // (width + GAP), 4))
    full = [k for k in range(2, columns + 1) if len(frames) % k == 0]
    columns = max(full, default=columns)  # full rows look better than a row of one
    rows = math.ceil(len(frames) / columns)
    total = max(GAP + columns * (width + GAP), 2 * SMALLEST)
    canvas = Canvas(total, HEAD + rows * (height + FOOT + GAP), supersample=1)
    canvas.text((GAP, HEAD / 2), title, 14, anchor="lm", pixels=True)
    for k, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        left = GAP + (k % columns) * (width + GAP)
        top = HEAD + (k // columns) * (height + FOOT + GAP)
        canvas.image(frame, left, top, left + width, top + height, smooth=width < wide)
        canvas.rectangle(left, top, left + width, top + height, None, "light", 1)
        canvas.text((left, top + height + FOOT / 2), caption, 11, "grey", "lm", pixels=True)
    return canvas.array()


def _save(sheet: Frame, out: Path) -> None:
    from PIL import Image

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        Image.fromarray(sheet).save(out, optimize=True)
    except ValueError as error:
        raise ConfigError(f"{out}: {error}") from error
