"""Repeat previous: rules, and what is possible without memory."""

import itertools

import gymnasium
import numpy as np
import pytest

from envs.memory.repeat_previous import RepeatPrevious


@pytest.mark.parametrize(("k", "decks"), [(4, None), (26, None), (32, None), (64, 2)])
def test_an_episode_by_hand(k, decks):
    env = gymnasium.make("envs:memory/repeat-previous-v0", k=k, decks=decks)
    obs, info = env.reset(seed=1)
    cards = 52 * (decks or (1 if k <= 26 else 2))
    suits, total = [int(obs.argmax())], 0.0
    assert obs.sum() == 1
    assert info == {"success": 0}
    for step in range(cards):
        asked = len(suits) > k
        right = step % 3 != 0
        previous = suits[-1 - k] if asked else 0
        obs, reward, terminated, truncated, info = env.step(
            previous if right else (previous + 1) % 4
        )
        assert reward == (pytest.approx((1 if right else -1) / (cards - k)) if asked else 0)
        assert info["success"] == (asked and right)
        assert (terminated, truncated) == (step == cards - 1, False)
        total += reward
        if not terminated:
            suits.append(int(obs.argmax()))
    assert [suits.count(suit) for suit in range(4)] == [cards // 4] * 4


def expected(policy, decks):
    """Return the expected return of a map from the seen suit to the answer.

    Two cards at a distance are two cards of the pack without replacement, wherever they lie.
    """
    each, cards = 13 * decks, 52 * decks
    right = sum(
        (each / cards) * ((each - (answer == suit)) / (cards - 1))
        for suit, answer in enumerate(policy)
    )
    return 2 * right - 1


@pytest.mark.parametrize("decks", [1, 2])
def test_the_best_policy_without_memory(decks):
    values = {p: expected(p, decks) for p in itertools.product(range(4), repeat=4)}
    best = max(values.values())
    assert best == pytest.approx(26 * decks / (52 * decks - 1) - 1, abs=1e-12)
    assert {p for p, v in values.items() if v > best - 1e-12} == {
        p for p in values if all(answer != suit for suit, answer in enumerate(p))
    }
    model, n = RepeatPrevious(k=4, decks=decks), 3000
    state = model.start([np.random.default_rng(k) for k in range(n)], {})
    total = np.zeros(n)
    for _ in range(model.cards):
        actions = (model.observe(state).argmax(1) + 1) % 4
        outcome = model.step(state, actions, [])
        state, total = outcome.state, total + outcome.reward
    assert outcome.terminated.all()
    assert total.mean() == pytest.approx(best, abs=4 * total.std() / np.sqrt(n))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": 0}, "k must be an integer in"),
        ({"k": 65}, "k must be an integer in"),
        ({"k": 60, "decks": 1}, "decks must be >= 2 for k = 60, got 1"),
        ({"decks": 0}, "decks must be an integer in"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=f"memory/repeat-previous-v0: {message}"):
        RepeatPrevious(**kwargs)
