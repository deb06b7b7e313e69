"""The cities of Guess My City and what is known of them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from envs.text.resources import listed, rows


@dataclass(frozen=True)
class Country:
    """A country; ``places`` are its continent and regions in lower case."""

    name: str
    aliases: tuple[str, ...]
    continent: str
    regions: tuple[str, ...]
    languages: tuple[str, ...]
    currency: str
    religion: tuple[str, ...]
    dishes: tuple[str, ...]

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Every name of the country in lower case."""
        return frozenset(name.lower().rstrip(".") for name in (self.name, *self.aliases))

    @functools.cached_property
    def places(self) -> frozenset[str]:
        """Continent and regions in lower case."""
        return frozenset(name.lower() for name in (self.continent, *self.regions))


@dataclass(frozen=True)
class City:
    """A city; units: population in millions, degrees, metres above the sea."""

    name: str
    aliases: tuple[str, ...]
    country: Country
    provinces: tuple[str, ...]
    directions: frozenset[str]
    coast: str
    rivers: tuple[str, ...]
    capital: bool
    population: float
    latitude: float
    longitude: float
    elevation: float
    climate: str
    island: str
    mountains: str
    landmark: str
    known_for: frozenset[str]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Every spelling of the name in lower case, plain letters."""
        return tuple(dict.fromkeys(unaccented(n.lower()) for n in (self.name, *self.aliases)))

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches any spelling of the name as a whole word."""
        longest = sorted(self.names, key=len, reverse=True)
        return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)", re.I)

    def mask(self, text: str) -> str:
        """Return ``text`` with the city's own names hidden."""
        return self.pattern.sub("[hidden]", text)


_ACCENTS = str.maketrans(
    "áàâãäåéèêëíìîïóòôõöúùûüçñșşțţăğıøýž", "aaaaaaeeeeiiiiooooouuuucnssttagioyz"
)


def unaccented(text: str) -> str:
    """Return lower-case ``text`` with the accented Latin letters of city names made plain."""
    return text.translate(_ACCENTS)


@functools.cache
def cities() -> tuple[City, ...]:
    """Return the 100 cities."""
    countries = {row["name"]: _country(row) for row in rows("countries.csv")}
    return tuple(_city(row, countries) for row in rows("cities.csv"))


@functools.cache
def city_spellings() -> dict[str, int]:
    """From every spelling of every city, in lower case, to its number."""
    return {name: k for k, city in enumerate(cities()) for name in city.names}


def _country(row: dict[str, str]) -> Country:
    return Country(
        name=row["name"],
        aliases=listed(row["aliases"]),
        continent=row["continent"],
        regions=listed(row["regions"]),
        languages=listed(row["languages"]),
        currency=row["currency"],
        religion=listed(row["religion"]),
        dishes=listed(row["dishes"]),
    )


def _city(row: dict[str, str], countries: dict[str, Country]) -> City:
    return City(
        name=row["name"],
        aliases=listed(row["aliases"]),
        country=countries[row["country"]],
        provinces=listed(row["province"]),
        directions=frozenset(listed(row["direction"])),
        coast=row["coast"],
        rivers=listed(row["river"]),
        capital=row["capital"] == "1",
        population=float(row["population_millions"]),
        latitude=float(row["latitude"]),
        longitude=float(row["longitude"]),
        elevation=float(row["elevation_m"]),
        climate=row["climate"],
        island=row["island"],
        mountains=row["mountains"],
        landmark=row["landmark"],
        known_for=frozenset(listed(row["known_for"])),
    )
