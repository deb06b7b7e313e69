"""Components by name: what ``type:`` may say, and which dataclass it means.

The table names modules of ours; plug-ins add to it through the entry-point group
``rlcore.plugins`` (an entry ``agent.mine = my_package.config:MineConfig`` makes ``type: mine`` an
agent). A file never names code.
"""

from __future__ import annotations

import functools
import importlib
from importlib import metadata
from typing import Any

from experiments.cli_guard import check_agents_package
from experiments.errors import choices_text, nearest
from rlcore.errors import ConfigError

PLUGIN_GROUP = "rlcore.plugins"

_TABLE: dict[str, dict[str, str]] = {
    "agent": {
        "a3c": "agents.a3c.config:A3CConfig",
        "impala": "agents.impala.config:ImpalaConfig",
        "lm": "agents.lm.config:LMConfig",
        "dummy": "experiments.bench.dummy:DummyConfig",
    },
    "estimator": {"backprop": "rlcore.learners.config:BackpropConfig"},
    "optimizer": {
        "sgd": "rlcore.learners.config:SGDConfig",
        "adam": "rlcore.learners.config:AdamConfig",
        "adamw": "rlcore.learners.config:AdamWConfig",
        "rmsprop": "rlcore.learners.config:RMSPropConfig",
    },
    "parallelism": {"single": "rlcore.learners.config:SingleConfig"},
}

PLACES: dict[tuple[str, ...], str] = {
    ("agent",): "agent",
    ("learner", "estimator"): "estimator",
    ("learner", "optimizer"): "optimizer",
    ("learner", "parallelism"): "parallelism",
}
"""Where in an experiment a component of which kind stands."""


@functools.cache
def components(kind: str) -> dict[str, str]:
    """Return ``name -> module:class`` of one kind, plug-ins included.

    Raises:
        ConfigError: There is no such kind, or a plug-in takes a name that exists.
    """
    if kind not in _TABLE:
        raise ConfigError(f"no component kind {kind!r}; there are {choices_text(_TABLE)}")
    found = dict(_TABLE[kind])
    for entry in metadata.entry_points(group=PLUGIN_GROUP):
        of_kind, _, name = entry.name.partition(".")
        if of_kind == kind and name:
            if name in found:
                raise ConfigError(f"plug-in {entry.value} takes the name of {kind} {name!r}")
            found[name] = entry.value
    return found


def kinds() -> tuple[str, ...]:
    """Return the kinds of components."""
    return tuple(_TABLE)


def find(kind: str, name: str) -> type[Any]:
    """Return the dataclass of component ``name``.

    Raises:
        ConfigError: There is none (names the nearest one), or its module cannot be imported.
    """
    known = components(kind)
    if name not in known:
        hint = nearest(str(name), known)
        raise ConfigError(f"no {kind} '{name}'{hint or '; there are ' + choices_text(known)}")
    module, _, attribute = known[name].partition(":")
    try:
        cls: type[Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if module.startswith("agents."):
            check_agents_package()
        raise ConfigError(f"{kind} '{name}' cannot be imported: {error}") from error
    return cls


def type_name(kind: str, config: object) -> str:
    """Return the registered name of a component's configuration object."""
    path = f"{type(config).__module__}:{type(config).__qualname__}"
    for name, target in components(kind).items():
        if target == path:
            return name
    return type(config).__name__
