"""Gradients of several batches as one: ``sum_r w_r g_r / sum_r w_r``.

Means over different numbers of units must never be averaged without their weights; ragged batches
would count too much or too little.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rlcore.learners.base import GradEstimate
from rlcore.learners.errors import EmptyBatchError, LearnerStateError

_Sums = dict[str, Tensor]


def merge(estimates: Iterable[GradEstimate]) -> GradEstimate:
    """Return the weighted mean of ``estimates``, as if their batches had been one.

    Gradients are summed while the estimates arrive, so a generator keeps one of them in memory at a
    time. A parameter that some of them do not reach counts as gradient 0 there; one that none
    reaches stays absent. The stamp is the oldest one. A single estimate is returned as it is.

    Raises:
        EmptyBatchError: There is none.
        LearnerStateError: One has no gradients: its estimator moves parameters itself.
    """
    arriving = iter(estimates)
    first = next(arriving, None)
    if first is None:
        raise EmptyBatchError("there is no batch to train on; wanted one or more")
    second = next(arriving, None)
    if second is None:
        return first
    grads: _Sums = {}
    scalars: _Sums = {}
    stamp, evals, total = first.stamp, 0, torch.zeros_like(first.weight, dtype=torch.float64)
    for estimate in _chain(first, second, arriving):
        if estimate.grads is None:
            raise LearnerStateError("estimates without gradients cannot be merged")
        weight = estimate.weight.double()
        total = total + weight
        _add(grads, estimate.grads, weight)
        _add(scalars, {**estimate.metrics, "": estimate.loss}, weight)
        stamp = min(stamp, estimate.stamp, key=lambda s: s.version)
        evals += estimate.n_evals
    for value in (*grads.values(), *scalars.values()):
        value.div_(total)
    loss = scalars.pop("")
    return GradEstimate(grads, loss, total, stamp, evals, scalars)


def _chain(
    first: GradEstimate, second: GradEstimate, rest: Iterable[GradEstimate]
) -> Iterable[GradEstimate]:
    yield first
    yield second
    yield from rest


def _add(sums: _Sums, values: dict[str, Tensor], weight: Tensor) -> None:
    for name, value in values.items():
        if name in sums:
            sums[name].add_(value * weight)
        else:
            sums[name] = value * weight
