"""The control block: who may begin what, and who owes a state."""

from __future__ import annotations

from rlcore.runtime import control as ctl
from rlcore.runtime.control import Control


def test_streams_wait_before_the_final_round_and_owe_their_state_once() -> None:
    control = Control(actors=1, streams=2)
    assert control.may_begin(10**6)
    assert not control.owes_state(0, 0)
    control.announce_final(5)
    assert [control.may_begin(round_) for round_ in (4, 5, 6)] == [True, False, False]
    assert control.owes_state(0, 5)
    assert not control.owes_state(0, 4)
    control.stream[0, ctl.DUMPED_ROUND] = 5
    assert not control.owes_state(0, 5)
    assert not control.checkpoint_due(5)
    control.stream[1, ctl.DUMPED_ROUND] = 5
    assert control.checkpoint_due(5)
    assert not control.checkpoint_due(4)
    control.announce_final(6)  # a batch became no update: the end is a round later
    assert control.may_begin(5)
    assert control.owes_state(0, 6)
    control.block.close()
