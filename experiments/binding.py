"""Plain settings to dataclasses: every problem is collected, none stops the rest."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from typing import Any

from experiments.errors import Problem, choices_text, nearest
from experiments.leaves import BadValue, read_leaf, shown
from experiments.registry import PLACES, components, find, type_name
from experiments.sources import Path, Place, Source, Tree, dotted, spelled_out
from rlcore.errors import ConfigError

_ELSEWHERE = {
    "algo": "agent",
    "algorithm": "agent",
    "optim": "learner.optimizer",
    "optimizer": "learner.optimizer",
    "model": "agent.network",
    "policy": "agent.network",
    "discount": "agent.gamma",
    "rollout": "agent.unroll",
    "n_steps": "agent.unroll",
    "batch_size": "runtime.batch",
    "learning_rate": "learner.optimizer.lr",
    "total_timesteps": "stop.env_steps",
    "num_workers": "runtime.actors",
    "workers": "runtime.actors",
    "n_envs": "env.num_envs",
    "wandb": "track.wandb",
}
"""Names that other programs use, and ours."""

_SECRET = re.compile(r"api_?key|access_?key|token|secret|passw", re.IGNORECASE)
_KEY_VALUE = re.compile(r"(?:[0-9a-f]{40}|wandb_v\d+_\w{20,})\Z")
SECRET_MESSAGE = "secrets do not belong into experiment files: set WANDB_API_KEY instead"  # noqa: S105


def yaml_name(field: dataclasses.Field[Any]) -> str:
    """Return how a dataclass field is written in files."""
    return field.name.rstrip("_")


def section_of(annotation: Any) -> type[Any] | None:
    """Return the dataclass of a section, also of one that may be left out; ``None`` of others."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    if len(parts) == 1 and type(None) in typing.get_args(annotation):
        annotation = parts[0]
    found = dataclasses.is_dataclass(annotation) and isinstance(annotation, type)
    return annotation if found else None


@functools.cache
def hints(cls: type[Any]) -> dict[str, Any]:
    """Return the resolved annotations of a dataclass."""
    return typing.get_type_hints(cls)


