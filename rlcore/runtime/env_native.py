"""A stream over a Gymnasium vector environment: no Python loop over environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlcore.data.env_spec import EnvSpec
from rlcore.errors import EnvContractError
from rlcore.runtime.env_checks import Boundary
from rlcore.runtime.env_spaces import BadObservation, action_adapter, obs_codec
from rlcore.runtime.env_stream import Array, Autoreset, Finals, StepRow


class NativeStream:
    """Steps a vector environment whose autoreset mode is ``NEXT_STEP`` or ``SAME_STEP``.

    Args:
        env: The vector environment.
        env_id: Gymnasium id, for messages.
        label: Owner of the stream, for messages.
        check: Check spaces, dtypes and seeding.
    """

    def __init__(self, env: Any, *, env_id: str, label: str = "", check: bool = True) -> None:
        self._boundary = Boundary(env_id, label, check=check)
        who = self._boundary.who
        self._env = env
        self.num_envs: int = int(env.num_envs)
        self.autoreset: Autoreset = _autoreset_mode(env, who)
        self._codec = obs_codec(env.single_observation_space, check=check, who=who)
        self._adapter = action_adapter(env.single_action_space, who=who)
        self.spec = EnvSpec(
            self._codec.shape,
            self._codec.dtype,
            self._adapter.actions,
            frames_per_step=int(env.metadata.get("frames_per_step", 1)),
            max_episode_steps=_time_limit(env),
            env_id=env_id,
        )
        self._obs: Any = None
        self._first = np.ones(self.num_envs, bool)
        self._ended = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs, np.float64)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._seeding: int | None = None
        self._probe = check

    def reset(self, seeds: Sequence[int], obs_out: Array, first_out: Array) -> None:
        """Start fresh episodes; the first reset of all is done twice to test seeding."""
        obs = self._seeded_reset(seeds)
        self._write(obs, obs_out)
        if self._probe:
            self._probe = False
            one = obs_out.copy()
            obs = self._seeded_reset(seeds)
            self._write(obs, obs_out)
            self._boundary.same_reset(one, obs_out)
        self._obs = obs
        self._first[:] = True
        first_out[:] = True
        self._ended[:] = False
        self._returns[:] = 0.0
        self._lengths[:] = 0

    def _seeded_reset(self, seeds: Sequence[int]) -> Any:
        """Reset with a list of seeds, an array of seeds or, as a last resort, a single seed."""
        from gymnasium.error import Error

        values = [int(seed) for seed in seeds]
        single = int(np.random.SeedSequence(values).generate_state(1)[0]) >> 1
        forms: list[Any] = [values, np.array(values), single]
        if self._seeding is None:
            self._seeding = len(forms) - 1
            for index, form in enumerate(forms[:-1]):
                try:
                    result = self._env.reset(seed=form)
                except (TypeError, ValueError, Error):
                    continue
                self._seeding = index
                return self._unpack_reset(result)
        return self._unpack_reset(self._env.reset(seed=forms[self._seeding]))

    def _unpack_reset(self, result: Any) -> Any:
        if not isinstance(result, tuple) or len(result) != 2:
            self._boundary.broken(
                f"reset returned {type(result).__name__}, wanted (observations, infos)",
                "port the environment to Gymnasium's API",
            )
        return result[0]

    def carry_in(self, obs_out: Array, first_out: Array) -> None:
        """Write the current observations and first flags."""
        self._codec.write_batch(self._obs, obs_out)
        first_out[:] = self._first

    def step(self, actions: Array, row: StepRow) -> Finals:
        """Advance every environment once."""
        boundary = self._boundary
        boundary.steps += 1
        result = self._env.step(self._adapter.batch(actions))
        try:
            obs, reward, terminated, truncated, infos = result
        except (TypeError, ValueError):
            boundary.broken(
                f"step returned {_length(result)} values, wanted 5",
                "return observations, rewards, terminated, truncated, infos",
            )
        self._write(obs, row.obs)
        self._flags(reward, terminated, truncated, row)
        if self.autoreset == "next_step":
            self._mask_resets(row)
        done = row.terminated | row.truncated
        self._account(row, reward, done)
        self._obs = obs
        if self.autoreset == "next_step":
            self._first[:] = self._ended
            self._ended[:] = done
            row.first[:] = self._first
            return []
        self._first[:] = done
        row.first[:] = done
        return self._finals(row, infos) if done.any() else []

    def _write(self, obs: Any, out: Array) -> None:
        boundary = self._boundary
        try:
            self._codec.write_batch(obs, out)
        except BadObservation as error:
            boundary.bad(error)
        boundary.finite_obs(out)
        if boundary.due():
            self._check_space(obs)

    def _check_space(self, obs: Any) -> None:
        if not self._env.observation_space.contains(obs):
            for index, one in enumerate(obs):
                self._boundary.in_space(self._env.single_observation_space, one, index)
            self._boundary.in_space(self._env.observation_space, obs, None)

    def _flags(self, reward: Any, terminated: Any, truncated: Any, row: StepRow) -> None:
        wanted = (self.num_envs,)
        for name, found, kinds in (
            ("rewards", reward, "fiu"),
            ("terminated", terminated, "b"),
            ("truncated", truncated, "b"),
        ):
            shape = getattr(found, "shape", None)
            if shape != wanted or found.dtype.kind not in kinds:
                self._boundary.broken(
                    f"{name} have shape {shape} and dtype {getattr(found, 'dtype', None)}, "
                    f"wanted {wanted} of {'numbers' if kinds == 'fiu' else 'bool'}",
                    "return one NumPy value an environment",
                )
        row.reward[:] = reward
        row.terminated[:] = terminated
        row.truncated[:] = truncated
        row.valid[:] = True
        self._boundary.finite_reward(row.reward)

    def _mask_resets(self, row: StepRow) -> None:
        """Mark the rows that autoreset took and make sure that they are nothing but that."""
        ended = self._ended
        if not ended.any():
            return
        wrong = ended & (row.terminated | row.truncated | (row.reward != 0))
        if wrong.any():
            self._boundary.broken(
                "gave a reward or an end in the step after an episode's end",
                "in NEXT_STEP mode that step resets: reward 0, terminated and truncated false",
                int(np.flatnonzero(wrong)[0]),
            )
        np.logical_not(ended, out=row.valid)

    def _account(self, row: StepRow, reward: Array, done: Array) -> None:
        self._returns += reward  # before it was rounded to float32
        self._lengths += row.valid
        row.episode_return.fill(0)
        row.episode_length.fill(0)
        if done.any():
            row.episode_return[done] = self._returns[done]
            row.episode_length[done] = self._lengths[done]
            self._returns[done] = 0.0
            self._lengths[done] = 0

    def _finals(self, row: StepRow, infos: Any) -> Finals:
        finals: Finals = []
        given = infos.get("final_obs")
        for env in np.flatnonzero(row.truncated & ~row.terminated):
            index = int(env)
            if given is None or given[index] is None:
                self._boundary.broken(
                    "truncated an episode without infos['final_obs']",
                    "in SAME_STEP mode give the final observation, or use NEXT_STEP",
                    index,
                )
            try:
                final = self._codec.encode(given[index], index)
            except BadObservation as error:
                self._boundary.bad(error)
            self._boundary.finite_final(final, index)
            finals.append((index, final))
        return finals

    def get_state(self) -> dict[str, Any]:
        """Return the environment's state and the stream's accumulators."""
        from rlcore.runtime.env_state import capture

        env = capture(self._env, self._boundary.who)
        arrays = {f"env/{name}": array for name, array in env["arrays"].items()}
        arrays |= {
            "obs": np.array(self._obs),
            "first": self._first.copy(),
            "ended": self._ended.copy(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
        }
        return {"json": {"env": env["json"], "steps": self._boundary.steps}, "arrays": arrays}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned."""
        from rlcore.runtime.env_state import restore

        arrays = state["arrays"]
        env = {name[4:]: array for name, array in arrays.items() if name.startswith("env/")}
        restore(self._env, {"json": state["json"]["env"], "arrays": env}, self._boundary.who)
        self._obs = np.array(arrays["obs"])
        self._first[:] = arrays["first"]
        self._ended[:] = arrays["ended"]
        self._returns[:] = arrays["returns"]
        self._lengths[:] = arrays["lengths"]
        self._boundary.steps = int(state["json"]["steps"])
        self._probe = False

    def close(self) -> None:
        """Close the vector environment."""
        self._env.close()


def _autoreset_mode(env: Any, who: str) -> Autoreset:
    # An attribute of the environment wins: some libraries write their mode into the class-wide
    # metadata, where the latest environment made overwrites what the others said.
    found = getattr(env, "autoreset_mode", None) or env.metadata.get("autoreset_mode")
    name = str(getattr(found, "name", found)).lower().replace("nextstep", "next_step")
    name = name.replace("samestep", "same_step")
    if name == "next_step":
        return "next_step"
    if name == "same_step":
        return "same_step"
    raise EnvContractError(
        f"{who}: autoreset mode is {found}, wanted NEXT_STEP or SAME_STEP; make the vector "
        "environment with one of them, or set env.vectorization: sync"
    )


def _time_limit(env: Any) -> int | None:
    spec = getattr(env, "spec", None)
    limit = getattr(spec, "max_episode_steps", None) or getattr(env, "max_episode_steps", None)
    return None if limit is None else int(limit)


def _length(value: Any) -> str:
    return str(len(value)) if isinstance(value, (tuple, list)) else type(value).__name__
