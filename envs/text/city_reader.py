"""Reads a question about a city as one of the queries that the table can answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envs.text.city_patterns import (
    CITY,
    COAST_WORDS,
    DIRECTION,
    GUESS,
    HAVING,
    INTRODUCTION,
    LESS,
    MORE,
    NUMBER,
    OPEN,
    SCENES,
    SIGHTS,
    WATER,
)
from envs.text.city_table import cities, city_spellings, unaccented
from envs.text.city_words import DIRECTIONS, ELSEWHERE, KNOWN_FOR, REGIONS
from envs.text.letters import plain


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a kind and its arguments."""

    kind: str
    arguments: tuple[str, ...] = ()


class CityReader:
    """Reads questions about a city.

    A guess is a sentence that names exactly one city of the game and says nothing else, but for the
    country or province after it ("Is it Lima, Peru?"). A sentence that names two cities is never
    understood.

    Args:
        limit: Longest question, in characters.
        cache: How many questions to remember; the memory is emptied when full.
    """

    def __init__(self, limit: int, cache: int = 1 << 16) -> None:
        self._limit, self._cache = limit, cache
        self._known: dict[str, Query | None] = {}
        self._spellings = city_spellings()
        longest = sorted(self._spellings, key=len, reverse=True)
        self._cities = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)")
        self._countries = {name: c.country.name for c in cities() for name in c.country.names}
        self._provinces = {p.lower() for c in cities() for p in c.provinces}
        self._islands = {c.island.lower() for c in cities() if c.island}
        self._regions = {place for c in cities() for place in c.country.places}
        self._languages = {w.lower() for c in cities() for w in c.country.languages}
        self._religions = ("christian", "catholic", "islam", "muslim", "hindu", "buddh")

    def query(self, text: str) -> Query | None:
        """Return the query of a text, or None where it is not understood."""
        if text in self._known:
            return self._known[text]
        found = self._read(text)
        if len(text) <= self._limit:
            if len(self._known) >= self._cache:
                self._known.clear()
            self._known[text] = found
        return found

    def _read(self, text: str) -> Query | None:
        if len(text) > self._limit:
            return None
        read = plain(unaccented(text.lower()), self._limit)
        if read is None:
            return None
        read = read.replace('"', " ").strip()
        for _ in range(2):
            read = INTRODUCTION.sub("", read).strip()
        if read.count("?") > 1 or ("?" in read and read.rindex("?") != len(read) - 1):
            return None
        read = " ".join(read.rstrip("?. ").split())
        asked = " ".join(CITY.sub("CITY", read).split())
        named = {self._spellings[name] for name in self._cities.findall(read)}
        if len(named) > 1 and not self._is_place(asked):
            return None
        return self._guess(asked) or self._closed(asked) or self._open(asked)

    def _is_place(self, asked: str) -> bool:
        """Whether what looks like two cities is a province or a country (New York, Singapore)."""
        found = re.search(r"\b(?:state|province|department|region|country) of (.+)$", asked)
        return found is not None and self._place(found[1]) is not None

    def _guess(self, asked: str) -> Query | None:
        rest = GUESS.sub("", asked).strip(" ,")
        rest = re.sub(r"^(?:the )?(?:capital )?city of ", "", rest)
        name, _, after = rest.partition(",")
        after = after.strip()
        city = self._spellings.get(name.strip())
        if city is None:
            return None
        if after and self._place(after) is None:
            return None
        return Query("guess", (str(city),))

    def _place(self, words: str) -> Query | None:
        """Return the query for lying in a place."""
        words = re.sub(r"^(?:the )?(?:country|nation|continent) of ", "", words.strip(" ,"))
        inner, of, country = words.rpartition(" of ")
        if (
            of
            and country.removeprefix("the ") in self._countries
            and self._place(inner) is not None
        ):
            return self._place(inner)
        bare = re.sub(r"^the ", "", words)
        bare = re.sub(r" (?:region|continent|area|country)$", "", bare)
        region = REGIONS.get(bare, bare)
        found = re.fullmatch(
            r"(?:the )?(?:state|province|region|department|prefecture|governorate|district|"
            r"metropolitan area|county) of (?:the )?(.+)|(.+) (?:state|province|department|"
            r"prefecture|region)",
            words,
        )
        if found is not None:
            name = (found[1] or found[2]).removeprefix("the ").strip()
            if name in self._provinces:
                return Query("province is", (name,))
        if bare in self._countries:
            return Query("country is", (self._countries[bare],))
        if region in self._regions or region in REGIONS.values():
            return Query("region is", (region,))
        if bare in self._provinces:
            return Query("province is", (bare,))
        if bare in ELSEWHERE:
            return Query("country is", (bare,))
        found = re.fullmatch(r"(?:the )?island of (.+)|(.+) island", words)
        name = bare if found is None else (found[1] or found[2])
        if name in self._islands:
            return Query("island is", (name,))
        return None

    def _closed(self, asked: str) -> Query | None:
        if not re.match(r"(?:is|are|does|do|was|has|have|did|were|can) ", asked):
            return None
        for read in (self._capital, self._size, self._speech, self._where, self._has):
            found = read(asked)
            if found is not None:
                return found
        return None

    def _capital(self, asked: str) -> Query | None:
        found = re.search(r"\bcapital\b(?: city)?(?: of (?P<of>.+))?$", asked)
        if found is None:
            return None
        of = (found["of"] or "").strip()
        if re.match(r"(?:the|a|its|your|CITY's) (?:own )?(?:country|nation)|^$|CITY", of):
            return Query("capital")
        place = self._place(of)
        if place is None or place.kind not in ("country is", "region is"):
            return None
        return Query("capital of", place.arguments) if place.kind == "country is" else None

    def _size(self, asked: str) -> Query | None:
        if re.search(r"\b(?:largest|biggest|most populous|most populated) cit(?:y|ies)\b", asked):
            if re.search(r"\bone of\b|second|third", asked):
                return None
            found = re.search(r"\bin (.+)$", asked)
            place = None if found is None else self._place(found[1])
            own = found is None or re.match(r"(?:its|the|your) (?:country|nation)", found[1])
            if own:
                return Query("largest")
            named = place is not None and place.kind == "country is"
            return Query("largest in", place.arguments) if named and place else None
        if not re.search(r"population|people|inhabitants|residents|populated", asked):
            return None
        between = re.search(rf"between {NUMBER} and (?P<high>\d[\d,.]*) ?(?P<hu>million)?", asked)
        if between is not None:
            high = _value(between["high"], between["hu"])
            low = _value(between["number"], between["unit"] or between["hu"])
            return Query("population between", (str(low), str(high)))
        found = re.search(rf"\b(?P<than>{MORE}|{LESS})\b(?: than)?(?: of)? {NUMBER}", asked)
        if found is None:
            return None
        more = re.fullmatch(MORE, found["than"]) is not None
        value = str(_value(found["number"], found["unit"]))
        return Query("population over" if more else "population under", (value,))

    def _speech(self, asked: str) -> Query | None:
        for name in self._languages:
            if re.search(rf"\b{re.escape(name)}\b", asked) and re.search(
                r"language|spoken|speak", asked
            ):
                return Query("language is", (name,))
        if re.search(r"religion|predominantly|majority|population", asked):
            for name in self._religions:
                if re.search(rf"\b{name}", asked):
                    return Query("religion is", (name,))
        return None

    def _where(self, asked: str) -> Query | None:
        found = re.match(
            r"(?:is|are) (?:CITY|it|you)(?: \w+ly)? ?(?:located|situated|found|based|"
            r"geographically "
            r"located|positioned|from)?(?: \w+ly)? ?"
            r"(?P<how>in|on|at|near|within|along|close to|inside|by|from|part of|next to|a|an|by "
            r"the)? ?(?P<what>.+)$",
            asked,
        )
        if found is None or re.search(r"known|famous|renowned|popular|home to", asked):
            return None
        what = found["what"].strip()
        return (
            self._directed(what)
            or self._place(what)
            or self._landscape(what, asked)
            or self._listed(what)
        )

    def _listed(self, what: str) -> Query | None:
        """Read "Ecuador or Peru" and "Lahore, Pakistan"-like places: the last part counts."""
        name, comma, after = what.rpartition(",")
        if comma and self._place(name) is not None and self._place(after) is not None:
            return self._place(name)
        return None

    def _directed(self, what: str) -> Query | None:
        coast = re.fullmatch(
            rf"(?:the )?(?:{DIRECTION} )?coast(?:line|al area|al region)? of (?P<of>.+)", what
        )
        if coast is not None:
            place = self._place(coast["of"])
            if place is None:
                return None
            way = _direction(coast["way"]) if coast["way"] else ""
            return Query("coast of", (way, place.kind, *place.arguments))
        found = re.fullmatch(
            rf"(?:the )?{DIRECTION}(?: (?:part|region|side|area|half|portion|end|coast|province|"
            rf"section)s?)?"
            r"(?: of| in)? (?P<of>.+)",
            what,
        )
        if found is None or self._place(what) is not None:
            return None
        of = found["of"]
        if re.match(r"(?:its|the|your|CITY's) (?:country|nation)|hemisphere", of):
            if of.startswith("hemisphere"):
                return Query("hemisphere is", (_direction(found["way"]),))
            return Query("direction", (_direction(found["way"]), "", ""))
        place = self._place(of)
        if place is None or place.kind != "country is":
            return None
        return Query("direction", (_direction(found["way"]), place.kind, *place.arguments))

    def _landscape(self, what: str, asked: str) -> Query | None:
        sea = WATER.search(what)
        if sea is not None:
            return Query("sea is", (sea[1].removesuffix(" ocean"),))
        if re.search(r"\bmountain|\bandes\b|\bhimalaya|\bhighlands?\b|\bhilly\b", what):
            range_ = re.search(r"\bandes\b|\bhimalaya|\balborz\b|\balps\b", what)
            return Query("mountains are", (range_[0] if range_ else "",))
        if re.search(r"\bequator\b", what):
            return Query("near equator")
        if re.search(r"\bdesert\b|\barid\b", what):
            return Query("climate is", ("arid",))
        if re.search(r"\btropic", what):
            return Query("climate is", ("tropical",))
        if re.search(r"\briver", what):
            found = re.search(r"\b(?:the )?([a-z]+) river\b|\briver ([a-z]+)\b", what)
            name = (found[1] or found[2]) if found else ""
            known = name not in ("", "a", "the", "major", "large", "famous", "of", "big", "main")
            return Query("river is", (name if known else "",))
        if re.search(r"\binland\b|landlocked", what) and "coast" not in what:
            return Query("inland")
        if COAST_WORDS.search(what) and not re.search(r"lake", what):
            return Query("coastal")
        if re.search(r"\bislands?\b", what):
            return Query("on island")
        if re.search(r"high(?:er)? (?:altitude|elevation)|above sea level", asked):
            return Query("high up")
        return None

    def _has(self, asked: str) -> Query | None:
        """Read questions for what a city has or is known for."""
        if re.search(r"\b(?:known|famous|renowned) for\b", asked):
            return self._tagged(asked)
        if re.search(
            r"\b(?:tropical|humid|hot|warm) (?:climate|weather)|climate (?:tropical|hot|warm)",
            asked,
        ):
            return Query("climate is", ("tropical",))
        if re.search(r"four (?:distinct )?seasons|cold winters|\bsnow|cold climate", asked):
            return Query("climate is", ("continental",))
        if re.search(r"desert climate|dry climate|arid climate", asked):
            return Query("climate is", ("arid",))
        if re.search(r"mediterranean climate", asked):
            return Query("climate is", ("mediterranean",))
        if re.search(r"temperate climate|mild climate", asked):
            return Query("climate is", ("temperate",))
        if re.search(
            r"coastline|coastal|\bon the coast|near the (?:sea|ocean)|access to the sea", asked
        ):
            return Query("coastal")
        if re.search(r"\briver\b", asked):
            return Query("river is", ("",))
        if not HAVING.search(asked):
            return None
        return self._tagged(asked)

    def _tagged(self, asked: str) -> Query | None:
        """Read what a city is said to be known for."""
        if SIGHTS.search(asked):
            return Query("landmark")
        tags: list[str] = []
        for pattern, names in KNOWN_FOR.items():
            if re.search(pattern, asked):
                tags += [tag.strip() for tag in names.split(",")]
        return Query("known for", tuple(sorted(set(tags)))) if tags else None

    def _open(self, asked: str) -> Query | None:
        if not re.match(
            r"(?:what|which|where|how|can you|could you|do you|does|is|are|tell|in what|in which|"
            r"please|name)\b",
            asked,
        ):
            return None
        if re.match(r"(?:is|are|does|do) ", asked) and not re.match(
            r"do you (?:have|know) any|is there (?:a|any)|are there (?:a|any)|does CITY have "
            r"(?:a|any)|is CITY (?:coastal|on the coast or)",
            asked,
        ):
            return None
        for pattern, kind in OPEN:
            if pattern.search(asked):
                if kind == "scene":
                    found = SCENES.search(asked)
                    return Query("scene", (found[0] if found else "",))
                return Query(kind)
        return None


def _value(number: str, unit: str | None) -> float:
    """Return a number of inhabitants in millions."""
    scale = {"million": 1.0, "m": 1.0, "thousand": 1e-3, "billion": 1e3}.get(unit or "", 1e-6)
    try:
        return float(number.replace(",", "").rstrip(".")) * scale
    except ValueError:
        return 0.0


def _direction(words: str) -> str:
    words = words.replace(" ", "").replace("-", "").replace("ern", "")
    if words in ("middle", "center", "centre", "heart", "central"):
        return "central"
    return words if words in DIRECTIONS else words.removesuffix("ern")
