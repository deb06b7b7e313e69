"""The site: generated pages are current, the agent of the guide trains, every page is reachable."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from experiments import registry


def test_generated_pages_are_current(repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("docs_generate", repo_root / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    stale = generate.main(["--check"])
    assert not stale, f"{capsys.readouterr().out}: run `python docs/generate.py`"


def test_every_page_is_in_the_navigation(repo_root: Path) -> None:
    text = (repo_root / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    pages = {p.relative_to(repo_root / "docs").as_posix() for p in repo_root.glob("docs/**/*.md")}
    assert named == pages


def test_local_links_of_the_site_lead_somewhere(repo_root: Path) -> None:
    for page in sorted(repo_root.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.fixture
def guide_agent(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the agent of the guide as type ``baseline``."""
    text = (repo_root / "docs/how-to/custom-agent.md").read_text()
    sources = re.findall(r"^```python\n# my_agents/(\w+)\.py\n(.*?)^```$", text, re.M | re.S)
    assert [name for name, _ in sources] == ["config", "agent"]
    package = tmp_path / "my_agents"
    package.mkdir()
    for name, source in sources:
        (package / f"{name}.py").write_text(source)
    entry = re.search(r'"agent\.baseline" = "(.+)"', text)[1]
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry._TABLE["agent"], "baseline", entry)
    registry.components.cache_clear()
    yield
    registry.components.cache_clear()


@pytest.mark.usefixtures("guide_agent")
def test_the_agent_of_the_guide_trains(tmp_path: Path) -> None:
    import experiments

    run = experiments.run(
        {
            "name": "guide",
            "env": {"id": "CartPole-v1", "num_envs": 4},
            "agent": {"type": "baseline", "unroll": 16, "network": {"hidden": [16]}},
            "learner": {"optimizer": {"type": "adam", "lr": 0.01}},
            "runtime": {"placement": "inline", "schedule": "serial"},
            "stop": {"updates": 6},
            "eval": {"episodes": 2},
            "track": {"wandb": "off", "tensorboard": False, "console": "none"},
        },
        out=tmp_path / "runs",
    )
    last = run.metrics()[-1]
    assert run.state == "finished"
    assert last["step/env"] > 0
    assert last["eval/episodes"] == 2
