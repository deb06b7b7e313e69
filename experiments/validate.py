"""Experiment files to a checked configuration, before anything starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.binding import Binder, plain
from experiments.crosschecks import cross_check
from experiments.errors import ConfigProblems
from experiments.explain import known_settings
from experiments.loader import read_files, read_text
from experiments.overrides import apply_overrides
from experiments.schema import ExperimentConfig
from experiments.sources import Tree
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
        body: str = yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True, width=100)
        lines = [f"# {line}" for line in derived(self.config)]
        return "\n".join([f"# hash {self.hash}", *lines, body])


def load_config(
    source: str | Path | Mapping[str, Any] | Sequence[str | Path], overrides: Sequence[str] = ()
) -> ResolvedConfig:
    """Read, merge and check an experiment.

    Args:
        source: A file, several files (merged left to right), or a mapping.
        overrides: ``key=value``, ``key=`` (null), ``key~`` (remove).

    Raises:
        ConfigProblems: Everything that is wrong, each with its place.
        ConfigError: A file cannot be read.
        MissingDependencyError: The environment needs a package that is not installed.
    """
    tree, name, text = _read(source)
    tree = apply_overrides(tree, overrides)
    binder = Binder(tree, known_settings())
    config = binder.bind(ExperimentConfig, tree.data, ())
    if config is not None:
        cross_check(config, binder)
    if binder.problems:
        raise ConfigProblems(name, binder.problems)
    resolved = plain(config)
    return ResolvedConfig(config, resolved, text, tuple(overrides), config_hash(resolved))


def config_hash(tree: dict[str, Any]) -> str:
    """Return a hash of all settings, whatever order they are written in."""
    text = json.dumps(tree, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(source: str | Path | Mapping[str, Any] | Sequence[str | Path]) -> tuple[Tree, str, str]:
    if isinstance(source, Mapping):
        data = json.loads(json.dumps(dict(source)))
        return Tree(data), "config", yaml.safe_dump(data, sort_keys=False)
    paths = [source] if isinstance(source, str | Path) else list(source)
    texts = [f"# {path}\n{read_text(Path(path), str(path))}" for path in paths]
    return read_files(paths), str(paths[0]) if paths else "config", "\n".join(texts)


def derived(config: ExperimentConfig) -> list[str]:
    """Return the values computed from others, with their origin."""
    runtime, count = config.runtime, config.env.num_envs
    streams = runtime.streams or default_streams(count, runtime.actors)
    unroll = getattr(config.agent, "unroll", None)
    lines = []
    if runtime.streams is None:
        lines.append(
            f"derived: runtime.streams = {streams} (from env.num_envs={count}, "
            f"runtime.actors={runtime.actors})"
        )
    lines.append(f"derived: environments of a stream = {count // streams} (num_envs / streams)")
    if unroll is not None:
        batch = runtime.batch or streams
        lines.append(
            f"derived: transitions of an update <= {unroll * batch * count // streams} "
            "(unroll x batch x environments of a stream)"
        )
    return lines
