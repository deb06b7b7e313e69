"""Experiment files to one tree of settings: size cap, ``include``, merging left to right."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from experiments.errors import ConfigProblems, Problem
from experiments.sources import Place, Source, Tree, merge
from experiments.yaml_reader import read_mapping
from rlcore.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_INCLUDES = 32
MAX_NAME = 1000
_ROOT_MARKS = (".git", "pyproject.toml")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def read_files(paths: Sequence[str | Path]) -> Tree:
    """Return the settings of ``paths`` merged left to right.

    A file's own settings lie over those of the files it includes.

    Raises:
        ConfigError: A file is missing, over 1 MiB, not UTF-8, or a folder.
        ConfigProblems: A file is not valid, or an include is not allowed.
    """
    tree = Tree()
    for path in paths:
        file = Path(path)
        root = _project_root(file.resolve())
        tree = merge(tree, _read(file, str(path), root, (), [0]))
    return tree


def read_text(path: Path, label: str) -> str:
    """Return the text of one experiment file of at most 1 MiB of UTF-8."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{label}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{label}: is a folder, wanted a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read ({error.strerror})") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{label}: over {MAX_BYTES} bytes (1 MiB), the limit of an experiment")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{label}: not UTF-8 at byte {error.start}") from None


def _read(path: Path, label: str, root: Path, above: tuple[Path, ...], included: list[int]) -> Tree:
    text = read_text(path, label)
    source = Source.of_text(label, text)
    tree = read_mapping(text, source)
    if "include" not in tree.data:
        return tree
    place = tree.places[("include",)]
    names = tree.data.pop("include")
    names = names if isinstance(names, list) else [names]
    tree.forget(("include",))
    base = Tree()
    for name in names:
        included[0] += 1
        if included[0] > MAX_INCLUDES:
            _refuse(place, f"more than {MAX_INCLUDES} files are included")
        target = _target(name, path, root, place)
        if target in (*above, path.resolve()):
            _refuse(place, f"cycle: '{name}' includes this file again")
        base = merge(base, _read(target, _label(target), root, (*above, path.resolve()), included))
    return merge(base, tree)


def _target(name: object, path: Path, root: Path, place: Place) -> Path:
    if not isinstance(name, str) or not name or not name.isprintable() or len(name) > MAX_NAME:
        _refuse(place, f"must be a file name or a list of them, got {name!r:.60}")
    if _URL.match(name):
        _refuse(place, f"must be a local file, got the URL {name!r:.80}")
    if Path(name).is_absolute() or name.startswith("~"):
        _refuse(place, f"must be relative to this file, got {name!r:.80}")
    target = (path.resolve().parent / name).resolve()
    if not target.is_relative_to(root):
        _refuse(place, f"'{name}' is outside the project folder {_label(root)!r}")
    if not target.is_file():
        _refuse(place, f"no such file: '{name}'")
    return target


def _refuse(place: Place, message: str) -> NoReturn:
    raise ConfigProblems(place.source.label, [Problem(("include",), message, place)])


def _label(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _project_root(file: Path) -> Path:
    """Return the nearest folder above ``file`` that holds a project, else its own folder."""
    for folder in file.parents:
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folder
    return file.parent
