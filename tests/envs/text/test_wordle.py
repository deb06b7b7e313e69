"""Colours, rules and reference play of Wordle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.text.policies import make_consistent
from envs.text.scores import optimal_return
from envs.text.wordle import GREEN, ILLEGAL, PATTERNS, WordleEnv, colour, letters_of, word_lists
from envs.text.wordle_play import best_guess, exact_score, pattern_table

ANSWERS, WORDS = word_lists()


def letters(word):
    return np.array([[ord(c) - ord("a") for c in word]], np.int8)


def by_the_book(guess, hidden):
    """Colour one guess as the rules say it, letter by letter."""
    left = list(hidden)
    marks = ["-"] * 5
    for k in range(5):
        if guess[k] == hidden[k]:
            marks[k] = "g"
            left.remove(guess[k])
    for k in range(5):
        if marks[k] == "-" and guess[k] in left:
            marks[k] = "y"
            left.remove(guess[k])
    return " ".join(marks)


@pytest.mark.parametrize(
    ("guess", "hidden", "marks"),
    [
        ("speed", "abide", "- - y - y"),
        ("speed", "erase", "y - y y -"),
        ("speed", "steal", "g - g - -"),
        ("allee", "apple", "g y - - g"),
        ("geese", "these", "- - g g g"),
        ("eerie", "crepe", "y - y - g"),
        ("mamma", "magma", "g g - g g"),
        ("llama", "label", "g y y - -"),
    ],
)
def test_repeated_letters(guess, hidden, marks):
    assert by_the_book(guess, hidden) == marks
    assert PATTERNS[colour(letters(guess), letters(hidden))[0]] == marks


@settings(max_examples=300, deadline=None)
@given(st.text("abc", min_size=5, max_size=5), st.text("abc", min_size=5, max_size=5))
def test_colours_are_those_of_the_book(guess, hidden):
    assert PATTERNS[colour(letters(guess), letters(hidden))[0]] == by_the_book(guess, hidden)


def test_word_lists():
    assert len(ANSWERS) == 1699
    assert len(WORDS) == len(set(WORDS)) >= 8497
    assert WORDS[: len(ANSWERS)] == ANSWERS
    assert all(len(w) == 5 and w.isascii() and w.islower() for w in WORDS)
    assert letters_of().shape == (len(WORDS), 5)
    assert "".join(chr(97 + c) for c in letters_of()[0]) == ANSWERS[0]


def test_rules():
    env = WordleEnv()
    env.reset(seed=0, options={"hidden": "abide"})
    assert env.step("speed")[:4] == ("- - y - y", -1.0, False, False)
    obs, reward, terminated, _, info = env.step("zzzzz")
    assert (obs, reward, terminated, info["valid"]) == (ILLEGAL, -1.0, False, False)
    assert env.step("A B I D E")[:4] == ("g g g g g", 0.0, True, False)
    env.reset(seed=0, options={"hidden": "abide"})
    ends = [
        env.step(text)[2] for text in ("speed", "", "abide abide", "\x00", "x" * 10_000, "erase")
    ]
    assert ends == [False] * 5 + [True]


def test_attacks_never_win():
    env = WordleEnv()
    for attack in ("abide or speed", "аbide", "ａｂｉｄｅ", "abide\x00", "abi\u200bde", "abide" * 3,
                   "the word is abide", " ".join(ANSWERS)):  # fmt: skip
        env.reset(seed=0, options={"hidden": "abide"})
        obs, reward, terminated, _, info = env.step(attack)
        assert (obs, reward, terminated, info["won"]) == (ILLEGAL, -1.0, False, False), attack


def test_the_pattern_table_is_the_rule():
    rng = np.random.default_rng(0)
    for a, b in rng.integers(len(ANSWERS), size=(200, 2)):
        assert PATTERNS[pattern_table()[a, b]] == by_the_book(ANSWERS[a], ANSWERS[b])
    assert (np.diag(pattern_table()) == GREEN).all()


def test_greedy_entropy_scores_the_reference():
    assert ANSWERS[best_guess(np.arange(len(ANSWERS)))] == "raise"
    guesses, mean = exact_score(among_candidates=True)
    assert guesses == pytest.approx(3.44, abs=0.005)
    assert mean == pytest.approx(-2.455, abs=0.0005)
    assert optimal_return("text/wordle-v0") == pytest.approx(-2.3714, abs=0.0005)


@pytest.mark.slow
def test_random_players_score_the_reference():
    def play(choose, games):
        total = []
        for seed in range(games):
            env = WordleEnv()
            obs, info = env.reset(seed=seed)
            policy, score, over = choose(env), 0.0, False
            while not over:
                obs, reward, over, _, info = env.step(policy(obs, info))
                score += reward
            total.append(score)
        return np.mean(total), np.std(total) / games**0.5

    mean, error = play(make_consistent, 6000)
    assert abs(mean + 2.907) < 4 * error
    rng = np.random.default_rng(0)
    mean, error = play(lambda env: lambda obs, info: WORDS[rng.integers(len(WORDS))], 3000)
    assert mean == pytest.approx(-5.98, abs=0.03)


def test_the_board_shows_letters_and_colours():
    env = WordleEnv(render_mode="rgb_array")
    env.reset(seed=0, options={"hidden": "abide"})
    empty = env.render()
    env.step("speed")
    board = env.render()
    assert board.shape == empty.shape == (430, 360, 3)
    # tiles of the first row: grey, grey, yellow, grey, yellow; of the second: empty
    corners = [board[26, 24 + round(k * 360 / 5.4)].tolist() for k in range(5)]
    assert corners[0] == corners[1] == corners[3] == [86, 93, 107]
    assert corners[2] == corners[4] == [232, 142, 44]
    assert np.array_equal(board[100:], empty[100:])
    env.step("zzzzz")
    assert not np.array_equal(env.render()[80:140], board[80:140])
    env.step("abide")
    assert env.render()[26 + round(2 * 430 / 6.45), 24].tolist() == [62, 148, 92]
