"""A catalogue of a shop, drawn from a seed, and what a customer may want from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from envs.text.fuzzy import token_set_ratio, words_of

# department: sections (each also the class of a query) and their products
_COLOURS = ["black", "white", "red", "blue", "green", "grey", "pink", "navy", "beige", "purple"]
_DEPARTMENTS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "clothing": (
        ("shirts", ("t-shirt", "polo shirt", "dress shirt", "flannel shirt")),
        ("trousers", ("jeans", "chino trousers", "shorts", "leggings")),
        ("shoes", ("running shoes", "leather boots", "sandals", "slippers")),
        ("coats", ("rain jacket", "down jacket", "wool coat", "fleece vest")),
    ),
    "electronics": (
        ("audio", ("wireless headphones", "bluetooth speaker", "earbuds", "soundbar")),
        ("computing", ("computer mouse", "mechanical keyboard", "usb hub", "laptop stand")),
        ("photo", ("camera tripod", "ring light", "camera bag", "memory card")),
        ("power", ("power bank", "phone charger", "extension lead", "charging cable")),
    ),
    "home": (
        ("furniture", ("bookshelf", "coffee table", "bar stool", "bedside table")),
        ("bedding", ("duvet cover", "memory foam pillow", "bed sheet set", "throw blanket")),
        ("kitchen", ("frying pan", "chef knife", "mixing bowl", "water bottle")),
        ("lighting", ("desk lamp", "string lights", "floor lamp", "night light")),
    ),
    "beauty": (
        ("skin", ("face cream", "sunscreen", "body lotion", "face mask")),
        ("hair", ("shampoo", "hair brush", "hair dryer", "hair oil")),
        ("teeth", ("electric toothbrush", "toothpaste", "mouthwash", "dental floss")),
    ),
    "food": (
        ("snacks", ("granola bars", "trail mix", "potato crisps", "dark chocolate")),
        ("drinks", ("green tea", "ground coffee", "coconut water", "hot chocolate")),
        ("pantry", ("olive oil", "pasta sauce", "brown rice", "peanut butter")),
    ),
}
_ATTRIBUTES: dict[str, list[str]] = {
    "clothing": [
        "machine washable",
        "slim fit",
        "quick drying",
        "moisture wicking",
        "long sleeve",
        "elastic waist",
        "water resistant",
        "non slip",
        "classic fit",
        "organic cotton",
        "arch support",
        "wrinkle free",
    ],
    "electronics": [
        "noise cancelling",
        "fast charging",
        "long battery life",
        "easy to carry",
        "plug and play",
        "water proof",
        "high speed",
        "aluminium alloy",
        "hands free",
        "high resolution",
        "heavy duty",
        "ultra thin",
    ],
    "home": [
        "easy to clean",
        "solid wood",
        "space saving",
        "dishwasher safe",
        "easy to assemble",
        "stainless steel",
        "energy efficient",
        "non stick",
        "eco friendly",
        "hand made",
        "mid century",
        "super soft",
    ],
    "beauty": [
        "cruelty free",
        "fragrance free",
        "oil free",
        "long lasting",
        "sulfate free",
        "natural ingredients",
        "sensitive skin",
        "travel size",
        "dermatologist tested",
        "alcohol free",
        "paraben free",
        "vitamin rich",
    ],
    "food": [
        "gluten free",
        "low sugar",
        "high protein",
        "dairy free",
        "non gmo",
        "usda organic",
        "nut free",
        "plant based",
        "low sodium",
        "fair trade",
        "keto friendly",
        "individually wrapped",
    ],
}
_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "clothing": {"color": tuple(_COLOURS), "size": ("small", "medium", "large", "xl")},
    "electronics": {"color": tuple(_COLOURS[:5]), "style": ("basic", "pro", "travel kit")},
    "home": {"color": tuple(_COLOURS), "size": ("single", "double", "family")},
    "beauty": {"scent": ("unscented", "lavender", "citrus", "mint"), "size": ("50 ml", "100 ml")},
    "food": {
        "flavor": ("original", "vanilla", "spicy", "honey"),
        "size": ("single pack", "six pack"),
    },
}
_BRANDS = [
    "Alder",
    "Brightwell",
    "Corvia",
    "Dunmore",
    "Everline",
    "Fennick",
    "Granby",
    "Hollis",
    "Ivorra",
    "Juniper",
    "Kestrel",
    "Lumen",
    "Marlow",
    "Norvik",
    "Oakham",
    "Penrose",
    "Quillon",
    "Ridgeway",
    "Sorrel",
    "Tamsin",
]
_PRAISE = ("Arrived quickly", "Just as described", "Would buy again", "Good value", "Not bad")


@dataclass(frozen=True)
class Item:
    """Something to buy; prices are in dollars."""

    code: str
    title: str
    query: str
    category: tuple[str, str, str]
    attributes: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    price: float
    description: str
    features: tuple[str, ...]
    reviews: tuple[str, ...]


@dataclass(frozen=True)
class Goal:
    """What the customer wants: an item like this, with these attributes and options."""

    item: Item
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    price_limit: float

    @property
    def instruction(self) -> str:
        """The wish in words."""
        wish = f"I am looking for {' and '.join(self.attributes)} {self.item.category[2]}"
        chosen = "".join(f", {name}: {value}" for name, value in self.options)
        return f"{wish}{chosen}, and price lower than {self.price_limit:.2f} dollars."


GOALS = 1 << 62
"""Numbers of wishes; so many more than there are wishes that all are drawn equally often."""


def make_catalogue(seed: int, size: int) -> tuple[Item, ...]:
    """Return the items of a shop, the same for the same seed and size."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, size])))
    return tuple(_item(rng, k) for k in range(size))


