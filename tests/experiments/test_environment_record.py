"""The record of the machine: versions from an allow-list, limits, no names of the user's things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.environment_record as module
from experiments.environment_record import PACKAGES, cgroup_limits, environment_record


def test_it_names_versions_processors_and_threads() -> None:
    record = environment_record(deterministic=True, threads={"learner": 2})
    json.dumps(record, allow_nan=False)
    assert record["packages"]["numpy"] == np.__version__
    assert record["packages"]["torch"] == torch.__version__
    assert set(record["packages"]) <= set(PACKAGES)
    assert record["torch_build"]["git_version"] == torch.version.git_version
    assert record["torch_build"].get("cuda") == torch.version.cuda
    assert record["cpu"]["model"]
    assert 1 <= record["cpu"]["usable_cores"] <= record["cpu"]["cores"] == os.cpu_count()
    assert record["threads"] == {"learner": 2}
    assert record["deterministic"] is True


def test_host_and_foreign_variables_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "annas-laptop")
    monkeypatch.setenv("MY_CANARY", "canary")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    record = environment_record()
    text = json.dumps(record)
    assert "annas" not in text
    assert "anary" not in text
    assert record["variables"]["OMP_NUM_THREADS"] == "3"
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert environment_record()["host"] != record["host"]


def test_torch_is_not_imported(repo_root: Path) -> None:
    script = (
        "import sys; from experiments.environment_record import environment_record as e; r = e();"
        "sys.exit('torch' in sys.modules or not r['torch_build'])"
    )
    subprocess.run([sys.executable, "-c", script], cwd=repo_root, check=True, timeout=30)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, {}),
        ({"cpu.max": "max 100000", "memory.max": "max"}, {}),
        ({"cpu.max": "150000 100000", "memory.max": "1024"}, {"cpus": 1.5, "memory_bytes": 1024}),
        ({"cpu.max": "400000 100000", "pod/cpu.max": "200000 100000"}, {"cpus": 2.0}),
        ({"memory.max": "10", "pod/memory.max": "20"}, {"memory_bytes": 10}),
    ],
)
def test_the_tightest_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], wanted: dict
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(module, "_cgroup_folders", lambda: [tmp_path, tmp_path / "pod"])
    monkeypatch.setattr(module, "_cgroup_v1_limits", dict)
    assert cgroup_limits() == wanted
