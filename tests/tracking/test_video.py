"""Videos: H.264 mp4, GIF as the fallback, a JSON beside, and nothing left of a failed one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rlcore.errors import MissingDependencyError
from rlcore.tracking import video


def frames(count: int, shape: tuple[int, ...] = (20, 30, 3)) -> Iterator[np.ndarray]:
    for index in range(count):
        yield np.full(shape, index * 10, np.uint8)


def only(*modules: str) -> object:
    return lambda name: name in modules


def test_mp4_is_h264_of_the_right_length(tmp_path: Path) -> None:
    reader = pytest.importorskip("imageio_ffmpeg")
    path = video.record_video(frames(12, (21, 31, 3)), tmp_path / "a b/é", 6, {"return": math.nan})
    assert path == tmp_path / "a b" / "é.mp4"
    stream = reader.read_frames(str(path))
    meta = next(stream)
    pictures = [np.frombuffer(data, np.uint8) for data in stream]
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    assert meta["size"] == (32, 22)  # odd sizes are padded by one
    assert meta["fps"] == 6
    assert len(pictures) == 12
    assert abs(float(pictures[10].mean()) - 100) < 8
    side = json.loads(path.with_suffix(".json").read_text())
    assert side == {"return": "NaN", "fps": 6, "frames": 12, "size": [31, 21]}
    assert sorted(p.name for p in path.parent.iterdir()) == ["é.json", "é.mp4"]


def test_gif_is_the_fallback_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr(video, "_installed", only("PIL"))
    notes: list[str] = []
    path = video.record_video(frames(8), tmp_path / "x.mp4", 10, note=notes.append)
    assert path == tmp_path / "x.gif"
    assert notes == ["imageio-ffmpeg is not installed: wrote a GIF (pip install 'rlcore[video]')"]
    with image.open(path) as picture:
        assert picture.n_frames == 8
        assert picture.info["duration"] == 100
    assert json.loads((tmp_path / "x.json").read_text())["frames"] == 8


def test_fast_gifs_are_thinned_in_real_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr(video, "_installed", only("PIL"))
    path = video.record_video(frames(20), tmp_path / "x.gif", 100)
    with image.open(path) as picture:
        assert picture.n_frames == 10
        assert picture.info["duration"] == 20


def test_without_packages_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_installed", only())
    with pytest.raises(MissingDependencyError, match=r"rlcore\[video\]"):
        video.record_video(frames(1), tmp_path / "x.mp4", 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((4, 4), np.uint8)], r"frame 0: wanted uint8 of shape \[H, W, 3\]"),
        ([np.zeros((4, 4, 3), np.float32)], "got float32"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], r"frame 1: .*\(4, 6, 3\)"),
    ],
)
def test_bad_frames_are_refused_and_leave_no_file(
    tmp_path: Path, bad: list[np.ndarray], message: str
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(ValueError, match=message):
        video.record_video(bad, tmp_path / "x.mp4", 10)
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_are_padded_with_the_edge_not_scaled() -> None:
    frame = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    checked = video._Checked([frame])
    (padded,) = checked
    assert padded.shape == (4, 6, 3)
    assert np.array_equal(padded[:3, :5], frame)
    assert np.array_equal(padded[3, :5], frame[2])
    assert np.array_equal(padded[:3, 5], frame[:, 4])
    assert checked.shape == (3, 5, 3)


def test_sdl_is_headless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setenv("SDL_AUDIODRIVER", "alsa")
    video.prepare_headless()

    assert os.environ["SDL_VIDEODRIVER"] == "dummy"
    assert os.environ["SDL_AUDIODRIVER"] == "alsa"  # a wish of the user stands


def test_tile_places_frames_row_by_row() -> None:
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    grid = video.tile(pictures, columns=2)
    assert grid.shape == (4, 6, 3)
    assert grid[:, :, 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 0, 0, 0]] * 2
