"""What an environment refuses is told with its place in the file, before there is a run folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import experiments
from experiments import cli
from experiments.errors import ConfigProblems
from experiments.validate import load_config
from rlcore.errors import DataError, EnvContractError, MissingDependencyError, RlcoreError

FILE = """\
rlcore: 1
name: small
env:
  id: {id}
  num_envs: 2
  vectorization: {vectorization}
  {more}
agent: {{type: impala, unroll: 4, network: {{hidden: [8]}}}}
runtime: {{placement: inline, schedule: serial}}
stop: {{updates: 1}}
eval: {{episodes: 0}}
track: {{wandb: off, tensorboard: false, console: none}}
"""

MISTAKES = [
    # id, line 7 of the file, vectorization, setting, column, words of the message
    ("ALE/Pong-v5", "preset: atari\n  kwargs: {frame_skip: four}", "auto",
     "env.kwargs.frame_skip", 12, "is 'four', wanted a whole number, at least 1 and at most 1000"),
    ("ALE/Pong-v5", "preset: atari\n  kwargs: {size: 1.5}", "sync",
     "env.kwargs.size", 12, "is 1.5, wanted a whole number"),
    ("ALE/Pong-v5", "preset: atari\n  kwargs: {stack: true}", "auto",
     "env.kwargs.stack", 12, "is True, wanted a whole number"),
    ("ALE/Pong-v5", "preset: atari\n  kwargs: {fire_reset: 1}", "auto",
     "env.kwargs.fire_reset", 12, "is 1, wanted true or false"),
    ("ALE/Pong-v5", "preset: atari\n  kwargs: {repeat_action_probability: much}", "auto",
     "env.kwargs.repeat_action_probability", 12, "is 'much', wanted a number in [0, 1)"),
    ("ALE/Pong-v5", "preset: atari\n  kwargs: {frameskip: 4}", "auto",
     "env.kwargs.frameskip", 12, "preset atari has no option frameskip"),
    ("CartPole-v1", "preset: classic\n  kwargs: {action_repeat: .nan}", "auto",
     "env.kwargs.action_repeat", 12, "is nan, wanted a whole number"),
    ("CartPole-v1", "kwargs: {gravity: 9.8}", "sync",
     "env.kwargs.gravity", 12, "unexpected keyword argument 'gravity'"),
    ("CartPole-v1", "kwargs: {gravity: 9.8}", "native",
     "env.kwargs.gravity", 12, "unexpected keyword argument 'gravity'"),
    ("testing/faulty-v0", "kwargs: {at_step: 3, fault: four}", "auto",
     "env.kwargs.fault", 24, "ValueError: unknown fault 'four'"),
    ("testing/faulty-v0", "kwargs: {seeds: four}", "auto",
     "env.kwargs", 3, "ValueError: invalid literal for int()"),
    ("FrozenLake-v1", "kwargs: {map_name: nowhere}", "auto",
     "env.kwargs", 3, "KeyError: 'nowhere' ("),
    ("CartPole-v1", "preset: mujoco", "auto",
     "env.preset", 3, "mujoco is for the environments of gymnasium.envs.mujoco"),
    ("FrozenLake-v1", "kwargs: {}", "native",
     "env.vectorization", 3, "has no vector form"),
    ("CartPole-v1", "wrappers: [{type: flatten_observation}]", "native",
     "env.vectorization", 3, "cannot take env.wrappers"),
    ("CartPole-v1", "wrappers: [{type: time_aware}, {type: resize, shape: 3}]",
     "auto", "env.wrappers.1", 34, "resize does not take {'shape': 3} here (AssertionError)"),
    ("CartPole-v1", "wrappers: [{type: sticky_action, repeat_action_probability: 2}]",
     "auto", "env.wrappers.0", 14, "should be in the interval [0,1)"),
    ("CartPole-v1", "wrappers: [{type: time_limit, max: 3}]",
     "auto", "env.wrappers.0", 14, "time_limit does not take {'max': 3}"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, id: str, more: str, vectorization: str = "auto") -> str:
    file = folder / "small.yaml"
    file.write_text(FILE.format(id=id, more=more, vectorization=vectorization))
    return file.name


@pytest.mark.parametrize(("id", "more", "vectorization", "setting", "column", "words"), MISTAKES)
def test_a_refused_setting_is_told_with_its_place(
    folder: Path, id: str, more: str, vectorization: str, setting: str, column: int, words: str
) -> None:
    if id.startswith("ALE/"):
        pytest.importorskip("ale_py")
    file = write(folder, id, more, vectorization)
    line = 6 if setting == "env.vectorization" else 7 + more.count("\n")
    with pytest.raises(ConfigProblems) as caught:
        experiments.run(file)
    (problem,) = caught.value.problems
    assert ".".join(map(str, problem.path)) == setting
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (line, column)
    assert words in problem.message
    assert f"line {line}, column {column}   {setting}   " in str(caught.value)
    assert not (folder / "runs").exists()


def test_the_command_line_says_it_in_both_ways(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(folder, "CartPole-v1", "kwargs: {gravity: 9.8}", "sync")
    assert cli.main(["run", file]) == 2
    assert "line 7, column 12   env.kwargs.gravity" in capsys.readouterr().err
    assert cli.main(["validate", file]) == 0  # nothing is made
    assert cli.main(["validate", file, "--strict"]) == 2
    assert "line 7, column 12   env.kwargs.gravity" in capsys.readouterr().err
    wrong = "env.kwargs.gravity="
    assert cli.main(["run", file, "env.kwargs.gravity~", "env.wrappers=[{type: resize}]"]) == 2
    assert "override #2" in capsys.readouterr().err
    assert cli.main(["run", file, f"{wrong}1"]) == 2
    assert "override #1 'env.kwargs.gravity=1'" in capsys.readouterr().err


class _Awkward(gymnasium.Env[Any, Any]):
    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fails: str = "") -> None:
        if fails == "package":
            import no_such_package_at_all  # noqa: F401
        if fails == "constructor":
            raise ZeroDivisionError("by its own zero")
        self._fails = fails

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if self._fails == "reset":
            raise KeyError("lost")
        return 0, {}


@pytest.fixture
def awkward() -> Iterator[str]:
    gymnasium.register("awkward-v0", entry_point=_Awkward)
    yield "awkward-v0"
    del gymnasium.registry["awkward-v0"]


def test_a_constructor_that_fails_is_told_with_its_line(folder: Path, awkward: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        experiments.run(write(folder, awkward, "kwargs: {fails: constructor}"))
    message = caught.value.problems[0].message
    assert "it cannot be made: ZeroDivisionError: by its own zero (" in message
    assert f"{Path(__file__).name}, line " in message
    assert caught.value.problems[0].path == ("env", "kwargs")


def test_a_missing_package_of_an_environment_is_named(folder: Path, awkward: str) -> None:
    with pytest.raises(MissingDependencyError, match=r"a package: .*no_such_package_at_all"):
        experiments.run(write(folder, awkward, "kwargs: {fails: package}"))
    assert not (folder / "runs").exists()


def test_a_first_reset_that_fails_is_told_with_its_line(folder: Path, awkward: str) -> None:
    with pytest.raises(EnvContractError) as caught:
        experiments.run(write(folder, awkward, "kwargs: {fails: reset}"))
    assert "awkward-v0 failed on its first reset: KeyError: 'lost' (" in str(caught.value)
    assert f"{Path(__file__).name}, line " in str(caught.value)


# -- every setting of every committed experiment --------------------------------------------------

CONFIGS = sorted((Path(__file__).parents[2] / "experiments/configs").rglob("*.yaml"))
WRONG = ("four", "-1", "0", "1.5", "", "[1]", "{a: 1}", "true", ".inf", ".nan", "9" * 20, "é☃")


VALUES_EACH = 2  # a different part of them for each setting; the slow form takes all


def settings_of(tree: Any, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from settings_of(value, f"{path}.{key}" if path else key)


def problem_with(config: Path, setting: str, value: str) -> str:
    """Return what is said of a value, or nothing where it is taken."""
    try:
        load_config(config, [f"{setting}={value}"], look_up=setting.startswith("env"), try_out=True)
    except DataError:  # the value was taken; the data set has not been made here
        return ""
    except RlcoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.parent.name}-{c.stem}")
@pytest.mark.parametrize(
    "values_each", [VALUES_EACH, pytest.param(len(WRONG), marks=pytest.mark.slow)]
)
def test_no_wrong_value_of_any_setting_is_more_than_a_problem(
    config: Path, values_each: int
) -> None:
    """Each is taken or refused by name; there is no other error, whatever the value."""
    if "ALE/" in config.read_text():
        pytest.importorskip("ale_py")
    refused = 0
    settings = list(settings_of(load_config(config, look_up=False).tree))
    for index, setting in enumerate(settings):
        for value in itertools.islice(itertools.cycle(WRONG), index, index + values_each):
            message = problem_with(config, setting, value)
            refused += bool(message)
            assert (
                not message
                or f"override #1 '{setting}={value}'" in message
                or (setting.split(".")[0] in message)
            ), message
    assert refused > len(settings)
