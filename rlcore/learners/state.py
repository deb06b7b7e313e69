"""A learner's state as tensors by parameter name and JSON values, and back.

Optimizer state is saved under the names of parameters rather than as flat vectors, so that saved
files do not depend on how a learner lays parameters out in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlcore.learners.errors import LearnerStateError
from rlcore.learners.flat import FlatParameters

if TYPE_CHECKING:
    from rlcore.learners.composed import ComposedLearner

_COUNTS = ("version", "skipped", "zeroed")
_Pairs = list[tuple[Tensor, Tensor]]


def learner_state(learner: ComposedLearner) -> dict[str, Any]:
    """Return copies of everything that ``learner`` needs to go on exactly."""
    slots = {
        slot: {name: view.clone() for name, view in _by_parameter(learner.flat, value).items()}
        for slot, value in learner.rule.state.items()
    }
    return {
        **{name: int(getattr(learner.tally, name)) for name in _COUNTS},
        "optimizer": {"type": learner.config.optimizer.name, "state": slots},
        "network": learner.snapshot().state,
    }


def load_learner_state(learner: ComposedLearner, state: Mapping[str, Any], strict: bool) -> None:
    """Copy ``state`` into ``learner`` after all of it was found to fit.

    Raises:
        LearnerStateError: Something is missing, left over (with ``strict``) or of another shape.
    """
    for key in (*_COUNTS, "optimizer", "network"):
        if key not in state:
            raise LearnerStateError(f"the saved learner state lacks {key!r}")
    optimizer, wanted = state["optimizer"], learner.config.optimizer.name
    same = optimizer["type"] == wanted
    if strict and not same:
        raise LearnerStateError(f"saved optimizer is {optimizer['type']!r}; wanted {wanted!r}")
    own = learner.network.state_dict()
    pairs = _pair("parameters", own, state["network"], strict)
    if same:
        slots = {
            slot: _by_parameter(learner.flat, value) for slot, value in learner.rule.state.items()
        }
        _pair("optimizer state", dict.fromkeys(slots), optimizer["state"], strict, names_only=True)
        for slot in slots.keys() & optimizer["state"].keys():
            pairs += _pair(f"optimizer {slot}", slots[slot], optimizer["state"][slot], strict)
    with torch.no_grad():
        for target, value in pairs:
            target.copy_(value)
        if learner.theta is not learner.flat.theta:
            learner.theta.copy_(learner.flat.theta)
    learner.rule.state_changed()
    for name in _COUNTS:
        setattr(learner.tally, name, int(state[name]))
    learner.tally.in_a_row = 0  # what stopped a run must not stop the one that goes on from it


def _by_parameter(flat: FlatParameters, value: Tensor) -> dict[str, Tensor]:
    """Return views of one state tensor by parameter: its entries, or its one number."""
    if value.shape == flat.theta.shape:
        return flat.named(value)
    return {name: value[i] for i, name in enumerate(flat.names)}


def _pair(
    kind: str,
    own: Mapping[str, Any],
    saved: Mapping[str, Any],
    strict: bool,
    names_only: bool = False,
) -> _Pairs:
    """Return own and saved tensors of equal name, checked."""
    if strict and set(own) != set(saved):
        odd = sorted(set(own) ^ set(saved))
        raise LearnerStateError(f"{kind} differ from the saved ones: {', '.join(odd)}")
    pairs: _Pairs = []
    for name in [] if names_only else [name for name in own if name in saved]:
        if own[name].shape != saved[name].shape:
            raise LearnerStateError(
                f"{kind}: {name!r} has shape {tuple(saved[name].shape)}, "
                f"wanted {tuple(own[name].shape)}"
            )
        pairs.append((own[name], saved[name]))
    return pairs
