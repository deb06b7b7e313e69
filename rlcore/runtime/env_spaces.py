"""Between Gymnasium's spaces and the arrays of a fragment: observation codecs and action adapters.

Observations are stored as uint8 (images) or float32 (everything else); ``Discrete`` observations
become one-hot rows. Continuous actions are clipped to the space before the environment sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rlcore.data.env_spec import BoxActions, DiscreteActions
from rlcore.errors import EnvContractError

Array = np.ndarray[Any, Any]


class BadObservation(Exception):
    """Environment ``index`` returned an observation that is not what its space declares."""

    def __init__(self, index: int, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.index = index
        self.problem = problem
        self.advice = advice


class ObsCodec(Protocol):
    """Writes observations of one space into fragment rows, checking what is cheap to check."""

    shape: tuple[int, ...]
    dtype: str

    def write_batch(self, obs: Any, out: Array) -> None:
        """Write the batch of a vector environment ``[E, *]`` into ``out`` ``[E, *shape]``."""

    def write_list(self, obs: Sequence[Any], out: Array) -> None:
        """Write one observation of each environment into ``out`` ``[E, *shape]``."""

    def encode(self, obs: Any, index: int) -> Array:
        """Return a stored copy of one observation of environment ``index``."""


class BoxCodec:
    """Codec of ``Box`` observations.

    Args:
        space: A ``gymnasium.spaces.Box``.
        check: Refuse shapes and dtypes that the space does not declare (else they are cast).
    """

    def __init__(self, space: Any, *, check: bool = True) -> None:
        self.shape: tuple[int, ...] = tuple(space.shape)
        self.dtype = "uint8" if space.dtype == np.uint8 else "float32"
        self.wanted = np.dtype(space.dtype)
        self.check = check

    def write_batch(self, obs: Any, out: Array) -> None:
        """Write ``[E, *]`` in one copy."""
        if not isinstance(obs, np.ndarray) or obs.shape != out.shape:
            raise BadObservation(
                -1, f"observations {_describe(obs)}, wanted shape {out.shape}", _SHAPE_ADVICE
            )
        if obs.dtype != self.wanted and self.check:
            raise BadObservation(
                -1, f"observations {_describe(obs)}, wanted {self.wanted}", _DTYPE_ADVICE
            )
        out[...] = obs

    def write_list(self, obs: Sequence[Any], out: Array) -> None:
        """Write environment by environment; a shape that NumPy would broadcast is refused."""
        shape, wanted, check = self.shape, self.wanted, self.check
        try:
            for index, one in enumerate(obs):
                if one.shape != shape or (one.dtype != wanted and check):
                    raise self._bad(one, index)
                out[index] = one
        except AttributeError:
            raise self._bad(obs[index], index) from None

    def encode(self, obs: Any, index: int) -> Array:
        """Return a copy with the stored dtype."""
        if not isinstance(obs, np.ndarray) or obs.shape != self.shape:
            raise self._bad(obs, index)
        if obs.dtype != self.wanted and self.check:
            raise self._bad(obs, index)
        return np.array(obs, dtype=self.dtype)

    def _bad(self, obs: Any, index: int) -> BadObservation:
        wanted = f"wanted shape {self.shape} of {self.wanted}"
        shape = getattr(obs, "shape", None)
        advice = _DTYPE_ADVICE if shape == self.shape else _SHAPE_ADVICE
        return BadObservation(index, f"observation {_describe(obs)}, {wanted}", advice)


class DiscreteCodec:
    """Codec of ``Discrete`` observations, stored as one-hot float32 rows."""

    dtype = "float32"

    def __init__(self, space: Any) -> None:
        self.count = int(space.n)
        self.start = int(space.start)
        self.shape: tuple[int, ...] = (self.count,)

    def write_batch(self, obs: Any, out: Array) -> None:
        """Write a vector of ``E`` numbers as one-hot rows."""
        values = np.asarray(obs)
        if values.shape != out.shape[:1] or values.dtype.kind not in "iu":
            raise BadObservation(
                -1, f"observations {_describe(obs)}, wanted {out.shape[0]} integers", _SHAPE_ADVICE
            )
        values = values - self.start
        outside = (values < 0) | (values >= self.count)
        if outside.any():
            index = int(np.flatnonzero(outside)[0])
            raise BadObservation(
                index,
                f"observation {values[index] + self.start}, wanted an integer in "
                f"[{self.start}, {self.start + self.count})",
                "declare a larger Discrete space or correct the environment",
            )
        out.fill(0.0)
        out[np.arange(len(values)), values] = 1.0

    def write_list(self, obs: Sequence[Any], out: Array) -> None:
        """Write one number of each environment as one-hot rows."""
        for index, one in enumerate(obs):
            if not isinstance(one, (int, np.integer)) and getattr(one, "shape", None) != ():
                raise BadObservation(
                    index, f"observation {_describe(one)}, wanted an integer", _SHAPE_ADVICE
                )
        self.write_batch(np.array([int(one) for one in obs]), out)

    def encode(self, obs: Any, index: int) -> Array:
        """Return one one-hot row."""
        out = np.zeros((1, self.count), np.float32)
        try:
            self.write_list([obs], out)
        except BadObservation as bad:
            raise BadObservation(index, bad.problem, bad.advice) from None
        one: Array = out[0]
        return one


_SHAPE_ADVICE = "make step and reset return what observation_space declares"
_DTYPE_ADVICE = "cast in the environment, or set env.check: false to have it cast here"


def _describe(obs: Any) -> str:
    if isinstance(obs, np.ndarray):
        return f"has shape {obs.shape} and dtype {obs.dtype}"
    return f"is a {type(obs).__name__}"


def obs_codec(space: Any, *, check: bool, who: str) -> ObsCodec:
    """Return the codec of an observation space.

    Raises:
        EnvContractError: The space is neither ``Box`` nor ``Discrete``.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Box):
        return BoxCodec(space, check=check)
    if isinstance(space, spaces.Discrete):
        return DiscreteCodec(space)
    raise EnvContractError(
        f"{who}: observation space is {type(space).__name__}, wanted Box or Discrete; "
        "wrap the environment with gymnasium.wrappers.FlattenObservation"
    )


