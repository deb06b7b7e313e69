"""Language-model experiments as runs: exact resume, any number of readers, limits, learning."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import experiments
from experiments.build import ExperimentParts
from experiments.planning import make_plan, streams_of
from experiments.runner import resume
from experiments.validate import load_config
from rlcore.errors import CheckpointError, ConfigError, DataError
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.supervisor import Supervisor

DIFFUSION = {"objective": "diffusion"}


def parameters(run: Any) -> str:
    """A hash of weights and optimizer state."""
    checkpoint = Checkpointer(run.path / "checkpoints").load("latest")
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.tensors["learner"].items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def evaluations(run: Any) -> list[dict[str, float]]:
    return [record for record in run.metrics() if "eval/loss" in record]


def cases(text: Path, pairs: Path, experiment: Any) -> dict[str, dict[str, Any]]:
    network = {"dim": 16, "layers": 1, "heads": 2, "dropout": 0.2}
    whole = {"packing": "fit", "length": 11, "response": 4}
    return {
        "causal": experiment(text, agent={"network": network}),
        "diffusion": experiment(text, agent={**DIFFUSION, "network": network}),
        "causal-pairs": experiment(
            pairs,
            data={"packing": "fit"},
            learner={
                "optimizer": {
                    "type": "adamw",
                    "lr": 0.01,
                    "weight_decay": 0.3,
                    "decay": "matrices",
                },
                "accumulate": 2,
            },
        ),
        "diffusion-pairs": experiment(pairs, data=whole, agent=DIFFUSION),
    }


CASES = ("causal", "diffusion", "causal-pairs", "diffusion-pairs")


@pytest.mark.parametrize("case", CASES)
def test_resume_equals_the_straight_run(tmp_path, text_data, pair_data, experiment, case) -> None:
    config = cases(text_data, pair_data, experiment)[case]
    straight = experiments.run(config, out=tmp_path)
    broken = experiments.run(config, ["stop.updates=6"], out=tmp_path)
    assert parameters(broken) != parameters(straight)
    assert parameters(resume(broken.path, ["stop.updates=14"])) == parameters(straight)


@pytest.mark.parametrize("case", ["causal", "diffusion-pairs"])
def test_a_run_killed_while_training_resumes_to_the_straight_one(
    repo_root, tmp_path, text_data, pair_data, experiment, case
) -> None:
    """SIGKILL at any moment: what follows the last checkpoint is done again, bit for bit."""
    config = cases(text_data, pair_data, experiment)[case]
    file = tmp_path / "lm.yaml"
    file.write_text(json.dumps(config | {"stop": {"updates": 100_000}}))
    words = ["run", str(file), "--out", str(tmp_path / "killed"), "checkpoint.every=0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *words],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        saved = wait_for(lambda: sorted((tmp_path / "killed").glob("*/checkpoints/step-*")), 2)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    folder = saved[0].parents[1]
    done = Checkpointer(folder / "checkpoints").load("latest").state["totals"]["updates"]
    limit = [f"stop.updates={done + 5}"]
    resumed = resume(folder, limit)
    straight = experiments.run(config, limit, out=tmp_path)
    assert parameters(resumed) == parameters(straight)


def wait_for(found: Callable[[], list[Path]], count: int, seconds: float = 120) -> list[Path]:
    """Return what is found once there is as much of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(items := found()) >= count:
            return items
        time.sleep(0.02)
    raise TimeoutError(f"fewer than {count} after {seconds} s")


@pytest.mark.parametrize("case", ["causal", "diffusion-pairs"])
def test_batches_are_the_same_for_any_readers_streams_lag_and_placement(
    tmp_path, text_data, pair_data, experiment, case
) -> None:
    config = cases(text_data, pair_data, experiment)[case]
    serial = parameters(experiments.run(config, out=tmp_path))
    lockstep = ["runtime.placement=local", "runtime.schedule=lockstep", "runtime.lag=1"]
    for changes in (["runtime.streams=1"], ["runtime.streams=8"], [*lockstep, "runtime.actors=2"]):
        run = experiments.run(config, [*changes, "stop.updates=13"], out=tmp_path)
        assert parameters(run) != serial
        assert parameters(resume(run.path, ["stop.updates=14"])) == serial


