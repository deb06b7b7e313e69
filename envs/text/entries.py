"""Entries of the text family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

_POLICIES = "envs.text.policies"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "text/twenty-questions-v0",
        "envs.text.twenty_questions:TwentyQuestionsEnv",
        "envs.text.twenty_questions:TwentyQuestionsVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="find one of 158 objects by questions answered with yes or no",
    ),
    Entry(
        "text/guess-my-city-v0",
        "envs.text.guess_my_city:GuessMyCityEnv",
        "envs.text.guess_my_city:GuessMyCityVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="find one of 100 cities by questions of any form",
    ),
    Entry(
        "text/wordle-v0",
        "envs.text.wordle:WordleEnv",
        "envs.text.wordle:WordleVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="find a five-letter word in six tries",
    ),
    Entry(
        "text/adventure-v0",
        "envs.text.adventure:AdventureEnv",
        "envs.text.adventure:AdventureVectorEnv",
        max_episode_steps=60,
        cost="us",
        summary="fetch keys, open locks, bring the treasure to the altar",
    ),
    Entry(
        "text/shop-v0",
        "envs.text.shop:ShopEnv",
        "envs.text.shop:ShopVectorEnv",
        max_episode_steps=10,
        cost="us",
        summary="search a catalogue and buy what the customer describes",
    ),
    Entry(
        "text/maze-v0",
        "envs.text.maze:MazeEnv",
        "envs.text.maze:MazeVectorEnv",
        max_episode_steps=100,
        cost="us",
        summary="walk to the goal of a double T",
    ),
)