class DiscreteAdapter:
    """Passes action numbers on, shifted by the space's ``start``."""

    def __init__(self, space: Any) -> None:
        self.actions = DiscreteActions(int(space.n))
        self.start = int(space.start)

    def batch(self, actions: Array) -> Array:
        """Return what a vector environment's ``step`` wants."""
        return actions + self.start if self.start else actions

    def each(self, actions: Array) -> list[Any]:
        """Return one action a scalar environment."""
        return self.batch(actions).tolist()  # type: ignore[no-any-return]


class BoxAdapter:
    """Clips actions to ``[low, high]`` and casts them to the space's dtype."""

    def __init__(self, space: Any) -> None:
        self.low = np.asarray(space.low)
        self.high = np.asarray(space.high)
        self.dtype = space.dtype
        self.actions = BoxActions(
            tuple(space.shape),
            tuple(float(value) for value in self.low.ravel()),
            tuple(float(value) for value in self.high.ravel()),
        )

    def batch(self, actions: Array) -> Array:
        """Return a fresh clipped array, so that an environment may keep it."""
        return np.clip(actions, self.low, self.high).astype(self.dtype, copy=False)

    def each(self, actions: Array) -> list[Any]:
        """Return one action a scalar environment."""
        return list(self.batch(actions))


def action_adapter(space: Any, *, who: str) -> DiscreteAdapter | BoxAdapter:
    """Return the adapter of an action space.

    Raises:
        EnvContractError: The space is neither ``Discrete`` nor a ``Box`` of floats.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return DiscreteAdapter(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return BoxAdapter(space)
    raise EnvContractError(
        f"{who}: action space is {space}, wanted Discrete or a Box of floats; "
        "wrap the environment with a gymnasium.ActionWrapper that offers one of them"
    )
