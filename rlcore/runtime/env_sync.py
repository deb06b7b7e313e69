"""A stream over plain environments, stepped one by one in this process (SAME_STEP autoreset)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from rlcore.data.env_spec import EnvSpec
from rlcore.errors import EnvContractError
from rlcore.runtime.env_checks import Boundary
from rlcore.runtime.env_spaces import BadObservation, action_adapter, obs_codec
from rlcore.runtime.env_stream import Array, Autoreset, Finals, StepRow


class SyncStream:
    """Steps a list of environments and resets those whose episode ended in the same step.

    Args:
        envs: Plain Gymnasium environments with equal spaces.
        env_id: Gymnasium id, for messages.
        label: Owner of the stream, for messages.
        check: Check spaces, dtypes and seeding.

    Attributes:
        envs: The environments.
    """

    autoreset: Autoreset = "same_step"

    def __init__(
        self, envs: list[Any], *, env_id: str, label: str = "", check: bool = True
    ) -> None:
        if not envs:
            raise EnvContractError(f"{env_id}: no environment in the list, wanted at least one")
        self._boundary = Boundary(env_id, label, check=check)
        who, first = self._boundary.who, envs[0]
        self.envs = envs
        self._steps = [env.step for env in envs]
        self.num_envs = len(envs)
        self._codec = obs_codec(first.observation_space, check=check, who=who)
        self._adapter = action_adapter(first.action_space, who=who)
        limit = getattr(first.spec, "max_episode_steps", None)
        self.spec = EnvSpec(
            self._codec.shape,
            self._codec.dtype,
            self._adapter.actions,
            frames_per_step=int(first.metadata.get("frames_per_step", 1)),
            max_episode_steps=None if limit is None else int(limit),
            env_id=env_id,
        )
        self._obs: list[Any] = [None] * self.num_envs
        self._first = np.ones(self.num_envs, bool)
        self._returns = [0.0] * self.num_envs
        self._lengths = [0] * self.num_envs
        self._probe = check

    def reset(self, seeds: Sequence[int], obs_out: Array, first_out: Array) -> None:
        """Start fresh episodes; the very first reset of environment 0 is done twice."""
        if self._probe:
            self._probe = False
            pair = [self._codec_encode(self._reset_one(0, int(seeds[0])), 0) for _ in range(2)]
            self._boundary.same_reset(pair[0][None], pair[1][None])
        for index, seed in enumerate(seeds):
            self._obs[index] = self._reset_one(index, int(seed))
            self._returns[index] = 0.0
            self._lengths[index] = 0
        self._write(obs_out)
        self._first[:] = True
        first_out[:] = True

    def _reset_one(self, index: int, seed: int | None = None) -> Any:
        env = self.envs[index]
        result = env.reset() if seed is None else env.reset(seed=seed)
        if not isinstance(result, tuple) or len(result) != 2:
            self._boundary.broken(
                f"reset returned {type(result).__name__}, wanted (observation, info)",
                "port the environment to Gymnasium's API",
                index,
            )
        return result[0]

    def carry_in(self, obs_out: Array, first_out: Array) -> None:
        """Write the current observations and first flags."""
        self._codec.write_list(self._obs, obs_out)
        first_out[:] = self._first

    def step(self, actions: Array, row: StepRow) -> Finals:
        """Advance every environment once, in order."""
        self._boundary.steps += 1
        obs, returns, lengths = self._obs, self._returns, self._lengths
        rewards = row.reward
        for flags in (row.first, row.terminated, row.truncated):
            flags.fill(False)
        row.valid.fill(True)
        row.episode_return.fill(0)
        row.episode_length.fill(0)
        finals: Finals = []
        steps = self._steps
        for index, action in enumerate(self._adapter.each(actions)):
            result = steps[index](action)
            try:
                obs[index], reward, terminated, truncated, _ = result
                rewards[index] = reward
                returns[index] += reward
            except (TypeError, ValueError) as error:
                self._bad_step(index, result, error)
            lengths[index] += 1
            if terminated or truncated:
                self._end(index, bool(terminated), bool(truncated), row, finals)
        self._first[:] = row.first
        self._boundary.finite_reward(rewards)
        self._write(row.obs)
        return finals

    def _bad_step(self, index: int, result: Any, error: Exception) -> NoReturn:
        if isinstance(result, tuple) and len(result) == 5:
            self._boundary.broken(
                f"reward is {result[1]!r}, wanted a number", f"return a float ({error})", index
            )
        found = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        self._boundary.broken(
            f"step returned {found}, wanted 5",
            "return observation, reward, terminated, truncated, info",
            index,
        )

    def _end(
        self, index: int, terminated: bool, truncated: bool, row: StepRow, finals: Finals
    ) -> None:
        row.terminated[index] = terminated
        row.truncated[index] = truncated
        row.first[index] = True
        row.episode_return[index] = self._returns[index]
        row.episode_length[index] = self._lengths[index]
        self._returns[index] = 0.0
        self._lengths[index] = 0
        # The final observation is checked even where the task ended: the fault would be the same.
        final = self._codec_encode(self._obs[index], index)
        self._boundary.finite_final(final, index)
        if truncated and not terminated:
            finals.append((index, final))
        self._obs[index] = self._reset_one(index)

    def _codec_encode(self, obs: Any, index: int) -> Array:
        try:
            return self._codec.encode(obs, index)
        except BadObservation as error:
            self._boundary.bad(error)

    def _write(self, out: Array) -> None:
        boundary = self._boundary
        try:
            self._codec.write_list(self._obs, out)
        except BadObservation as error:
            boundary.bad(error)
        boundary.finite_obs(out)
        if boundary.due():
            space = self.envs[0].observation_space
            for index, obs in enumerate(self._obs):
                boundary.in_space(space, obs, index)

    def get_state(self) -> dict[str, Any]:
        """Return every environment's state and the stream's accumulators."""
        from rlcore.runtime.env_state import capture

        arrays: dict[str, Array] = {}
        states = []
        for index, env in enumerate(self.envs):
            state = capture(env, self._boundary.place(index))
            states.append(state["json"])
            arrays |= {f"env{index}/{name}": array for name, array in state["arrays"].items()}
            arrays[f"obs{index}"] = np.array(self._obs[index])
        arrays["first"] = self._first.copy()
        arrays["returns"] = np.array(self._returns, np.float64)
        arrays["lengths"] = np.array(self._lengths, np.int64)
        return {"json": {"envs": states, "steps": self._boundary.steps}, "arrays": arrays}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned."""
        from rlcore.runtime.env_state import restore

        arrays = state["arrays"]
        for index, (env, values) in enumerate(zip(self.envs, state["json"]["envs"], strict=True)):
            prefix = f"env{index}/"
            own = {
                name[len(prefix) :]: array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            restore(env, {"json": values, "arrays": own}, self._boundary.place(index))
            self._obs[index] = np.array(arrays[f"obs{index}"])
        self._first[:] = arrays["first"]
        self._returns = [float(value) for value in arrays["returns"]]
        self._lengths = [int(value) for value in arrays["lengths"]]
        self._boundary.steps = int(state["json"]["steps"])
        self._probe = False

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()
