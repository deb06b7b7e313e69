"""Playing whole episodes with fixed parameters, for evaluation and for videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rlcore.data.seeding import derive_seed
from rlcore.errors import EnvContractError
from rlcore.runtime.contracts import Agent
from rlcore.runtime.env_stream import EnvStream, StepRow

MAX_EPISODE_STEPS = 1_000_000
"""An episode longer than this has no end; the longest of Atari's presets has 27,000 steps."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode.

    Attributes:
        env: Environment of the stream that played it.
        episode_return: Undiscounted sum of raw rewards.
        length: Steps.
        seed: Seed of that environment's first reset.
    """

    env: int
    episode_return: float
    length: int
    seed: int


def play_episodes(
    agent: Agent,
    network: nn.Module,
    stream: EnvStream,
    episodes: int,
    *,
    seed: int,
    deterministic: bool = True,
) -> list[Episode]:
    """Play ``episodes`` whole episodes and return them, by environment; see :func:`playing`."""
    steps = playing(agent, network, stream, episodes, seed=seed, deterministic=deterministic)
    return sorted((episode for ended in steps for episode in ended), key=lambda e: e.env)


def playing(
    agent: Agent,
    network: nn.Module,
    stream: EnvStream,
    episodes: int,
    *,
    seed: int,
    deterministic: bool = True,
) -> Iterator[list[Episode]]:
    """Play whole episodes; after each step of the stream, yield those that it ended.

    Each environment plays a fixed number of episodes, decided beforehand: taking the first ones to
    finish would favour short episodes.

    Args:
        agent: Chooses the actions.
        network: Its parameters.
        stream: Fresh environments that no training shares.
        episodes: How many.
        seed: Root of the environments' and the actions' seeds.
        deterministic: Take the most likely action instead of sampling.

    Raises:
        EnvContractError: An episode does not end within :data:`MAX_EPISODE_STEPS`.
    """
    count = stream.num_envs
    quota = np.full(count, episodes // count)
    quota[: episodes % count] += 1
    seeds = [derive_seed(seed, "eval", env) >> 32 for env in range(count)]
    obs, row = step_buffers(stream)
    first = np.zeros(count, bool)
    stream.reset(seeds, obs, first)
    start = agent.initial_state(network, count)
    state = start
    generator = torch.Generator().manual_seed(derive_seed(seed, "act"))
    played = np.zeros(count, np.int64)
    running = np.zeros(count, np.int64)
    while (played < quota).any():
        with torch.inference_mode():
            if state and first.any():
                mask = torch.from_numpy(first.copy())
                state = tuple(
                    torch.where(mask.view(-1, *[1] * (part.dim() - 1)), blank, part)
                    for part, blank in zip(state, start, strict=True)
                )
            step = agent.act(network, torch.from_numpy(obs), state, generator, deterministic)
            state = step.state
            stream.step(step.action.numpy(), row)
        obs[...], first[...] = row.obs, row.first
        running = np.where(row.episode_length > 0, 0, running + 1)
        if running.max() > MAX_EPISODE_STEPS:
            raise EnvContractError(
                f"an episode of environment {int(running.argmax())} has not ended after "
                f"{MAX_EPISODE_STEPS:,} steps; give the environment a time limit "
                "(max_episode_steps when it is registered)"
            )
        ended = np.flatnonzero((row.episode_length > 0) & (played < quota))
        played[ended] += 1
        yield [
            Episode(
                int(env), float(row.episode_return[env]), int(row.episode_length[env]), seeds[env]
            )
            for env in ended
        ]


def step_buffers(stream: EnvStream) -> tuple[np.ndarray, StepRow]:
    """Return an observation array and a row that ``stream.step`` can fill."""
    count, spec = stream.num_envs, stream.spec
    obs = np.zeros((count, *spec.obs_shape), spec.obs_dtype)
    row = StepRow(
        obs=np.zeros_like(obs),
        first=np.zeros(count, bool),
        reward=np.zeros(count, np.float32),
        terminated=np.zeros(count, bool),
        truncated=np.zeros(count, bool),
        valid=np.zeros(count, bool),
        episode_return=np.zeros(count, np.float32),
        episode_length=np.zeros(count, np.int32),
    )
    return obs, row
