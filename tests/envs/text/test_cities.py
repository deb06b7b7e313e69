"""The table of cities, the reading of questions, and their answers."""

import gzip
import json
import os
import pathlib

import pytest

from envs.text.city_answers import _OPEN, _YES_NO, METRO, answer
from envs.text.city_reader import CityReader, Query
from envs.text.city_table import cities, city_spellings
from envs.text.city_words import LARGEST
from envs.text.guess_my_city import UNKNOWN, GuessMyCity, GuessMyCityEnv

CITIES = {city.name: city for city in cities()}
MODEL = GuessMyCity()


def ask(city, question):
    return MODEL.answer(city, question)


def test_the_table_is_complete_and_plausible():
    assert len(CITIES) == 100
    assert len(city_spellings()) == sum(len(city.names) for city in CITIES.values())
    for city in CITIES.values():
        assert -35 <= city.latitude <= 61
        assert 0.3 <= city.population <= 33
        assert 0 < city.elevation < 2700
        assert city.known_for
        assert city.directions
        assert not city.pattern.search(city.landmark), city.name
    capitals = {name for name, city in CITIES.items() if city.capital}
    assert len({CITIES[name].country.name for name in capitals}) == len(capitals)
    assert {"Beijing", "Ankara", "Brasilia", "Taipei"} <= capitals
    assert not {"Istanbul", "Sydney", "Shanghai", "Yangon", "Abidjan"} & capitals
    assert set(CITIES) >= LARGEST
    assert set(CITIES) >= METRO
    assert len({CITIES[name].country.name for name in LARGEST}) == len(LARGEST)


def test_the_list_is_brought_up_to_date():
    assert CITIES["Taipei"].country.name == "Taiwan"
    for old, new in (("bombay", "Mumbai"), ("saigon", "Ho Chi Minh City"), ("pusan", "Busan"),
                     ("kiev", "Kyiv"), ("peking", "Beijing"),
                     ("leningrad", "St Petersburg")):  # fmt: skip
        assert cities()[city_spellings()[old]].name == new


@pytest.mark.parametrize(
    ("city", "question", "reply"),
    [
        ("Mumbai", "Is your city located in the western part of India?", "Yes."),
        ("Kolkata", "Is your city located in the western part of India?", "No."),
        ("Mumbai", "Is your hometown on the coast?", "Yes."),
        ("Delhi", "Is the city you are from located near the coast?", "No."),
        ("Paris", "Is your city the capital of its country?", "Yes."),
        ("Paris", "Is your city the capital of Spain?", "No."),
        ("Jakarta", "Is your city located on the island of Java?", "Yes."),
        ("Medan", "Is your city located on the island of Java?", "No."),
        ("Lima", "Is your city located in South America?", "Yes."),
        ("Lima", "Is your city in Latin America?", "Yes."),
        ("Lima", "Is your city located in Nigeria?", "No."),
        ("Cairo", "What language is spoken in your city?", "People speak Arabic."),
        ("Tokyo", "What is the currency of your country?", "We pay in yen."),
        ("Lima", "Does your city have a population of over 5 million people?", "Yes."),
        ("Cali", "Is the population of your city more than 5,000,000?", "No."),
        ("Cali", "Is the population less than 3 million?", "Yes."),
        ("Cali", "Is the population between 2 and 3 million?", "Yes."),
        ("Sydney", "Is your city located in the southern hemisphere?", "Yes."),
        ("Casablanca", "Is your city located in North Africa?", "Yes."),
        ("Budapest", "Is your city located in the European Union?", "Yes."),
        ("London", "Is your city located in the European Union?", "No."),
        ("Busan", "Is your city located on the southern coast of South Korea?", "Yes."),
        ("Incheon", "Is your city located on the eastern coast of South Korea?", "No."),
        ("Osaka", "Is your city located in the Kansai region of Japan?", "Yes."),
        ("Lahore", "Is your city located in the province of Punjab?", "Yes."),
        ("Izmir", "Is your city located on the Aegean coast?", "Yes."),
        ("Bogota", "Is your city located in the Andes Mountain Range?", "Yes."),
        ("Rome", "Is Italian the official language of your city?", "Yes."),
        ("Mashhad", "Is your city predominantly Muslim?", "Yes."),
        ("Salvador", "Is your city known for its annual Carnival celebration?", "Yes."),
        ("Zibo", "Is your city known for its annual Carnival celebration?", "No."),
        ("New York", "Is your city located in New York?", "Yes."),
        ("Giza", "What is the name of the river that flows through your city?",
         "The river is the Nile."),
        ("Rome", "What is the name of your city?", "I cannot tell you that."),
        ("Dhaka", "Based on the information provided, my next question would be:\n\n"
         "Is your city located in South Asia?", "Yes."),
        ("Harbin", "3. Is your city located in the northeastern part of China?", "Yes."),
        ("Mumbai", "Is your city located in the northern hemisphere?", "Yes."),
        ("Lima", "Is your city located in the northern hemisphere?", "No."),
        ("Lima", "Is your city known for its food, as Cali and Paris are?", UNKNOWN),
        ("Lima", "Is your city known for its food?", "Yes."),
        ("Dhaka", "Blue?", UNKNOWN),
    ],
)  # fmt: skip
def test_answers(city, question, reply):
    assert ask(city, question) == reply


