"""What the driving process says is kept in the run's folder, and still reaches stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments.driver_log import driver_log
from rlcore.errors import RlcoreError

SECRET = "canary-5a6b7c8d9e"


@contextmanager
def logging_to(folder: Path) -> Iterator[None]:
    """Open the log as a process does in which nobody else listens; pytest does."""
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RLCORE_CANARY_TOKEN", SECRET)
            with driver_log(folder):
                yield
        assert root.handlers == []
    finally:
        root.handlers = kept


def test_warnings_go_to_the_file_and_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # a resumed run appends
        with logging_to(tmp_path):
            logging.getLogger("rlcore.x").warning("old checkpoint %s was not removed", SECRET)
            logging.getLogger("rlcore.x").info("chatter")
    lines = (tmp_path / "driver.log").read_text().splitlines()
    assert len(lines) == 2
    wanted = "WARNING rlcore.x: old checkpoint [redacted] was not removed"
    assert all(line.endswith(wanted) for line in lines)
    assert capsys.readouterr().err.count("was not removed") == 2


def test_the_traceback_of_what_ended_it_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RlcoreError), logging_to(tmp_path):
        raise RlcoreError(f"lost {SECRET}")
    text = (tmp_path / "driver.log").read_text()
    assert "Traceback" in text
    assert "RlcoreError: lost [redacted]" in text
    assert capsys.readouterr().err == ""  # whoever catches it tells the user


def test_a_folder_that_cannot_be_written_does_not_stop_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(tmp_path / "none"):
        logging.getLogger("rlcore.x").warning("still said")
    err = capsys.readouterr().err
    assert "driver.log is not written: No such file" in err
    assert "still said" in err


def test_a_full_disk_costs_the_file_and_not_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "driver.log").symlink_to("/dev/full")
    with logging_to(tmp_path):
        logging.getLogger("rlcore.x").warning("said")
    err = capsys.readouterr().err
    assert "said" in err
    assert "Traceback" not in err
