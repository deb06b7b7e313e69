"""The JSON Schema of experiment files, made from the dataclasses, for editors."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

from experiments.binding import hints, section_of, yaml_name
from experiments.explain import attribute_docs, summary
from experiments.leaves import duration_wanted
from experiments.registry import PLACES, components, find
from experiments.schema import ExperimentConfig
from experiments.sources import SHORTHANDS, Path

_COUNT = {"type": "string", "pattern": r"^[0-9][0-9_]*(\.[0-9]+)?[kMG]$"}
_DURATION = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|min|s|m|h|d))+$"}


def schema_text() -> str:
    """Return the schema as JSON text."""
    return json.dumps(experiment_schema(), indent=1, ensure_ascii=False) + "\n"


def experiment_schema() -> dict[str, Any]:
    """Return the schema of one experiment file.

    Nothing is required, because a file may be laid over others.
    """
    schema = _section(ExperimentConfig, ())
    schema["properties"]["include"] = {
        "description": "Files, relative to this one, that these settings are laid over.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "rlcore experiment"}
    return head | schema


def _section(cls: type[Any], path: Path) -> dict[str, Any]:
    docs = attribute_docs(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        below = (*path, yaml_name(field))
        schema = _setting(cls, field, below)
        description = {"description": docs[field.name]} if field.name in docs else {}
        left_out = field.default is None and section_of(hints(cls)[field.name]) is not None
        properties[below[-1]] = description | schema | ({} if left_out else _default(field))
    return {
        "description": summary(cls),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _setting(cls: type[Any], field: Any, path: Path) -> dict[str, Any]:
    if path in PLACES:
        return _component(PLACES[path], path)
    annotation = hints(cls)[field.name]
    if (cls := section_of(annotation)) is not None:
        section = _section(cls, path)
        if path in SHORTHANDS:
            named = section["properties"][SHORTHANDS[path]]
            return {"anyOf": [{k: v for k, v in named.items() if k != "default"}, section]}
        return section
    schema = dict(_leaf(annotation))
    extra = []
    if duration_wanted(path):
        extra = [_DURATION]
    elif annotation in (int, int | None):
        extra = [_COUNT]
    return {"anyOf": [*schema.pop("anyOf", [schema]), *extra]} if extra else schema


@functools.cache
def _leaf(annotation: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    schema: dict[str, Any] = TypeAdapter(annotation).json_schema()
    return schema


def _component(kind: str, path: Path) -> dict[str, Any]:
    choices: list[dict[str, Any]] = [{"enum": list(components(kind))}]
    for name in components(kind):
        section = _section(find(kind, name), path)
        named = {"type": {"const": name, "description": section["description"]}}
        section["properties"] = named | section["properties"]
        section["required"] = ["type"]
        choices.append(section)
    return {"anyOf": choices}


def _default(field: Any) -> dict[str, Any]:
    value = field.default
    if value is dataclasses.MISSING or dataclasses.is_dataclass(value):
        return {}
    return {"default": list(value) if isinstance(value, tuple) else value}
