"""Loading a stranger's files runs nothing in them: no payload leaves its canary behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.validate import load_config
from rlcore.errors import CheckpointError, ConfigError, RlcoreError
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.env_state import restore
from rlcore.tensor_file import load_tensors


class Payload:
    """Leaves a file behind wherever it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.canary,)


def pickled(canary: Path, protocol: int = 4) -> bytes:
    return pickle.dumps(Payload(canary), protocol)


def torch_archive(canary: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "extra": Payload(canary)}, buffer)
    return buffer.getvalue()


def numpy_archive(canary: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.array([Payload(canary)], dtype=object))
    return buffer.getvalue()


def numpy_array(canary: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def policy_archive(canary: Path) -> bytes:
    """A zip as Stable-Baselines3 writes it: JSON with a pickle in base64, and a torch file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":serialized:": "gASVAA=="}}))
        archive.writestr("policy.pth", torch_archive(canary))
        archive.writestr("data.pkl", pickled(canary))
    return buffer.getvalue()


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "pickle-2": lambda canary: pickled(canary, 2),
    "pickle-4": pickled,
    "torch-archive": torch_archive,
    "numpy-archive": numpy_archive,
    "numpy-array": numpy_array,
    "policy-archive": policy_archive,
}


VALID = """\
env: {id: CartPole-v1}
agent: {type: impala}
stop: {updates: 1}
"""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A path that exists once a payload has run."""
    return tmp_path / "canary"


def test_the_payload_is_live(canary: Path) -> None:
    pickle.loads(pickled(canary))
    assert canary.exists()


@pytest.mark.parametrize("kind", PAYLOADS)
@pytest.mark.parametrize("suffix", ["safetensors", "pt", "npz", "pkl"])
def test_a_tensor_file_is_not_executed(
    tmp_path: Path, canary: Path, kind: str, suffix: str
) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(PAYLOADS[kind](canary))
    with pytest.raises(CheckpointError):
        load_tensors(path)
    assert not canary.exists()


def hostile_checkpoint(folder: Path, name: str, data: bytes) -> Checkpointer:
    """Save a checkpoint, put ``data`` in place of one file and make the manifest agree with it."""
    checkpointer = Checkpointer(folder)
    saved = checkpointer.save(8, {"params": {"weight": torch.ones(3)}}, {"version": 1})
    manifest = json.loads((saved / "MANIFEST.json").read_text())
    records = {record["name"]: record for record in manifest["files"]}
    if name == "MANIFEST.json":
        (saved / name).write_bytes(data)
        return checkpointer
    records[name] = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["files"] = list(records.values())
    (saved / "MANIFEST.json").write_text(json.dumps(manifest))
    (saved / name).write_bytes(data)
    return checkpointer


@pytest.mark.parametrize("kind", PAYLOADS)
@pytest.mark.parametrize("name", ["params.safetensors", "state.json", "MANIFEST.json"])
def test_a_checkpoint_is_not_executed(tmp_path: Path, canary: Path, kind: str, name: str) -> None:
    checkpointer = hostile_checkpoint(tmp_path / "checkpoints", name, PAYLOADS[kind](canary))
    with pytest.raises(CheckpointError):
        checkpointer.load("latest")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["optimizer.pkl", "policy.pt", "extra.npz"])
def test_a_further_file_in_a_checkpoint_is_not_executed(
    tmp_path: Path, canary: Path, name: str
) -> None:
    checkpointer = hostile_checkpoint(tmp_path / "checkpoints", name, pickled(canary))
    try:
        loaded = checkpointer.load("latest")
    except CheckpointError:
        pass
    else:
        assert set(loaded.tensors) == {"params"}
    assert not canary.exists()


def test_encoded_objects_in_json_stay_data(tmp_path: Path, canary: Path) -> None:
    call = {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(canary)]}]}
    state = json.dumps({"version": 1, "object": call, "__reduce__": ["os.mkdir", [str(canary)]]})
    checkpointer = hostile_checkpoint(tmp_path / "checkpoints", "state.json", state.encode())
    loaded = checkpointer.load("latest")
    assert loaded.state["object"] == call
    assert not canary.exists()


@pytest.mark.parametrize(
    "value",
    [
        '!!python/object/apply:os.mkdir ["{canary}"]',
        '!!python/object/new:os.mkdir ["{canary}"]',
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/object/apply:builtins.eval [\"__import__('os').mkdir('{canary}')\"]",
        '!<tag:yaml.org,2002:python/object/apply:os.mkdir> ["{canary}"]',
    ],
)
def test_a_yaml_tag_is_not_executed(tmp_path: Path, canary: Path, value: str) -> None:
    text = value.format(canary=canary)
    plain = tmp_path / "plain.yaml"
    plain.write_text(VALID)
    load_config(plain)
    hostile = tmp_path / "hostile.yaml"
    hostile.write_text(f"env: {{kwargs: {{x: {text}}}}}\n")
    with pytest.raises(ConfigError):
        load_config([plain, hostile])
    with pytest.raises(ConfigError):
        load_config(plain, [f"name={text}"])
    assert not canary.exists()


@pytest.mark.parametrize(
    "section",
    [
        "agent: {{type: 'os:mkdir'}}",
        "agent: {{type: os.mkdir}}",
        "agent: {{_target_: os.mkdir, path: '{canary}'}}",
        "agent: {{class_path: os.mkdir, init_args: {{path: '{canary}'}}}}",
        "learner: {{estimator: {{type: 'os.mkdir'}}}}",
        "env: {{id: CartPole-v1, wrappers: [{{type: 'os:mkdir', path: '{canary}'}}]}}",
        "env: {{id: CartPole-v1, module: '{folder}/evil.py'}}",
        "env: {{id: CartPole-v1, module: '../evil'}}",
        "env: {{id: '{folder}/evil.py:X-v0'}}",
        "name: \"${{oc.eval:os.mkdir('{canary}')}}\"",
        "name: '${{oc.eval:os.mkdir}}'",
        "include: ../evil.yaml",
        "include: 'http://127.0.0.1:1/evil.yaml'",
    ],
)
def test_a_setting_never_names_code(
    tmp_path: Path, canary: Path, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    (tmp_path / "evil.yaml").write_text("name: outside\n")
    monkeypatch.chdir(folder)
    plain = folder / "plain.yaml"
    plain.write_text(VALID)
    load_config(plain)
    hostile = folder / "hostile.yaml"
    hostile.write_text(section.format(canary=canary, folder=folder) + "\n")
    with pytest.raises(ConfigError):
        load_config([plain, hostile])
    assert not canary.exists()


def test_text_stays_text(tmp_path: Path, canary: Path) -> None:
    text = f"$(mkdir {canary}) `mkdir {canary}` {{{{ canary }}}} %s __import__('os')"
    file = tmp_path / "plain.yaml"
    file.write_text(VALID + f'name: "{text}"\n')
    assert load_config(file).config.name == text
    assert not canary.exists()


def test_a_hostile_environment_state_is_refused(canary: Path) -> None:
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    entry = {"class": "TimeLimit", "own": {"id": 0, "object": {"x": 1}, "class": "os.mkdir"}}
    try:
        with pytest.raises((RlcoreError, KeyError, AttributeError)):
            restore(env, {"json": [entry], "arrays": {}}, "test")
    finally:
        env.close()
    assert not canary.exists()
