"""Records frames to an H.264 mp4, or to a GIF where only Pillow is there; with a JSON beside it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlcore.errors import MissingDependencyError
from rlcore.tracking.jsonl import encode

Frame = NDArray[np.uint8]
GIF_MAX_FPS = 50


def prepare_headless() -> None:
    """Point SDL at its dummy drivers, so that rendering needs neither screen nor sound.

    Call it before an environment with a ``render_mode`` is made.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def record_video(
    frames: Iterable[NDArray[Any]],
    path: str | Path,
    fps: float,
    metadata: Mapping[str, Any] | None = None,
    *,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Write ``[H, W, 3]`` uint8 frames as they come; return the file written.

    With ``imageio-ffmpeg`` that is an H.264 mp4; with Pillow alone a GIF beside it, and ``note`` is
    told. Odd sizes are padded by a row or column. ``metadata``, which may be filled in while the
    frames come, goes with frame count and size into a JSON file of the same name. A video that
    fails half-way leaves no file.

    Raises:
        MissingDependencyError: Neither package is installed.
        ValueError: No frames, or a frame of another shape or dtype.
    """
    prepare_headless()
    path = Path(path)
    write: Callable[[Iterator[Frame], Path, float], None]
    if _installed("imageio_ffmpeg"):
        path, write = path.with_suffix(".mp4"), _write_mp4
    elif _installed("PIL"):
        path, write = path.with_suffix(".gif"), _write_gif
        if note is not None:
            note("imageio-ffmpeg is not installed: wrote a GIF (pip install 'rlcore[video]')")
    else:
        raise MissingDependencyError(
            "recording a video needs imageio-ffmpeg: pip install 'rlcore[video]'"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    source = _Checked(frames)
    try:
        write(iter(source), part, fps)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    height, width = source.shape[:2]
    record = {**(metadata or {}), "fps": fps, "frames": source.count, "size": [width, height]}
    text = json.dumps(encode(record), indent=2, allow_nan=False)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return path


def tile(frames: list[Frame], columns: int) -> Frame:
    """Return equally sized ``[H, W, 3]`` frames as one picture, row by row; empty is black."""
    rows = -(-len(frames) // columns)
    height, width = frames[0].shape[:2]
    picture = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * height, index % columns * width
        picture[top : top + height, left : left + width] = frame
    return picture


class _Checked:
    """Frames checked, padded to even sizes and counted."""

    def __init__(self, frames: Iterable[NDArray[Any]]) -> None:
        self._frames = frames
        self.count = 0
        self.shape: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self._check(frame)
            self.count += 1
            odd = (frame.shape[0] % 2, frame.shape[1] % 2)
            if any(odd):
                frame = np.pad(frame, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            yield np.ascontiguousarray(frame)
        if not self.count:
            raise ValueError("a video needs at least one frame")

    def _check(self, frame: NDArray[Any]) -> None:
        wanted = self.shape or frame.shape
        ok = frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8
        if not ok or frame.shape != wanted:
            raise ValueError(
                f"frame {self.count}: wanted uint8 of shape {self.shape or '[H, W, 3]'}, got "
                f"{frame.dtype} of shape {frame.shape}"
            )
        self.shape = frame.shape


def _write_mp4(frames: Iterator[Frame], path: Path, fps: float) -> None:
    import imageio_ffmpeg

    first = next(frames)
    size = (first.shape[1], first.shape[0])
    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        macro_block_size=2,
        quality=7,
        ffmpeg_log_level="error",
        output_params=["-movflags", "+faststart", "-threads", "1"],
    )
    writer.send(None)
    try:
        for frame in chain([first], frames):
            writer.send(frame)
    finally:
        writer.close()


def _write_gif(frames: Iterator[Frame], path: Path, fps: float) -> None:
    from PIL import Image

    # Browsers play GIFs at 50 frames a second at most: take every n-th frame of faster ones.
    step = max(1, round(fps / GIF_MAX_FPS))
    images = [Image.fromarray(frame) for index, frame in enumerate(frames) if index % step == 0]
    duration = round(1000 * step / fps)
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
