"""The tracked files: no secrets, no large files, no foreign line ends, no pickle."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

PACKAGES = ("rlcore", "agents", "envs", "experiments")
PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve",
            "jsonpickle", "pandas"}  # fmt: skip
UNSAFE_CALLS = {
    "torch.load", "torch.save", "torch.jit.load", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "eval", "exec", "os.system",
}  # fmt: skip


@pytest.fixture(scope="module")
def checker(repo_root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "check_files", repo_root / "tests/repo/check_files.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tracked(root: Path) -> list[Path]:
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, timeout=30
    )
    paths = [root / name.decode() for name in listing.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def test_tracked_files_are_clean(repo_root: Path, checker: ModuleType) -> None:
    ignored = {repo_root / "tests/repo/test_files.py"}
    # Broken experiment files are broken on purpose; stored checkpoints stay as they were written.
    folders = {"broken_yaml", "formats"}
    files = [p for p in tracked(repo_root) if p not in ignored and not folders & set(p.parts)]
    found = [line for path in files for line in checker.problems_of(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"x" * (512 * 1024 + 1) + b"\n", "bytes, more than"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "a private key"),
        (b"WANDB_API_KEY=" + b"0123456789abcdef" * 2 + b"01234567\n", "a W&B key"),
        (b"token: hf_" + b"a" * 34 + b"\n", "a Hugging Face token"),
        (b"a\r\n", "Windows line ends"),
        (b"a", "no newline"),
    ],
)
def test_a_bad_file_is_found(
    tmp_path: Path, checker: ModuleType, data: bytes, problem: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert any(problem in line for line in checker.problems_of(path))


def unsafe_uses(path: Path) -> list[str]:
    """Return the imports and calls of a source file that load or run foreign data."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        elif isinstance(node, ast.Call):
            found += _unsafe_call(node, path)
            continue
        else:
            continue
        found += [
            f"{path}:{node.lineno}: imports {name}"
            for name in names
            if name.partition(".")[0] in PICKLERS
        ]
    return found


def _unsafe_call(node: ast.Call, path: Path) -> list[str]:
    name = ast.unparse(node.func)
    if name in UNSAFE_CALLS:
        return [f"{path}:{node.lineno}: calls {name}"]
    if name in ("np.load", "numpy.load"):
        allow = [k for k in node.keywords if k.arg == "allow_pickle"]
        if not (allow and isinstance(allow[0].value, ast.Constant) and not allow[0].value.value):
            return [f"{path}:{node.lineno}: {name} without allow_pickle=False"]
    runs = name.endswith((".run", ".Popen", ".call", ".check_output"))
    if runs and any(k.arg == "shell" and not _is_false(k.value) for k in node.keywords):
        return [f"{path}:{node.lineno}: a shell command"]
    return []


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_unpickles_or_evaluates(repo_root: Path, package: str) -> None:
    found = [use for path in (repo_root / package).rglob("*.py") for use in unsafe_uses(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import dumps",
        "import torch\ntorch.load('x')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load('x', Loader=yaml.Loader)",
        "eval('1')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
    ],
)
def test_an_unsafe_use_is_found(tmp_path: Path, source: str) -> None:
    path = tmp_path / "planted.py"
    path.write_text(source)
    assert len(unsafe_uses(path)) == 1
    path.write_text("import numpy as np\nnp.load('x', allow_pickle=False)\n")
    assert not unsafe_uses(path)
