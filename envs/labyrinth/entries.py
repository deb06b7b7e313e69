"""Entries of the labyrinth family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "labyrinth/random-v0",
        "envs.labyrinth.random_maze:LabyrinthEnv",
        "envs.labyrinth.random_maze:LabyrinthVectorEnv",
        max_episode_steps=900,
        cost="us",
        summary="find the portal of a random maze from 84 x 84 pixels, again and again",
    ),
)
