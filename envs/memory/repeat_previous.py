"""Repeat previous: name the suit of the card shown k cards ago.

After the task of that name in POPGym (Morad et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer

SUITS, DECK = 4, 52


class RepeatPrevious(Model):
    """Keep the last k suits in memory.

    Cards of shuffled decks are shown one by one, each by its suit, one-hot. From the moment the
    card k + 1 is seen, the action must name the suit shown k cards before the current one; each
    answer is worth +1 or -1 over the number of answers, so that a perfect episode returns 1 and a
    random one -0.5. The earlier actions do nothing.

    Cards do not come back, so the suits of two cards differ a little more often than not, and the
    best policy without memory names any other suit than the one it sees: it returns
    26 d / (52 d - 1) - 1 in expectation (d decks), -0.490 for one.

    Args:
        k: How far back.
        decks: Packs of 52 cards, shuffled together; None takes as many as leave at least half of
            the cards to be answered for.
    """

    id = "memory/repeat-previous-v0"
    render_fps = 4

    def __init__(self, k: int = 4, decks: int | None = None) -> None:
        self.k = check_integer(self.id, "k", k, 1, 64)
        fewest = -(-2 * self.k // DECK)
        self.decks = fewest if decks is None else check_integer(self.id, "decks", decks, 1, 100)
        self.cards = DECK * self.decks
        if self.cards <= self.k:
            raise ValueError(
                f"{self.id}: decks must be >= {self.k // DECK + 1} for k = {self.k}, got {decks}"
            )
        self.answers = self.cards - self.k
        self.observation_space = spaces.Box(0.0, 1.0, (SUITS,), np.float32)
        self.action_space = spaces.Discrete(SUITS)
        self._sorted = np.repeat(np.arange(SUITS, dtype=np.int8), self.cards // SUITS)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Shuffle, and show the first card."""
        order = np.array([rng.permutation(self._sorted) for rng in rngs])
        return {"order": order, "shown": np.zeros(len(rngs), np.int64)}

    def observe(self, state: State) -> np.ndarray:
        """Return the suit of the current card, one-hot float32 ``[n, 4]``."""
        rows = np.arange(len(state["shown"]))
        obs = np.zeros((len(rows), SUITS), np.float32)
        obs[rows, state["order"][rows, np.minimum(state["shown"], self.cards - 1)]] = 1.0
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Answer for the current card, and show the next."""
        order, shown = state["order"], state["shown"]
        rows, asked = np.arange(len(shown)), shown >= self.k
        right = asked & (order[rows, np.maximum(shown - self.k, 0)] == actions)
        reward = np.where(asked, np.where(right, 1.0, -1.0), 0.0) / self.answers
        shown = shown + 1
        info = {"success": right.astype(np.int64)}
        return Outcome({"order": order, "shown": shown}, reward, shown >= self.cards, info)

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return ``success``: no answer yet."""
        return {"success": np.zeros(len(state["shown"]), np.int64)}

    def render(self, state: State) -> np.ndarray:
        """Draw the current card and, dimmed, those that must be in memory."""
        from envs.memory.pictures import cards_picture

        last = min(int(state["shown"][0]), self.cards - 1)
        first = max(last - min(self.k, 8), 0)
        return cards_picture([int(s) for s in state["order"][0, first : last + 1]], self.k, last)


class RepeatPreviousEnv(ModelEnv):
    """See :class:`RepeatPrevious`."""

    model_type = RepeatPrevious


class RepeatPreviousVectorEnv(ModelVectorEnv):
    """See :class:`RepeatPrevious`."""

    model_type = RepeatPrevious
