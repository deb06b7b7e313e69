"""A model as one plain ``gymnasium.Env``."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle

from envs.core.actions import ActionCheck
from envs.core.arguments import check_choice, check_names
from envs.core.errors import ResetNeeded
from envs.core.infos import one
from envs.core.model import Model, State
from envs.core.saved import copied, restored


class ModelEnv(gymnasium.Env[Any, Any], EzPickle):
    """Plays a model in a batch of one. A subclass names ``model_type`` and is otherwise empty.

    Args:
        render_mode: ``rgb_array`` or None.
        **kwargs: Arguments of the model.

    Raises:
        ValueError: An argument is unknown or out of range.
    """

    model_type: ClassVar[type[Model]]
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        EzPickle.__init__(self, render_mode, **kwargs)
        check_names(self.model_type.id, self.model_type, kwargs)
        if render_mode is not None:
            modes = self.metadata["render_modes"]
            check_choice(self.model_type.id, "render_mode", render_mode, modes)
        self.metadata = self.metadata | {"render_fps": self.model_type.render_fps}
        self.render_mode = render_mode
        self.model = self.model_type(**kwargs)
        self.observation_space = self.model.observation_space
        self.action_space = self.model.action_space
        self._check = ActionCheck(self.model.id, self.model.action_space)
        self._state: State | None = None
        self._over = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self._state = self.model.start([self.np_random], dict(options or {}))
        self._over = False
        return self.model.observe(self._state)[0], one(self.model.start_info(self._state))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one step; the time limit is the wrapper's.

        Raises:
            ResetNeeded: Before the first reset or after the end of the episode.
            InvalidActionError: The action is none of this space.
        """
        if self._state is None or self._over:
            when = "after the end of the episode" if self._over else "before the first reset"
            raise ResetNeeded(f"{self.model.id}: step {when}; call reset()")
        actions, clipped = self._check.one(action)
        outcome = self.model.step(self._state, actions, [self.np_random])
        self._state = outcome.state
        terminated = bool(outcome.terminated[0])
        truncated = outcome.truncated is not None and bool(outcome.truncated[0])
        self._over = terminated or truncated
        info = one(outcome.info)
        if clipped is not None:
            info["action_clipped"] = int(clipped[0])
        obs = self.model.observe(self._state)[0]
        return obs, float(outcome.reward[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the picture, or None where no render mode was asked for."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: render before the first reset; call reset()")
        return self.model.render(self._state)

    def get_state(self) -> dict[str, Any]:
        """Return everything that changes; ``set_state`` goes on exactly from it.

        Raises:
            ResetNeeded: Before the first reset.
        """
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: get_state before the first reset; call reset()")
        return {
            "model": copied(self._state),
            "random": copy.deepcopy(self.np_random.bit_generator.state),
            "over": self._over,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned.

        Raises:
            ValueError: It was taken from another kind of environment.
        """
        self._state = restored(self.model.id, state["model"], 1, self._state)
        self.np_random.bit_generator.state = copy.deepcopy(state["random"])
        self._over = bool(state["over"])

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the constructor's arguments, the generator and, in mid-episode, the state."""
        return {
            "arguments": EzPickle.__getstate__(self),  # type: ignore[no-untyped-call]
            "state": None if self._state is None else self.get_state(),
            "random": self._np_random,
            "seed": self._np_random_seed,
            "spec": self.spec,
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Make the environment anew and go on where it was."""
        EzPickle.__setstate__(self, pickled["arguments"])  # type: ignore[no-untyped-call]
        self.spec = pickled["spec"]
        self._np_random, self._np_random_seed = pickled["random"], pickled["seed"]
        if pickled["state"] is not None:
            self.set_state(pickled["state"])
