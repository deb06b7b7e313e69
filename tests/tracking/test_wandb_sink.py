"""W&B: when it is online, what it is told, and how often; no network, no real client."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rlcore.errors import ConfigError
from rlcore.redact import REDACTED, Redactor
from rlcore.tracking.wandb_sink import (
    WandbSettings,
    WandbSink,
    choose_mode,
    has_key,
    init_arguments,
)

KEYED = {"WANDB_API_KEY": "k" * 40}


def netrc(folder: Path, host: str) -> dict[str, str]:
    (folder / ".netrc").write_text(f"machine {host} login user password {'p' * 40}\n")
    return {"HOME": str(folder)}


@pytest.mark.parametrize(
    ("requested", "extra", "mode", "said"),
    [
        ("auto", {}, "offline", "no key in WANDB_API_KEY or netrc"),
        ("auto", KEYED, "online", None),
        ("auto", {**KEYED, "WANDB_MODE": "offline"}, "offline", None),
        ("auto", {"WANDB_MODE": "offline"}, "offline", None),
        ("auto", {**KEYED, "WANDB_MODE": "disabled"}, "off", None),
        ("auto", {**KEYED, "RLCORE_OFFLINE": "1"}, "offline", "RLCORE_OFFLINE=1"),
        ("offline", KEYED, "offline", None),
        ("online", KEYED, "online", None),
        ("off", KEYED, "off", None),
    ],
)
def test_mode(
    tmp_path: Path, requested: str, extra: dict[str, str], mode: str, said: str | None
) -> None:
    chosen, note = choose_mode(requested, {"HOME": str(tmp_path), **extra})
    assert chosen == mode
    assert (said is None and note is None) or (said is not None and said in str(note))


def test_netrc_counts_as_a_key_for_its_own_host(tmp_path: Path) -> None:
    environ = netrc(tmp_path, "api.wandb.ai")
    assert has_key(environ)
    assert not has_key({**environ, "WANDB_BASE_URL": "http://localhost:8080"})
    assert has_key({**netrc(tmp_path, "localhost"), "WANDB_BASE_URL": "http://localhost:8080"})


def test_online_without_a_key_is_refused_instead_of_asking(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no key was found in WANDB_API_KEY or netrc"):
        choose_mode("online", {"HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="must be one of auto, offline, online, off"):
        choose_mode("sometimes", {})


class FakeRun:
    """Keeps what a W&B run is told."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.defined: list[tuple[str, str]] = []
        self.summary: dict[str, Any] = {}
        self.finished = 0

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(dict(values))

    def define_metric(self, name: str, step_metric: str) -> None:
        self.defined.append((name, step_metric))

    def finish(self) -> None:
        self.finished += 1


class FakeWandb(types.ModuleType):
    """Stands for the package."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.run = FakeRun()
        self.arguments: dict[str, Any] = {}
        self.Settings = lambda **fields: fields
        self.Video = lambda path, format: ("video", path, format)

    def init(self, **arguments: Any) -> FakeRun:
        self.arguments = arguments
        return self.run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_init_is_named_redacted_and_tells_nothing_of_the_machine(
    fake: FakeWandb, tmp_path: Path
) -> None:
    settings = WandbSettings(
        mode="online", name="pong", run_id="2026 pong/s0", group="pong", entity="team",
        tags=("impala", "ALE/Pong-v5", "x" * 80, ""), config={"env": {"url": "hidden-secret"}},
    )  # fmt: skip
    arguments = init_arguments(settings, tmp_path, Redactor(["hidden-secret"]))
    assert arguments["config"] == {"env": {"url": REDACTED}}
    assert arguments["tags"] == ["impala", "ALE/Pong-v5", "x" * 64]
    assert (arguments["group"], arguments["job_type"], arguments["entity"]) == (
        "pong", "train", "team",
    )  # fmt: skip
    assert (arguments["id"], arguments["resume"]) == ("2026-pong-s0", "allow")
    hidden = arguments["settings"]
    for name in ("x_disable_meta", "x_disable_machine_info", "x_disable_stats", "disable_code",
                 "disable_git", "silent"):  # fmt: skip
        assert hidden[name] is True, name
    assert (hidden["console"], hidden["program"], hidden["host"]) == ("off", "rlcore", "")
    assert 0 < hidden["init_timeout"] <= 60
    assert 0 < hidden["finish_timeout"] <= 60


def test_offline_runs_have_no_id_to_resume(fake: FakeWandb, tmp_path: Path) -> None:
    arguments = init_arguments(WandbSettings(mode="offline", run_id="a"), tmp_path, Redactor())
    assert (arguments["id"], arguments["resume"]) == (None, None)


def test_environment_steps_are_the_default_axis(fake: FakeWandb, tmp_path: Path) -> None:
    WandbSink(WandbSettings(mode="offline"), tmp_path)
    assert fake.run.defined == [("*", "step/env")]


def test_training_records_are_sent_once_a_second_and_the_last_one_always(
    fake: FakeWandb, tmp_path: Path
) -> None:
    now = [0.0]
    sink = WandbSink(WandbSettings(mode="offline"), tmp_path, clock=lambda: now[0])
    for index in range(31):
        now[0] = index / 10
        sink.log({"step/env": index})
    now[0] = 3.05
    sink.log({"step/env": 99})
    assert [entry["step/env"] for entry in fake.run.logged] == [0, 10, 20, 30]
    sink.close()
    assert fake.run.logged[-1] == {"step/env": 99}
    assert fake.run.finished == 1


def test_every_evaluation_is_sent_and_the_best_one_kept(fake: FakeWandb, tmp_path: Path) -> None:
    sink = WandbSink(WandbSettings(mode="offline"), tmp_path, clock=lambda: 0.0)
    for step, value in ((10, 5.0), (20, 9.0), (30, 7.0)):
        sink.log({"step/env": step, "eval/return_mean": value})
    assert [entry["step/env"] for entry in fake.run.logged] == [10, 20, 30]
    assert fake.run.summary == {
        "eval/final_return_mean": 7.0, "eval/best_return_mean": 9.0, "eval/best_step": 20,
    }  # fmt: skip


def test_videos_and_the_end_are_told(fake: FakeWandb, tmp_path: Path) -> None:
    sink = WandbSink(WandbSettings(mode="offline"), tmp_path)
    sink.event("video", {"path": "a.mp4", "env_steps": 5})
    sink.event("video", {"path": "a.gif"})
    sink.event("done", {"message": "x"})
    assert fake.run.logged == [{"eval/video": ("video", "a.mp4", "mp4"), "step/env": 5}]
    assert fake.run.summary == {"run/state": "done"}
