"""Conversations share what was said and never change."""

import copy

import gymnasium
import pytest

import envs
from envs.text.conversation import Conversation
from envs.text.policies import make_noisy

HELLO, YES, NO = ("environment", "hello"), ("environment", "yes"), ("environment", "no")
ASK, GUESS = ("agent", "is it?"), ("agent", "a dog")


def test_what_grew_from_one_conversation_does_not_change_the_other():
    start = Conversation([HELLO])
    left = start.then(ASK, YES)
    right = start.then(GUESS, NO)
    longer = left.then(GUESS, YES)
    again = left.then(ASK, NO)
    assert list(start) == [HELLO]
    assert list(left) == [HELLO, ASK, YES]
    assert list(right) == [HELLO, GUESS, NO]
    assert list(longer) == [HELLO, ASK, YES, GUESS, YES]
    assert list(again) == [HELLO, ASK, YES, ASK, NO]


def test_copies_are_the_callers_and_hold_nothing_of_what_was_said_later():
    longer = Conversation([HELLO]).then(ASK, YES)
    longer.then(GUESS, NO)
    assert copy.deepcopy(longer) == (HELLO, ASK, YES)
    longer.listed().clear()
    assert longer.listed() == [HELLO, ASK, YES]


@pytest.mark.parametrize("id", [id for id in envs.list() if id.startswith("text/")])
def test_infos_of_earlier_turns_and_saved_states_stay_as_they_were(id):
    plain = gymnasium.make(f"envs:{id}")
    action = make_noisy(plain)(*plain.reset(seed=0))
    vector = gymnasium.make_vec(f"envs:{id}", 3, vectorization_mode="vector_entry_point")
    _, infos = vector.reset(seed=0)
    given = [infos["segments"]]
    wanted = [[list(cell) for cell in infos["segments"]]]
    for turn in range(4):
        if turn == 2:
            saved = vector.get_state()
            vector.step(["something else"] * 3)
            vector.set_state(saved)
        infos = vector.step([action, "x" * 5000, "nonsense"])[4]
        given.append(infos["segments"])
        wanted.append([list(cell) for cell in infos["segments"]])
    assert [list(cells) for cells in given] == wanted
    limit = vector.model.max_action
    assert [text for _, text in wanted[-1][1]][1::2] == ["x" * limit] * (len(wanted[-1][1]) // 2)
