"""Saving, choosing, rotating and staging checkpoints."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rlcore.errors import CheckpointError, ConfigError
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.checkpoint_manifest import read_manifest
from rlcore.runtime.json_state import generator_state, restore_generator
from rlcore.tensor_file import save_tensors


def store(path: Path, **options: object) -> Checkpointer:
    return Checkpointer(path / "checkpoints", **({"config_hash": "abc"} | options))


def put(checkpoints: Checkpointer, step: int, **metrics: float) -> Path:
    return checkpoints.save(step, {"learner": {"w": torch.full((3,), step)}}, {"s": step}, metrics)


def names(checkpoints: Checkpointer) -> list[str]:
    return sorted(os.listdir(checkpoints.directory))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    tensors = {
        "learner": {"a/w": torch.randn(2, 3), "b": torch.tensor(True)},
        "params-0": {"w": torch.randn(4).bfloat16()},
        "empty": {},
    }
    state = {
        "version": 7,
        "big": 2**127 + 1,
        "pi": math.pi,
        "best": -math.inf,
        "np": np.float32(0.5),
        "list": [1, None, "ünï", {"x": False}],
        "array": np.arange(6, dtype=np.uint32).reshape(2, 3),
    }
    checkpoints = store(tmp_path)
    path = checkpoints.save(1234, tensors, state, {"episode/return_mean": 3.5})
    assert path.name == "step-000000001234"
    loaded = checkpoints.load()
    assert (loaded.step, loaded.path, loaded.skipped) == (1234, path, [])
    assert loaded.metrics == {"episode/return_mean": 3.5}
    for stem, named in tensors.items():
        assert set(loaded.tensors[stem]) == set(named)
        for name, tensor in named.items():
            assert loaded.tensors[stem][name].dtype == tensor.dtype
            assert torch.equal(loaded.tensors[stem][name], tensor)
    np.testing.assert_array_equal(loaded.state.pop("array"), state.pop("array"), strict=True)
    assert loaded.state == state


def test_nan_in_the_state_comes_back(tmp_path: Path) -> None:
    path = store(tmp_path).save(1, {}, {"x": float("nan")})
    assert math.isnan(store(tmp_path).load().state["x"])
    json.loads((path / "state.json").read_text(), parse_constant=pytest.fail)


def test_a_state_that_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    with pytest.raises(CheckpointError, match=r"state at a\.b\[1\] is a set"):
        checkpoints.save(1, {}, {"a": {"b": [0, {1}]}})
    with pytest.raises(CheckpointError, match="has key 1; wanted text"):
        checkpoints.save(1, {}, {1: 2})
    assert names(checkpoints) == []


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_generators_go_on_exactly(tmp_path: Path, kind) -> None:
    generator, other = np.random.Generator(kind(3)), np.random.Generator(kind(4))
    generator.standard_normal(7)
    generator.integers(0, 5, 3, dtype=np.uint32)
    store(tmp_path).save(1, {}, {"rng": generator_state(generator)})
    restore_generator(other, store(tmp_path).load().state["rng"])
    np.testing.assert_array_equal(generator.integers(0, 1 << 40, 9), other.integers(0, 1 << 40, 9))
    with pytest.raises(CheckpointError, match="no state of SFC64"):
        restore_generator(np.random.Generator(np.random.SFC64()), generator_state(generator))


def test_torch_generators_go_on_exactly(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    torch.randn(9, generator=generator)
    store(tmp_path).save(1, {"rng": {"action": generator.get_state()}}, {})
    other = torch.Generator()
    other.set_state(store(tmp_path).load().tensors["rng"]["action"])
    assert torch.equal(torch.randn(5, generator=generator), torch.randn(5, generator=other))


def test_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep=2)
    for step in (10, 20, 30, 40):
        put(checkpoints, step)
    assert names(checkpoints) == ["step-000000000030", "step-000000000040"]
    assert checkpoints.steps() == [30, 40]


def test_the_best_is_kept_and_selected(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep=1, keep_best="r")
    for step, value in ((10, 1.0), (20, 5.0), (30, float("nan")), (40, 4.0), (50, -1.0)):
        put(checkpoints, step, r=value)
    put(checkpoints, 60)
    assert checkpoints.steps() == [20, 60]
    assert checkpoints.load("best").step == 20
    assert put(checkpoints, 70, r=5.0) == checkpoints.load("best").path, "of equals the newest"
    with pytest.raises(CheckpointError, match=r"set checkpoint\.keep_best"):
        store(tmp_path).load("best")


def test_metrics_can_be_added_later(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep=2, keep_best="eval/return_mean")
    first = put(checkpoints, 10, x=1.0)
    put(checkpoints, 20)
    assert checkpoints.record_metrics(first, {"eval/return_mean": 9.0, "bad": float("inf")})
    assert checkpoints.load("best").metrics == {"x": 1.0, "eval/return_mean": 9.0}
    put(checkpoints, 30)
    put(checkpoints, 40)
    assert checkpoints.steps() == [10, 30, 40]
    assert not checkpoints.record_metrics(first.with_name("step-000000000099"), {"x": 1.0})


def test_milestones_are_the_first_of_each_interval(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep=1, milestones=100)
    for step in (40, 90, 130, 180, 199, 201, 290, 295):
        put(checkpoints, step)
    assert checkpoints.steps() == [130, 201, 295]


def test_the_same_step_twice_replaces_the_first(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep=1)
    put(checkpoints, 10)
    second = checkpoints.save(10, {}, {"second": True})
    assert checkpoints.load().path == second
    assert checkpoints.load("step=10").state == {"second": True}
    third = checkpoints.save(10, {}, {"third": True})
    assert names(checkpoints) == [third.name]


def test_after_going_back_the_new_branch_is_the_latest(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep=3)
    for step in (10, 20, 30):
        put(checkpoints, step)
    assert store(tmp_path).load("step=10").step == 10
    put(checkpoints, 15)
    assert checkpoints.load().step == 15
    put(checkpoints, 25)
    put(checkpoints, 35)
    assert checkpoints.steps() == [15, 25, 35]


def test_selectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = store(tmp_path)
    paths = {step: put(checkpoints, step) for step in (10, 20)}
    assert checkpoints.load("step=10").path == paths[10]
    assert checkpoints.load(paths[10]).step == 10
    assert checkpoints.load(str(paths[10])).step == 10
    assert checkpoints.load("step-000000000010").step == 10
    monkeypatch.chdir(tmp_path)
    assert Checkpointer("elsewhere").load("checkpoints/step-000000000010").step == 10
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 11 in .*; there: 10, 20"):
        checkpoints.load("step=11")
    with pytest.raises(CheckpointError, match="wanted step=N with a number, got 'step=ten'"):
        checkpoints.load("step=ten")
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint"):
        checkpoints.load("nowhere")


def test_an_empty_or_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*checkpoints"):
        store(tmp_path).load()
    assert not (tmp_path / "checkpoints").exists(), "loading writes nothing"


def test_only_the_wanted_files_are_read(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    path = checkpoints.save(1, {"a": {"x": torch.zeros(1)}, "b": {"x": torch.zeros(1)}}, {"s": 1})
    (path / "b.safetensors").write_bytes(b"damaged")
    assert set(checkpoints.load(only=["a"]).tensors) == {"a"}
    with pytest.raises(CheckpointError, match=r"b\.safetensors"):
        checkpoints.load()


def test_without_a_hash_checkpoints_of_any_experiment_load(tmp_path: Path) -> None:
    put(store(tmp_path), 1)
    loaded = store(tmp_path, config_hash=None).load()
    assert (loaded.step, loaded.config_hash) == (1, "abc")


def test_other_processes_may_add_files_before_the_commit(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    script = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('{\"envs\": [1, 2]}')"
    with checkpoints.begin(5) as staged:
        assert staged.path.name == f".tmp-{5:012d}-{os.getpid()}"
        save_tensors(staged.path / "stream-0.safetensors", {"obs": np.arange(3)})
        target = str(staged.path / "stream-0.json")
        subprocess.run([sys.executable, "-S", "-c", script, target], check=True)
        staged.write_json("state", {"s": 5})
        path = staged.commit({"r": 1.0})
    loaded = checkpoints.load(path)
    assert loaded.tensors["stream-0"]["obs"].tolist() == [0, 1, 2]
    assert loaded.documents == {"stream-0": {"envs": [1, 2]}}
    files = {record.name for record in read_manifest(path).files}
    assert files == {"stream-0.safetensors", "stream-0.json", "state.json"}
    assert names(checkpoints) == [path.name]


def test_what_is_not_committed_leaves_no_trace(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    put(checkpoints, 1)
    with checkpoints.begin(2) as staged:
        staged.write_json("state", {})
    with pytest.raises(ZeroDivisionError), checkpoints.begin(3) as staged:
        staged.write_json("state", {"x": 1 // 0})
    with checkpoints.begin(4) as staged, pytest.raises(CheckpointError, match=r"needs state\.json"):
        staged.commit()
    assert names(checkpoints) == ["step-000000000001"]


def test_odd_files_cannot_be_committed(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    with checkpoints.begin(1) as staged:
        staged.write_json("state", {})
        for stem in ("state", "../state", "a b", ".hidden", ""):
            with pytest.raises(CheckpointError, match="cannot be"):
                staged.write_json(stem, {})
        (staged.path / "link.json").symlink_to("/etc/hostname")
        with pytest.raises(CheckpointError, match=r"'link\.json' cannot be a file"):
            staged.commit()


def test_the_report_says_what_a_save_cost(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    path = put(checkpoints, 7)
    report = checkpoints.last
    assert report is not None
    assert (report.path, report.step) == (path, 7)
    assert report.bytes == sum(
        (path / n).stat().st_size for n in ("learner.safetensors", "state.json")
    )
    assert 0 < report.seconds < 60


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def test_leftovers_of_dead_writers_are_removed_and_of_live_ones_kept(tmp_path: Path) -> None:
    checkpoints, other = store(tmp_path), store(tmp_path)
    with other.begin(1) as live:
        for name in (f".tmp-000000000003-{dead_pid()}", ".trash-step-000000000001-1", ".streams"):
            (checkpoints.directory / name / "x").mkdir(parents=True)
        # The number of a process that lives but is not the writer: nobody holds the lock.
        (checkpoints.directory / f".tmp-000000000004-{os.getppid()}").mkdir()
        put(checkpoints, 9)
        assert names(checkpoints) == sorted([".streams", live.path.name, "step-000000000009"])
        live.write_json("state", {})
        live.commit()
    assert checkpoints.load("step=1").step == 1


def test_loading_does_not_need_or_take_the_writers_lock(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    put(checkpoints, 1)
    with checkpoints.begin(2):
        assert store(tmp_path).load().step == 1


@pytest.mark.parametrize("options", [{"keep": 0}, {"milestones": 0}])
def test_bad_settings_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be >= 1, got 0"):
        store(tmp_path, **options)


def test_a_negative_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="step >= 0, got -1"):
        put(store(tmp_path), -1)


def test_spaces_and_unicode_in_the_path(tmp_path: Path) -> None:
    checkpoints = store(tmp_path / "my rüns (1)" / "日本")
    put(checkpoints, 3)
    assert checkpoints.load().step == 3


def test_rotation_while_reading_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rlcore.runtime.checkpoint as module

    writer, reader = store(tmp_path, keep=1), store(tmp_path)
    put(writer, 1)
    original, calls = module.read_checkpoint, []

    def slow_read(folder, *args):
        calls.append(folder.name)
        if len(calls) == 1:
            put(writer, 2)  # rotates the one that is being read
        return original(folder, *args)

    monkeypatch.setattr(module, "read_checkpoint", slow_read)
    assert reader.load().step == 2
    assert calls == ["step-000000000001", "step-000000000002"]


def test_large_tensors_are_written_without_a_second_copy(tmp_path: Path) -> None:
    script = """
import sys, numpy as np
from pathlib import Path
from rlcore.runtime.checkpoint import Checkpointer
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
# 64 MiB in all, and each of them must be copied to be contiguous.
tensors = {f"t{i}": np.ones((4, 1 << 20), np.float32).T for i in range(4)}
before = peak()
Checkpointer(sys.argv[1]).save(1, {"a": tensors}, {})
assert "torch" not in sys.modules
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) < 48
