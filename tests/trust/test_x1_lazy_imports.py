"""The core imports with torch and NumPy alone, and what a command line needs imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = (
    "PIL", "ale_py", "cv2", "gymnasium", "imageio", "imageio_ffmpeg", "matplotlib", "numba",
    "pandas", "peft", "pydantic", "pygame", "ray", "rich", "safetensors", "scipy",
    "stable_baselines3", "tensorboard", "tensorboardX", "transformers", "typer", "wandb", "yaml",
)  # fmt: skip
# Adapters of one optional package each, and commands that need one.
ADAPTERS = (
    "rlcore.runtime.ray", "envs.atari", "envs.finray.validation", "envs.finray.bench_gpu",
    "envs.labyrinth.bench_gpu",
)  # fmt: skip
KERNELS = ("numba", "triton", "torch")
"""In the name of a module of ``envs`` these say which package it exists for."""

IMPORT_EACH = """
import importlib, importlib.abc, json, sys, traceback

blocked, modules = json.loads(sys.stdin.read())

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)
        return None

sys.meta_path.insert(0, Block())
failed = {}
for module in modules:
    try:
        importlib.import_module(module)
    except ImportError:
        failed[module] = traceback.format_exc(limit=-3)
print(json.dumps(failed))
"""

IMPORT_LIGHT = """
import importlib, json, sys

heavy, modules = json.loads(sys.stdin.read())
seen = {}
for module in modules:
    importlib.import_module(module)
    loaded = sorted(name for name in heavy if name in sys.modules)
    if loaded:
        seen[module] = loaded
        break
print(json.dumps(seen))
"""


def modules_under(root: Path, package: str) -> list[str]:
    """Return the dotted names of all modules of ``package``."""
    names = []
    for path in sorted((root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        kernel = package == "envs" and any(word in path.stem for word in KERNELS)
        if not name.endswith("__main__") and not name.startswith(ADAPTERS) and not kernel:
            names.append(name)
    return names


def in_child(script: str, data: object, root: Path) -> dict[str, object]:
    """Run ``script`` with ``data`` as JSON on its input and return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(data),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_core_and_agents_import_with_torch_and_numpy_alone(repo_root: Path) -> None:
    modules = modules_under(repo_root, "rlcore") + modules_under(repo_root, "agents")
    assert "rlcore.data.ring" in modules
    failed = in_child(IMPORT_EACH, [BLOCKED, modules], repo_root)
    assert not failed, "\n".join(f"{name}:\n{why}" for name, why in failed.items())


def test_environments_import_with_gymnasium_added(repo_root: Path) -> None:
    blocked = [name for name in BLOCKED if name != "gymnasium"]
    failed = in_child(IMPORT_EACH, [blocked, modules_under(repo_root, "envs")], repo_root)
    assert not failed, "\n".join(f"{name}:\n{why}" for name, why in failed.items())


def test_the_hook_blocks(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import wandb\n")
    failed = in_child(IMPORT_EACH, [BLOCKED, ["planted"]], tmp_path)
    assert "blocked" in str(failed["planted"])


@pytest.mark.parametrize("package", ["rlcore", "agents", "envs", "experiments"])
def test_config_modules_do_not_import_torch(repo_root: Path, package: str) -> None:
    modules = [
        name
        for name in modules_under(repo_root, package)
        if name.rpartition(".")[2] == "config" or ".config." in name
    ]
    heavy = in_child(IMPORT_LIGHT, [["torch", "gymnasium", "ray", "wandb"], modules], repo_root)
    assert not heavy


def test_the_command_line_starts_without_heavy_packages(repo_root: Path) -> None:
    heavy = ["torch", "gymnasium", "ray", "wandb", "stable_baselines3", "matplotlib", "numba"]
    assert not in_child(IMPORT_LIGHT, [heavy, ["experiments.cli"]], repo_root)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["explain", "--help"]])
def test_help_imports_no_torch(repo_root: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "experiments.cli", *arguments],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "gymnasium", "ray", "wandb"}
