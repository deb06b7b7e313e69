"""Scripted players: near-optimal, random, and any mixture of the two.

Each ``make_...`` function takes a plain environment and returns ``policy(obs, info) -> action``,
made anew for each episode. None of them looks at what is hidden, but that the adventure's expert
asks the planner.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.text.adventure_rules import Progress
from envs.text.adventure_world import plan
from envs.text.guess_my_city import GuessMyCity
from envs.text.information import InformationGain
from envs.text.maze import LAYOUT, MOVES, distances
from envs.text.shop import BACK, BUY, NEXT, PREVIOUS, SUBPAGES
from envs.text.shop_catalogue import Goal, reward_of
from envs.text.twenty_questions import TwentyQuestions
from envs.text.wordle import PATTERNS, word_lists
from envs.text.wordle_play import best_guess, consistent

Policy = Callable[[str, dict[str, Any]], str]


def _drawing(env: Any) -> np.random.Generator:
    """Return a generator that follows from the environment's own, without drawing from it."""
    state = env.unwrapped.np_random.bit_generator.state["state"]["state"]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([state & (2**64 - 1), 7])))


def mixture(expert: Policy, other: Policy, quality: float, rng: np.random.Generator) -> Policy:
    """Return a policy that takes the expert's action with probability ``quality``.

    Both are asked at every turn, so that both follow the game.

    Raises:
        ValueError: ``quality`` is outside [0, 1].
    """
    if not 0 <= quality <= 1:
        raise ValueError(f"quality must be in [0, 1], got {quality}")

    def act(obs: str, info: dict[str, Any]) -> str:
        good, bad = expert(obs, info), other(obs, info)
        return good if rng.random() < quality else bad

    return act


def make_expert(env: Any) -> Policy:
    """Return the near-optimal player of any text game."""
    return _EXPERTS[env.unwrapped.model.id](env.unwrapped)


def make_random(env: Any) -> Policy:
    """Return a player that says something meaningful at random."""
    return _RANDOM[env.unwrapped.model.id](env.unwrapped)


def make_noisy(env: Any, quality: float = 0.5) -> Policy:
    """Return a player whose actions are the expert's with probability ``quality``."""
    return mixture(make_expert(env), make_random(env), quality, _drawing(env))


def _asked(info: dict[str, Any]) -> str | None:
    """Return the last action, or None at the start."""
    spoken = info["segments"]
    return spoken[-2][1] if len(spoken) > 1 else None


def _turns(info: dict[str, Any], start: int) -> list[tuple[str, str]]:
    """Return (action, reply) of the turns from ``start`` on."""
    texts = [text for _, text in info["segments"][1 + 2 * start :]]
    return list(zip(texts[::2], texts[1::2], strict=True))


class Guesser:
    """Plays a guessing game by information gain, following what was in fact asked.

    Args:
        play: Questions and answers over the candidates.
        questions: Text of each question.
        names: Name of each candidate.
        read: From an answer to its number, or -1.
        code: From a text to a question's number, or the questions' number plus a candidate's, or
        -1.
    """

    def __init__(
        self,
        play: InformationGain,
        questions: list[str],
        names: list[str],
        read: Callable[[str], int],
        code: Callable[[str], int],
    ) -> None:
        self._play, self._questions, self._names = play, questions, names
        self._read, self._code = read, code
        self._left = np.arange(len(names))
        self._seen = 0

    def __call__(self, obs: str, info: dict[str, Any]) -> str:
        """Return the next question or guess."""
        for asked, reply in _turns(info, self._seen):
            self._learn(self._code(asked), self._read(reply))
        self._seen = info["turn"]
        if not len(self._left):  # answers were wrong: start again
            self._left = np.arange(len(self._names))
        question = self._play.question(self._left)
        if question < 0:
            return f"Is it {self._names[self._left[0]]}?"
        return self._questions[question]

    def _learn(self, code: int, answer: int) -> None:
        if code < 0 or answer < 0:
            return
        if code >= len(self._questions):
            self._left = self._left[self._left != code - len(self._questions)]
        else:
            self._left = self._play.left(self._left, code, answer)


@functools.cache
def objects_play(objects: tuple[int, ...], model: type[TwentyQuestions]) -> InformationGain:
    """Return information-gain play over some objects of Twenty Questions."""
    table = model().table
    return InformationGain(table.truth[:, list(objects)].astype(np.int64))


def _objects_expert(env: Any) -> Policy:
    model = env.model
    places = {int(k): place for place, k in enumerate(model.objects)}
    count = len(model.table.attributes)

    def code(text: str) -> int:
        found = model.reader.code(text)
        return found if found < count else count + places.get(found - count, -1 - count)

    return Guesser(
        objects_play(tuple(model.objects.tolist()), TwentyQuestions),
        list(model.table.questions),
        [f"a {model.table.names[k]}" for k in model.objects],
        lambda reply: {"No.": 0, "Yes.": 1}.get(reply, -1),
        code,
    )


