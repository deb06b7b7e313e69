"""Entries of the memory family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "memory/t-maze-v0",
        "envs.memory.t_maze:TMazeEnv",
        "envs.memory.t_maze:TMazeVectorEnv",
        max_episode_steps=2000,
        cost="us",
        summary="remember a cue down a corridor, then turn that way",
    ),
    Entry(
        "memory/memory-chain-v0",
        "envs.memory.memory_chain:MemoryChainEnv",
        "envs.memory.memory_chain:MemoryChainVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="one bit at the start, asked for at the end",
    ),
    Entry(
        "memory/repeat-previous-v0",
        "envs.memory.repeat_previous:RepeatPreviousEnv",
        "envs.memory.repeat_previous:RepeatPreviousVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="name the suit of the card shown k cards ago",
    ),
    Entry(
        "memory/stateless-cartpole-v0",
        "envs.memory.stateless_cartpole:StatelessCartPoleEnv",
        "envs.memory.stateless_cartpole:StatelessCartPoleVectorEnv",
        max_episode_steps=500,
        cost="us",
        summary="CartPole-v1 seen by its positions only",
    ),
    Entry(
        "memory/catch-v0",
        "envs.memory.catch:CatchEnv",
        "envs.memory.catch:CatchVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="catch a falling ball, from pixels, with a reward only at the end",
    ),
    Entry(
        "memory/key-door-v0",
        "envs.memory.key_door:KeyDoorEnv",
        "envs.memory.key_door:KeyDoorVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="fetch a key, open a door, reach the goal in a maze of two rooms",
    ),
)
