"""Entries of the text family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference

_POLICIES = "envs.text.policies:"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "text/twenty-questions-v0",
        "envs.text.twenty_questions:TwentyQuestionsEnv",
        "envs.text.twenty_questions:TwentyQuestionsVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="find one of 158 objects by questions answered with yes or no",
        references=(
            Reference("random", -20.0, 0.01, episodes=20),
            Reference(_POLICIES + "make_random", -19.18, 1.3, episodes=100),
            Reference(_POLICIES + "make_noisy", -13.25, 1.6, episodes=100),
            Reference(_POLICIES + "make_expert", -6.9, 0.36, episodes=100),
        ),
    ),
    Entry(
        "text/guess-my-city-v0",
        "envs.text.guess_my_city:GuessMyCityEnv",
        "envs.text.guess_my_city:GuessMyCityVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="find one of 100 cities by questions of any form",
        references=(
            Reference("random", -20.0, 0.01, episodes=20),
            Reference(_POLICIES + "make_random", -19.4, 1.2, episodes=100),
            Reference(_POLICIES + "make_yes_no_expert", -6.11, 0.32, episodes=100),
            Reference(_POLICIES + "make_expert", -1.0, 0.01, episodes=100),
        ),
    ),
    Entry(
        "text/wordle-v0",
        "envs.text.wordle:WordleEnv",
        "envs.text.wordle:WordleVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="find a five-letter word in six tries",
        references=(
            Reference("random", -6.0, 0.01, episodes=20),
            Reference(_POLICIES + "make_random", -5.997, 0.05, episodes=100),
            Reference(_POLICIES + "make_consistent", -2.908, 0.39, episodes=100),
            Reference(_POLICIES + "make_expert", -2.37, 0.25, episodes=100),
        ),
    ),
    Entry(
        "text/adventure-v0",
        "envs.text.adventure:AdventureEnv",
        "envs.text.adventure:AdventureVectorEnv",
        max_episode_steps=60,
        cost="us",
        summary="fetch keys, open locks, bring the treasure to the altar",
        references=(
            Reference("random", 0.0, 0.01, episodes=20),
            Reference(_POLICIES + "make_random", 0.30, 0.22, episodes=100),
            Reference(_POLICIES + "make_noisy", 3.79, 0.23, episodes=100),
            Reference(_POLICIES + "make_expert", 4.0, 0.01, episodes=50),
        ),
    ),
    Entry(
        "text/shop-v0",
        "envs.text.shop:ShopEnv",
        "envs.text.shop:ShopVectorEnv",
        max_episode_steps=10,
        cost="us",
        summary="search a catalogue and buy what the customer describes",
        references=(
            Reference("random", 0.0, 0.01, episodes=20),
            Reference(_POLICIES + "make_random", 0.021, 0.036, episodes=100),
            Reference(_POLICIES + "make_noisy", 0.317, 0.16, episodes=100),
            Reference(_POLICIES + "make_expert", 1.0, 0.01, episodes=100),
        ),
    ),
    Entry(
        "text/maze-v0",
        "envs.text.maze:MazeEnv",
        "envs.text.maze:MazeVectorEnv",
        max_episode_steps=100,
        cost="us",
        summary="walk to the goal of a double T",
        references=(
            Reference("random", -399.97, 0.5, episodes=20),
            Reference(_POLICIES + "make_random", -80.9, 13.4, episodes=100),
            Reference(_POLICIES + "make_expert", -6.64, 1.4, episodes=100),
        ),
    ),
)
