"""TensorBoard files hold each metric against environment steps, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlcore.errors import MissingDependencyError
from rlcore.tracking.tensorboard_sink import TensorBoardSink


def test_values_are_read_back(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    sink = TensorBoardSink(tmp_path)
    sink.log({"step/env": 10, "loss/value": 2.5})
    sink.log({"step/env": 20, "loss/value": float("nan"), "loss/policy": -1})
    sink.event("checkpoint", {})
    sink.close()
    (file,) = (tmp_path / "tensorboard").glob("events*")
    seen = {}
    for event in loader.EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            seen[event.step, value.tag] = value.tensor.float_val[0]
    assert seen[10, "loss/value"] == 2.5
    assert seen[20, "loss/policy"] == -1
    assert seen[20, "loss/value"] != seen[20, "loss/value"]
    assert not any(tag == "step/env" for _, tag in seen)


def test_it_does_not_import_torch(tmp_path: Path, repo_root: Path) -> None:
    pytest.importorskip("tensorboard")
    script = (
        "import sys; from rlcore.tracking.tensorboard_sink import TensorBoardSink as S\n"
        f"s = S({str(tmp_path)!r}); s.log({{'step/env': 1, 'loss/value': 2}}); s.close()\n"
        "assert 'torch' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=repo_root, check=True, timeout=60)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(MissingDependencyError, match=r"rlcore\[tensorboard\]"):
        TensorBoardSink(tmp_path)
