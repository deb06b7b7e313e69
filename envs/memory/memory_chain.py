"""Memory chain: one bit at the start, asked for ``length`` steps later.

The ``memory_len`` experiment of Osband et al. (2020), "Behaviour suite for reinforcement learning".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer


class MemoryChain(Model):
    """Answer the question at the end with the bit shown at the beginning.

    The observation is (context, query, time): the context is +1 or -1 in the first observation and
    0 later, the query is 1 in the last one, ``length`` steps later, and time is the share of the
    episode gone. The action taken at the query ends the episode with +1 if it names the context's
    sign (1 for +1, 0 for -1) and -1 if not; the actions before it do nothing. A policy without
    memory scores 0 in expectation.

    Args:
        length: Steps between context and query.
    """

    id = "memory/memory-chain-v0"
    render_fps = 8

    def __init__(self, length: int = 20) -> None:
        self.length = check_integer(self.id, "length", length, 1, 10_000)
        low = np.array([-1.0, 0.0, 0.0], np.float32)
        self.observation_space = spaces.Box(low, np.ones(3, np.float32), dtype=np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw the bit."""
        bit = np.array([int(rng.integers(2)) for rng in rngs])
        return {"bit": bit, "steps": np.zeros(len(rngs), np.int64)}

    def observe(self, state: State) -> np.ndarray:
        """Return (context, query, time), float32 ``[n, 3]``."""
        steps = state["steps"]
        obs = np.empty((len(steps), 3), np.float32)
        obs[:, 0] = np.where(steps == 0, 2 * state["bit"] - 1, 0)
        obs[:, 1] = steps == self.length
        obs[:, 2] = np.minimum(steps / self.length, 1.0)
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Go one step down the chain, or answer."""
        asked = state["steps"] >= self.length
        right = asked & (actions == state["bit"])
        reward = np.where(asked, np.where(right, 1.0, -1.0), 0.0)
        state = {"bit": state["bit"], "steps": state["steps"] + 1}
        return Outcome(state, reward, asked, {"success": right.astype(np.int64)})

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return ``success``: no answer yet."""
        return {"success": np.zeros(len(state["bit"]), np.int64)}

    def render(self, state: State) -> np.ndarray:
        """Draw the chain, and what is to be remembered."""
        from envs.memory.pictures import memory_chain_picture

        return memory_chain_picture(self.length, int(state["steps"][0]), int(state["bit"][0]))


class MemoryChainEnv(ModelEnv):
    """See :class:`MemoryChain`."""

    model_type = MemoryChain


class MemoryChainVectorEnv(ModelVectorEnv):
    """See :class:`MemoryChain`."""

    model_type = MemoryChain