def _objects_random(env: Any) -> Policy:
    rng, model = _drawing(env), env.model
    count = len(model.table.attributes)

    def act(obs: str, info: dict[str, Any]) -> str:
        place = int(rng.integers(count + len(model.objects)))
        if place < count:
            return str(model.table.questions[place])
        return f"Is it a {model.table.names[model.objects[place - count]]}?"

    return act


@functools.cache
def city_questions() -> tuple[str, ...]:
    """Return questions about cities, answered with yes or no."""
    model = GuessMyCity()
    cities = model.cities
    found = [f"Is your city located in {c.country.name}?" for c in cities]
    found += [f"Is your city located in {p.title()}?" for c in cities for p in c.country.places]
    found += [f"Is your city in the province of {p}?" for c in cities for p in c.provinces]
    found += [f"Is your city located on the island of {c.island}?" for c in cities if c.island]
    for way in ("northern", "southern", "eastern", "western", "central"):
        found.append(f"Is your city located in the {way} part of its country?")
    found += ["Is your city the capital of its country?", "Is your city on the coast?"]
    found += ["Is your city located on a river?", "Is your city located near mountains?"]
    found += [f"Is the population over {n} million?" for n in (1, 2, 3, 5, 8, 10, 15)]
    words = sorted({tag for c in cities for tag in c.known_for})
    found += [f"Is your city known for its {word}?" for word in words]
    known = (text for text in dict.fromkeys(found) if model.reader.query(text) is not None)
    return tuple(text for text in known if model.reader.query(text).kind != "guess")  # type: ignore[union-attr]


OPEN_QUESTIONS = (
    "What country is your city in?",
    "What language is spoken in your city?",
    "What is the climate like in your city?",
    "What is the population of your city?",
    "What is the name of the river in your city?",
    "What is your city known for?",
    "What landmarks are there in your city?",
)


@functools.cache
def cities_play(open_: bool) -> tuple[InformationGain, tuple[str, ...], dict[str, int]]:
    """Return information-gain play over the cities, its questions, and the answers' numbers."""
    model = GuessMyCity()
    questions = (*city_questions(), *(OPEN_QUESTIONS if open_ else ()))
    numbers: dict[str, int] = {}
    table = [
        [numbers.setdefault(model.answer(city.name, text), len(numbers)) for city in model.cities]
        for text in questions
    ]
    return InformationGain(np.array(table)), questions, numbers


def _cities_player(env: Any, open_: bool) -> Policy:
    play, questions, numbers = cities_play(open_)
    names = [city.name for city in env.model.cities]
    places = {text: k for k, text in enumerate(questions)}

    def code(text: str) -> int:
        query = env.model.reader.query(text)
        if query is not None and query.kind == "guess":
            return len(questions) + int(query.arguments[0])
        return places.get(text, -1)

    return Guesser(play, list(questions), names, lambda reply: numbers.get(reply, -1), code)


def make_yes_no_expert(env: Any) -> Policy:
    """Return the player of Guess My City that asks questions answered with yes or no alone."""
    return _cities_player(env.unwrapped, False)


def _cities_random(env: Any) -> Policy:
    rng = _drawing(env)
    names = [f"Is it {city.name}?" for city in env.model.cities]
    choices = [*city_questions(), *OPEN_QUESTIONS, *names]
    return lambda obs, info: choices[int(rng.integers(len(choices)))]


class _WordlePlayer:
    def __init__(self, env: Any, choose: Callable[[np.ndarray], int]) -> None:
        self._model, self._choose = env.model, choose
        self._left = np.arange(len(word_lists()[0]))
        self._codes = {str(text): code for code, text in enumerate(PATTERNS[:243])}
        self._seen = 0

    def __call__(self, obs: str, info: dict[str, Any]) -> str:
        for asked, reply in _turns(info, self._seen):
            guess = self._model.word(asked)
            if reply in self._codes and 0 <= guess < len(word_lists()[0]):
                self._left = consistent(self._left, guess, self._codes[reply])
        self._seen = info["turn"]
        return str(word_lists()[0][self._choose(self._left)])


def make_consistent(env: Any) -> Policy:
    """Return the player of Wordle that draws a word that can still be the answer."""
    rng = _drawing(env)
    return _WordlePlayer(env.unwrapped, lambda left: int(left[rng.integers(len(left))]))


def _wordle_random(env: Any) -> Policy:
    rng, words = _drawing(env), word_lists()[0]
    return lambda obs, info: words[int(rng.integers(len(words)))]


