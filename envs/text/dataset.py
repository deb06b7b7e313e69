"""Data sets of games played by mixtures of scripted players."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.text.policies import make_expert, make_random, mixture


def episodes(
    id: str, count: int, qualities: Sequence[float] = (0.5,), seed: int = 0, **kwargs: Any
) -> Iterator[dict[str, Any]]:
    """Play games and yield each as a record.

    Game ``k`` takes the expert's action with probability ``qualities[k % len(qualities)]`` at each
    turn, else the random player's; it is seeded with ``seed + k``.

    Args:
        id: Gymnasium id of a text game.
        count: How many games.
        qualities: Probabilities, in [0, 1].
        seed: Of the first game.
        **kwargs: Arguments of the game.

    Yields:
        ``id``, ``seed``, ``quality``, ``segments`` (role and text), ``rewards`` (one for each of
        the agent's texts), ``return``, ``terminated`` and ``truncated``.

    Raises:
        ValueError: There is no quality, or one is outside [0, 1].
    """
    if not qualities or not all(0 <= quality <= 1 for quality in qualities):
        raise ValueError(f"qualities must be numbers in [0, 1], got {list(qualities)}")
    env = gymnasium.make(id if id.startswith("envs:") else f"envs:{id}", **kwargs)
    for k in range(count):
        quality = float(qualities[k % len(qualities)])
        obs, info = env.reset(seed=seed + k)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed + k, 11])))
        policy = mixture(make_expert(env), make_random(env), quality, rng)
        rewards: list[float] = []
        terminated = truncated = False
        while not (terminated or truncated):
            obs, reward, terminated, truncated, info = env.step(policy(obs, info))
            rewards.append(float(reward))
        yield {
            "id": id,
            "seed": seed + k,
            "quality": quality,
            "segments": [list(segment) for segment in info["segments"]],
            "rewards": rewards,
            "return": sum(rewards),
            "terminated": terminated,
            "truncated": truncated,
        }
    env.close()  # type: ignore[no-untyped-call]


def write_dataset(
    path: str | Path,
    id: str,
    count: int,
    qualities: Sequence[float] = (0.5,),
    seed: int = 0,
    **kwargs: Any,
) -> float:
    """Write games as JSON lines; the same arguments give the same file.

    Returns:
        The mean return.
    """
    total = 0.0
    with Path(path).open("w", encoding="utf-8") as file:
        for record in episodes(id, count, qualities, seed, **kwargs):
            total += record["return"]
            file.write(json.dumps(record) + "\n")
    return total / max(count, 1)
