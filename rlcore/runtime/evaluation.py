"""Playing whole episodes with fixed parameters, for evaluation and for videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rlcore.data.seeding import derive_seed
from rlcore.runtime.contracts import Agent
from rlcore.runtime.env_stream import EnvStream, StepRow


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
    on_step: Callable[[], None] | None = None,
) -> list[Episode]:
    """Play ``episodes`` whole episodes and return them, by environment.

    Each environment plays a fixed number of episodes, decided beforehand: taking the first ones to
    finish would favour short episodes.

    Args:
        agent: Chooses the actions.
        network: Its parameters.
        stream: Fresh environments that no training shares.
        episodes: How many.
        seed: Root of the environments' and the actions' seeds.
        deterministic: Take the most likely action instead of sampling.
        on_step: Called after every step of the stream (rendering).
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
    done: list[list[Episode]] = [[] for _ in range(count)]
    with torch.inference_mode():
        while any(len(done[env]) < quota[env] for env in range(count)):
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
            for env in np.flatnonzero(row.episode_length):
                if len(done[env]) < quota[env]:
                    value, length = float(row.episode_return[env]), int(row.episode_length[env])
                    done[env].append(Episode(int(env), value, length, seeds[env]))
            if on_step is not None:
                on_step()
    return [episode for played in done for episode in played]


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
