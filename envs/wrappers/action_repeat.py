"""One decision for several steps of the environment."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from envs.core.arguments import check_integer


class ActionRepeat(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Holds each action for ``times`` steps and adds up their rewards.

    The last observation and info are returned; an episode that ends is left at once. Metadata
    ``frames_per_step`` tells a run how many of the environment's own steps a decision is.

    Args:
        env: The environment.
        times: Steps of a decision.

    Raises:
        ValueError: ``times`` is not a whole number of at least 1.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], times: int) -> None:
        RecordConstructorArgs.__init__(self, times=times)
        gymnasium.Wrapper.__init__(self, env)
        self.times = check_integer("wrapper action_repeat", "times", times, 1)
        self.metadata = {**env.metadata, "frames_per_step": self.times}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step ``times`` times, or until the episode ends."""
        total = 0.0
        for _ in range(self.times):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info