def _adventure_expert(env: Any) -> Policy:
    ahead: list[str] = []
    last: list[str | None] = [None]

    def act(obs: str, info: dict[str, Any]) -> str:
        if not ahead or _asked(info) != last[0]:  # somebody else has played in between
            state = env.get_state()["model"]
            now = Progress.of(state["progress"]["objects"][0])
            world = env.model.world(int(state["world"][0]))
            found = plan(world, now.room, now.opened, now.unlocked, dict(now.items))
            ahead[:] = found or ["look"]
        command = ahead.pop(0)
        last[0] = command
        return command

    return act


def _adventure_random(env: Any) -> Policy:
    rng = _drawing(env)
    return lambda obs, info: info["valid_actions"][int(rng.integers(len(info["valid_actions"])))]


class _Shopper:
    """Searches for what the wish says, and of what is found buys what fits the wish best."""

    def __init__(self, env: Any) -> None:
        self._env, self._plan = env, list[str]()

    def __call__(self, obs: str, info: dict[str, Any]) -> str:
        clickable = info["clickable"]
        if not clickable:
            goal = self._goal(info)
            return f"search[{' '.join(goal[0])} {goal[1]}]"
        codes = [what for what in clickable if what in self._env.model.by_code]
        if codes:
            best = max(codes, key=lambda code: self._worth(info, code))
            return f"click[{best}]"
        if BUY not in clickable:
            return f"click[{PREVIOUS if PREVIOUS in clickable else BACK}]"
        wanted = self._goal(info)[2]
        shown = obs.split("\n")
        for kind, value in wanted:
            row = next((r for r in shown if r.startswith(f"{kind}: ")), "")
            if f"[{value}]" in row and f"[{value}]*" not in row:
                return f"click[{value}]"
        return f"click[{BUY}]"

    def _goal(self, info: dict[str, Any]) -> tuple[list[str], str, list[tuple[str, str]], float]:
        wish = info["segments"][0][1].split("\n")[0]
        found = re.fullmatch(
            r"I am looking for (.+?)((?:, \w+: [^,]+)+), and price lower than ([\d.]+) dollars\.",
            wish,
        )
        assert found is not None
        head = found[1].split(" and ")
        product = next(p for p in self._products() if head[-1].endswith(" " + p) or head[-1] == p)
        head[-1] = head[-1].removesuffix(product).strip()
        parts = (option.partition(": ") for option in found[2].strip(", ").split(", "))
        options = [(kind, value) for kind, _, value in parts]
        return [h for h in head if h], product, options, float(found[3])

    def _products(self) -> list[str]:
        kinds = {item.category[2] for item in self._env.model.items}
        return sorted(kinds, key=len, reverse=True)

    def _worth(self, info: dict[str, Any], code: str) -> float:
        item = self._env.model.by_code[code]
        attributes, product, options, limit = self._goal(info)
        goal = Goal(item, tuple(attributes), tuple(options), limit)
        chosen = {kind: value for kind, value in options if value in item.options.get(kind, ())}
        same = 1.0 if item.category[2] == product else 0.5
        return same * reward_of(goal, item, chosen)


def _shop_random(env: Any) -> Policy:
    rng = _drawing(env)
    items = env.model.items

    def act(obs: str, info: dict[str, Any]) -> str:
        choices = [what for what in info["clickable"] if what not in (NEXT, *SUBPAGES)]
        if not choices:
            return f"search[{items[int(rng.integers(len(items)))].category[2]}]"
        return f"click[{choices[int(rng.integers(len(choices)))]}]"

    return act


def _maze_expert(env: Any) -> Policy:
    def act(obs: str, info: dict[str, Any]) -> str:
        row, column = env.get_state()["model"]["place"][0].tolist()
        far = distances()
        best = min(
            (way for way, (dr, dc) in MOVES.items() if LAYOUT[row + dr][column + dc] != "#"),
            key=lambda way: far[row + MOVES[way][0], column + MOVES[way][1]],
        )
        return f"move {best}"

    return act


def _maze_random(env: Any) -> Policy:
    rng = _drawing(env)
    return lambda obs, info: f"move {list(MOVES)[int(rng.integers(4))]}"


_EXPERTS: dict[str, Callable[[Any], Policy]] = {
    "text/twenty-questions-v0": _objects_expert,
    "text/guess-my-city-v0": lambda env: _cities_player(env, True),
    "text/wordle-v0": lambda env: _WordlePlayer(env, best_guess),
    "text/adventure-v0": _adventure_expert,
    "text/shop-v0": _Shopper,
    "text/maze-v0": _maze_expert,
}
_RANDOM: dict[str, Callable[[Any], Policy]] = {
    "text/twenty-questions-v0": _objects_random,
    "text/guess-my-city-v0": _cities_random,
    "text/wordle-v0": _wordle_random,
    "text/adventure-v0": _adventure_random,
    "text/shop-v0": _shop_random,
    "text/maze-v0": _maze_random,
}
