"""What a stream checks at the boundary to its environments, and the messages it raises."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from rlcore.errors import EnvContractError, NonFiniteError
from rlcore.runtime.env_spaces import BadObservation

Array = np.ndarray[Any, Any]

FULL_CHECKS = 32
"""The first steps of a stream have every observation checked against its space ..."""

CHECK_EVERY = 256
"""... and from then on every so many steps."""


class Boundary:
    """Names the place of a fault and raises the right error for it.

    Args:
        env_id: Gymnasium id.
        label: Owner of the stream, may be empty.
        check: Whether spaces and seeding are checked at all.
    """

    def __init__(self, env_id: str, label: str, *, check: bool) -> None:
        self.who = f"{env_id} ({label})" if label else env_id
        self.check = check
        self.steps = 0

    def due(self) -> bool:
        """Return whether this step's observations are compared with their space."""
        return self.check and (self.steps <= FULL_CHECKS or self.steps % CHECK_EVERY == 0)

    def broken(self, problem: str, advice: str, index: int | None = None) -> NoReturn:
        """Raise :class:`EnvContractError` for environment ``index``."""
        raise EnvContractError(f"{self.place(index)}: {problem}; {advice}")

    def bad(self, error: BadObservation) -> NoReturn:
        """Raise :class:`EnvContractError` for an observation that a codec refused."""
        self.broken(error.problem, error.advice, None if error.index < 0 else error.index)

    def place(self, index: int | None) -> str:
        """Return id, owner, environment and step, for messages."""
        env = "" if index is None else f", environment {index}"
        return f"{self.who}{env}, step {self.steps}"

    def finite_obs(self, obs: Array) -> None:
        """Raise if a stored observation ``[E, *]`` is NaN or infinite; integers pass."""
        if obs.dtype.kind != "f":
            return
        # One multiply-add pass clears almost every batch; only then is each number looked at.
        if not math.isfinite(np.vdot(obs, obs)):
            bad = ~np.isfinite(obs.reshape(len(obs), -1))
            if bad.any():
                index, position = (int(i) for i in np.argwhere(bad)[0])
                value = obs.reshape(len(obs), -1)[index, position]
                raise NonFiniteError(
                    f"{self.place(index)}: observation has {value} at flat position {position}, "
                    "wanted finite numbers; correct the environment or clip in a wrapper"
                )

    def finite_final(self, obs: Array, index: int) -> None:
        """Raise if the final observation of environment ``index`` is NaN or infinite."""
        if obs.dtype.kind == "f" and not np.isfinite(obs).all():
            raise NonFiniteError(
                f"{self.place(index)}: final observation is not finite; "
                "correct the environment or clip in a wrapper"
            )

    def finite_reward(self, reward: Array) -> None:
        """Raise if a stored float32 reward ``[E]`` is NaN or infinite."""
        if math.isfinite(np.vdot(reward, reward)):
            return
        bad = ~np.isfinite(reward)
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            raise NonFiniteError(
                f"{self.place(index)}: reward is {reward[index]}, wanted a finite number; "
                "correct the environment or clip in a wrapper"
            )

    def in_space(self, space: Any, obs: Any, index: int | None) -> None:
        """Raise if an observation lies outside the space the environment declares."""
        if not space.contains(obs):
            self.broken(
                f"observation {_excerpt(obs)} lies outside {_excerpt(space)}",
                "declare wider bounds in observation_space, or set env.check: false",
                index,
            )

    def same_reset(self, one: Array, other: Array) -> None:
        """Raise if two resets with one seed gave different observations."""
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
            self.broken(
                "two resets with the same seed gave different observations",
                "call super().reset(seed=seed) and draw from self.np_random only",
                int(np.argwhere(one != other)[0][0]),
            )


def _excerpt(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."
