"""Random streams: every generator is keyed by the run's seed, a role and indices, never by time.

Adding an actor, a stream or an evaluation changes no other generator, and a stream's noise in
round ``k`` depends on ``k`` alone, so that a resumed or replayed run draws the same numbers.
"""

from __future__ import annotations

import numpy as np

ROLES = ("init", "env", "act", "shuffle", "eval", "probe", "noise")


def derive_seed(seed: int, role: str, *indices: int) -> int:
    """Return a 63-bit seed for ``role`` and ``indices`` (stream, environment, round, ...).

    Raises:
        ValueError: ``role`` is not one of ``ROLES`` or ``seed`` is negative.
    """
    if role not in ROLES:
        raise ValueError(f"unknown random role {role!r}; one of {', '.join(ROLES)}")
    sequence = np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), *indices))
    high, low = (int(word) for word in sequence.generate_state(2))
    return ((high << 32) | low) >> 1


def env_seeds(seed: int, stream: int, envs: int, incarnation: int, role: str = "env") -> list[int]:
    """Return a 31-bit seed for each of the ``envs`` environments of a stream.

    ``incarnation`` counts restarts of the stream: a restarted one plays fresh episodes.
    """
    return [derive_seed(seed, role, stream, env, incarnation) >> 32 for env in range(envs)]
