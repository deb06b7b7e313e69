"""Entries of the labyrinth family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "labyrinth/random-v0",
        "envs.labyrinth.random_maze:LabyrinthEnv",
        "envs.labyrinth.random_maze:LabyrinthVectorEnv",
        max_episode_steps=900,
        cost="us",
        summary="find the portal of a random maze from 84 x 84 pixels, again and again",
        references=(
            Reference("random", 0.8, 1.0, episodes=40),
            Reference("envs.labyrinth.policies:make_explorer", 60.6, 14.0, 200, slow=True),
            Reference("envs.labyrinth.policies:make_oracle", 143.0, 15.0, 200, slow=True),
        ),
    ),
)
