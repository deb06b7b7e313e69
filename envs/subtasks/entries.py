"""Entries of the subtasks family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference

ROOMS = "envs.subtasks.policies:make_rooms_controller"
GRID = "envs.subtasks.policies:make_grid_optimal"
GAP = "envs.subtasks.policies:make_follow_the_gap"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "subtasks/rooms-v0",
        "envs.subtasks.rooms_env:RoomsEnv",
        "envs.subtasks.rooms_env:RoomsVectorEnv",
        max_episode_steps=150,
        cost="us",
        summary="cross rooms by the doors that a task names; a bad exit costs a detour",
        references=(
            Reference("random", -27.5, 1.6, episodes=100),
            Reference(ROOMS, 103.1, 2.5, episodes=50),
        ),
    ),
    Entry(
        "subtasks/rooms-two-doors-v0",
        "envs.subtasks.rooms_env:TwoDoorRoomsEnv",
        "envs.subtasks.rooms_env:TwoDoorRoomsVectorEnv",
        max_episode_steps=150,
        cost="us",
        summary="cross rooms; one of the two upper doors leads into a trap",
        references=(
            Reference("random", -27.5, 3.5, episodes=100),
            Reference(ROOMS, 109.5, 1.5, episodes=50),
        ),
    ),
    Entry(
        "subtasks/grid-rooms-v0",
        "envs.subtasks.grid_rooms:GridRoomsEnv",
        "envs.subtasks.grid_rooms:GridRoomsVectorEnv",
        max_episode_steps=300,
        cost="us",
        summary="the rooms as a grid of cells, solved exactly by dynamic programming",
        references=(
            Reference("random", -27.2, 1.7, episodes=100),
            Reference(GRID, 69.0, 18.0, episodes=200),
        ),
    ),
    Entry(
        "subtasks/f110-turn-v0",
        "envs.subtasks.f110_env:F110TurnEnv",
        "envs.subtasks.f110_env:F110TurnVectorEnv",
        max_episode_steps=1300,
        cost="ms",
        summary="steer a racing car through straights and turns by its LiDAR alone",
        references=(
            Reference("random", -109.0, 11.0, episodes=60),
            Reference(GAP, 2119.0, 33.0, episodes=10),
        ),
    ),
)
