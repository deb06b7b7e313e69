"""Whole episodes with fixed parameters: how many each environment plays, and what ends none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rlcore.runtime.evaluation as evaluation
from envs.make import make_envs
from rlcore.errors import EnvContractError
from rlcore.runtime.contracts import Step
from rlcore.runtime.env_stream import open_stream
from rlcore.runtime.evaluation import play_episodes, playing

SCHEDULE = [(3, "terminated"), (5, "truncated"), (1, "terminated"), (4, "both")]


class Zero:
    """Takes action 0."""

    def initial_state(self, network: nn.Module, envs: int) -> tuple[()]:
        return ()

    def act(self, network, obs, state, generator, deterministic=False) -> Step:
        return Step(torch.zeros(len(obs), dtype=torch.int64), (), {})


def stream(count: int, vectorization: str):
    made = make_envs("testing/counting-v0", count, vectorization=vectorization)
    return open_stream(made, env_id="testing/counting-v0")


def expected(seed: int, episode: int) -> tuple[int, float]:
    length = SCHEDULE[(seed + episode) % len(SCHEDULE)][0]
    return length, sum(episode + (t + 1) / 64 for t in range(length))


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_each_environment_plays_its_share_of_whole_episodes(vectorization: str) -> None:
    env = stream(3, vectorization)
    played = play_episodes(Zero(), nn.Identity(), env, 8, seed=5)
    env.close()
    assert [episode.env for episode in played] == [0, 0, 0, 1, 1, 1, 2, 2]
    for index, episode in enumerate(played):
        number = index - 3 * episode.env
        length, value = expected(episode.seed, number)
        assert episode.length == length
        assert episode.episode_return == pytest.approx(value)
    assert len({episode.seed for episode in played}) == 3


def test_steps_come_one_by_one_with_the_episodes_they_ended() -> None:
    env = stream(1, "sync")
    ended = list(playing(Zero(), nn.Identity(), env, 2, seed=5))
    env.close()
    lengths = [episode.length for part in ended for episode in part]
    assert [len(part) for part in ended].count(1) == 2
    assert len(ended[-1]) == 1  # nothing is played beyond the last episode
    assert sum(lengths) <= len(ended) <= sum(lengths) + 1  # a reset may take a step


def test_an_episode_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_EPISODE_STEPS", 2)
    env = stream(2, "sync")
    with pytest.raises(EnvContractError, match="has not ended after 2 steps; give"):
        play_episodes(Zero(), nn.Identity(), env, 4, seed=5)
    env.close()


def test_stochastic_play_is_fixed_by_the_seed() -> None:
    class Random(Zero):
        def act(self, network, obs, state, generator, deterministic=False) -> Step:
            assert deterministic is False
            return Step(torch.randint(2, (len(obs),), generator=generator), (), {})

    def lengths(seed: int) -> list[int]:
        env = open_stream(make_envs("CartPole-v1", 2, vectorization="sync"), env_id="CartPole-v1")
        played = play_episodes(Random(), nn.Identity(), env, 6, seed=seed, deterministic=False)
        env.close()
        return [episode.length for episode in played]

    assert lengths(1) == lengths(1)
    assert lengths(1) != lengths(2)
    assert np.mean(lengths(1)) > 8
