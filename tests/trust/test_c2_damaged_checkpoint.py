"""Promise C2: a damaged checkpoint is named with its damage, and the one before it is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlcore import __version__
from rlcore.errors import CheckpointError
from rlcore.runtime.checkpoint import Checkpointer

TENSORS = "learner.safetensors"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit_manifest(folder: Path, **values: object) -> None:
    path = folder / "MANIFEST.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(folder: Path) -> None:
    data = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(data[:-1])


def rename_in_manifest(folder: Path) -> None:
    files = json.loads((folder / "MANIFEST.json").read_text())["files"]
    edit_manifest(folder, files=[{**files[0], "name": "../../secret.json"}])


def replace_by_link(folder: Path) -> None:
    shutil.move(folder / TENSORS, folder.parent / "elsewhere")
    (folder / TENSORS).symlink_to(folder.parent / "elsewhere")


def drop_state(folder: Path) -> None:
    files = json.loads((folder / "MANIFEST.json").read_text())["files"]
    edit_manifest(folder, files=[f for f in files if f["name"] != "state.json"])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated tensors": (truncate, rf"{TENSORS} has \d+ bytes, wanted \d+"),
    "flipped bit in tensors": (
        lambda folder: flip(folder / TENSORS, -3),
        rf"{TENSORS} is damaged: its SHA-256 differs",
    ),
    "flipped bit in the header": (
        lambda folder: flip(folder / TENSORS, 20),
        rf"{TENSORS} is damaged: its SHA-256 differs",
    ),
    "flipped bit in the state": (
        lambda folder: flip(folder / "state.json", 3),
        r"state\.json is damaged: its SHA-256 differs",
    ),
    "missing tensors": (
        lambda folder: (folder / TENSORS).unlink(),
        rf"{TENSORS} cannot be read \(No such file",
    ),
    "tensors behind a link": (replace_by_link, rf"{TENSORS} cannot be read \(Too many levels"),
    "missing manifest": (
        lambda folder: (folder / "MANIFEST.json").unlink(),
        r"MANIFEST\.json is missing: incomplete",
    ),
    "empty manifest": (
        lambda folder: (folder / "MANIFEST.json").write_text(""),
        r"MANIFEST\.json is not JSON",
    ),
    "endless manifest": (
        lambda folder: (folder / "MANIFEST.json").write_text("[" * 200_000),
        r"MANIFEST\.json is not JSON",
    ),
    "huge manifest": (
        lambda folder: (folder / "MANIFEST.json").write_text(" " * 5_000_000),
        r"MANIFEST\.json is over",
    ),
    "manifest without fields": (
        lambda folder: (folder / "MANIFEST.json").write_text('{"format": 1}'),
        r"MANIFEST\.json is malformed: KeyError",
    ),
    "manifest of no format": (
        lambda folder: edit_manifest(folder, format="one"),
        r"MANIFEST\.json has format 'one', wanted a number",
    ),
    "manifest that points outside": (rename_in_manifest, r"malformed: .*\.\./\.\./secret\.json"),
    "manifest without the state": (drop_state, r"state\.json is not in it"),
    "foreign config hash": (
        lambda folder: edit_manifest(folder, config_hash="f00d"),
        "belongs to another experiment: its config hash is f00d, this one's cafe",
    ),
}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpointer:
    made = Checkpointer(tmp_path, keep=5, config_hash="cafe", keep_best="r")
    for step in (10, 20):
        made.save(step, {"learner": {"w": torch.full((9,), step)}}, {"step": step}, {"r": step})
    return made


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_and_the_previous_is_used(checkpoints: Checkpointer, case: str) -> None:
    damage, message = DAMAGE[case]
    newest = checkpoints.directory / "step-000000000020"
    damage(newest)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.load(newest)
    assert newest.name in str(caught.value)
    found = checkpoints.load()
    assert (found.step, found.state) == (10, {"step": 10})
    assert found.tensors["learner"]["w"].tolist() == [10] * 9
    (reason,) = found.skipped
    assert reason == str(caught.value)
    if "manifest" not in case or case == "manifest without the state":
        assert checkpoints.load("best").step == 10


def test_all_damaged_lists_each_reason(checkpoints: Checkpointer) -> None:
    first, second = sorted(checkpoints.directory.iterdir())
    truncate(first)
    (second / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load()
    head, *reasons = str(caught.value).splitlines()
    assert head == f"no usable checkpoint in {checkpoints.directory}:"
    assert [reason.split(":")[0].strip() for reason in reasons] == [second.name, first.name]


def test_another_experiment_is_refused_with_both_hashes(checkpoints: Checkpointer) -> None:
    with pytest.raises(CheckpointError, match="config hash is cafe, this one's beef"):
        Checkpointer(checkpoints.directory, config_hash="beef").load()


def test_a_later_format_is_never_passed_over(checkpoints: Checkpointer) -> None:
    newest = checkpoints.directory / "step-000000000020"
    edit_manifest(newest, format=2, written_by="0.9.0")
    wanted = (
        rf"format 2 was written by rlcore 0\.9\.0; this is rlcore {__version__}, which reads "
        r"formats up to 1: install rlcore>=0\.9\.0"
    )
    for selector in ("latest", "step=20", newest):
        with pytest.raises(CheckpointError, match=wanted):
            checkpoints.load(selector)
    assert checkpoints.load("step=10").step == 10


def test_training_goes_on_beside_a_damaged_checkpoint(checkpoints: Checkpointer) -> None:
    (checkpoints.directory / "step-000000000020" / "MANIFEST.json").unlink()
    checkpoints.save(30, {}, {"step": 30})
    assert checkpoints.load().step == 30
    assert (checkpoints.directory / "step-000000000020").exists(), "left for a person to look at"
