"""The adversary's view of a game: one step is a whole subtask, played by frozen policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer
from envs.core.seeding import of_rows, uniforms
from envs.subtasks.env import check_flag
from envs.subtasks.game import SubtaskGame

AgentPolicy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``policy(subtask [n], observations [n, o]) -> actions [n, a]``."""


class AdversaryModel(Model):
    """Names subtasks until the agent fails or ``k`` of them are completed.

    The observation is the finished subtask as a one-hot vector (zeros at the start) and the exit
    state in its frame; the reward is 1 when the agent fails (unsafe or too late), else 0. The
    first subtask that is named begins at its nominal start.

    Args:
        game: The game.
        policy: The agent, for all subtasks; see :data:`AgentPolicy`.
        k: Subtasks in a task.
        limit: Steps that a subtask may take.
        wide: Begin from the wide starts.
        reference_limits: Allow ``limit + 1`` steps.
    """

    id = "subtasks/adversary"
    render_fps = 2

    def __init__(
        self,
        game: SubtaskGame,
        policy: AgentPolicy,
        k: int = 5,
        limit: int = 25,
        wide: bool = False,
        reference_limits: bool = False,
    ) -> None:
        if not isinstance(game, SubtaskGame):
            raise ValueError(f"{self.id}: game must be a SubtaskGame, got {game!r:.60}")
        if not callable(policy):
            raise ValueError(f"{self.id}: policy must be callable, got {policy!r:.60}")
        self.game, self.policy = game, policy
        self.k = check_integer(self.id, "k", k, 1, 10_000)
        self.wide = check_flag(self.id, "wide", wide)
        self.steps_allowed = check_integer(self.id, "limit", limit, 1, 10_000) + check_flag(
            self.id, "reference_limits", reference_limits
        )
        m = len(game.names)
        low = np.concatenate([np.zeros(m), game.state_low]).astype(np.float32)
        high = np.concatenate([np.ones(m), game.state_high]).astype(np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(m)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw the numbers that the start of whichever first subtask will be made of."""
        n = len(rngs)
        return {
            "uniforms": uniforms(rngs, self.game.draws),
            "state": np.zeros((n, len(self.game.state_low))),
            "finished": np.full(n, -1, np.int64),
            "completed": np.zeros(n, np.int64),
        }

    def observe(self, state: State) -> np.ndarray:
        """Return (one-hot of the finished subtask, exit state), float32."""
        one_hot = state["finished"][:, None] == np.arange(len(self.game.names))
        return np.concatenate([one_hot, state["state"]], 1).astype(np.float32)

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Play the named subtasks to their ends.

        ``info`` holds ``completed`` and ``agent_steps`` (taken in this subtask).
        """
        game, n = self.game, len(actions)
        first = state["finished"] < 0
        current = game.jump(np.where(first, actions, state["finished"]), actions, state["state"])
        placed = game.place(actions, state["uniforms"], self.wide)
        current = np.where(first[:, None], placed, current)
        won, steps = np.zeros(n, bool), np.zeros(n, np.int64)
        running = np.arange(n)
        for _ in range(self.steps_allowed):
            subtask = actions[running]
            obs = game.observe(subtask, current[running])
            moves = self._moves(subtask, obs)
            own = of_rows(rngs, running)
            chance = uniforms(own, game.step_draws) if game.step_draws else None
            following, _, safe, left = game.advance(subtask, current[running], moves, chance)
            current[running] = following
            steps[running] += 1
            won[running] = left
            running = running[safe & ~left]
            if not len(running):
                break
        completed = state["completed"] + won
        bounds = game.state_low, game.state_high
        after = {
            "uniforms": state["uniforms"],
            "state": np.clip(current, *bounds),
            "finished": actions.astype(np.int64),
            "completed": completed,
        }
        reward = np.where(won, 0.0, 1.0)
        info = {"completed": completed, "agent_steps": steps}
        return Outcome(after, reward, ~won | (completed >= self.k), info)

    def _moves(self, subtask: np.ndarray, obs: np.ndarray) -> np.ndarray:
        moves = np.asarray(self.policy(subtask, obs))
        space = self.game.action_space
        if moves.shape != (len(subtask), *(space.shape or ())):
            raise ValueError(
                f"{self.id}: the policy returned shape {moves.shape} for {len(subtask)} rows"
            )
        return np.clip(moves, space.low, space.high) if isinstance(space, spaces.Box) else moves


class AdversaryEnv(ModelEnv):
    """See :class:`AdversaryModel`."""

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 2}  # noqa: RUF012
    model_type = AdversaryModel


class AdversaryVectorEnv(ModelVectorEnv):
    """See :class:`AdversaryModel`."""

    model_type = AdversaryModel
