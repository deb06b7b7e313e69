"""The page of promises and the tests name each other."""

from __future__ import annotations

import re
from pathlib import Path

_ROW = re.compile(r"^\| ([A-Z]\d+) \| .+ \| `(tests/[\w/.]+)(?:::(\w+))?` \|$", re.MULTILINE)


def promised(root: Path) -> dict[str, tuple[Path, str]]:
    """Return the file and the name of the test of each promise, by id."""
    text = (root / "docs/reference/promises.md").read_text()
    rows = {id_: (root / file, name) for id_, file, name in _ROW.findall(text)}
    assert len(rows) == len(re.findall(r"^\| [A-Z]\d+ \|", text, re.MULTILINE))
    return rows


def test_every_promise_has_its_test(repo_root: Path) -> None:
    rows = promised(repo_root)
    assert len(rows) > 15
    for id_, (file, name) in rows.items():
        assert file.is_file(), f"{id_}: {file}"
        form = rf"^(def|class) {name}\b|^{name} = " if name else r"^def test_"
        assert re.search(form, file.read_text(), re.MULTILINE), f"{id_}: {name}"


def test_every_test_of_a_promise_is_listed(repo_root: Path) -> None:
    rows = promised(repo_root)
    for path in sorted((repo_root / "tests/trust").glob("test_*.py")):
        id_ = path.stem.split("_")[1].upper()
        assert id_ in rows, f"{path.name}: {id_} is not in docs/reference/promises.md"