def test_a_killed_reader_changes_nothing(tmp_path, text_data, experiment) -> None:
    """Its successor reads on at the row that was lost: batches are those of a quiet run."""
    config = experiment(text_data, stop={"updates": 60})
    quiet = experiments.run(config, out=tmp_path)
    lockstep = {"placement": "local", "schedule": "lockstep", "lag": 1, "actors": 2}
    resolved = load_config(config | {"runtime": lockstep})
    parts = ExperimentParts(resolved.config, streams_of(resolved.config))
    plan, _ = make_plan(resolved, parts, tmp_path / "run")
    run = Supervisor(plan, parts)
    killed = False
    try:
        run.start()
        while not run.finished:
            run.poll(0.05)
            if not killed and run.control.published:
                os.kill(run.seats[0].child.pid, signal.SIGKILL)
                killed = True
    finally:
        run.close()
    assert killed
    assert run.budget.total >= 1
    assert parameters(SimpleNamespace(path=tmp_path / "run")) == parameters(quiet)


def test_samples_are_no_longer_than_rows(tmp_path, text_data, experiment) -> None:
    config = experiment(
        text_data, agent=DIFFUSION, eval={"every": 2, "samples": 1, "sample_tokens": 99}
    )
    run = experiments.run(config, ["stop.updates=2"], out=tmp_path)
    (line,) = map(json.loads, (run.path / "samples.jsonl").read_text().splitlines())
    assert len(line["prompt"]) == 4
    assert 1 <= len(line["text"]) <= 16 - 4


def test_another_seed_is_another_run(tmp_path, text_data, experiment) -> None:
    config = experiment(text_data)
    runs = [experiments.run(config, [f"seed={seed}"], out=tmp_path) for seed in (0, 0, 1)]
    first, again, other = map(parameters, runs)
    assert first == again != other


def test_a_changed_data_set_is_not_resumed(tmp_path, experiment, text_data) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(text_data, data)
    run = experiments.run(experiment(data), ["stop.updates=3"], out=tmp_path)
    from rlcore.data.tokens.dataset import read_index, split_file, write_index
    from rlcore.data.tokens.file import TokenWriter

    index = read_index(data)
    with TokenWriter(split_file(data, "train"), 12) as writer:
        writer.add([1, 2, 3] * 500)
        index.splits["train"] = writer.finish()
    write_index(data, index)
    with pytest.raises(CheckpointError, match="the data set has changed"):
        resume(run.path, ["stop.updates=5"])


