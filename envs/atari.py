"""The two forms of an Atari environment; needs ``ale-py`` (see :mod:`envs.presets`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.wrappers import AtariPreprocessing

_FIRE = "FIRE"


class AtariVector(AtariVectorEnv):
    """The emulator's vector environment with metadata of its own and a seed an environment."""

    def __init__(self, game: str, num_envs: int, *, frameskip: int, **kwargs: Any) -> None:
        # The base class writes into the metadata that all vector environments share.
        self.metadata = {**type(self).metadata, "frames_per_step": frameskip}
        super().__init__(game, num_envs, frameskip=frameskip, **kwargs)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | np.ndarray | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reset; ``seed`` may be a list. The emulator takes 0 for no seed, so 0 becomes 2**31-1."""
        if seed is not None:
            count = int(options["reset_mask"].sum()) if options else self.num_envs
            seeds = seed + np.arange(count) if isinstance(seed, int) else np.asarray(seed)
            seed = np.where(seeds % (2**31 - 1) == 0, 2**31 - 1, seeds % (2**31 - 1))
        obs, infos = super().reset(seed=seed, options=options)
        return obs, infos


class AtariFrames(AtariPreprocessing):
    """Gymnasium's preprocessing with the reset of the vector form: FIRE, then no-ops.

    Args:
        env: The emulator with frameskip 1.
        fire_reset: Press FIRE where the game has it.
        **kwargs: As for ``AtariPreprocessing``.
    """

    def __init__(self, env: Any, *, fire_reset: bool = False, **kwargs: Any) -> None:
        super().__init__(env, **kwargs)
        meanings = env.unwrapped.get_action_meanings()
        self._fire = meanings.index(_FIRE) if fire_reset and _FIRE in meanings else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset, press FIRE, wait a drawn number of frames below ``noop_max``, show the screen."""
        _, info = self.env.reset(seed=seed, options=options)
        noops = int(self.env.unwrapped.np_random.integers(self.noop_max))
        if self._fire is None:
            actions = [0] * noops
        else:
            actions = [self._fire] + [0] * (noops - 1)
        for action in actions:
            _, _, terminated, truncated, step_info = self.env.step(action)
            info.update(step_info)
            if terminated or truncated:
                # Without the seed: it would replay the frames that just ended the game.
                _, info = self.env.reset(options=options)
        self.lives = self.ale.lives()
        self.ale.getScreenGrayscale(self.obs_buffer[0])
        self.obs_buffer[1].fill(0)
        return self._get_obs(), info
