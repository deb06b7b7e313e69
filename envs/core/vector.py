"""A model as a ``gymnasium.vector.VectorEnv``, in either autoreset mode."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import EzPickle
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.core.actions import ActionCheck
from envs.core.arguments import check_choice, check_integer, check_names
from envs.core.errors import ResetNeeded
from envs.core.infos import move, put, put_but
from envs.core.model import Model, Outcome, State
from envs.core.saved import copied, restored
from envs.core.seeding import Streams, generators

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


class ModelVectorEnv(VectorEnv[Any, Any, Any], EzPickle):
    """Plays a model in a batch of ``num_envs``. A subclass names ``model_type``.

    Environment ``k`` makes the same episodes, bit for bit, as the plain form with the same seed.
    ``reset(seed=s)`` seeds environment ``k`` with the ``k``-th child of ``SeedSequence(s)``
    (Gymnasium's own vector environments use ``s + k``); a list gives each its own seed, as the
    plain form takes it.

    Args:
        num_envs: How many environments.
        max_episode_steps: Time limit, a truncation.
        autoreset_mode: ``NextStep`` (the reset takes a step of its own) or ``SameStep`` (the last
            observation is in ``info["final_obs"]``).
        render_mode: ``rgb_array`` or None.
        **kwargs: Arguments of the model.

    Raises:
        ValueError: An argument is unknown or out of range.
    """

    model_type: ClassVar[type[Model]]

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        EzPickle.__init__(self, num_envs, max_episode_steps, autoreset_mode, render_mode, **kwargs)
        name = self.model_type.id
        check_names(name, self.model_type, kwargs)
        self.num_envs = check_integer(name, "num_envs", num_envs, 1)
        self.max_episode_steps = (
            None
            if max_episode_steps is None
            else check_integer(name, "max_episode_steps", max_episode_steps, 1)
        )
        modes = [mode.value for mode in MODES]
        chosen = getattr(autoreset_mode, "value", autoreset_mode)
        self.autoreset_mode = AutoresetMode(check_choice(name, "autoreset_mode", chosen, modes))
        if render_mode is not None:
            check_choice(name, "render_mode", render_mode, ["rgb_array"])
        self.render_mode = render_mode
        self.model = self.model_type(**kwargs)
        self.metadata = {
            "autoreset_mode": self.autoreset_mode,
            "render_modes": ["rgb_array"],
            "render_fps": self.model.render_fps,
        }
        self.single_observation_space = self.model.observation_space
        self.single_action_space = self.model.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._check = ActionCheck(name, self.model.action_space)
        self._rngs = Streams([])
        self._state: State | None = None
        self._elapsed = np.zeros(self.num_envs, np.int64)
        self._ended = np.zeros(self.num_envs, bool)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start every environment afresh.

        Args:
            seed: See the class; None goes on with the generators as they are.
            options: Passed to every environment's start.
        """
        if seed is not None or not self._rngs:
            self._rngs = Streams(generators(seed, self.num_envs, self._rngs))
        self._state = self.model.start(self._rngs, dict(options or {}))
        self._elapsed[:] = 0
        self._ended[:] = False
        infos: dict[str, Any] = {}
        put(infos, self.model.start_info(self._state), self.num_envs)
        return self.model.observe(self._state), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every environment, or reset it where its episode had ended (``NextStep``).

        Where an environment is reset its action is ignored and its reward is 0. A value of
        ``infos[name]`` is real where ``infos["_" + name]`` says so; elsewhere it is 0 or None.

        Raises:
            ResetNeeded: Before the first reset.
            InvalidActionError: An action is none of this space.
        """
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: step before the first reset; call reset()")
        infos: dict[str, Any] = {}
        if self._ended.any():
            reward, terminated, truncated = self._step_or_restart(actions, infos)
        else:
            checked, clipped = self._check(actions, self.num_envs)
            outcome = self.model.step(self._state, checked, self._rngs)
            self._state = outcome.state
            self._elapsed += 1
            put(infos, _info(outcome, clipped), self.num_envs, fresh=outcome.fresh)
            reward, terminated, truncated = _copied(outcome)
        if self.max_episode_steps is not None:
            truncated |= self._elapsed >= self.max_episode_steps
        obs = self.model.observe(self._state)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._ended = terminated | truncated
        elif (ended := terminated | truncated).any():
            self._restart_at_once(ended, obs, infos)
        return obs, reward, terminated, truncated, infos

    def _step_or_restart(
        self, actions: Any, infos: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start the ended rows' next episodes and step the others; return reward and flags."""
        assert self._state is not None
        live, over = np.flatnonzero(~self._ended), np.flatnonzero(self._ended)
        checked, clipped = self._check(actions, self.num_envs, ~self._ended)
        fresh = self.model.start(self._rngs.of(over), {})
        reward, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        truncated = np.zeros(self.num_envs, bool)
        if not len(live):
            self._write(over, fresh)
        elif self.model.draws_in_step:
            rows = {name: array[live] for name, array in self._state.items()}
            outcome = self.model.step(rows, checked[live], self._rngs.of(live))
            self._write(live, outcome.state)
            self._write(over, fresh)
            own = None if clipped is None else clipped[live]
            put(infos, _info(outcome, own), self.num_envs, live)
            reward[live], terminated[live], truncated[live] = _copied(outcome)
        else:
            self._write(over, fresh)  # so that only states of running episodes are stepped
            outcome = self.model.step(self._state, checked, self._rngs)
            self._state = outcome.state
            put_but(infos, _info(outcome, clipped), self.num_envs, over, outcome.fresh)
            reward, terminated, truncated = _copied(outcome)
            reward[over], terminated[over], truncated[over] = 0.0, False, False
            self._write(over, fresh)
        put(infos, self.model.start_info(fresh), self.num_envs, over)
        self._elapsed[live] += 1
        self._elapsed[over] = 0
        return reward, terminated, truncated

    def _restart_at_once(self, ended: np.ndarray, obs: Any, infos: dict[str, Any]) -> None:
        """Start the next episodes of the rows that ended (``SameStep``).

        The last observations go to ``infos["final_obs"]``, the last infos to
        ``infos["final_info"]``; ``obs`` and ``infos`` get those of the next episodes.
        """
        assert self._state is not None
        over = np.flatnonzero(ended)
        finals = np.full(self.num_envs, None, object)
        for k in over:
            finals[k] = copy.copy(obs[k])
        final_info = move(infos, ended)
        fresh = self.model.start(self._rngs.of(over), {})
        put(infos, self.model.start_info(fresh), self.num_envs, over)
        self._write(over, fresh)
        obs[over] = self.model.observe(fresh)
        self._elapsed[over] = 0
        infos |= {"final_obs": finals, "_final_obs": ended.copy()}
        infos |= {"final_info": final_info, "_final_info": ended.copy()}

    def _write(self, rows: np.ndarray, part: State) -> None:
        assert self._state is not None
        for name, array in part.items():
            self._state[name][rows] = array

    def render(self) -> tuple[np.ndarray, ...] | None:  # type: ignore[override]
        """Return one picture for each environment, or None where no render mode was asked for."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: render before the first reset; call reset()")
        return tuple(self.model.render(self._rows(k)) for k in range(self.num_envs))

    def _rows(self, k: int) -> State:
        assert self._state is not None
        return {name: array[k : k + 1] for name, array in self._state.items()}

    def get_state(self) -> dict[str, Any]:
        """Return everything that changes; ``set_state`` goes on exactly from it.

        Raises:
            ResetNeeded: Before the first reset.
        """
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: get_state before the first reset; call reset()")
        return {
            "model": copied(self._state),
            "random": [copy.deepcopy(rng.bit_generator.state) for rng in self._rngs],
            "elapsed": self._elapsed.copy(),
            "ended": self._ended.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned.

        Raises:
            ValueError: It was taken from another kind or number of environments.
        """
        if len(state["elapsed"]) != self.num_envs:
            raise ValueError(
                f"{self.model.id}: the state holds {len(state['elapsed'])} environments, "
                f"wanted {self.num_envs}"
            )
        self._state = restored(self.model.id, state["model"], self.num_envs, self._state)
        self._rngs = Streams(generators(0, self.num_envs))
        for rng, saved in zip(self._rngs, state["random"], strict=True):
            rng.bit_generator.state = copy.deepcopy(saved)
        self._elapsed = np.array(state["elapsed"], np.int64)
        self._ended = np.array(state["ended"], bool)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the constructor's arguments and, in mid-episode, the state."""
        state = None if self._state is None else self.get_state()
        arguments = EzPickle.__getstate__(self)  # type: ignore[no-untyped-call]
        return {"arguments": arguments, "state": state, "spec": self.spec}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Make the environments anew and go on where they were."""
        EzPickle.__setstate__(self, pickled["arguments"])  # type: ignore[no-untyped-call]
        self.spec = pickled["spec"]
        if pickled["state"] is not None:
            self.set_state(pickled["state"])


def _info(outcome: Outcome, clipped: np.ndarray | None) -> dict[str, np.ndarray]:
    return outcome.info if clipped is None else outcome.info | {"action_clipped": clipped}


def _copied(outcome: Outcome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reward, terminated and truncated as arrays of their own."""
    terminated = np.array(outcome.terminated, bool)
    broken = outcome.truncated
    truncated = np.zeros_like(terminated) if broken is None else np.array(broken, bool)
    return np.array(outcome.reward, np.float64), terminated, truncated
