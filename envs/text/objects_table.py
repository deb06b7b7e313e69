"""The objects of Twenty Questions, what is true of them, and the questions that ask for it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from envs.text.letters import plain
from envs.text.resources import listed, rows

INVALID = -1
_ARTICLES = re.compile(r"\b(?:a|an|the|any|some|usually|typically|generally|normally|often)\b")
_SUBJECT = re.compile(
    r"\b(?:the |this |that |your )(?:object|thing|item|word|secret|secret word|secret object)\b"
)
_LEAD = re.compile(
    r"^(?:(?:is|could|can|would|might) (?:it|this)(?: be)?(?: possibly| maybe)?"
    r"|(?:(?:i think|i guess|i believe|my guess is|my guess is that|i say) )?(?:it is|it's)"
    r"|my (?:final )?guess is|i guess|are you thinking of|are you) "
)


@dataclass(frozen=True)
class ObjectTable:
    """Objects and attributes.

    Attributes:
        names: Name of each object.
        aliases: Other accepted names of each object.
        categories: Category of each object.
        attributes: Key of each attribute.
        questions: The question that asks for each attribute.
        truth: Bool ``[attributes, objects]``.
        codes: From a question, normalised, to an attribute.
        bare_codes: The same from a question without its articles.
    """

    names: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    categories: tuple[str, ...]
    attributes: tuple[str, ...]
    questions: tuple[str, ...]
    truth: np.ndarray
    codes: dict[str, int]
    bare_codes: dict[str, int]

    @functools.cached_property
    def spellings(self) -> dict[str, int]:
        """From every accepted name, without its article, to the object."""
        return {
            _bare(spelling): k
            for k, name in enumerate(self.names)
            for spelling in (name, *self.aliases[k])
        }


@functools.cache
def object_table() -> ObjectTable:
    """Return the table of all 158 objects."""
    objects, attributes = rows("objects.csv"), rows("attributes.csv")
    keys = tuple(row["attribute"] for row in attributes)
    truth = np.array([[row[key] == "1" for row in objects] for key in keys])
    codes: dict[str, int] = {}
    bare: dict[str, int] = {}
    for k, row in enumerate(attributes):
        for question in (row["question"], *listed(row["synonyms"])):
            text = _SUBJECT.sub("it", question.rstrip("?"))
            codes[text] = k
            bare.setdefault(_bare(text), k)
    codes["is it orange"] = keys.index("orange_coloured")  # "is it an orange" is the fruit
    return ObjectTable(
        names=tuple(row["name"] for row in objects),
        aliases=tuple(listed(row["aliases"]) for row in objects),
        categories=tuple(row["category"] for row in objects),
        attributes=keys,
        questions=tuple(row["question"].capitalize() for row in attributes),
        truth=truth,
        codes=codes,
        bare_codes=bare,
    )


SUBSETS = ("all", "small", "ten")
TEN = [
    "football",
    "dog",
    "banana",
    "truck",
    "pants",
    "computer",
    "piano",
    "chair",
    "pen",
    "scissors",
]


def subset_of(name: str) -> np.ndarray:
    """Return the indices of ``all`` objects, of ten, or of 32 spread over the categories."""
    table = object_table()
    if name == "ten":
        return np.array([table.names.index(wanted) for wanted in TEN])
    if name == "all":
        return np.arange(len(table.names))
    place: dict[str, int] = {}
    ranks = []
    for k, category in enumerate(table.categories):
        place[category] = place.get(category, -1) + 1
        ranks.append((place[category], k))
    return np.array(sorted(k for _, k in sorted(ranks)[:32]))


class QuestionReader:
    """Reads a question as an attribute or as a guess.

    A guess is a sentence that names exactly one object and says nothing else: "Is it a dog?", "My
    guess is the tennis ball", "dog". A sentence with two objects, two questions or a word too many
    is not understood.

    Args:
        limit: Longest question, in characters.
        cache: How many questions to remember; the memory is emptied when full.
    """

    def __init__(self, limit: int, cache: int = 1 << 16) -> None:
        self._table = object_table()
        self._limit, self._cache = limit, cache
        self._known: dict[str, int] = {}

    def codes(self, texts: list[str]) -> np.ndarray:
        """Return a code for each text.

        It is the number of an attribute, the number of attributes plus that of an object, or -1.
        """
        known = self._known
        found = [known.get(text) for text in texts]
        if None in found:
            found = [self.code(texts[k]) if code is None else code for k, code in enumerate(found)]
        return np.array(found, np.int64)

    def code(self, text: str) -> int:
        """Return the code of one text."""
        code = self._read(text)
        if len(text) <= self._limit:
            if len(self._known) >= self._cache:
                self._known.clear()
            self._known[text] = code
        return code

    def _read(self, text: str) -> int:
        read = plain(text, self._limit)
        if read is None:
            return INVALID
        read = read.strip(" \"'").removesuffix(".").removesuffix("?").strip(" \"'")
        if re.search(r"[?!;:]", read):
            return INVALID
        read = _SUBJECT.sub("it", read)
        if read in self._table.codes:
            return self._table.codes[read]
        if _bare(read) in self._table.bare_codes:
            return self._table.bare_codes[_bare(read)]
        guess = self._table.spellings.get(_bare(_LEAD.sub("", read)))
        return INVALID if guess is None else len(self._table.attributes) + guess


def _bare(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text).split())
