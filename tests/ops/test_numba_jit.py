"""The cache of compiled loops: used while its sources are as they were, and in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("numba")

KERNEL = """
from part import twice
from rlcore.ops.numba_jit import compiled

def kernel(x):
    return twice(x) + 1

print(compiled(kernel, twice)(3))
"""


def run(folder: Path, **more: str) -> str:
    root = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (root, folder)))
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": path} | more
    command = [sys.executable, str(folder / "main.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_change_of_a_part_in_another_file_counts(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(KERNEL)
    (tmp_path / "part.py").write_text("def twice(x):\n    return 2 * x\n")

    def kept() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.nb?")}

    assert run(tmp_path) == "7"
    before = kept()
    assert before
    assert run(tmp_path) == "7"
    assert kept() == before  # loaded, not compiled
    (tmp_path / "part.py").write_text("def twice(x):\n    return 3 * x\n")
    assert run(tmp_path) == "10"
    assert kept() != before


def test_loops_run_uncompiled_where_numba_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import numpy as np\n"
        "from rlcore.ops.linear_numba import linear_kernel\n"
        "out = np.zeros((5, 6))\n"
        "linear_kernel()(np.ones((5, 3)), np.ones((6, 3)), out, True)\n"
        "print(type(linear_kernel()).__name__, (out == 3).all())\n"
    )
    assert run(tmp_path, NUMBA_DISABLE_JIT="1") == "function True"


def test_threads_may_ask_at_once(tmp_path: Path) -> None:
    from rlcore.ops.linear_numba import linear_kernel
    from rlcore.ops.numba_jit import compiled

    errors: list[BaseException] = []

    def ask() -> None:
        try:
            linear_kernel.__wrapped__()
        except BaseException as error:
            errors.append(error)

    for _ in range(3):
        compiled.cache_clear()
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
