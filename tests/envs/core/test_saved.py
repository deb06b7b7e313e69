"""Copies of a state."""

import json

import numpy as np
import pytest

from envs.core.saved import copied, restored
from envs.testing.traces import same


def state():
    objects = np.empty(2, object)
    objects[0], objects[1] = ["a", ("b", 1)], []
    texts = np.array(["look", "a longer text\x00"], object)
    return {
        "number": np.array([[1.5], [np.nan]]), "flag": np.array([True, False]),
        "letters": np.array(["ab", "c"]), "texts": texts, "lists": objects,
    }  # fmt: skip


def test_a_copy_goes_there_and_back():
    saved = copied(state())
    back = restored("x", saved, 2, None)
    assert same(back, state())
    assert back["lists"][0] == ["a", ("b", 1)]
    text = '{"shape": [2], "objects": [["a", ["b", 1]], []], "tuples": false}'
    assert json.dumps(saved["lists"]) == text
    assert same(restored("x", saved, 2, state()), state())


def test_nothing_is_shared():
    first = state()
    saved = copied(first)
    back = restored("x", saved, 2, None)
    first["number"][:], first["lists"][0][0] = 0, "z"
    assert same(copied(back), copied(state()))
    back["number"][:], back["lists"][1][:] = 0, ["y"]
    assert same(restored("x", saved, 2, None), state())


def test_equal_lists_in_two_cells_stay_cells():
    objects = np.empty(2, object)
    objects[0], objects[1] = [1, 2], [3, 4]
    back = restored("x", copied({"o": objects}), 2, None)
    assert back["o"].shape == (2,)
    assert back["o"].tolist() == [[1, 2], [3, 4]]


def test_longer_texts_are_no_other_environment():
    present = {"letters": np.array(["a", "b"])}
    assert restored("x", {"letters": np.array(["abc", "b"])}, 2, present)["letters"][0] == "abc"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": np.zeros((3, 1))}, r"the saved number has shape \(3, 1\), wanted 2 rows"),
        ({"number": np.zeros((2, 2))}, "belongs to another environment.*number"),
        ({"number": np.zeros((2, 1), np.float32)}, "belongs to another environment.*<f4"),
        ({"more": np.zeros(2)}, "belongs to another environment.*more"),
    ],
)
def test_other_states_are_refused(change, words):
    with pytest.raises(ValueError, match=f"fam/x-v0: .*{words}"):
        restored("fam/x-v0", copied(state()) | change, 2, state())


def test_tuples_that_were_written_as_json_come_back_as_tuples():
    cells = np.empty(2, object)
    cells[0], cells[1] = ("a", ("b", 1), {"c": [2]}), ()
    saved = copied({"o": cells})
    for form in (saved, json.loads(json.dumps(saved))):
        back = restored("x", form, 2, None)["o"]
        assert back[0] == ("a", ("b", 1), {"c": [2]})
        assert back[1] == ()
