"""The compose file: nothing listens beyond this machine, nothing is privileged, all is limited."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def compose(repo_root: Path) -> dict[str, Any]:
    return yaml.safe_load((repo_root / "docker-compose.yml").read_text())


def problems_of(services: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line for each rule that a service breaks."""
    found = []
    for name, service in services.items():
        if service.get("privileged") or service.get("cap_add") or service.get("pid") == "host":
            found.append(f"{name}: privileged")
        if service.get("network_mode") == "host":
            found.append(f"{name}: on the host's network")
        if str(service.get("user", "0")).partition(":")[0] in ("0", "root"):
            found.append(f"{name}: runs as root")
        if service.get("cap_drop") != ["ALL"]:
            found.append(f"{name}: keeps capabilities")
        if "no-new-privileges:true" not in service.get("security_opt", []):
            found.append(f"{name}: may gain privileges")
        found += [f"{name}: no {key}" for key in ("mem_limit", "cpus", "pids_limit")
                  if key not in service]  # fmt: skip
        found += [f"{name}: port {port} is not on loopback" for port in service.get("ports", [])
                  if not str(port).startswith("127.0.0.1:")]  # fmt: skip
        found += [f"{name}: mounts {v}" for v in service.get("volumes", [])
                  if str(v).startswith(("/", "~", "."))]  # fmt: skip
    return found


def test_services_keep_the_rules(compose: dict[str, Any]) -> None:
    assert problems_of(compose["services"]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"privileged": True},
        {"network_mode": "host"},
        {"user": "root"},
        {"cap_drop": []},
        {"ports": ["6006:6006"]},
        {"ports": ["0.0.0.0:6006:6006"]},
        {"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]},
        {"security_opt": []},
    ],
)
def test_a_broken_rule_is_found(compose: dict[str, Any], change: dict[str, Any]) -> None:
    assert problems_of({"trainer": compose["services"]["trainer"] | change})


def test_no_secrets_and_the_files_named_exist(repo_root: Path, compose: dict[str, Any]) -> None:
    text = (repo_root / "docker-compose.yml").read_text()
    assert not re.search(r"(?i)(password|secret|token|api_key)", text)
    build = compose["services"]["trainer"]["build"]
    assert (repo_root / build["dockerfile"]).is_file()
    command = compose["services"]["trainer"]["command"]
    assert (repo_root / Path(command[1]).relative_to("/opt/rlcore")).is_file()


def test_the_image_runs_as_a_plain_user(repo_root: Path) -> None:
    lines = (repo_root / "experiments/cluster/Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in ("root", "0")
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    for path in (name for names in copied for name in names):
        assert (repo_root / path).exists(), path


def test_workflows_are_pinned_and_read_only(repo_root: Path) -> None:
    for path in sorted((repo_root / ".github/workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}, path
        for used in re.findall(r"uses:\s*(\S+)", path.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used), used
