"""Answers to queries about a city, by templates over the table."""

from __future__ import annotations

from collections.abc import Callable

from envs.text.city_reader import Query
from envs.text.city_table import City
from envs.text.city_words import CLIMATES, DIRECTIONS, EUROPEAN_UNION, LARGEST

INDUSTRIES = [
    "finance",
    "port",
    "tech",
    "automotive",
    "textile",
    "film",
    "oil",
    "industry",
    "fashion",
    "coffee",
    "tea",
    "leather",
    "coal",
    "mining",
    "universities",
    "government",
]
METRO = frozenset(
    """Seoul|Sao Paulo|Mumbai|Jakarta|Moscow|Istanbul|Mexico City|Shanghai|Tokyo|New York|Bangkok|
    Beijing|Delhi|London|Hong Kong|Cairo|Tehran|Tianjin|Lima|Rio de Janeiro|Lahore|Santiago|
    St Petersburg|Shenyang|Kolkata|Wuhan|Sydney|Guangzhou|Singapore|Chennai|Busan|Los Angeles|
    Yokohama|Dhaka|Berlin|Bangalore|Hyderabad|Chongqing|Ho Chi Minh City|Harbin|Ankara|Buenos Aires|
    Chengdu|Ahmedabad|Chicago|Xian|Madrid|Pyongyang|Nanjing|Rome|Taipei|Osaka|Kyiv|Toronto|Dalian|
    Daegu|Addis Ababa|Jinan|Salvador|Incheon|Giza|Changchun|Nagoya|Belo Horizonte|Paris|Tashkent|
    Fortaleza|Qingdao|Izmir|Taiyuan|Brasilia|Bucharest|Quezon City|Mashhad|Medellin|Kanpur|Budapest|
    Caracas""".replace("\n    ", "").split("|")
)
"""Cities with a metro or other urban railway of its own track."""

REFUSAL = "I cannot tell you that."


def answer(query: Query, city: City) -> str:
    """Return the answer to any query but a guess; the city's own names are masked."""
    if query.kind in _YES_NO:
        return "Yes." if _YES_NO[query.kind](city, *query.arguments) else "No."
    return city.mask(_OPEN[query.kind](city, *query.arguments))


