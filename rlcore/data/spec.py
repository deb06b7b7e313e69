"""Array specs: which named arrays one trajectory fragment carries, and their shapes.

A fragment is ``T`` consecutive steps of ``E`` environments that advance together (a *stream*).
Each field says how it extends over time:

``step``     one entry a step,            ``[T, E, *shape]``
``overlap``  one entry more than steps,   ``[T + 1, E, *shape]`` (observations)
``initial``  once a fragment,             ``[E, *shape]``        (recurrent state at its start)
``rows``     sparse, up to ``capacity``,  ``[capacity, *shape]`` (final observations)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlcore.errors import ConfigError

FieldKind = Literal["step", "overlap", "initial", "rows"]


@dataclass(frozen=True, slots=True)
class Field:
    """One named array of a fragment.

    Attributes:
        shape: Shape of a single entry, without time and environment axes.
        dtype: NumPy dtype name, for example ``"float32"`` or ``"uint8"``.
        kind: How the entry extends over time; see the module docstring.
        capacity: Number of rows of a ``rows`` field; ``None`` for the others.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: FieldKind = "step"
    capacity: int | None = None

    def __post_init__(self) -> None:
        np.dtype(self.dtype)
        if any(size < 0 for size in self.shape):
            raise ConfigError(f"field shape must have sizes >= 0, got {self.shape}")
        if (self.kind == "rows") != (self.capacity is not None):
            raise ConfigError(f"capacity belongs to 'rows' fields alone, got kind {self.kind!r}")

    def full_shape(self, unroll: int, envs: int) -> tuple[int, ...]:
        """Return the shape of this field in a fragment of ``unroll`` steps and ``envs`` envs."""
        if self.kind == "step":
            return (unroll, envs, *self.shape)
        if self.kind == "overlap":
            return (unroll + 1, envs, *self.shape)
        if self.kind == "initial":
            return (envs, *self.shape)
        assert self.capacity is not None
        return (self.capacity, *self.shape)


ArraySpec = Mapping[str, Field]
