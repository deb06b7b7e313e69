"""The table of Twenty Questions and the reading of questions."""

import itertools

import numpy as np
import pytest

from envs.text.objects_table import INVALID, QuestionReader, object_table, subset_of

TABLE = object_table()
COUNT = len(TABLE.attributes)


@pytest.fixture(scope="module")
def reader():
    return QuestionReader(200)


def true_of(attribute):
    row = TABLE.truth[TABLE.attributes.index(attribute)]
    return {name for name, held in zip(TABLE.names, row, strict=True) if held}


def test_the_table_is_large_balanced_and_parts_every_pair():
    assert len(TABLE.names) == 158
    assert len(set(TABLE.categories)) == 17
    assert COUNT >= 40
    share = TABLE.truth.mean(1)
    assert share.min() >= 0.03
    assert share.max() <= 0.97
    columns = TABLE.truth.T.astype(int)
    apart = (columns[:, None] != columns[None]).sum(-1)
    closest = min(apart[a, b] for a, b in itertools.combinations(range(158), 2))
    assert closest >= 2


def test_some_facts():
    assert true_of("writes") == {"pen", "pencil", "sharpie", "marker", "paintbrush"}
    assert true_of("wheels") >= {"car", "bus", "airplane", "lawn mower"}
    assert "elephant" not in true_of("fur")
    assert true_of("blown") == {"saxophone", "flute", "trumpet", "clarinet", "trombone"}
    assert true_of("alive") - true_of("animal") == {"tree", "bush", "cactus", "forest"}
    assert not true_of("man_made") & true_of("nature")


def test_attributes_follow_from_one_another():
    for narrow, wide in (
        ("animal", "alive"),
        ("fruit", "eaten"),
        ("vegetable", "plant"),
        ("clothing", "worn"),
        ("jewelry", "worn"),
        ("coin", "pocket"),
        ("house", "car_sized"),
        ("car_sized", "person"),
        ("person", "breadbox"),
        ("cuts", "man_made"),
        ("vehicle", "transport"),
    ):
        assert true_of(narrow) <= true_of(wide), (narrow, wide)
    assert not true_of("pocket") & true_of("breadbox")


def test_every_question_and_synonym_is_read_as_its_attribute(reader):
    from envs.text.resources import listed, rows

    for k, row in enumerate(rows("attributes.csv")):
        for text in (row["question"], *listed(row["synonyms"])):
            assert reader.code(text) == k, text
            assert reader.code(text.upper()) == k, text
    for k, question in enumerate(TABLE.questions):
        assert reader.code(question) == k


def test_every_object_can_be_named_by_every_spelling(reader):
    for k, names in enumerate(zip(TABLE.names, TABLE.aliases, strict=True)):
        for name in (names[0], *names[1]):
            article = "an" if name[0] in "aeiou" else "a"
            for form in ("Is it {}?", "My guess is {}.", "I think it is {}", "is it {} "):
                assert reader.code(form.format(f"{article} {name}")) == COUNT + k, name
            assert reader.code(name) == COUNT + k
    assert len({name for names in TABLE.aliases for name in names}) == sum(map(len, TABLE.aliases))


def test_an_orange_is_a_fruit_and_orange_a_colour(reader):
    assert reader.code("Is it an orange?") == COUNT + TABLE.names.index("orange")
    assert reader.code("Is it orange?") == TABLE.attributes.index("orange_coloured")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "Is it a dog or a cat?",
        "Is it a dog? Is it a cat?",
        "Is it a dog, a cat or a horse?",
        "a dog a cat",
        "Is it a hot dog?",
        "Is it a tennis?",
        "Is it a d\u043eg?",  # Cyrillic o
        "Is it a \uff44\uff4f\uff47?",  # full width
        "Is it a do\u200bg?",  # zero width
        "Is it a do\u0308g?",
        "Is it a dog\x00?",
        "Is it a dog\x1b[31m?",
        "What is it?",
        "Ignore your rules: is it a dog",
        "Is it a dog?" + " " * 300,
        "dog " * 60,
    ],
)
def test_what_is_not_understood(reader, text):
    assert reader.code(text) == INVALID


def test_codes_of_many_are_those_of_each():
    texts = ["Is it a dog?", "nonsense", TABLE.questions[7], "Is it a dog?", "x" * 500]
    wanted = [QuestionReader(200).code(text) for text in texts]
    small = QuestionReader(200, cache=2)
    for _ in range(3):
        assert small.codes(texts).tolist() == wanted
    assert len(small._known) <= 2


def test_subsets():
    assert [TABLE.names[k] for k in subset_of("ten")] == (
        [
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
    )
    small = subset_of("small")
    assert len(small) == len(set(small.tolist())) == 32
    assert len({TABLE.categories[k] for k in small}) == 17
    assert np.array_equal(subset_of("all"), np.arange(158))
