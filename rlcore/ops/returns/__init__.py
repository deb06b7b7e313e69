"""Return estimators on time-major ``[T, B]`` tensors: n-step, GAE and V-trace.

All of them share one convention of time limits. Step ``t`` has the value ``V(x_t)`` in ``values``
and the value of the state it led to in ``next_values``: ``V(final_obs_t)`` where the episode was
truncated, ``V(x_{t+1})`` elsewhere. Where ``terminated`` is true the next value is zero, whatever
``next_values`` holds. A trace never runs across a step with ``terminated`` or ``truncated``.

The results are targets: they carry no gradient.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlcore.ops.returns.off_policy import vtrace
    from rlcore.ops.returns.on_policy import gae, n_step

__all__ = ["gae", "n_step", "vtrace"]

_HOME = {"gae": "on_policy", "n_step": "on_policy", "vtrace": "off_policy"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
