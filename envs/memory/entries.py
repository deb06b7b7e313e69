"""Entries of the memory family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference

POLICIES = "envs.memory.policies:make_"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "memory/t-maze-v0",
        "envs.memory.t_maze:TMazeEnv",
        "envs.memory.t_maze:TMazeVectorEnv",
        max_episode_steps=2000,
        cost="us",
        summary="remember a cue down a corridor, then turn that way",
        references=(
            Reference("random", -4.05, 1.8, 50),
            Reference(POLICIES + "t_maze_memoryless", 0.45, 0.23, 100),
            Reference(POLICIES + "t_maze_recall", 1.0, 1e-09, 20),
        ),
    ),
    Entry(
        "memory/memory-chain-v0",
        "envs.memory.memory_chain:MemoryChainEnv",
        "envs.memory.memory_chain:MemoryChainVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="one bit at the start, asked for at the end",
        references=(
            Reference("random", 0.0, 0.3, 200),
            Reference(POLICIES + "memory_chain_recall", 1.0, 1e-09, 20),
        ),
    ),
    Entry(
        "memory/repeat-previous-v0",
        "envs.memory.repeat_previous:RepeatPreviousEnv",
        "envs.memory.repeat_previous:RepeatPreviousVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="name the suit of the card shown k cards ago",
        references=(
            Reference("random", -0.5, 0.06, 100),
            Reference(POLICIES + "repeat_previous_memoryless", -0.4902, 0.06, 100),
            Reference(POLICIES + "repeat_previous_recall", 1.0, 1e-09, 20),
        ),
    ),
    Entry(
        "memory/stateless-cartpole-v0",
        "envs.memory.stateless_cartpole:StatelessCartPoleEnv",
        "envs.memory.stateless_cartpole:StatelessCartPoleVectorEnv",
        max_episode_steps=500,
        cost="us",
        summary="CartPole-v1 seen by its positions only",
        references=(
            Reference("random", 23.8, 6, 100),
            Reference(POLICIES + "cartpole_memoryless", 41.5, 4, 100),
            Reference(POLICIES + "cartpole_differences", 500.0, 1e-09, 20),
        ),
    ),
    Entry(
        "memory/catch-v0",
        "envs.memory.catch:CatchEnv",
        "envs.memory.catch:CatchVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="catch a falling ball, from pixels, with a reward only at the end",
        references=(
            Reference("random", -0.8, 0.15, 200),
            Reference(POLICIES + "catch_follow", 1.0, 1e-09, 20),
        ),
    ),
    Entry(
        "memory/key-door-v0",
        "envs.memory.key_door:KeyDoorEnv",
        "envs.memory.key_door:KeyDoorVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="fetch a key, open a door, reach the goal in a maze of two rooms",
        references=(
            Reference("random", -0.79, 0.45, 100),
            Reference(POLICIES + "key_door_shortest", 0.916, 0.011, 100),
        ),
    ),
)
