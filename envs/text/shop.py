"""A web shop of text pages: search, look, choose options, buy."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.core import State, check_integer
from envs.text.bm25 import BM25
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.letters import plain
from envs.text.model import TextModel, Turn, objects
from envs.text.shop_catalogue import Goal, Item, make_catalogue, make_goal, reward_of

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


@dataclass(frozen=True, slots=True)
class Page:
    """Where a customer is.

    Attributes:
        found: Codes of the items that the last search found.
        number: Page of the results.
        item: Code of the item looked at, or "".
        subpage: Of the item: one of :data:`SUBPAGES`, or "".
        chosen: Options chosen.
        searched: Whether there was a search.
    """

    found: tuple[str, ...] = ()
    number: int = 0
    item: str = ""
    subpage: str = ""
    chosen: tuple[tuple[str, str], ...] = ()
    searched: bool = False

    def plain(self) -> tuple[Any, ...]:
        """Return the same as a tuple, as it is kept in the state."""
        return (self.found, self.number, self.item, self.subpage, self.chosen, self.searched)


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
        self._goals: dict[int, Goal] = {}
        self._shop = seed, size
        self.items, self.index, self.by_code = shop_of(seed, size)

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a wish for each game."""
        if options:
            raise ValueError(f"{self.id}: there are no options, got {sorted(options)}")
        seeds = np.array([int(rng.integers(1 << 31)) for rng in rngs], np.int64)
        return {"goal": seeds, "page": objects([Page().plain()] * len(rngs))}

    def goal(self, seed: int) -> Goal:
        """Return the wish of ``state["goal"]``; it follows from the number."""
        if seed not in self._goals:
            if len(self._goals) >= 4096:
                self._goals.clear()
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
            self._goals[seed] = make_goal(rng, self.items)
        return self._goals[seed]

    def prompts(self, state: State) -> list[str]:
        """Return the wish and the first page."""
        pairs = zip(state["goal"].tolist(), state["page"], strict=True)
        return [f"{self.goal(g).instruction}\n{self.show(Page(*page))}" for g, page in pairs]

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return what can be clicked."""
        pages = (Page(*page) for page in state["page"].tolist())
        return {"clickable": objects([self.clickable(page) for page in pages])}

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Carry out one action in each game."""
        n = len(texts)
        replies, reward = [""] * n, np.zeros(n)
        valid, bought = np.zeros(n, bool), np.zeros(n, bool)
        pages = [Page(*page) for page in state["page"]]
        for k, text in enumerate(texts):
            page = self.act(pages[k], plain(text, self.max_action))
            if page == BUY:
                valid[k] = bought[k] = True
                item = self.by_code[pages[k].item]
                reward[k] = reward_of(self.goal(int(state["goal"][k])), item, dict(pages[k].chosen))
                replies[k] = f"Thank you for buying. Score: {reward[k]:.2f}."
            elif isinstance(page, Page):
                valid[k], pages[k] = True, page
                replies[k] = self.show(page)
            else:
                replies[k] = f"{UNKNOWN}\n{self.show(pages[k])}"
        state["page"] = objects([page.plain() for page in pages])
        state["won"] = reward == 1.0
        told = {"clickable": objects([self.clickable(page) for page in pages])}
        return Turn(objects(replies), reward, bought, valid, info=told)

    def act(self, page: Page, text: str | None) -> Page | str | None:
        """Return the page after an action, :data:`BUY`, or None where it does nothing."""
        found = None if text is None else _ACTION.fullmatch(text.strip())
        if found is None:
            return None
        verb, what = found[1], found[2].strip()
        if verb == "search":
            if page.searched or not what:
                return None
            return Page(_found(*self._shop, what), searched=True)
        if what not in _view(*self._shop, page)[1]:
            return None
        return self._click(page, what)

    def _click(self, page: Page, what: str) -> Page | str:
        if what == BUY:
            return BUY
        if what == BACK:
            return Page()
        if what == NEXT:
            return replace(page, number=page.number + 1)
        if what == PREVIOUS:
            if page.subpage:
                return replace(page, subpage="")
            if page.item:
                return replace(page, item="", chosen=())
            return replace(page, number=page.number - 1)
        if what in SUBPAGES:
            return replace(page, subpage=what)
        if what in self.by_code:
            return replace(page, item=what)
        item = self.by_code[page.item]
        kind = next(name for name, values in item.options.items() if what in values)
        return replace(page, chosen=tuple((dict(page.chosen) | {kind: what}).items()))

    def clickable(self, page: Page) -> list[str]:
        """Return what ``click[...]`` can be said of."""
        return list(_view(*self._shop, page)[1])

    def show(self, page: Page) -> str:
        """Return a page as text."""
        return _view(*self._shop, page)[0]


@functools.lru_cache(4096)
def _found(seed: int, size: int, words: str) -> tuple[str, ...]:
    items, index, _ = shop_of(seed, size)
    return tuple(items[k].code.lower() for k in index.search(words, FOUND))


@functools.lru_cache(8192)
def _view(seed: int, size: int, page: Page) -> tuple[str, tuple[str, ...]]:
    """Return the text of a page and what can be clicked on it; customers meet on the same pages."""
    by_code = shop_of(seed, size)[2]
    links = _links(by_code, page)
    return _text(by_code, page, links), tuple(links)


def _links(by_code: dict[str, Item], page: Page) -> list[str]:
    if not page.searched:
        return []
    if page.subpage:
        return [BACK, PREVIOUS]
    if page.item:
        values = [v for kind in by_code[page.item].options.values() for v in kind]
        return [BACK, PREVIOUS, *SUBPAGES, *values, BUY]
    first = page.number * PAGE
    around = [PREVIOUS] * (page.number > 0) + [NEXT] * (first + PAGE < len(page.found))
    return [BACK, *around, *page.found[first : first + PAGE]]


def _text(by_code: dict[str, Item], page: Page, links: list[str]) -> str:
    if not page.searched:
        return "[search]"
    top = f"[{BACK}]"
    if not page.item:
        first = page.number * PAGE
        rows = [
            f"[{code}] {item.title} (${item.price:.2f})"
            for code in page.found[first : first + PAGE]
            for item in (by_code[code],)
        ]
        more = "".join(f" [{b}]" for b in (PREVIOUS, NEXT) if b in links)
        head = f"{top} Page {page.number + 1}, {len(page.found)} results{more}"
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
    links = " ".join(f"[{name}]" for name in (*SUBPAGES, BUY))
    return "\n".join([f"{top} [{PREVIOUS}]", item.title, f"Price: ${item.price:.2f}", *rows, links])


class ShopEnv(TextEnv):
    """:class:`Shop` as a ``gymnasium.Env``."""

    model_type = Shop


class ShopVectorEnv(TextVectorEnv):
    """:class:`Shop` as a ``gymnasium.vector.VectorEnv``."""

    model_type = Shop
