"""What every text game shares: the conversation as part of the state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from envs.core import Model, Outcome, State
from envs.core.canvas import text_screen
from envs.text.conversation import AGENT, ENVIRONMENT, Conversation
from envs.text.letters import CHARSET, shown


@dataclass(slots=True)
class Turn:
    """What one turn of ``n`` games gives.

    Attributes:
        replies: Object array of ``n`` strings.
        reward: Float64 array ``[n]``.
        terminated: Bool array ``[n]``.
        valid: Bool array ``[n]``: whether the game understood the action.
        truncated: Bool array ``[n]`` of games that a failing oracle broke off, or None.
        info: Further arrays ``[n]`` by name, the same names at every turn.
    """

    replies: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    valid: np.ndarray
    truncated: np.ndarray | None = None
    info: dict[str, np.ndarray] = field(default_factory=dict)


class TextModel(Model):
    """A game in which an agent and an environment speak in turn.

    The observation is the environment's last words. ``info["segments"]`` is the conversation so
    far, a list of (role, text); ``info["valid"]`` says whether the game understood the action,
    ``info["turn"]`` how many turns were played and ``info["won"]`` whether the goal was reached. An
    action longer than ``max_action`` characters is cut there in the conversation and counts as not
    understood.

    Attributes:
        max_action: Longest action, in characters.
        max_reply: Longest observation, in characters.
    """

    max_action: ClassVar[int] = 200
    max_reply: ClassVar[int] = 400
    render_fps = 2
    draws_in_step = False

    def __init__(self) -> None:
        self.observation_space = spaces.Text(self.max_reply, min_length=0, charset=CHARSET)
        self.action_space = spaces.Text(self.max_action, min_length=0, charset=CHARSET)

    @abstractmethod
    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Return the start of the game's own state, arrays ``[n, ...]`` by name."""

    @abstractmethod
    def prompts(self, state: State) -> list[str]:
        """Return the environment's first words of each game."""

    @abstractmethod
    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Answer one text in each game; writes to the game's own arrays of ``state``.

        ``state["turn"]`` has already been counted up.
        """

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Return the start of ``len(rngs)`` games; see :class:`envs.core.Model`."""
        state = self.deal(rngs, options)
        prompts = objects(self.prompts(state))
        opened = objects([Conversation([(ENVIRONMENT, prompt)]) for prompt in prompts.tolist()])
        zeros = np.zeros(len(rngs), np.int64)
        return state | {
            "reply": prompts,
            "segments": opened,
            "turn": zeros,
            "valid": zeros == 0,
            "won": zeros > 0,
        }

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the info of a reset."""
        return self._info(state) | self.more_info(state)

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the game's own info at a reset, with the names that ``play`` gives."""
        return {}

    def observe(self, state: State) -> np.ndarray:
        """Return the environment's last words, an object array ``[n]`` of strings."""
        return state["reply"].copy()

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Play one turn of each game."""
        texts = actions.tolist()
        state["turn"] = state["turn"] + 1
        turn = self.play(state, texts, rngs)
        state["segments"] = self._longer(state["segments"].tolist(), texts, turn.replies.tolist())
        state["reply"], state["valid"] = turn.replies, turn.valid
        info = self._info(state) | turn.info
        return Outcome(state, turn.reward, turn.terminated, info, turn.truncated)

    def _longer(self, spoken: list[Any], texts: list[str], replies: list[str]) -> np.ndarray:
        if set(map(type, spoken)) != {Conversation}:  # plain data, from a saved state
            spoken = [Conversation(list(segments)) for segments in spoken]
        limit = self.max_action
        asked = {text: (AGENT, text[:limit]) for text in texts}
        said = {id(reply): (ENVIRONMENT, reply) for reply in replies}  # long texts hash slowly
        turns = zip(spoken, texts, replies, strict=True)
        return objects([before.then(asked[text], said[id(reply)]) for before, text, reply in turns])

    def _info(self, state: State) -> dict[str, np.ndarray]:
        return {
            "segments": objects([spoken.listed() for spoken in state["segments"].tolist()]),
            "valid": state["valid"],
            "turn": state["turn"],
            "won": state["won"],
        }

    def transcript(self, state: State) -> str:
        """Return the conversation of row 0 as lines to read."""
        return "\n".join(f"{mark}{text}" for mark, text in self._lines(state))

    def render(self, state: State) -> np.ndarray:
        """Return a terminal with the conversation of row 0, uint8 ``[height, width, 3]``."""
        lines: list[Any] = []
        for mark, text in self._lines(state):
            for row in text.split("\n"):
                lines.append([(mark + row, "yellow")] if mark else row)
        return text_screen(lines)

    def _lines(self, state: State) -> list[tuple[str, str]]:
        spoken = state["segments"][0]
        return [("> " if role == AGENT else "", shown(text)) for role, text in spoken]


def objects(values: Iterable[Any]) -> np.ndarray:
    """Return values as an object array ``[n]``, whatever they hold."""
    cells = list(values)
    return np.fromiter(cells, object, len(cells))
