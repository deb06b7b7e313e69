"""Secrets of the environment and netrc reach no file of a run, W&B's included, and no console."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CANARY = "canary-4f9d1c7e2b-SECRET"
NETRC_CANARY = "canary-netrc-77aa55cc33ee11"
ARGV_CANARY = "canary-argv-0a1b2c3d4e"
URL_CANARY = "canary-url-99887766"
VISIBLE = "visible-marker-123456"

RUN = """
import logging, os, sys
from pathlib import Path
from rlcore.tracking.open_tracker import open_tracker
from rlcore.redact import Redactor, redact_logging
from rlcore.tracking.wandb_sink import WandbSettings

run_dir, visible = Path(sys.argv[1]), sys.argv[2]
secret, netrc = os.environ["RLCORE_CANARY_TOKEN"], sys.stdin.read().strip()
(run_dir / "logs").mkdir(parents=True)
logging.basicConfig(filename=run_dir / "logs/driver.log", level=logging.INFO)
redact_logging(Redactor.from_environment())

config = {
    "env": {"kwargs": {"url": f"x?key={secret}", secret: 1, "note": visible}},
    "list": [netrc, "https://user:canary-url-99887766@host/x"],
}
tracker = open_tracker(
    run_dir,
    console="plain",
    tensorboard=False,
    wandb=WandbSettings(
        mode="offline", name=f"n-{secret}", group=secret, tags=(secret, visible), config=config
    ),
)
logging.info("starting with %s and %s; %s", secret, netrc, visible)
try:
    raise RuntimeError(f"request with {secret} failed")
except RuntimeError as error:
    logging.exception("caught")
    tracker.event("actor_lost", cause=str(error), detail={"env": {"k": netrc}}, mark=visible)
tracker.event("warning", message=f"{secret} {netrc}")
tracker.log({"step/env": 1, "step/update": 1, "time/wall_s": 1.0, "episode/return_mean": 1.0})
tracker.log({"step/env": 2, "eval/return_mean": 2.0})
tracker.event("done", message=f"with {secret}")
tracker.close()
"""


@pytest.mark.timeout(60)
def test_canaries_are_nowhere(tmp_path: Path, repo_root: Path) -> None:
    pytest.importorskip("wandb")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {NETRC_CANARY}\n")
    written = tmp_path / "written"
    environ = {
        **os.environ,
        "HOME": str(home),
        "RLCORE_CANARY_TOKEN": CANARY,
        "WANDB_API_KEY": (CANARY + "0" * 40)[:40],
        # W&B refuses to make its own folders elsewhere than here, so that all can be searched.
        **{f"WANDB_{name}_DIR": str(written / name) for name in ("CACHE", "CONFIG", "DATA")},
        "PYTHONPATH": os.pathsep.join([str(repo_root), os.environ.get("PYTHONPATH", "")]),
    }
    environ.pop("WANDB_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(written / "run"), VISIBLE, f"--key={ARGV_CANARY}"],
        env=environ,
        input=NETRC_CANARY,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    contents = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    contents[Path("stdout+stderr")] = (done.stdout + done.stderr).encode()
    for canary in (CANARY, NETRC_CANARY, ARGV_CANARY, URL_CANARY):
        found = [str(path) for path, data in contents.items() if canary.encode() in data]
        assert not found, f"{canary} is in {found}"
    # What is no secret is there, so the files are those meant and can be searched.
    seen = {path.suffix or path.name for path, data in contents.items() if VISIBLE.encode() in data}
    assert {".log", ".jsonl", ".wandb"} <= seen, sorted(map(str, contents))


LEAKY = """
import logging, os, sys
import gymnasium
from envs.testing.faulty import FaultyEnv

SECRET = os.environ["RLCORE_CANARY_TOKEN"]

class Leaky(FaultyEnv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.steps = 0
        print("made with", SECRET, "visible-marker-123456", flush=True)

    def step(self, action):
        self.steps += 1
        if self.steps == 200:
            logging.getLogger("leaky").warning("calling with %s visible-marker-123456", SECRET)
            raise RuntimeError(f"GET https://user:canary-url-99887766@host/?key={SECRET} refused")
        return super().step(action)

gymnasium.register("leaky-v0", entry_point=Leaky)
"""

CONFIG = """
rlcore: 1
name: leak
env: {id: leaky-v0, module: leaky, num_envs: 4, vectorization: sync}
agent: {type: impala, unroll: 8, network: {type: mlp, hidden: [8]}}
runtime: {placement: local, schedule: async, actors: 1, streams: 1, max_restarts: 1}
stop: {env_steps: 100000, wall_time: 20s}
eval: {episodes: 0}
track: {wandb: offline}
"""


@pytest.mark.timeout(120)
def test_a_whole_run_that_fails_with_secrets_in_hand_writes_none(
    tmp_path: Path, repo_root: Path
) -> None:
    pytest.importorskip("wandb")
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {NETRC_CANARY}\n")
    (work / "leaky.py").write_text(LEAKY)
    (work / "notes.txt").write_text("nothing yet\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=work, check=True)
    (work / "notes.txt").write_text(f"key {CANARY}, login {NETRC_CANARY}, {VISIBLE}\n")
    (work / "leak.yaml").write_text(CONFIG)
    written = tmp_path / "written"
    environ = {
        **os.environ,
        "HOME": str(home),
        "RLCORE_CANARY_TOKEN": CANARY,
        "WANDB_API_KEY": (CANARY + "0" * 40)[:40],
        **{f"WANDB_{name}_DIR": str(written / name) for name in ("CACHE", "CONFIG", "DATA")},
        "PYTHONPATH": os.pathsep.join([str(work), str(repo_root)]),
    }
    environ.pop("WANDB_DIR", None)
    done = subprocess.run(
        [*(sys.executable, "-m", "experiments.cli", "run", "leak.yaml"), f"--out={written}"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=work,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    contents = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    contents[Path("stdout+stderr")] = (done.stdout + done.stderr).encode()
    for canary in (CANARY, NETRC_CANARY, URL_CANARY):
        found = [str(path) for path, data in contents.items() if canary.encode() in data]
        assert not found, f"{canary} is in {found}"
    names = {path.name for path, data in contents.items() if VISIBLE.encode() in data}
    assert {"git.diff", "actor-00.log"} <= names, sorted(map(str, contents))