class Binder:
    """Makes dataclasses from one tree of settings.

    A setting with a problem takes its default, so that everything else can be checked as well.

    Args:
        tree: The settings.

    Attributes:
        problems: What was wrong, in the order found.
        sections: What the root holds, by field name, as far as it could be made.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self.sections: dict[str, Any] = {}

    def problem(self, path: Path, message: str, see: str | None = None) -> None:
        """Note a problem at ``path``."""
        self.problems.append(Problem(path, message, self.tree.place(path), see))

    def troubled(self, path: Path) -> bool:
        """Return whether ``path``, something in it or something around it has a problem."""
        return any(_related(problem.path, path) for problem in self.problems)

    def component(self, kind: str, data: Any, path: Path, default: str | None) -> Any:
        """Return the component at ``path``: its ``type`` picks the dataclass."""
        data = spelled_out(path, data)
        see = dotted(path)
        if not isinstance(data, dict):
            return self.problem(path, f"must be a name or a mapping, got {shown(data)}", see)
        settings = dict(data)
        name = settings.pop("type", default)
        place = (*path, "type") if "type" in data and (*path, "type") in self.tree.places else path
        if name is None:
            return self.problem(path, f"needs a 'type': {choices_text(components(kind))}", see)
        if not isinstance(name, str):
            return self.problem(place, f"must be a name, got {shown(name)}", see)
        try:
            cls = find(kind, name)
        except ConfigError as error:
            return self.problem(place, str(error), see)
        return self.bind(cls, settings, path, see=f"{see}.{name}")

    def bind(self, cls: type[Any], data: Any, path: Path, see: str | None = None) -> Any:
        """Return an instance of ``cls`` from the mapping ``data``.

        Problems are noted; ``None`` where a setting without default has one.
        """
        see = see or dotted(path) or None
        data = {} if data is None else spelled_out(path, data)
        if not isinstance(data, dict):
            return self.problem(path, f"must be a mapping, got {shown(data)}", see)
        fields = {yaml_name(f): f for f in dataclasses.fields(cls) if f.init}
        values: dict[str, Any] = {}
        for key in data:
            if key not in fields:
                self._unknown(key, fields, path, see)
        for name, field in fields.items():
            below = (*path, name)
            if name in data:
                before = len(self.problems)
                value = self._value(cls, field, data[name], below, see)
                if value is not None or len(self.problems) == before:
                    values[field.name] = value
            elif _required(field):
                kind = PLACES.get(below)
                choices = f": {choices_text(components(kind))}" if kind else ""
                self.problem(below, f"is required{choices}", see)
        if not path:
            self.sections = values
        return self._make(cls, values, fields, path, see)

    def _make(
        self, cls: type[Any], values: dict[str, Any], fields: dict[str, Any], path: Path,
        see: str | None,
    ) -> Any:  # fmt: skip
        """Construct ``cls``; each value it refuses is noted and replaced by the default."""
        for _ in range(len(fields) + 1):
            try:
                missing = any(_required(f) and f.name not in values for f in fields.values())
                return None if missing else cls(**values)
            except ConfigError as error:
                name, _, rest = str(error).partition(" ")
                known = name in fields
                message = rest if known else str(error)
                self.problem((*path, name) if known else path, message, see)
                if not known or values.pop(fields[name].name, None) is None:
                    return None
        return None

    def _value(self, cls: type[Any], field: Any, value: Any, path: Path, see: str | None) -> Any:
        if path in PLACES:
            return self.component(PLACES[path], value, path, _default_type(field, path))
        annotation = hints(cls)[field.name]
        section = section_of(annotation)
        if section is not None and not (value is None and section is not annotation):
            return self.bind(section, value, path, None if len(path) == 1 else see)
        if isinstance(value, str) and path[:2] == ("track", "wandb") and _KEY_VALUE.match(value):
            return self._secret(path, see)
        if isinstance(value, list):
            value = [spelled_out((*path, i), item) for i, item in enumerate(value)]
        try:
            return read_leaf(annotation, value, path)
        except BadValue as error:
            return self.problem((*path, *error.inside), error.message, see)

    def _unknown(self, key: Any, fields: dict[str, Any], path: Path, see: str | None) -> None:
        name = str(key)
        if _SECRET.search(name):
            return self._secret((*path, key), see)
        if name == "type":
            hint = "; this section has no types"
        else:
            hint = nearest(name, fields)
            if not hint or name in _ELSEWHERE:
                hint = self._elsewhere(name, path) or hint
        return self.problem((*path, key), f"unknown key{hint}", see)

    def _elsewhere(self, name: str, path: Path) -> str:
        """Return a hint to the setting of that name in another section."""
        from experiments.explain import known_settings

        chosen = self.tree.data.get("agent")
        agent = chosen.get("type") if isinstance(chosen, dict) else chosen
        keys = known_settings(agent if isinstance(agent, str) else None).get(name, [])
        own = dotted(path)
        keys = [key for key in keys if key.rpartition(".")[0] != own]
        found = _ELSEWHERE.get(name) or (keys[0] if keys else None)
        return f"; did you mean '{found}'?" if found else ""

    def _secret(self, path: Path, see: str | None) -> None:
        """Note a secret without showing it."""
        place = self.tree.place(path)
        if place is not None:
            source = place.source
            label = source.label.partition("=")[0] if source.kind == "override" else source.label
            hidden = Source(label, (), source.kind, source.number)
            place = Place(hidden, place.line, place.column, place.length)
        self.problems.append(Problem(path, SECRET_MESSAGE, place, see))


def _related(a: Path, b: Path) -> bool:
    depth = min(len(a), len(b))
    return a[:depth] == b[:depth]


def _required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default_type(field: Any, path: Path) -> str | None:
    return None if _required(field) else type_name(PLACES[path], field.default_factory())


def plain(value: Any, path: Path = ()) -> Any:
    """Return a bound configuration as plain settings that bind to it again."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings: dict[str, Any] = {}
        if path in PLACES:
            settings["type"] = type_name(PLACES[path], value)
        for field in dataclasses.fields(value):
            name, setting = yaml_name(field), getattr(value, field.name)
            if setting is None and section_of(hints(type(value))[field.name]) is not None:
                continue  # a section that is left out
            settings[name] = plain(setting, (*path, name))
        return settings
    if isinstance(value, dict):
        return {key: plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, (*path, i)) for i, item in enumerate(value)]
    return value