def _listed(words: tuple[str, ...] | list[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def _in_place(city: City, kind: str, name: str) -> bool:
    if kind == "country is":
        return name == city.country.name or name in city.country.names
    if kind == "region is":
        return _region(city, name)
    if kind == "province is":
        return name in {province.lower() for province in city.provinces}
    if kind == "island is":
        return name == city.island.lower()
    return True


def _region(city: City, name: str) -> bool:
    continent = city.country.continent.lower()
    if name == "eurasia":
        return continent in ("europe", "asia")
    if name == "americas":
        return continent in ("north america", "south america")
    if name == "european union":
        return city.country.name in EUROPEAN_UNION
    if name == "europe" and city.name == "Istanbul":  # it lies on both sides of the strait
        return True
    return name in city.country.places


def _coast_of(city: City, way: str, kind: str, name: str) -> bool:
    if not city.coast or not _in_place(city, kind, name):
        return False
    return not way or bool(city.directions & DIRECTIONS[way])


def _direction(city: City, way: str, kind: str, name: str) -> bool:
    return _in_place(city, kind, name) and bool(city.directions & DIRECTIONS[way])


def _mountains(city: City, name: str) -> bool:
    if name:
        return name in city.mountains.lower()
    return bool(city.mountains) or city.elevation >= 1000


def _climate(city: City, name: str) -> bool:
    groups = {
        "tropical": ("tropical",),
        "continental": ("continental",),
        "arid": ("arid", "semi-arid"),
        "mediterranean": ("mediterranean",),
        "temperate": ("temperate", "mediterranean", "highland"),
    }
    return city.climate in groups[name]


def _religion(city: City, name: str) -> bool:
    stems = {"catholic": "christian", "muslim": "islam"}
    return any(w.lower().startswith(stems.get(name, name)) for w in city.country.religion)


def _hemisphere(city: City, way: str) -> bool:
    return {
        "north": city.latitude > 0,
        "south": city.latitude < 0,
        "east": city.longitude > 0,
        "west": city.longitude < 0,
    }.get(way, False)


_YES_NO: dict[str, Callable[..., bool]] = {
    "country is": lambda city, name: _in_place(city, "country is", name),
    "region is": _region,
    "province is": lambda city, name: _in_place(city, "province is", name),
    "island is": lambda city, name: _in_place(city, "island is", name),
    "on island": lambda city: bool(city.island),
    "direction": _direction,
    "hemisphere is": _hemisphere,
    "coastal": lambda city: bool(city.coast),
    "coast of": _coast_of,
    "inland": lambda city: not city.coast,
    "sea is": lambda city, name: name in city.coast.lower(),
    "river is": lambda city, name: (
        name in [r.lower() for r in city.rivers] if name else bool(city.rivers)
    ),
    "mountains are": _mountains,
    "near equator": lambda city: abs(city.latitude) <= 10,
    "high up": lambda city: city.elevation >= 1000,
    "climate is": _climate,
    "capital": lambda city: city.capital,
    "capital of": lambda city, name: city.capital and _in_place(city, "country is", name),
    "largest": lambda city: city.name in LARGEST,
    "largest in": lambda city, name: city.name in LARGEST and _in_place(city, "country is", name),
    "population over": lambda city, value: city.population > float(value),
    "population under": lambda city, value: city.population < float(value),
    "population between": lambda city, low, high: float(low) <= city.population <= float(high),
    "language is": lambda city, name: name in [w.lower() for w in city.country.languages],
    "religion is": _religion,
    "known for": lambda city, *tags: bool(city.known_for & set(tags)),
}


def _water(city: City) -> str:
    return f"It lies on the coast: {city.coast}." if city.coast else "It lies inland."


def _location(city: City) -> str:
    north = "north" if city.latitude >= 0 else "south"
    east = "east" if city.longitude >= 0 else "west"
    return (
        f"It lies in {city.country.continent}, at about {abs(city.latitude):.0f} degrees {north} "
        f"and "
        f"{abs(city.longitude):.0f} degrees {east}, {city.elevation:.0f} metres above the sea. "
        + _water(city)
    )


def _scene(city: City, word: str) -> str:
    if word in ("transport", "metro", "subway"):
        rail = "a metro or urban railway" if city.name in METRO else "no metro"
        return f"There are buses and taxis, and there is {rail}."
    return _fame(city)


def _fame(city: City) -> str:
    return f"My city is known for: {', '.join(sorted(city.known_for))}."


def _industry(city: City) -> str:
    found = [name for name in INDUSTRIES if name in city.known_for]
    return f"Important are {_listed(found)}." if found else "Trade and services."


def _province(city: City) -> str:
    if not city.provinces:
        return "That would say too much."
    return f"It lies in {_listed(city.provinces)}."


_OPEN: dict[str, Callable[..., str]] = {
    "refused": lambda city: REFUSAL,
    "language": lambda city: f"People speak {_listed(city.country.languages)}.",
    "dishes": lambda city: f"Typical dishes are {_listed(city.country.dishes)}.",
    "climate": lambda city: CLIMATES[city.climate],
    "population": lambda city: f"About {city.population:g} million people live here.",
    "religion": lambda city: f"The main religion: {_listed(city.country.religion)}.",
    "currency": lambda city: f"We pay in {city.country.currency}.",
    "river": lambda city: (
        f"The river is the {_listed(city.rivers)}." if city.rivers else "There is no large river."
    ),
    "continent": lambda city: f"It is in {city.country.continent}.",
    "country": lambda city: f"It is in {city.country.name}.",
    "province": _province,
    "location": _location,
    "elevation": lambda city: f"It lies about {city.elevation:.0f} metres above the sea.",
    "landmark": lambda city: f"Known sights are {city.landmark}.",
    "industry": _industry,
    "fame": _fame,
    "water": _water,
    "mountains": lambda city: (
        f"The {city.mountains} are near."
        if city.mountains
        else "There are no great mountains here."
    ),
    "hemisphere": lambda city: (
        f"The {'northern' if city.latitude >= 0 else 'southern'} hemisphere."
    ),
    "scene": _scene,
}
