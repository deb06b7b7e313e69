"""Finding the first tensor that is not finite, for the message of the error that stops a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlcore.learners.flat import FlatParameters


def first_bad(
    flat: FlatParameters, loss: Tensor | None, batches: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return the name of the first non-finite tensor, in the order of cause and effect.

    Args:
        flat: Parameters, and the last gradient.
        loss: The last loss.
        batches: What it was computed from. Entries of minus infinity are let pass there: a
            log-probability may be that.
    """
    for batch in batches:
        for name, value in batch.items() if isinstance(batch, Mapping) else ():
            if isinstance(value, Tensor) and value.is_floating_point():
                bad = value.isnan() | value.isposinf()
                if bool(bad.any()):
                    at = ", ".join(str(int(i)) for i in bad.nonzero()[0])
                    return f"batch[{name!r}] at [{at}]"
    for kind, vector in (("parameter", flat.theta), ("gradient of", flat.grad)):
        if kind == "gradient of" and loss is not None and not bool(torch.isfinite(loss)):
            return "the loss"
        for name, view in flat.named(vector).items():
            if not bool(torch.isfinite(view).all()):
                return f"the {kind} {name!r}"
    return "the gradient norm"
