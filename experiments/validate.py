"""Experiment files to a checked configuration, before anything starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.binding import Binder, plain
from experiments.crosschecks import cross_check
from experiments.errors import ConfigProblems, Problem
from experiments.leaves import shown
from experiments.loader import read_files, read_text
from experiments.overrides import apply_overrides
from experiments.schema import FORMAT_VERSION, ExperimentConfig
from experiments.sources import Tree, dotted
from experiments.yaml_writer import to_yaml
from rlcore.errors import ConfigError, DataError
from rlcore.runtime.config import default_streams


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """A checked experiment.

    Attributes:
        config: The experiment.
        tree: All settings, defaults included, as JSON-able values; loads to ``config`` again.
        source_text: The text of the files it was read from.
        overrides: The overrides applied.
        hash: Hash of ``tree``.
    """

    config: ExperimentConfig
    tree: dict[str, Any]
    source_text: str
    overrides: tuple[str, ...]
    hash: str

    @property
    def text(self) -> str:
        """The resolved settings as YAML, derived values in a comment."""
        lines = [f"hash {self.hash}", *derived(self.config)]
        return "".join(f"# {line}\n" for line in lines) + to_yaml(self.tree)


def load_config(
    source: str | Path | Mapping[str, Any] | Sequence[str | Path],
    overrides: Sequence[str] = (),
    *,
    look_up: bool = True,
    try_out: bool = False,
) -> ResolvedConfig:
    """Read, merge and check an experiment.

    Args:
        source: A file, several files (merged left to right), or a mapping.
        overrides: ``key=value``, ``key=`` (null), ``key~`` (remove).
        look_up: Whether to look the environment up, which imports Gymnasium and ``env.module``.
        try_out: Whether to make one as well, which its constructor may refuse, and to see whether
            this machine has the learner's device and a data set that the agent can learn from.

    Raises:
        ConfigProblems: Everything that is wrong, each with its place.
        ConfigError: A file cannot be read.
        MissingDependencyError: The environment needs a package that is not installed.
        DataError: With ``try_out``, the data set is missing.
    """
    tree, name, text = _read(source)
    tree, problems = apply_overrides(tree, overrides)
    _check_version(tree, name)
    binder = Binder(tree)
    binder.problems += problems
    config = binder.bind(ExperimentConfig, tree.data, ())
    cross_check(binder)
    env = binder.sections.get("env")
    if look_up and env is not None and not any(binder.troubled(("env", n)) for n in _LOOKED_AT):
        _look_up(env, binder, try_out and not binder.troubled(("env",)))
    if try_out:
        _look_for_device(binder)
        _look_into_data(binder)
    if binder.problems:
        raise ConfigProblems(name, binder.problems)
    resolved = plain(config)
    return ResolvedConfig(config, resolved, text, tuple(overrides), config_hash(resolved))


_LOOKED_AT = ("id", "module", "preset", "wrappers")


def _look_up(env: Any, binder: Binder, make_env: bool) -> None:
    from experiments.env_lookup import look_up, try_making
    from rlcore.errors import MissingDependencyError

    try:
        look_up(env, binder)
        if make_env and not binder.troubled(("env",)):
            try_making(env, binder)
    except MissingDependencyError:
        if not binder.problems:  # what can be corrected in the file comes first
            raise


def _look_for_device(binder: Binder) -> None:
    learner = binder.sections.get("learner")
    if learner is None or learner.device != "cuda" or binder.troubled(("learner", "device")):
        return
    import torch

    if not torch.cuda.is_available():
        message = "'cuda' is asked for, but torch sees no CUDA device: use 'auto' or 'cpu'"
        binder.problem(("learner", "device"), message, "learner")


def _look_into_data(binder: Binder) -> None:
    """See whether the data set is there, and whether the agent can learn from it."""
    data, agent = binder.sections.get("data"), binder.sections.get("agent")
    if data is None or any(binder.troubled((section,)) for section in ("data", "agent")):
        return
    from experiments.data_parts import token_spec
    from rlcore.data.tokens.dataset import TokenDataset

    try:
        dataset = TokenDataset.open(data.path)
    except DataError:
        if not binder.problems:  # what can be corrected in the file comes first
            raise
        return
    check = getattr(agent, "check", None)  # a plug-in may have none: then building it tells
    try:
        if check is not None:
            check(token_spec(data, dataset))
    except ConfigError as error:
        binder.problem(("agent",), str(error), dotted(("agent",)))


def _check_version(tree: Tree, name: str) -> None:
    """Refuse a newer format before its settings are called unknown."""
    version = tree.data.get("rlcore", FORMAT_VERSION)
    if isinstance(version, int) and version > FORMAT_VERSION:
        message = (
            f"format {version} is newer than {FORMAT_VERSION}, the one this release reads; "
            "install a newer rlcore"
        )
        problem = Problem(("rlcore",), message, tree.place(("rlcore",)))
        raise ConfigProblems(name, [problem])


def config_hash(tree: dict[str, Any]) -> str:
    """Return a hash of all settings, whatever order they are written in."""
    text = json.dumps(tree, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(source: str | Path | Mapping[str, Any] | Sequence[str | Path]) -> tuple[Tree, str, str]:
    if isinstance(source, Mapping):
        data = _plain_data(source, "config")
        return Tree(data), "config", to_yaml(data)
    paths = [source] if isinstance(source, str | Path) else list(source)
    if not paths:
        raise ConfigError("no experiment file given")
    texts = [read_text(Path(path), str(path)) for path in paths]
    tree = read_files(paths)
    if len(paths) == 1:
        return tree, str(paths[0]), texts[0]
    marked = [f"# {path}\n{text}" for path, text in zip(paths, texts, strict=True)]
    return tree, str(paths[0]), "\n".join(marked)


def _plain_data(value: Any, where: str) -> Any:
    """Return a copy of settings given as Python objects.

    Raises:
        ConfigError: Something in them could not stand in a file.
    """
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where}: a key must be text, got {shown(key)}")
        return {key: _plain_data(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_data(item, f"{where}.{i}") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise ConfigError(f"{where}: must be plain data, got {type(value).__name__}")


def derived(config: ExperimentConfig) -> list[str]:
    """Return the values computed from others, with their origin."""
    runtime, count = config.runtime, config.width
    streams = runtime.streams or default_streams(count, runtime.actors)
    unroll = getattr(config.agent, "unroll", None)
    lines = []
    if config.data is not None:
        tokens = config.data.rows * config.data.length
        return [f"derived: tokens of an update <= {tokens} (data.rows x data.length)"]
    if runtime.streams is None:
        lines.append(f"derived: runtime.streams = {streams} (from env.num_envs={count})")
    lines.append(f"derived: environments of a stream = {count // streams} (num_envs / streams)")
    if unroll is not None:
        batch = runtime.batch or streams
        lines.append(
            f"derived: transitions of an update <= {unroll * batch * count // streams} "
            "(unroll x batch x environments of a stream)"
        )
    return lines
