"""A web shop of text pages: search, look, choose options, buy."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.core import State, check_integer
from envs.text.bm25 import BM25
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.letters import plain
from envs.text.model import TextModel, Turn, objects
from envs.text.shop_catalogue import GOALS, Goal, Item, goal_of, make_catalogue, reward_of

PAGE, FOUND = 10, 50
SUBPAGES = ("description", "features", "reviews")
BUY, BACK, PREVIOUS, NEXT = "buy now", "back to search", "< prev", "next >"
UNKNOWN = "That does nothing here."
_ACTION = re.compile(r"(search|click)\[([^\[\]]*)\]")


@functools.lru_cache(4)
def shop_of(seed: int, size: int) -> tuple[tuple[Item, ...], BM25, dict[str, Item]]:
    """Return a shop's items, their index for searching, and the items by code."""
    items = make_catalogue(seed, size)
    texts = [" ".join((i.title, i.description, *i.features, *i.category)) for i in items]
    return items, BM25(texts), {item.code.lower(): item for item in items}


class Page(NamedTuple):
    """Where a customer is.

    Attributes:
        words: What was searched for, or "".
        number: Page of the results.
        item: Code of the item looked at, or "".
        subpage: Of the item: one of :data:`SUBPAGES`, or "".
        chosen: Options chosen.
    """

    words: str = ""
    number: int = 0
    item: str = ""
    subpage: str = ""
    chosen: tuple[tuple[str, str], ...] = ()


class Visit(NamedTuple):
    """What comes of an action on a page.

    Attributes:
        page: Where the customer is then.
        text: What is shown, but where the item is bought.
        links: What can be clicked.
        valid: Whether the action does anything.
        bought: Whether it buys the item.
    """

    page: Page
    text: str
    links: tuple[str, ...]
    valid: bool
    bought: bool


class Shop(TextModel):
    """Buy what the customer describes.

    Actions are ``search[words]`` on the first page and ``click[thing]`` for what a page offers.
    Buying ends the episode with a reward in [0, 1] for how well the item fits; everything else is
    worth 0. Time limit 10.

    Args:
        items: Size of the catalogue, 100-10,000.
        catalogue_seed: Which catalogue; episodes differ in the wish alone.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "text/shop-v0"
    max_action = 160
    max_reply = 3000

    def __init__(self, items: int = 1000, catalogue_seed: int = 0) -> None:
        super().__init__()
        size = check_integer(self.id, "items", items, 100, 10_000)
        seed = check_integer(self.id, "catalogue_seed", catalogue_seed, 0)
        self._shop = seed, size
        self.items, self.index, self.by_code = shop_of(seed, size)

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a wish for each game."""
        if options:
            raise ValueError(f"{self.id}: there are no options, got {sorted(options)}")
        goals = np.array([int(rng.integers(GOALS)) for rng in rngs], np.int64)
        return {"goal": goals, "page": objects([Page()] * len(rngs))}

    def goal(self, number: int) -> Goal:
        """Return the wish of ``state["goal"]``; it follows from the number."""
        return goal_of(number, self.items)

    def prompts(self, state: State) -> list[str]:
        """Return the wish and the first page."""
        views = zip(state["goal"].tolist(), self._views(state), strict=True)
        return [f"{self.goal(goal).instruction}\n{text}" for goal, (text, _) in views]

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return what can be clicked."""
        return {"clickable": objects([list(links) for _, links in self._views(state)])}

    def _views(self, state: State) -> list[tuple[str, tuple[str, ...]]]:
        return [_view(*self._shop, Page(*page)) for page in state["page"].tolist()]

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Carry out one action in each game."""
        limit, (seed, size) = self.max_action, self._shop
        read = [text if len(text) <= limit else None for text in texts]
        visits = [
            _visit(seed, size, page, text)
            for page, text in zip(state["page"].tolist(), read, strict=True)
        ]
        pages, shown, links, valid, bought = zip(*visits, strict=True)
        replies, ended, reward = objects(shown), np.array(bought), np.zeros(len(texts))
        for k in np.flatnonzero(ended):
            goal, page = self.goal(int(state["goal"][k])), pages[k]
            reward[k] = reward_of(goal, self.by_code[page.item], dict(page.chosen))
            replies[k] = f"Thank you for buying. Score: {reward[k]:.2f}."
        state["page"], state["won"] = objects(pages), reward == 1.0
        told = {"clickable": objects(map(list, links))}
        return Turn(replies, reward, ended, np.array(valid), info=told)