def test_damaged_data_is_refused_before_anything_is_trained(tmp_path, experiment, text_data):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(text_data, data)
    file = data / "train.tokens"
    raw = bytearray(file.read_bytes())
    raw[-100] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DataError, match="damaged or replaced"):
        experiments.run(experiment(data), out=tmp_path)
    with pytest.raises(DataError, match="no token data set"):
        experiments.run(experiment(tmp_path / "none"), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists(), "refused before there is a run folder"


def test_accumulation_is_one_batch(tmp_path, text_data, experiment) -> None:
    """Four parts give the gradient of the whole: float32 weights agree to rounding."""
    config = experiment(text_data, learner={"optimizer": {"type": "sgd", "lr": 0.5}})
    runs = [experiments.run(config, [f"learner.accumulate={n}"], out=tmp_path) for n in (1, 2, 4)]
    tensors = [Checkpointer(run.path / "checkpoints").load("latest").tensors["learner"] for run in
               runs]  # fmt: skip
    for name, expected in tensors[0].items():
        for other in tensors[1:]:
            assert (other[name] - expected).abs().max() < 2e-6, name


def test_held_out_loss_is_logged_and_stops_the_run(tmp_path, text_data, experiment) -> None:
    config = experiment(text_data, eval={"every": 5}, stop={"updates": 300, "loss": 1.5})
    run = experiments.run(config, out=tmp_path)
    found = evaluations(run)
    assert [record["step/update"] for record in found] == list(range(5, 5 * len(found) + 1, 5))
    assert found[-1]["eval/loss"] <= 1.5 < found[-2]["eval/loss"]
    assert "held-out loss" in run.status["reason"]
    assert found[-1]["eval/tokens"] == 3999
    assert found[-1]["step/tokens"] == found[-1]["step/update"] * 8 * 16
    again = resume(run.path)  # past its limit already: nothing is trained
    assert again.metrics()[-1]["step/update"] == found[-1]["step/update"]
    again = experiments.run(config, ["stop.updates=12", "stop.loss="], out=tmp_path)
    # The last measurement is of what the run came to, whatever eval.every says.
    assert [record["step/update"] for record in evaluations(again)] == [5, 10, 12]
    for a, b in zip(evaluations(again)[:2], found, strict=False):
        assert a["eval/loss"] == b["eval/loss"]


def test_measuring_changes_nothing(tmp_path, text_data, experiment) -> None:
    network = {"dim": 16, "layers": 1, "heads": 2, "dropout": 0.2}
    config = experiment(text_data, agent={**DIFFUSION, "network": network})
    plain = experiments.run(config, out=tmp_path)
    measured = experiments.run(config, ["eval.every=3", "eval.samples=2"], out=tmp_path)
    assert parameters(plain) == parameters(measured)
    assert [record["step/update"] for record in evaluations(measured)] == [3, 6, 9, 12, 14]


@pytest.mark.parametrize("case", ["causal", "diffusion-pairs"])
def test_samples_are_written_at_each_evaluation(
    tmp_path, text_data, pair_data, experiment, case
) -> None:
    config = cases(text_data, pair_data, experiment)[case]
    config["eval"] = {"every": 7, "samples": 2, "sample_tokens": 5}
    runs = [experiments.run(config, out=tmp_path) for _ in range(2)]
    first, again = ((run.path / "samples.jsonl").read_text() for run in runs)
    assert first == again
    lines = [json.loads(line) for line in first.splitlines()]
    assert [line["update"] for line in lines] == [7, 7, 14, 14]
    for line in lines:
        assert len(line["prompt"]) == (2 if case == "diffusion-pairs" else 4)
        assert 1 <= len(line["text"]) <= (4 if case == "diffusion-pairs" else 5)
        assert set(line["text"]) <= set(range(12))


def test_a_limit_on_tokens(tmp_path, text_data, experiment) -> None:
    config = experiment(text_data)
    config["stop"] = {"tokens": 5 * 8 * 16 - 1}
    run = experiments.run(config, out=tmp_path)
    assert run.metrics()[-1]["step/update"] == 5
    assert run.metrics()[-1]["step/tokens"] == 5 * 8 * 16


def test_causal_learning_reaches_the_entropy_of_the_data(tmp_path, text_data, experiment) -> None:
    config = experiment(text_data, eval={"every": 200}, stop={"updates": 200})
    run = experiments.run(config, out=tmp_path)
    assert 0.55 < evaluations(run)[-1]["eval/loss"] < 0.66  # 0.562 is the entropy


def test_diffusion_learns_to_answer(tmp_path, pair_data, experiment) -> None:
    """Four tokens a response hold one bit: how often the digit is said before EOS."""
    config = experiment(
        pair_data,
        data={"packing": "single", "length": 6, "response": 4, "rows": 64},
        agent={**DIFFUSION, "network": {"dim": 64, "layers": 2, "heads": 4}},
        learner={"optimizer": {"type": "adamw", "lr": 3e-3, "anneal": "linear"}},
        stop={"updates": 300},
        eval={"every": 300},
    )
    run = experiments.run(config, out=tmp_path)
    # log 2 / 4 = 0.173 nats a token; not to know the digit would cost another log(10) / 4 = 0.576.
    assert 0.15 < evaluations(run)[-1]["eval/loss"] < 0.22


def test_the_data_the_run_read_is_recorded(tmp_path, text_data, experiment) -> None:
    run = experiments.run(experiment(text_data), out=tmp_path)
    state = json.loads((run.path / "checkpoints" / "step-000000001792" / "state.json").read_text())
    assert {stream["env"]["data"] for stream in state["streams"]} != {None}
    with pytest.raises(ConfigError, match=r"data\.rows"):
        resume(run.path, ["data.rows=4", "stop.updates=20"])
