"""S3: a hostile experiment file is refused with its place, in under a second."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from experiments.validate import load_config
from rlcore.errors import ConfigError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
CASES = {
    "duplicate key": ("seed: 1\nseed: 2\n", "line 2, column 1   seed   duplicate key"),
    "alias bomb": (LAUGHS, "more than 10000 nodes (aliases count each time they are used)"),
    "alias to itself": ("a: &a {b: [*a]}\n", "alias refers to itself"),
    "depth bomb in flow": ("a: " + "[" * 100_000, "nested deeper than 32 levels"),
    "depth bomb in blocks": (
        "".join(f"{' ' * i}k:\n" for i in range(600)), "nested deeper than 32 levels",
    ),
    "depth by aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)),
        "nested deeper than 32 levels",
    ),
    "many nodes": ("a: [" + "1," * 20_000 + "]\n", "more than 10000 nodes"),
    "10 MB": ("name: " + "x" * 10_000_000 + "\n", "over 1048576 bytes (1 MiB)"),
    "not UTF-8": (b"name: \xff\xfe\xfa\n", "not UTF-8 at byte 6"),
    "NUL": ("name: a\x00b\n", "line 1, column 8   character U+0000 is not allowed"),
    "call": ("name: !!python/object/apply:os.system ['true']\n", "tags are not allowed"),
    "module": ("name: !!python/module:antigravity\n", "tags are not allowed"),
    "key of code": ("!!python/name:os.system : 1\n", "tags are not allowed"),
    "own tag": ("name: !x y\n", "tags are not allowed, got '!x'"),
    "tag directive": ("%TAG ! tag:yaml.org,2002:python/\n---\nname: !name:os.system\n",
                      "tags are not allowed"),
    "merge key": ("a: &a {b: 1}\nc: {<<: *a}\n", "merge keys are not supported"),
    "huge number": ("seed: " + "9" * 5000 + "\n", "number has 5000 characters"),
    "huge float": ("stop: {return: 1e400}\n", "number is too large"),
    "many environments": ("env: {id: CartPole-v1, num_envs: " + "9" * 40 + "}\n",
                          "must be <= 1000000"),
    "include above": ("include: ../../secret.yaml\n", "is outside the project folder"),
    "include through a link": ("include: link.yaml\n", "is outside the project folder"),
    "include of the root": ("include: /etc/passwd\n", "must be relative to this file"),
    "include of home": ("include: ~/.netrc\n", "must be relative to this file"),
    "include of a URL": ("include: file:///etc/passwd\n", "must be a local file, got the URL"),
    "include of a folder": ("include: sub\n", "no such file: 'sub'"),
    "include of a NUL": ('include: "a\\0b"\n', "must be a file name or a list of them"),
    "include of many": ("include: [" + "ok.yaml, " * 40 + "]\n", "more than 32 files are included"),
    "include in a circle": ("include: circle.yaml\n", "cycle"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    (tmp_path / "secret.yaml").write_text("name: secret\n")
    (project / "ok.yaml").write_text("seed: 1\n")
    (project / "circle.yaml").write_text("include: hostile.yaml\n")
    (project / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    return project


@pytest.mark.alone
@pytest.mark.parametrize("case", CASES)
def test_refused_with_its_place_at_once(folder: Path, case: str) -> None:
    text, message = CASES[case]
    file = folder / "hostile.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    load_config({"env": "CartPole-v1", "agent": "impala", "stop": {"updates": 1}})  # imports
    gc.freeze()  # what other tests have left on the heap is not the loader's to collect
    started = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert time.perf_counter() - started < 1.0
    gc.unfreeze()
    assert message in str(caught.value)
    assert "hostile.yaml" in str(caught.value)
    assert len(str(caught.value)) < 5000
    assert "secret\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["file", "override"])
def test_a_secret_is_refused_and_not_shown(folder: Path, source: str) -> None:
    key = "8ccbd5c3b1a9f7e2" * 2 + "00112233"
    text = "env: CartPole-v1\nagent: impala\nstop: {updates: 1}\n"
    for setting in ("api_key", "entity"):
        overrides = [f"track.wandb.{setting}={key}"] if source == "override" else []
        line = "" if overrides else f"track: {{wandb: {{{setting}: {key}}}}}\n"
        file = folder / "hostile.yaml"
        file.write_text(text + line)
        with pytest.raises(ConfigError) as caught:
            load_config(file, overrides)
        assert "secrets do not belong into experiment files" in str(caught.value)
        assert f"track.wandb.{setting}" in str(caught.value)
        assert key not in str(caught.value)
