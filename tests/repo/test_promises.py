"""The page of promises and the tests name each other."""

from __future__ import annotations

import re
from pathlib import Path

_ROW = re.compile(r"^\| ([A-Z]\d+) \| .+ \| `(tests/[\w/.]+)`", re.MULTILINE)


def promised(root: Path) -> dict[str, str]:
    """Return the first test file of each promise, by id."""
    return dict(_ROW.findall((root / "docs/reference/promises.md").read_text()))


def test_every_promise_has_its_test(repo_root: Path) -> None:
    rows = promised(repo_root)
    assert len(rows) > 15
    missing = [f"{id_}: {path}" for id_, path in rows.items() if not (repo_root / path).is_file()]
    assert not missing, missing


def test_every_test_of_a_promise_is_listed(repo_root: Path) -> None:
    rows = promised(repo_root)
    for path in sorted((repo_root / "tests/trust").glob("test_*.py")):
        id_ = path.stem.split("_")[1].upper()
        assert id_ in rows, f"{path.name}: {id_} is not in docs/reference/promises.md"