@functools.lru_cache(4096)
def _found(seed: int, size: int, words: str) -> tuple[str, ...]:
    """Return the codes of the items that a search finds."""
    items, index, _ = shop_of(seed, size)
    return tuple(items[k].code.lower() for k in index.search(words, FOUND)) if words else ()


@functools.lru_cache(8192)
def _view(seed: int, size: int, page: Page) -> tuple[str, tuple[str, ...]]:
    """Return the text of a page and what can be clicked on it; customers meet on the same pages."""
    by_code, found = shop_of(seed, size)[2], _found(seed, size, page.words)
    links = _links(by_code, page, found)
    return _text(by_code, page, found, links), tuple(links)


@functools.lru_cache(8192)
def _visit(seed: int, size: int, before: tuple[Any, ...], text: str | None) -> Visit:
    """Return what comes of an action, whoever takes it; None stands for one that is too long."""
    page = Page(*before)
    after = None if text is None else _act(seed, size, page, plain(text, len(text)))
    shown, links = _view(seed, size, after if isinstance(after, Page) else page)
    if isinstance(after, Page):
        return Visit(after, shown, links, True, False)
    bought = after == BUY
    return Visit(page, f"{UNKNOWN}\n{shown}", links, bought, bought)


def _act(seed: int, size: int, page: Page, text: str | None) -> Page | str | None:
    """Return the page after an action, :data:`BUY`, or None where it does nothing."""
    action = None if text is None else _ACTION.fullmatch(text.strip())
    if action is None:
        return None
    verb, what = action[1], action[2].strip()
    if verb == "search":
        return None if page.words or not what else Page(what)
    if what not in _view(seed, size, page)[1]:
        return None
    return _click(shop_of(seed, size)[2], page, what)


def _click(by_code: dict[str, Item], page: Page, what: str) -> Page | str:
    if what == BUY:
        return BUY
    if what == BACK:
        return Page()
    if what == NEXT:
        return page._replace(number=page.number + 1)
    if what == PREVIOUS:
        if page.subpage:
            return page._replace(subpage="")
        if page.item:
            return page._replace(item="", chosen=())
        return page._replace(number=page.number - 1)
    if what in SUBPAGES:
        return page._replace(subpage=what)
    if what in by_code:
        return page._replace(item=what)
    options = by_code[page.item].options
    kind = next(name for name, values in options.items() if what in values)
    return page._replace(chosen=tuple((dict(page.chosen) | {kind: what}).items()))


def _links(by_code: dict[str, Item], page: Page, found: tuple[str, ...]) -> list[str]:
    if not page.words:
        return []
    if page.subpage:
        return [BACK, PREVIOUS]
    if page.item:
        values = [v for kind in by_code[page.item].options.values() for v in kind]
        return [BACK, PREVIOUS, *SUBPAGES, *values, BUY]
    first = page.number * PAGE
    around = [PREVIOUS] * (page.number > 0) + [NEXT] * (first + PAGE < len(found))
    return [BACK, *around, *found[first : first + PAGE]]


def _text(by_code: dict[str, Item], page: Page, found: tuple[str, ...], links: list[str]) -> str:
    if not page.words:
        return "[search]"
    top = f"[{BACK}]"
    if not page.item:
        first = page.number * PAGE
        rows = [
            f"[{code}] {item.title} (${item.price:.2f})"
            for code in found[first : first + PAGE]
            for item in (by_code[code],)
        ]
        more = "".join(f" [{b}]" for b in (PREVIOUS, NEXT) if b in links)
        head = f"{top} Page {page.number + 1}, {len(found)} results{more}"
        return "\n".join([head, *rows])
    item = by_code[page.item]
    if page.subpage:
        shown = {
            "description": (item.description,),
            "features": item.features,
            "reviews": item.reviews,
        }[page.subpage]
        return "\n".join([f"{top} [{PREVIOUS}]", *shown])
    chosen = dict(page.chosen)
    rows = [
        f"{name}: " + " ".join(f"[{v}]{'*' if chosen.get(name) == v else ''}" for v in values)
        for name, values in item.options.items()
    ]
    last = " ".join(f"[{name}]" for name in (*SUBPAGES, BUY))
    return "\n".join([f"{top} [{PREVIOUS}]", item.title, f"Price: ${item.price:.2f}", *rows, last])


class ShopEnv(TextEnv):
    """:class:`Shop` as a ``gymnasium.Env``."""

    model_type = Shop


class ShopVectorEnv(TextVectorEnv):
    """:class:`Shop` as a ``gymnasium.vector.VectorEnv``."""

    model_type = Shop
