"""The import table of the architecture: packages import downwards only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TORCH = frozenset({"torch", "numpy"})
# Optional accelerators: imported inside the functions that use them.
LAZY = frozenset({"numba", "llvmlite", "triton"})  # llvmlite is a part of numba
# Third-party packages that a layer may import inside a function or behind TYPE_CHECKING.
ADAPTERS = frozenset({"gymnasium", "ray", "wandb", "safetensors", "yaml", "rich", "matplotlib",
                      "imageio", "imageio_ffmpeg", "ale_py", "stable_baselines3", "tensorboard",
                      "PIL", "psutil", "pettingzoo", "tokenizers", "jinja2"})  # fmt: skip

# Modules that exist for one optional package and are themselves imported inside a function.
ADAPTER_FILES = frozenset({"envs/atari.py"})
# Kernels of the environments: the name of the module says which package it exists for.
KERNEL_FILES = {
    "numba": frozenset({"numba", "llvmlite"}),
    "triton": frozenset({"triton", "torch"}),
    "torch": frozenset({"torch"}),
}
# Commands of their own, run with `python -m`: nothing imports them.
COMMANDS = ("envs/finray/validation/", "envs/finray/bench_gpu.py", "envs/labyrinth/bench_gpu.py")

# layer -> project packages it may import (its own package is always allowed)
LAYERS: dict[str, frozenset[str]] = {
    "rlcore.errors": frozenset(),
    "rlcore.redact": frozenset(),
    "rlcore.tensor_file": frozenset({"rlcore.errors"}),
    "rlcore.ops": frozenset({"rlcore.errors"}),
    "rlcore.nn": frozenset({"rlcore.errors", "rlcore.tensor_file", "rlcore.ops"}),
    "rlcore.data": frozenset({"rlcore.errors", "rlcore.tensor_file", "rlcore.ops"}),
    "rlcore.learners": frozenset({"rlcore.errors", "rlcore.nn", "rlcore.ops", "rlcore.data"}),
    "rlcore.inference": frozenset({"rlcore.errors", "rlcore.nn", "rlcore.ops", "rlcore.data"}),
    "rlcore.runtime": frozenset(
        {"rlcore.errors", "rlcore.redact", "rlcore.tensor_file", "rlcore.data", "rlcore.learners"}
    ),
    "rlcore.games": frozenset({"rlcore.errors", "rlcore.runtime"}),
    "rlcore.tracking": frozenset({"rlcore.errors", "rlcore.redact"}),
    "agents": frozenset({"rlcore"}),
    "envs": frozenset({"rlcore.errors", "rlcore.ops"}),
    "experiments": frozenset({"rlcore", "agents", "envs"}),
}
PROJECT = ("rlcore", "agents", "envs", "experiments", "tests")


def imports_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield (module, line, at_top_level) for each import of a source file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node, lazy in _walk(tree, lazy=False):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno, not lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for name in node.names:
                yield f"{node.module}.{name.name}", node.lineno, not lazy


def _walk(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
        inside = inside or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        yield child, inside
        yield from _walk(child, lazy=inside)


def layer_of(module: str) -> str | None:
    """Return the longest layer name that ``module`` lies in."""
    found = [layer for layer in LAYERS if _within(module, layer)]
    return max(found, key=len) if found else None


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def violations(root: Path) -> list[str]:
    """Return one line for each import that the table forbids."""
    found = []
    for top in ("rlcore", "agents", "envs", "experiments"):
        for path in sorted((root / top).rglob("*.py")):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            module = module.removesuffix(".__init__")
            for target, line, _ in imports_of(path):
                problem = _judge(module, target)
                if problem:
                    found.append(f"{path.relative_to(root)}:{line}: {problem}")
    return found


def _judge(module: str, target: str) -> str | None:
    if not target.startswith(tuple(f"{name}." for name in PROJECT)) and target not in PROJECT:
        return None
    layer = layer_of(module)
    if layer is None:  # the root package itself: nothing of the project
        return None if _within(target, "rlcore") else f"{module} imports {target}"
    if _within(target, "tests"):
        return f"{module} imports the tests ({target})"
    if layer == "agents":
        mine, theirs = module.split(".")[1:2], target.split(".")[1:2]
        if _within(target, "agents") and mine != theirs and len(module.split(".")) > 2:
            return f"agent {module} imports another agent ({target})"
    if any(_within(target, allowed) for allowed in (*LAYERS[layer], layer)):
        return None
    if target in ("rlcore.__version__",):
        return None
    return f"{layer} may not import {target}"


def test_packages_import_downwards_only(repo_root: Path) -> None:
    found = violations(repo_root)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("rlcore/ops/planted.py", "from rlcore.nn import torsos"),
        ("rlcore/data/planted.py", "import rlcore.runtime.actor"),
        ("rlcore/learners/planted.py", "from rlcore.runtime import actor"),
        ("rlcore/tracking/planted.py", "from rlcore.data.spec import Field"),
        ("rlcore/runtime/planted.py", "def f():\n    from rlcore.tracking import sink"),
        ("rlcore/runtime/planted.py", "from experiments import build"),
        ("rlcore/runtime/planted.py", "from agents.a3c.config import A3CConfig"),
        ("agents/a3c/planted.py", "from agents.impala.losses import impala_loss"),
        ("agents/a3c/planted.py", "import envs"),
        ("envs/testing/planted.py", "from rlcore.runtime.contracts import Agent"),
        ("envs/testing/planted.py", "import agents.a3c"),
        ("experiments/planted.py", "from tests import conftest"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, source: str) -> None:
    for top in ("rlcore", "agents", "envs", "experiments"):
        (tmp_path / top).mkdir()
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("rlcore/nn/fine.py", "from rlcore.ops.returns import vtrace"),
        ("rlcore/runtime/fine.py", "from rlcore.learners.base import Learner"),
        ("agents/a3c/fine.py", "from agents.a3c.config import A3CConfig"),
        ("experiments/fine.py", "from agents.a3c.config import A3CConfig\nimport envs.testing"),
        ("rlcore/tracking/fine.py", "from rlcore.errors import RlcoreError\nimport json"),
    ],
)
def test_a_downward_import_is_allowed(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert violations(tmp_path) == []


# What each package may import from outside the standard library and the project.
OUTSIDE: dict[str, frozenset[str]] = {
    "rlcore": TORCH,
    "agents": TORCH,
    "envs": frozenset({"gymnasium", "numpy"}),
}


def outside_imports(root: Path, package: str) -> list[str]:
    """Return third-party imports of ``package`` that its table does not allow."""
    found = []
    for path in sorted((root / package).rglob("*.py")):
        place = path.relative_to(root).as_posix()
        if place in ADAPTER_FILES or place.startswith(COMMANDS):
            continue
        for target, line, at_top in imports_of(path):
            name = target.partition(".")[0]
            if name in sys.stdlib_module_names or name in PROJECT or name in OUTSIDE[package]:
                continue
            if not at_top and name in LAZY | ADAPTERS | TORCH | {"transformers"}:
                continue
            if package == "envs" and name in kernel_packages(path.stem):
                continue
            found.append(f"{path.relative_to(root)}:{line}: imports {name}")
    return found


def kernel_packages(stem: str) -> frozenset[str]:
    """Return the packages that a module of this name may import at its top."""
    return frozenset().union(*(KERNEL_FILES[word] for word in KERNEL_FILES if word in stem))


def early_kernels(root: Path) -> list[str]:
    """Return the places in ``envs`` where a kernel module is imported at the top of another."""
    found = []
    for path in sorted((root / "envs").rglob("*.py")):
        if path.relative_to(root).as_posix().startswith(COMMANDS):
            continue
        for target, line, at_top in imports_of(path):
            needed = [kernel_packages(part) for part in target.split(".")[:-1]]
            packages = frozenset().union(*needed)
            local = target.startswith("envs.") and at_top
            if local and not packages <= kernel_packages(path.stem):
                found.append(f"{path.relative_to(root)}:{line}: imports {target}")
    return found


def test_kernel_modules_are_imported_where_they_are_used(repo_root: Path) -> None:
    assert early_kernels(repo_root) == []


def test_an_early_import_of_a_kernel_module_is_found(tmp_path: Path) -> None:
    (tmp_path / "envs/x").mkdir(parents=True)
    (tmp_path / "envs/x/numba_step.py").write_text("import numba\n")
    (tmp_path / "envs/x/early.py").write_text("from envs.x.numba_step import step\n")
    (tmp_path / "envs/x/late.py").write_text("def f():\n    from envs.x.numba_step import step\n")
    assert outside_imports(tmp_path, "envs") == []
    assert early_kernels(tmp_path) == ["envs/x/early.py:1: imports envs.x.numba_step.step"]
    (tmp_path / "envs/x/other.py").write_text("import numba\n")
    assert outside_imports(tmp_path, "envs") == ["envs/x/other.py:1: imports numba"]


@pytest.mark.parametrize("package", sorted(OUTSIDE))
def test_optional_packages_are_imported_where_they_are_used(repo_root: Path, package: str) -> None:
    found = outside_imports(repo_root, package)
    assert not found, "\n".join(found)


def test_a_top_level_import_of_an_optional_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "rlcore").mkdir()
    (tmp_path / "rlcore/planted.py").write_text("import torch\nimport ray\n")
    assert outside_imports(tmp_path, "rlcore") == ["rlcore/planted.py:2: imports ray"]
    (tmp_path / "rlcore/planted.py").write_text("def f():\n    import ray\n")
    assert outside_imports(tmp_path, "rlcore") == []
