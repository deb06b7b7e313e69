"""What each setting means: type, default and description, read from the dataclasses themselves."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from dataclasses import dataclass
from typing import Any

from experiments.binding import hints, section_of, yaml_name
from experiments.errors import nearest
from experiments.registry import PLACES, components, find
from experiments.schema import ExperimentConfig
from rlcore.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting or section.

    Attributes:
        path: Dotted key, for example ``learner.optimizer.rmsprop.lr``.
        type: Its type in words.
        default: Its default as text; ``required`` where there is none.
        doc: What it does.
    """

    path: str
    type: str
    default: str
    doc: str


def attribute_docs(cls: type[Any]) -> dict[str, str]:
    """Return the descriptions in the ``Attributes:`` section of a class docstring."""
    text = (cls.__doc__ or "").partition("Attributes:\n")[2]
    docs: dict[str, str] = {}
    name = None
    for line in text.splitlines():
        found = re.match(r"^ {8}(\w+): (.*)$", line)
        if found:
            name = found[1]
            docs[name] = found[2].strip()
        elif name and line.startswith(" " * 12):
            docs[name] += " " + line.strip()
        elif line.strip():
            name = None
    return docs


def summary(cls: type[Any]) -> str:
    """Return the first paragraph of a class docstring in one line."""
    return " ".join((cls.__doc__ or "").partition("\n\n")[0].split())


def settings(cls: type[Any] = ExperimentConfig, prefix: tuple[str, ...] = ()) -> list[Setting]:
    """Return every setting below ``cls``, components included under their ``type``."""
    found: list[Setting] = []
    docs = attribute_docs(cls)
    for field in dataclasses.fields(cls):
        path = (*prefix, yaml_name(field))
        annotation = hints(cls)[field.name]
        found.append(
            Setting(
                ".".join(path), _type(annotation, path), _default(field), docs.get(field.name, "")
            )
        )
        if path in PLACES:
            for name in components(PLACES[path]):
                try:
                    component = find(PLACES[path], name)
                except ConfigError:  # a plug-in that is broken says so where it is used
                    continue
                where = (*path, name)
                found.append(Setting(".".join(where), "component", "", summary(component)))
                found += settings(component, where)
        elif (section := section_of(annotation)) is not None:
            found += settings(section, path)
    return found


def explain(key: str) -> str:
    """Return the explanation of a dotted key; a section lists what is in it.

    Raises:
        ConfigError: There is no such key; names the nearest one.
    """
    every = {setting.path: setting for setting in settings()}
    if key not in every:
        same = [path for path in every if written(path) == key]
        if not same:
            raise ConfigError(f"no setting '{key}'{_hint(key, every)}")
        return "\n\n".join(explain(path) for path in same)
    setting = every[key]
    lines = [f"{setting.path}  ({setting.type})"]
    if setting.default:
        lines.append(f"default: {setting.default}")
    lines += ["", setting.doc] if setting.doc else []
    depth = key.count(".") + 1
    inside = [
        s for s in every.values() if s.path.startswith(key + ".") and s.path.count(".") == depth
    ]
    if inside:
        width = max(len(s.path) for s in inside)
        lines += [""] + [f"  {s.path:{width}}  {s.default:>12}  {s.doc}".rstrip() for s in inside]
    return "\n".join(lines)


def _hint(key: str, every: dict[str, Setting]) -> str:
    elsewhere = known_settings().get(key.rpartition(".")[2])
    return f"; did you mean '{elsewhere[0]}'?" if elsewhere else nearest(key, every)


def overview() -> str:
    """Return the sections of an experiment file, each with a line that says what it is."""
    docs = attribute_docs(ExperimentConfig)
    names = [yaml_name(field) for field in dataclasses.fields(ExperimentConfig)]
    width = max(map(len, names))
    lines = [f"{name:<{width}}  {docs.get(name, '')}".rstrip() for name in names]
    return "\n".join([*lines, "", "More: rlcore explain KEY, for example agent.impala"])


def written(path: str) -> str:
    """Return a setting's key as it is written in files: without the types on the way."""
    parts = path.split(".")
    return ".".join(part for i, part in enumerate(parts) if tuple(parts[:i]) not in PLACES)


@functools.cache
def known_settings(agent: str | None = None) -> dict[str, list[str]]:
    """Return the keys, as written in files, that end in each name.

    Args:
        agent: Leave out the settings of other agents.
    """
    found: dict[str, list[str]] = {}
    for setting in settings():
        parts = setting.path.split(".")
        foreign = agent is not None and parts[0] == "agent" and agent not in (parts[1:2] or [agent])
        key = written(setting.path)
        if not foreign and key not in found.setdefault(parts[-1], []):
            found[parts[-1]].append(key)
    return found


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _type(annotation: Any, path: tuple[str, ...]) -> str:
    if path in PLACES:
        return f"component: one of {', '.join(components(PLACES[path]))}"
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(annotation))
    if section_of(annotation) is not None:
        return "section"
    arguments = typing.get_args(annotation)
    if type(None) in arguments:
        return " or ".join(_type(a, ("",)) for a in arguments if a is not type(None)) + " or null"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    return {tuple: "list", dict: "mapping"}.get(typing.get_origin(annotation), str(annotation))