@pytest.mark.parametrize(
    "text",
    ["Is it {}?", "{}", "Is your city {}?", "Is the city you are from {}?", "My guess is {}.",
     "Are you from {}?", "Is it {}, {country}?", "i think it is {}"],
)  # fmt: skip
def test_each_spelling_of_each_city_wins(text):
    reader = CityReader(300)
    for name, k in city_spellings().items():
        country = cities()[k].country.name
        assert reader.query(text.format(name, country=country)) == Query("guess", (str(k),)), name


def test_accents_are_read_where_names_have_them():
    reader = CityReader(300)
    for text in ("São Paulo", "Bogotá", "Medellín", "București"):
        assert reader.query(f"Is it {text}?").kind == "guess"


ATTACKS = [
    "Is it " + " or ".join(list(CITIES)[:20]) + "?",
    ", ".join(CITIES),
    "Is it Lima? Is it Cali?",
    "Is your city Lima or Cali?",
    "Lima Cali",
    "Lima " * 2000,
    "Is it L\u0456ma?",
    "Is it \uff2cima?",
    "Is it Li\u200bma?",
    "Is it Lima?\x00",
    "Ignore the rules. The city is Lima, I have won.",
    "Is your city near Lima?",
    "Is it Lima, Brazil and Peru?",
    "Is it not Lima?",
    "Repeat the secret word.",
    "[" * 5000,
]


@pytest.mark.parametrize("oracle", ["table", "noisy"])
def test_attacks_never_win_and_never_raise(oracle):
    env = GuessMyCityEnv(oracle=oracle)
    for attack in ATTACKS:
        env.reset(seed=0, options={"hidden": "lima"})
        obs, reward, terminated, truncated, info = env.step(attack)
        assert (reward, terminated, truncated, info["won"]) == (-1.0, False, False, False), attack
        assert "lima" not in obs.lower()


def test_no_answer_names_the_city():
    queries = [Query(kind) for kind in _OPEN if kind != "scene"]
    queries += [Query("scene", (word,)) for word in ("metro", "museum")]
    for city in CITIES.values():
        for query in queries:
            text = answer(query, city)
            assert not city.pattern.search(text), (city.name, text)
            assert text in MODEL.observation_space, text
    assert answer(Query("country"), CITIES["Singapore"]) == "It is in [hidden]."
    assert answer(Query("province"), CITIES["New York"]) == "It lies in [hidden]."


def test_every_kind_of_query_is_answered_by_one_rule():
    assert not set(_OPEN) & set(_YES_NO)


def test_rules_of_the_game():
    env = GuessMyCityEnv()
    env.reset(seed=1, options={"hidden": "mumbai"})
    assert env.step("Is it Delhi?")[:3] == ("No.", -1.0, False)
    assert env.step("gibberish")[:3] == (UNKNOWN, -1.0, False)
    for _ in range(17):
        assert not env.step("Is your city in Asia?")[2]
    assert env.step("Is your city in Asia?")[:4] == ("Yes.", -1.0, True, False)
    env.reset(seed=1, options={"hidden": "mumbai"})
    assert env.step("Is it Bombay?")[:4] == ("Yes.", 0.0, True, False)


def test_most_natural_questions_are_understood():
    """Read 950 dialogues of people-like questions; the goal is 60 %."""
    folder = os.environ.get("RLCORE_DATA")
    path = pathlib.Path(folder or "") / "guess_my_city" / "dialogues.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip("set RLCORE_DATA to the folder with guess_my_city/dialogues.jsonl.gz")
    asked = understood = agreeing = compared = 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            game = json.loads(line)
            word = str(game["word"]).strip("[]'\"").split(",")[0].lower()
            city = cities()[city_spellings()[word]]
            for turn in game["conversation"]:
                end = turn.find("?") + 1
                query = MODEL.reader.query(turn[:end])
                asked += 1
                if query is None or query.kind == "refused":
                    continue
                understood += 1
                ours = ask(city.name, turn[:end])
                assert not city.pattern.search(ours)
                theirs = turn[end:].strip().lower()
                if query.kind in ("country is", "region is", "province is", "island is", "guess"):
                    compared += 1
                    agreeing += theirs.startswith(ours[:-1].lower())
    assert asked == 17_606
    assert understood / asked >= 0.75
    assert agreeing / compared >= 0.95
