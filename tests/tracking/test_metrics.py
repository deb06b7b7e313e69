"""Metric names: the table is sound, the page is current, and the code uses known names only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rlcore.errors import ConfigError
from rlcore.tracking import metrics_page
from rlcore.tracking.metrics import GROUPS, METRICS, check_record, is_known, unknown_names

NAME = re.compile(r"[a-z]+/(?:[a-z0-9_]+|<phase>_s)")
AXES = {"step/env": 1, "step/update": 1, "time/wall_s": 0.5}


def test_every_metric_has_a_lower_snake_name_a_unit_a_meaning_and_a_group() -> None:
    for name, metric in METRICS.items():
        assert NAME.fullmatch(name), name
        assert metric.unit, name
        assert metric.meaning.endswith("."), name
        assert metric.group in GROUPS, name
    assert {metric.group for metric in METRICS.values()} == set(GROUPS)


def test_the_page_has_a_section_for_each_group_and_a_row_for_each_metric(
    repo_root: Path,
) -> None:
    page = metrics_page.render()
    for group in GROUPS:
        assert f"\n## {group}\n" in page
    for name in METRICS:
        assert page.count(f"| `{name}` | ") >= 1


def test_the_reference_page_is_current(repo_root: Path) -> None:
    page = repo_root / metrics_page.PAGE
    assert page.read_text() == metrics_page.render(), "run `python -m rlcore.tracking.metrics_page`"


def test_check_compares_with_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert metrics_page.main(["--check"]) == 1
    assert metrics_page.main([]) == 0
    assert metrics_page.main(["--check"]) == 0
    with metrics_page.PAGE.open("a") as file:
        file.write("edited")
    assert metrics_page.main(["--check"]) == 1


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("loss/policy", True),
        ("time/wait_s", True),
        ("time/wall_s", True),
        ("time/sleeping_s", False),
        ("time/<phase>_s_", False),
        ("loss/polcy", False),
        ("policy", False),
        ("wait_s", False),
    ],
)
def test_known_names(name: str, known: bool) -> None:
    assert is_known(name) is known


def test_unknown_names_are_sorted() -> None:
    assert unknown_names(["b/b", "loss/value", "a/a"]) == ["a/a", "b/b"]


def test_a_complete_record_passes() -> None:
    check_record({**AXES, "loss/policy": 1.0, "time/collate_s": 0.1})


def test_a_wrong_record_names_what_is_missing_and_the_nearest_name() -> None:
    record = {"step/env": 1, "step/update": 1, "loss/polcy": 1.0}
    with pytest.raises(ConfigError) as info:
        check_record(record)
    assert "'time/wall_s' is missing" in str(info.value)
    assert "unknown 'loss/polcy'; did you mean 'loss/policy'?" in str(info.value)


def names_in(path: Path) -> set[str]:
    """Return the string constants of a source file that look like metric names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    pattern = re.compile(rf"(?:{'|'.join(GROUPS)})/[a-z0-9_]+")
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and pattern.fullmatch(node.value)
    }


def test_the_code_emits_only_known_names(repo_root: Path) -> None:
    found: dict[str, str] = {}
    for top in ("rlcore", "agents", "experiments"):
        for path in sorted((repo_root / top).rglob("*.py")):
            for name in names_in(path):
                found.setdefault(name, str(path.relative_to(repo_root)))
    assert "episode/return_mean" in found
    # Media and summary entries of W&B are no metrics.
    media = {"eval/video", "eval/final_return_mean", "eval/best_return_mean", "eval/best_step",
             "run/state"}  # fmt: skip
    unknown = {name: where for name, where in found.items() if not is_known(name)}
    assert set(unknown) <= media, unknown
