"""Entries of the labyrinth family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

ENTRIES: tuple[Entry, ...] = ()
