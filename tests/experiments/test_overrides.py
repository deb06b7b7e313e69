"""``key=value``, ``key=`` and ``key~`` on top of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.errors import ConfigProblems
from experiments.overrides import is_override
from experiments.validate import load_config

BASE: dict[str, Any] = {
    "env": {
        "id": "CartPole-v1",
        "kwargs": {"sutton_barto_reward": True},
        "wrappers": [{"type": "time_limit", "max_episode_steps": 9}],
    },
    "agent": {"type": "impala", "gamma": 0.9},
    "learner": {"optimizer": {"type": "adam", "lr": 0.01}},
    "stop": {"env_steps": 1000, "updates": 7},
    "track": {"wandb": "offline"},
}

GOOD: list[tuple[str, str, Any]] = [
    ("seed=3", "seed", 3),
    ("name=my run", "name", "my run"),
    ("name='12'", "name", "12"),
    ("name=a=b", "name", "a=b"),
    ("name=on", "name", "on"),
    ("name='7e-4'", "name", "7e-4"),
    ("agent.gamma=0.5", "agent.gamma", 0.5),
    ("agent.gamma=1", "agent.gamma", 1.0),
    ("learner.optimizer.lr=7e-4", "learner.optimizer.lr", 7e-4),
    ("learner.optimizer.lr=1.0e-3", "learner.optimizer.lr", 1e-3),
    ("learner.optimizer.betas=[0.5, 0.6]", "learner.optimizer.betas", [0.5, 0.6]),
    ("learner.optimizer=sgd", "learner.optimizer.momentum", 0.0),
    ("learner.optimizer={type: sgd, momentum: 0.5}", "learner.optimizer.momentum", 0.5),
    ("learner.estimator.type=backprop", "learner.estimator", {"type": "backprop"}),
    ("learner.optimizer={lr: 0.5}", "learner.optimizer.type", "adam"),
    ("learner.optimizer={type: adam, eps: 0.5}", "learner.optimizer.lr", 0.01),
    ("stop={updates: 8}", "stop.env_steps", 1000),
    ("env.kwargs={natural: true}", "env.kwargs", {"sutton_barto_reward": True, "natural": True}),
    ("env={num_envs: 3}", "env.id", "CartPole-v1"),
    ("track={wandb: {project: mine}}", "track.wandb.mode", "offline"),
    ("stop.env_steps=40_000_000", "stop.env_steps", 40_000_000),
    ("stop.env_steps=4e7", "stop.env_steps", 40_000_000),
    ("stop.env_steps=40M", "stop.env_steps", 40_000_000),
    ("stop.env_steps=", "stop.env_steps", None),
    ("stop.env_steps=~", "stop.env_steps", None),
    ("stop.updates~", "stop.updates", None),
    ("stop.wall_time=8h", "stop.wall_time", 28800.0),
    ("stop.wall_time=1h30m", "stop.wall_time", 5400.0),
    ("stop.return=475", "stop.return", 475.0),
    ("checkpoint.every=10min", "checkpoint.every", 600.0),
    ("checkpoint.every=", "checkpoint.every", None),
    ("runtime.step_deadline_s=2min", "runtime.step_deadline_s", 120.0),
    ("env=Acrobot-v1", "env.id", "Acrobot-v1"),
    ("env.kwargs.sutton_barto_reward=false", "env.kwargs.sutton_barto_reward", False),
    ("env.kwargs~", "env.kwargs", {}),
    ("env.wrappers.0.max_episode_steps=12", "env.wrappers.0.max_episode_steps", 12),
    ("env.wrappers=[flatten_observation]", "env.wrappers", [{"type": "flatten_observation"}]),
    ("env.wrappers=[]", "env.wrappers", []),
    ("agent.network.hidden=[8, 8]", "agent.network.hidden", [8, 8]),
    ("track.wandb=off", "track.wandb.mode", "off"),
    ("track.wandb.project=mine", "track.wandb.mode", "offline"),
    ("track.tensorboard=false", "track.tensorboard", False),
]


def at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


@pytest.mark.parametrize(("override", "key", "value"), GOOD)
def test_override(override: str, key: str, value: Any) -> None:
    found = at(load_config(BASE, [override], look_up=False).tree, key)
    assert found == value
    assert type(found) is type(value)


BAD = [
    ("seed", "must look like key=value, key= (null) or key~ (remove)"),
    ("=3", "must look like key=value, key= (null) or key~ (remove)"),
    ("a..b=3", "must look like key=value, key= (null) or key~ (remove)"),
    ("learner.optimizer.lrr=1e-3", "unknown key; did you mean 'lr'?"),
    ("optim.lrr=1e-3", "unknown key; did you mean 'learner.optimizer'?"),
    ("agent.lr=1e-3", "unknown key; did you mean 'learner.optimizer.lr'?"),
    ("stop.frames~", "cannot be removed: not set"),
    ("stop.env_step~", "cannot be removed: not set; did you mean 'env_steps'?"),
    ("agent.gamma.x=1", "cannot be reached into: it holds 0.9"),
    ("env.wrappers.x=1", "is a list: wanted an index, got 'x'"),
    ("env.wrappers.4=1", "has 1 items, so no index 4"),
    ("seed=", "must be a whole number, got null"),
    ("agent.gamma=[1", "not valid YAML: expected ',' or ']', but got 'the end of the text' "
     "while parsing a flow sequence"),
    ("agent.gamma=!!python/name:os.system", "tags are not allowed, got "
     "'tag:yaml.org,2002:python/name:os.system'"),
    ("agent.gamma={a: 1, a: 2}", "duplicate key; first on line 1"),
    ("include=other.yaml", "unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), BAD)
def test_a_wrong_override_is_named_with_its_number(override: str, message: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_config(BASE, ["seed=1", override], look_up=False)
    [problem] = caught.value.problems
    assert problem.message == message
    assert problem.place is not None
    assert (problem.place.source.number, problem.place.source.label) == (2, override)
    assert f"override #2 {override!r}" in str(caught.value)


def test_the_caret_is_under_the_part_that_is_wrong() -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_config(BASE, ["agent.gamma=0.5", "learner.optimizer.lrr=1e-3"], look_up=False)
    assert str(caught.value) == (
        "config: 1 problem\n"
        "\n"
        "  override #2 'learner.optimizer.lrr=1e-3'   learner.optimizer.lrr   unknown key; "
        "did you mean 'lr'?\n"
        "    #2 | learner.optimizer.lrr=1e-3\n"
        "       |                   ^^^\n"
        "See: rlcore explain learner.optimizer.adam"
    )


def test_later_overrides_win_and_the_source_is_not_changed() -> None:
    before = repr(BASE)
    resolved = load_config(BASE, ["seed=1", "seed=2", "env.kwargs.a=1"], look_up=False)
    assert resolved.config.seed == 2
    assert resolved.overrides == ("seed=1", "seed=2", "env.kwargs.a=1")
    assert repr(BASE) == before


def test_problems_of_file_and_overrides_come_together(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("env: CartPole-v1\nagent: {type: impala, gama: 1}\nstop: {updates: 5}\n")
    with pytest.raises(ConfigProblems) as caught:
        load_config(file, ["seed=x", "bad"], look_up=False)
    assert [problem.path for problem in caught.value.problems] == [("agent", "gama"), ("seed",), ()]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a=1", True), ("a.b~", True), ("a-b=", True), ("a.yaml", False), ("../a=b.yaml", False),
     ("a", False)],
)  # fmt: skip
def test_is_override(text: str, answer: bool) -> None:
    assert is_override(text) is answer
