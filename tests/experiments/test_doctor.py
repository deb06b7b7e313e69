"""The machine report: complete, JSON-able, and free of secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import doctor


@pytest.fixture(scope="module")
def sections() -> dict[str, dict[str, object]]:
    return doctor.report()


def test_report_is_json_and_names_what_matters(sections: dict[str, dict[str, object]]) -> None:
    again = json.loads(json.dumps(sections))
    assert again == sections
    assert sections["packages"]["torch"]
    assert sections["machine"]["cores usable"] >= 1
    assert sections["threads"]["OMP_NUM_THREADS"] == "1"
    assert sections["shared memory"]["anonymous, 1 GiB"] == "ok"


def test_the_four_packages_are_ours(
    sections: dict[str, dict[str, object]], repo_root: Path
) -> None:
    for package in ("rlcore", "agents", "envs", "experiments"):
        where = sections["rlcore"][f"package {package}"]
        assert where in (str(repo_root / package), None)


def test_a_key_is_reported_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary0123456789canary0123456789canary01"
    monkeypatch.setenv("WANDB_API_KEY", canary)
    found = doctor.report()
    assert found["wandb"]["key present"] is True
    assert canary not in json.dumps(found) + doctor.render(found)


def test_a_key_in_netrc_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert doctor.report()["wandb"]["key present"] is False
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    netrc.chmod(0o600)
    assert doctor.report()["wandb"]["key present"] is True
    monkeypatch.setenv("WANDB_BASE_URL", "http://other.example:8080")
    assert doctor.report()["wandb"]["key present"] is False


def test_the_runs_folder_is_not_made(tmp_path: Path) -> None:
    found = doctor.report(tmp_path / "deep" / "runs")
    assert str(found["write access"][str(tmp_path)]).startswith("yes")
    assert not (tmp_path / "deep").exists()


def test_render_aligns_and_spells_out() -> None:
    text = doctor.render({"a": {"key": True, "longer key": None}, "plugins": {}})
    assert text == "a\n  key         yes\n  longer key  -\nplugins\n  none"
