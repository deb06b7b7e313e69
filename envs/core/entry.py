"""One line of the catalogue of environments; light enough to be read on ``import envs``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Cost = Literal["us", "ms", "100ms"]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a policy scores, as measured; a test measures it again.

    Attributes:
        policy: ``random``, or the ``module:function`` that makes the policy: called with the plain
            environment it returns ``policy(obs, info) -> action``, and is made anew for each
            episode.
        mean: Mean undiscounted return.
        tolerance: A mean over ``episodes`` episodes with other seeds lies within this of ``mean``.
        episodes: How many episodes the test plays.
        slow: Whether the measurement takes longer than a few seconds.
    """

    policy: str
    mean: float
    tolerance: float
    episodes: int = 100
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """An environment as Gymnasium and schedulers need to know it.

    Attributes:
        id: Gymnasium id, ``family/name-v0``.
        entry_point: ``module:Class`` of the plain form.
        vector_entry_point: ``module:Class`` of the vector form.
        max_episode_steps: Time limit, a truncation.
        cost: Order of magnitude of one step; tells a scheduler whether a thread is enough.
        summary: One line for ``rlcore env list``.
        kwargs: Arguments given by default.
        references: Returns of known policies.
    """

    id: str
    entry_point: str
    vector_entry_point: str | None
    max_episode_steps: int | None
    cost: Cost
    summary: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
