"""The data files of the text games, as they lie in the package."""

from __future__ import annotations

import csv
import functools
import gzip
from importlib.resources import files


@functools.cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a CSV file by column name."""
    text = files("envs.text").joinpath("data", name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@functools.cache
def words(name: str) -> tuple[str, ...]:
    """Return the words of a list, one a line; ``.gz`` files are unpacked."""
    raw = files("envs.text").joinpath("data", name).read_bytes()
    return tuple((gzip.decompress(raw) if name.endswith(".gz") else raw).decode().split())


def listed(cell: str) -> tuple[str, ...]:
    """Return the parts of a cell, which semicolons part."""
    return tuple(part.strip() for part in cell.split(";") if part.strip())
