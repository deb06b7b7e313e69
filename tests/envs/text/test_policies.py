"""Scripted players, data sets of their games, and scores."""

import json

import gymnasium
import numpy as np
import pytest

import envs
from envs.text.dataset import episodes, write_dataset
from envs.text.policies import make_expert, make_noisy, make_yes_no_expert, mixture
from envs.text.scores import ANCHORS, normalised_score, optimal_return

IDS = [id for id in envs.list() if id.startswith("text/")]


def returns(id, make, games, seed=10_000, **kwargs):
    env, totals = gymnasium.make(f"envs:{id}", **kwargs), []
    for k in range(games):
        obs, info = env.reset(seed=seed + k)
        policy, total, over = make(env), 0.0, False
        while not over:
            obs, reward, terminated, truncated, info = env.step(policy(obs, info))
            total += reward
            over = terminated or truncated
        totals.append(total)
    return np.array(totals)


@pytest.mark.parametrize("id", IDS)
def test_the_expert_scores_the_optimum(id):
    found = returns(id, make_expert, 60)
    error = 3.5 * found.std() / len(found) ** 0.5
    assert found.mean() == pytest.approx(optimal_return(id), abs=error + 1e-9)


def test_the_expert_of_the_adventure_solves_deep_quests():
    assert returns("text/adventure-v0", make_expert, 4, depth=12).tolist() == [12.0] * 4


def test_yes_no_questions_alone_find_the_city():
    found = returns("text/guess-my-city-v0", make_yes_no_expert, 60)
    assert found.mean() == pytest.approx(-6.1, abs=0.4)
    assert found.min() >= -9


def test_players_bear_wrong_answers():
    noisy = {"oracle": "noisy", "oracle_options": {"p": 0.3}}
    found = returns("text/twenty-questions-v0", make_expert, 40, **noisy)
    assert -20 <= found.mean() < -9
    assert found.max() > -20


def test_the_expert_follows_what_others_ask():
    env = gymnasium.make("envs:text/twenty-questions-v0")
    obs, info = env.reset(seed=0, options={"hidden": "piano"})
    policy = make_expert(env)
    for question in ("Is it a musical instrument?", "Does it have strings?", "Does it have legs?"):
        obs, _, _, _, info = env.step(question)
    assert policy(obs, info) == "Is it a piano?"


def test_quality_is_the_share_of_the_experts_actions():
    rng = np.random.default_rng(0)
    act = mixture(lambda obs, info: "good", lambda obs, info: "bad", 0.3, rng)
    share = np.mean([act("", {}) == "good" for _ in range(4000)])
    assert share == pytest.approx(0.3, abs=0.03)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="quality must be in"):
            mixture(act, act, wrong, rng)


def test_better_mixtures_score_more():
    id = "text/twenty-questions-v0"
    means = [
        returns(id, lambda env, q=quality: make_noisy(env, q), 60).mean()
        for quality in (0.0, 0.5, 1.0)
    ]
    assert means[0] < -17
    assert means[0] + 3 < means[1] < means[2] - 3
    assert means[2] == pytest.approx(-6.9, abs=0.4)


def test_a_data_set(tmp_path):
    id = "text/adventure-v0"
    path = tmp_path / "games.jsonl"
    mean = write_dataset(path, id, 6, qualities=(0.0, 1.0), seed=3, depth=2)
    games = [json.loads(line) for line in path.read_text().splitlines()]
    assert [game["quality"] for game in games] == [0.0, 1.0] * 3
    assert [game["seed"] for game in games] == [3, 4, 5, 6, 7, 8]
    assert mean == pytest.approx(np.mean([game["return"] for game in games]))
    for game in games:
        spoken = [role for role, _ in game["segments"]]
        assert spoken == ["environment"] + ["agent", "environment"] * len(game["rewards"])
        assert sum(game["rewards"]) == game["return"]
        assert game["terminated"] or game["truncated"]
        if game["quality"] == 1.0:
            assert game["return"] == 2
            assert game["terminated"]
    again = tmp_path / "again.jsonl"
    write_dataset(again, id, 6, qualities=(0.0, 1.0), seed=3, depth=2)
    assert again.read_bytes() == path.read_bytes()
    env = gymnasium.make(f"envs:{id}", depth=2)
    env.reset(seed=4)
    for (_, text), reward in zip(games[1]["segments"][1::2], games[1]["rewards"], strict=True):
        assert env.step(text)[1] == reward
    for wrong in ((), (2.0,)):
        with pytest.raises(ValueError, match="qualities must be numbers"):
            next(episodes(id, 1, wrong))


def test_scores():
    assert set(ANCHORS) == set(IDS)
    for id, (low, high) in ANCHORS.items():
        assert normalised_score(id, low) == 0
        assert normalised_score(id, high) == 1
        assert optimal_return(id) == pytest.approx(high, abs=0.06)
    assert normalised_score("text/maze-v0", -80.9 + 0.25 * (80.9 - 6.64)) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="is not one of"):
        normalised_score("dynamics/lorenz-v0", 1.0)
    with pytest.raises(ValueError, match="no optimal return"):
        optimal_return("dynamics/lorenz-v0")
    with pytest.raises(ValueError, match=r"no optimal return with \['oracle'\]"):
        optimal_return("text/twenty-questions-v0", oracle="noisy")


def test_optimal_returns_of_other_arguments():
    assert optimal_return("text/adventure-v0", depth=9) == 9
    assert optimal_return("text/maze-v0", start="fixed") == -11
    assert optimal_return("text/twenty-questions-v0", subset="ten") == pytest.approx(-2.8, abs=0.01)
    assert optimal_return("text/twenty-questions-v0", subset="small") == pytest.approx(
        -4.6, abs=0.1
    )
