"""From files to checked dataclasses and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from experiments import cli, registry
from experiments.errors import ConfigProblems
from experiments.explain import explain, known_settings, settings
from experiments.json_schema import schema_text
from experiments.validate import ResolvedConfig, load_config
from experiments.yaml_writer import to_yaml
from rlcore.errors import ConfigError, DataError, MissingDependencyError
from rlcore.learners.config import AdamConfig, RMSPropConfig

CONFIGS = sorted((Path(__file__).parents[2] / "experiments/configs").rglob("*.yaml"))
SMALL: dict[str, Any] = {"env": "CartPole-v1", "agent": "impala", "stop": {"updates": 5}}


def load(changes: dict[str, Any] | None = None, *overrides: str) -> ResolvedConfig:
    return load_config(SMALL | (changes or {}), overrides, look_up=False)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_shipped_experiments_are_valid_and_round_trip(file: Path, tmp_path: Path) -> None:
    resolved = load_config(file)
    again = tmp_path / "config.resolved.yaml"
    again.write_text(resolved.text)
    for copy in (load_config(again), load_config(resolved.tree), load_config(str(again))):
        assert copy.hash == resolved.hash
        assert copy.tree == resolved.tree
        assert copy.config == resolved.config
    assert json.loads(json.dumps(resolved.tree)) == resolved.tree
    assert resolved.source_text == file.read_text()


def test_there_is_an_experiment_for_each_thing_the_readme_names() -> None:
    assert {"demo.yaml", "cartpole.yaml", "pong.yaml"} <= {file.name for file in CONFIGS}


def test_defaults_and_types() -> None:
    config = load().config
    assert config.env.num_envs == 16
    assert config.learner.optimizer == RMSPropConfig()
    assert config.runtime.schedule == "async"
    assert config.checkpoint.every == 60.0
    assert config.eval.episodes == 100
    assert config.track.wandb.mode == "auto"
    assert config.resolved_types()["agent"] == "impala"
    assert config.resolved_types()["optimizer"] == "rmsprop"


def test_every_setting_survives_the_round_trip() -> None:
    changes: dict[str, Any] = {
        "name": "7e-4",
        "seed": 2**63,
        "env": {"id": "CartPole-v1", "kwargs": {"a": [1, 2.5, None, "on", {"b": "x\ny"}]},
                "wrappers": ["flatten_observation"], "num_envs": 12},
        "agent": {"type": "impala", "rho_bar": float("inf"), "reward_clip": 1e-30,
                  "network": {"lstm": 8, "hidden": [3]}},
        "learner": {"optimizer": {"type": "adam", "betas": [0.1, 0.2]}, "max_grad_norm": None},
        "runtime": {"streams": 3, "batch": 2, "memory_limit_mb": 900},
        "stop": {"wall_time": "8h", "return": -3},
        "track": {"wandb": {"mode": "off", "tags": ["Zoë", "'"]}, "every": "250ms"},
    }  # fmt: skip
    resolved = load(changes)
    assert resolved.config.learner.optimizer == AdamConfig(betas=(0.1, 0.2))
    assert resolved.config.stop.return_ == -3.0
    again = load_config(resolved.tree, look_up=False)
    assert again.hash == resolved.hash
    assert again.config == resolved.config


def test_resolved_text_reads_back(tmp_path: Path) -> None:
    resolved = load({"name": "on", "env": {"id": "CartPole-v1", "kwargs": {"x": "12:30"}}})
    file = tmp_path / "a.yaml"
    file.write_text(resolved.text)
    assert load_config(file, look_up=False).hash == resolved.hash
    assert "# derived: runtime.streams = 4 (from env.num_envs=16)\n" in (resolved.text)


def test_the_hash_sees_every_setting_and_no_order() -> None:
    base = load()
    assert load(dict(reversed(SMALL.items()))).hash == base.hash
    for override in ("seed=1", "agent.gamma=0.98", "track.jsonl=false", "stop.updates=6"):
        assert load(None, override).hash != base.hash


def test_files_merge_left_to_right_over_their_includes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text(to_yaml(SMALL | {"seed": 1, "name": "base"}))
    (tmp_path / "a.yaml").write_text("include: sub/base.yaml\nseed: 2\nstop: {env_steps: 9}\n")
    (tmp_path / "b.yaml").write_text("env: {num_envs: 4}\nlearner: {optimizer: adam}\n")
    (tmp_path / "c.yaml").write_text("learner: {optimizer: {lr: 0.5}}\n")
    resolved = load_config([tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")])
    config = resolved.config
    assert (config.name, config.seed) == ("base", 2)
    assert (config.stop.env_steps, config.stop.updates) == (9, 5)
    assert (config.env.id, config.env.num_envs) == ("CartPole-v1", 4)
    assert config.learner.optimizer == AdamConfig(lr=0.5)
    assert "num_envs: 4" in resolved.source_text


def test_a_mapping_of_another_type_replaces_and_of_the_same_type_merges(tmp_path: Path) -> None:
    """The settings of one optimizer mean nothing to another."""
    optimizer = {"type": "rmsprop", "lr": 0.5, "alpha": 0.9}
    base = SMALL | {"learner": {"optimizer": optimizer, "max_grad_norm": 3.0}}
    (tmp_path / "base.yaml").write_text(to_yaml(base))
    for given, wanted in (
        ("{type: adam}", AdamConfig()),
        ("{type: rmsprop, lr: 0.25}", RMSPropConfig(lr=0.25, alpha=0.9)),
        ("{lr: 0.25}", RMSPropConfig(lr=0.25, alpha=0.9)),
    ):
        (tmp_path / "top.yaml").write_text(f"learner: {{optimizer: {given}}}\n")
        files = [tmp_path / "base.yaml", tmp_path / "top.yaml"]
        override = f"learner.optimizer={given}"
        for resolved in (load_config(files), load_config(files[0], [override])):
            assert resolved.config.learner.optimizer == wanted
            assert resolved.config.learner.max_grad_norm == 3.0


def test_a_problem_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("env: CartPole-v1\nagent: {type: impala, gama: 1}\n")
    (tmp_path / "top.yaml").write_text("include: base.yaml\nstop: {update: 3}\n")
    with pytest.raises(ConfigProblems) as caught:
        load_config(tmp_path / "top.yaml", look_up=False)
    text = str(caught.value)
    first, second = text.index("top.yaml: 1 problem"), text.index("base.yaml: 1 problem")
    assert first < text.index("stop.update ") < second < text.index("agent.gama")


def test_a_missing_type_takes_the_default_one() -> None:
    assert load({"learner": {"optimizer": {"lr": 0.5}}}).config.learner.optimizer == (
        RMSPropConfig(lr=0.5)
    )


@pytest.mark.parametrize("value", [{1: 2}, object(), {"a": {2: 3}}, [b"x"]])
def test_python_objects_that_no_file_could_hold_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^config\.env\.kwargs"):
        load({"env": {"id": "CartPole-v1", "kwargs": {"x": value}}})


def test_atari_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ale_py", None)
    with pytest.raises(MissingDependencyError, match=r"rlcore\[atari\]"):
        load_config(SMALL | {"env": "ALE/Pong-v5"})
    with pytest.raises(ConfigProblems, match="unknown key"):  # what the file can mend comes first
        load_config(SMALL | {"env": "ALE/Pong-v5"}, ["agent.x=1"])


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[metadata.EntryPoint]:
    point = metadata.EntryPoint(
        "agent.twin", "experiments.bench.dummy:DummyConfig", registry.PLUGIN_GROUP
    )
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point])
    for cached in (registry.components, known_settings):
        cached.cache_clear()
    yield point
    monkeypatch.undo()
    for cached in (registry.components, known_settings):
        cached.cache_clear()


def test_a_plugin_adds_a_type(plugin: metadata.EntryPoint) -> None:
    assert "twin" in registry.components("agent")
    assert load({"agent": {"type": "twin", "unroll": 3}}).config.agent.unroll == 3


def test_a_plugin_cannot_take_a_name(
    plugin: metadata.EntryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = metadata.EntryPoint("agent.impala", "evil:Config", registry.PLUGIN_GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [theirs])
    registry.components.cache_clear()
    with pytest.raises(ConfigError, match="takes the name of agent 'impala'"):
        load()


def test_a_broken_plugin_says_so_only_where_it_is_used(
    plugin: metadata.EntryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [
        metadata.EntryPoint("agent.gone", "no_such_package:Config", registry.PLUGIN_GROUP),
        metadata.EntryPoint("agent.empty", "experiments.bench.dummy:Nope", registry.PLUGIN_GROUP),
    ]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: broken)
    registry.components.cache_clear()
    assert load().config.resolved_types()["agent"] == "impala"
    with pytest.raises(ConfigProblems, match=r"did you mean 'learner\.optimizer\.lr'"):
        load(None, "agent.lr=1")
    with pytest.raises(ConfigProblems, match="agent 'gone' cannot be imported: No module named"):
        load({"agent": "gone"})
    with pytest.raises(ConfigProblems, match="agent 'empty' cannot be imported: module"):
        load({"agent": "empty"})


def test_every_setting_is_documented() -> None:
    missing = [setting.path for setting in settings() if not setting.doc]
    assert not missing


def test_explain() -> None:
    text = explain("agent.impala.gamma")
    assert text.splitlines()[:2] == ["agent.impala.gamma  (number)", "default: 0.99"]
    assert "Discount" in text
    assert explain("learner.optimizer.lr").count("(number)") == 4
    with pytest.raises(ConfigError, match=r"did you mean 'learner\.optimizer\.lr'"):
        explain("agent.lr")
    with pytest.raises(ConfigError, match="did you mean 'runtime'"):
        explain("runtim")


def test_the_committed_schema_is_current(repo_root: Path) -> None:
    committed = (repo_root / "experiments/schema.json").read_text()
    assert committed == schema_text(), "run: rlcore schema --out experiments/schema.json"


def test_the_schema_knows_every_setting() -> None:
    def keys(schema: dict[str, Any]) -> set[str]:
        found = set(schema.get("properties", {}))
        for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", [])):
            found |= keys(part) if isinstance(part, dict) else set()
        return found

    names = {setting.path.rpartition(".")[2] for setting in settings()}
    types = {name for kind in registry.kinds() for name in registry.components(kind)}
    assert names - types <= keys(json.loads(schema_text()))


def test_config_objects_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0\n", "failed while it was imported: ZeroDivisionError: division by zero"),
        ("def f(:\n", "cannot be read: invalid syntax"),
        ("import no_such_package_at_all\n", "No module named 'no_such_package_at_all'"),
    ],
)
def test_a_module_that_fails_is_a_problem_with_its_place(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_worlds.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    config = {
        "env": {"id": "CartPole-v1", "module": "broken_worlds"},
        "agent": "impala",
        "stop": {"updates": 1},
    }
    with pytest.raises(ConfigError) as caught:
        load_config(config)
    assert words in str(caught.value)
    if "import" not in text:
        assert "broken_worlds.py, line 1)" in str(caught.value)


def test_a_data_set_is_looked_into_before_a_run_begins(tmp_path: Path) -> None:
    text = tmp_path / "input.txt"
    text.write_text("to be or not to be " * 200)
    assert cli.main(["data", "tokenize", str(text), "--out", str(tmp_path / "plain")]) == 0
    for data, agent, message in (
        ("plain", "", ""),
        ("nowhere", "", "no token data set .*make one with: rlcore data"),
        ("plain", "objective: diffusion, ", "'diffusion' needs a mask token"),
        ("plain", "pretrained: models/none, ", "models/none is no model folder"),
    ):
        file = tmp_path / "file.yaml"
        file.write_text(
            f"rlcore: 1\nname: lm\ndata: {{path: {tmp_path / data}, length: 16, rows: 2}}\n"
            f"agent: {{type: lm, {agent}network: {{dim: 8, layers: 1, heads: 1}}}}\n"
            "learner: {optimizer: {type: sgd, lr: 0.1}}\n"
            "runtime: {placement: inline, schedule: serial}\nstop: {updates: 2}\n"
        )
        load_config(file)  # a file may be written before its data is made
        if not message:
            load_config(file, try_out=True)
        elif data == "nowhere":
            with pytest.raises(DataError, match=message):
                load_config(file, try_out=True)
        else:
            with pytest.raises(ConfigProblems, match=message) as caught:
                load_config(file, try_out=True)
            (problem,) = caught.value.problems
            assert problem.path == ("agent",)
            assert problem.place is not None
