"""A model whose every number is known, in both forms, for the tests of the core."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, check_integer, check_number


class Walk(Model):
    """Adds the action and, if ``noise``, a draw to a place; ends after ``length`` steps or at 5.

    Reward is the new place; ``info`` has it too, as a view of the state.
    """

    id = "test/walk-v0"
    render_fps = 7

    def __init__(self, noise=0.5, length=6, starts=1.0):
        self.noise = check_number(self.id, "noise", noise, 0.0)
        self.length = check_integer(self.id, "length", length, 1)
        self.starts = check_number(self.id, "starts", starts)
        self.observation_space = spaces.Box(-100.0, 100.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def start(self, rngs, options):
        place = np.array([rng.uniform(0, self.starts) for rng in rngs])
        return {"place": place + options.get("shift", 0.0), "time": np.zeros(len(rngs), np.int64)}

    def observe(self, state):
        return np.stack([state["place"], state["time"]], 1).astype(np.float32)

    def step(self, state, actions, rngs):
        if self.noise:
            state["place"] += self.noise * np.array([rng.normal() for rng in rngs])
        state["place"] += actions.sum(1)
        state["time"] += 1
        ended = (state["time"] >= self.length) | (state["place"] >= 5.0)
        info = {"place": state["place"], "pair": np.stack([state["place"], -state["place"]], 1)}
        return Outcome(state, state["place"], ended, info)

    def start_info(self, state):
        return {"begin": state["place"], "place": state["place"]}

    def render(self, state):
        return np.full((2, 3, 3), int(state["time"][0]), np.uint8)


class CalmWalk(Walk):
    """The same without draws in a step, and says so."""

    draws_in_step = False

    def __init__(self, length=6, starts=1.0):
        super().__init__(0.0, length, starts)


class WalkEnv(ModelEnv):
    model_type = Walk


class WalkVectorEnv(ModelVectorEnv):
    model_type = Walk


class CalmWalkEnv(ModelEnv):
    model_type = CalmWalk


class CalmWalkVectorEnv(ModelVectorEnv):
    model_type = CalmWalk


class Choice(Model):
    """Rewards the action itself; ``kind`` says which space it comes from."""

    id = "test/choice-v0"

    def __init__(self, kind="discrete"):
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = {
            "discrete": spaces.Discrete(3, start=-1),
            "multi": spaces.MultiDiscrete([2, 3]),
            "number": spaces.Box(0.5, 2.0, (), np.float64),
        }[kind]

    def start(self, rngs, options):
        return {"time": np.zeros(len(rngs))}

    def observe(self, state):
        return np.zeros((len(state["time"]), 1), np.float32)

    def step(self, state, actions, rngs):
        n = len(actions)
        return Outcome(state, actions.reshape(n, -1).sum(1).astype(float), np.zeros(n, bool))


class ChoiceEnv(ModelEnv):
    model_type = Choice


class ChoiceVectorEnv(ModelVectorEnv):
    model_type = Choice


@pytest.fixture(scope="session")
def toys():
    return SimpleNamespace(
        Walk=Walk, Env=WalkEnv, Vector=WalkVectorEnv, CalmEnv=CalmWalkEnv,
        CalmVector=CalmWalkVectorEnv, ChoiceEnv=ChoiceEnv, ChoiceVector=ChoiceVectorEnv,
        forms={"noisy": (WalkEnv, WalkVectorEnv), "calm": (CalmWalkEnv, CalmWalkVectorEnv)},
    )  # fmt: skip