def _item(rng: np.random.Generator, number: int) -> Item:
    department = list(_DEPARTMENTS)[int(rng.integers(len(_DEPARTMENTS)))]
    sections = _DEPARTMENTS[department]
    section, products = sections[int(rng.integers(len(sections)))]
    product = products[int(rng.integers(len(products)))]
    pool = _ATTRIBUTES[department]
    chosen = [pool[k] for k in sorted(rng.choice(len(pool), int(rng.integers(3, 6)), False))]
    named = int(rng.integers(1, 3))
    options = {}
    for name, values in _OPTIONS[department].items():
        few = int(rng.integers(2, len(values) + 1))
        options[name] = tuple(values[k] for k in sorted(rng.choice(len(values), few, False)))
    brand = _BRANDS[int(rng.integers(len(_BRANDS)))]
    titled = ", ".join(a.title() for a in chosen[:named])
    price = round(float(np.exp(rng.uniform(np.log(5), np.log(200)))), 2)
    reviews = [str(_PRAISE[int(rng.integers(len(_PRAISE)))]) for _ in range(3)]
    return Item(
        code=f"B{number:06d}",
        title=f"{brand} {product.title()}, {titled}",
        query=section,
        category=(department, section, product),
        attributes=tuple(chosen),
        options=options,
        price=price,
        description=f"{product.capitalize()} by {brand}. It is {chosen[-1]}.",
        features=tuple(a.capitalize() for a in chosen[named:]),
        reviews=tuple(f"{text}. {int(rng.integers(2, 6))} stars" for text in reviews),
    )


def make_goal(rng: np.random.Generator, items: tuple[Item, ...]) -> Goal:
    """Return a wish that one of the items fulfils."""
    return goal_of(int(rng.integers(GOALS)), items)


def goal_of(number: int, items: tuple[Item, ...]) -> Goal:
    """Return the wish of a number below :data:`GOALS`: its digits say what is wanted."""
    number, k = divmod(number, len(items))
    item = items[k]
    number, k = divmod(number, min(3, len(item.attributes)))
    subsets = list(combinations(item.attributes, k + 1))
    number, k = divmod(number, len(subsets))
    attributes, options = subsets[k], []
    for name, values in item.options.items():
        number, k = divmod(number, len(values))
        options.append((name, values[k]))
    limit = float(math.ceil(item.price / 10) * 10 + 10 * (number % 3))
    return Goal(item, attributes, tuple(options), limit)


def reward_of(goal: Goal, item: Item, chosen: dict[str, str]) -> float:
    """Return what buying an item with these options is worth to the customer, 0-1.

    r = r_type (attributes hit + options hit + [price <= limit]) / (attributes + options + 1)
    (WebShop, Yao et al. 2022, eq. 1).

    Args:
        goal: The wish.
        item: What is bought.
        chosen: The option chosen of each kind.
    """
    hits = sum(_has(item, wanted) for wanted in goal.attributes)
    for _, wanted in goal.options:
        hits += any(token_set_ratio(wanted, value) > 85 for value in chosen.values())
    hits += item.price <= goal.price_limit
    share = hits / (len(goal.attributes) + len(goal.options) + 1)
    return type_factor(goal.item, item) * share


def type_factor(wanted: Item, bought: Item) -> float:
    """Return how far two items are of one kind: 1, 0.5, 0.1 or 0.

    The overlap of titles is the share of the wanted title's words that are in the other title.
    """
    own, other = set(words_of(wanted.title)), set(words_of(bought.title))
    overlap = len(own & other) / len(own) if own else 0.0
    levels = sum(a == b for a, b in zip(wanted.category, bought.category, strict=True))
    if wanted.query == bought.query or levels >= 2 or overlap > 0.2:
        return 1.0
    if overlap == 0:
        return 0.0
    return 0.1 if overlap < 0.1 else 0.5


def _has(item: Item, wanted: str) -> bool:
    if any(token_set_ratio(wanted, attribute) > 85 for attribute in item.attributes):
        return True
    text = " ".join((item.title, *item.features, item.description)).lower()
    return wanted.lower() in text
