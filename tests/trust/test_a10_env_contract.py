"""Promise A10: a broken environment contract is named, with advice, in every case."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.testing.counting import CountingVectorEnv
from envs.testing.faulty import FaultyEnv
from rlcore.errors import EnvContractError
from rlcore.runtime.env_stream import StepRow, open_stream


def vector(*faults, mode=AutoresetMode.NEXT_STEP):
    return SyncVectorEnv(
        [lambda fault=fault: FaultyEnv(fault) for fault in faults], autoreset_mode=mode
    )


class Numbers(gym.Env):
    """Discrete observations that leave their space at step 3."""

    observation_space = spaces.Discrete(3, start=2)
    action_space = spaces.Discrete(2)
    now = 2

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 2
        return 2, {}

    def step(self, action):
        self.now += 1
        return self.now, 0.0, False, False, {}


class OldReset(FaultyEnv):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Spaces(FaultyEnv):
    def __init__(self, observation_space, action_space):
        super().__init__()
        self.observation_space = observation_space
        self.action_space = action_space


class NeverResets(CountingVectorEnv):
    """Claims NEXT_STEP, but goes on and ends again in the step after an end."""

    def step(self, actions):
        n = self.num_envs
        ones = np.ones(n, bool)
        return self._observations(), np.zeros(n), ones, ~ones, {}


class RewardsTheReset(CountingVectorEnv):
    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return (obs, reward + 1, *rest)


class NoFinalObs(CountingVectorEnv):
    """Claims SAME_STEP, but keeps the final observation to itself."""

    def __init__(self):
        super().__init__(1, [(3, "truncated")], AutoresetMode.SAME_STEP)

    def step(self, actions):
        return (*super().step(actions)[:4], {})


class OneFlag(CountingVectorEnv):
    def step(self, actions):
        obs, reward, terminated, _, infos = super().step(actions)
        return obs, reward, terminated, False, infos


class Disabled(CountingVectorEnv):
    autoreset_mode = AutoresetMode.DISABLED


BOX, TWO = FaultyEnv.observation_space, FaultyEnv.action_space
CASES = {
    "shape at a step": (lambda: [FaultyEnv("wrong_shape", 40)], "shape (1,)", "observation_space"),
    "shape at reset": (lambda: [FaultyEnv("wrong_shape_in_reset")], "(4, 1)", "observation_space"),
    "dtype": (lambda: [FaultyEnv("wrong_dtype", 40)], "float64", "env.check: false"),
    "not an array": (lambda: [FaultyEnv("not_an_array")], "list", "observation_space"),
    "out of space": (lambda: [FaultyEnv("out_of_space", 9)], "outside", "declare wider bounds"),
    "out of space, vector": (lambda: vector(None, "out_of_space"), "environment 1", "wider"),
    "out of Discrete": (lambda: [Numbers()], "observation 5", "larger Discrete"),
    "step after the end": (lambda: NeverResets(2), "after an episode's end", "that step resets"),
    "reward at the reset": (lambda: RewardsTheReset(1), "after an episode's end", "reward 0"),
    "ignored seed": (lambda: [FaultyEnv("ignore_seed", times=0)], "same seed", "self.np_random"),
    "ignored seed, vector": (
        lambda: SyncVectorEnv([lambda: FaultyEnv("ignore_seed", times=0)] * 2),
        "same seed",
        "self.np_random",
    ),
    "no final observation": (lambda: NoFinalObs(), "final_obs", "NEXT_STEP"),
    "autoreset disabled": (lambda: Disabled(1), "DISABLED", "vectorization: sync"),
    "four values": (lambda: [FaultyEnv("four_values")], "4 values, wanted 5", "truncated"),
    "old reset": (lambda: [OldReset()], "reset returned ndarray", "Gymnasium"),
    "no reward": (lambda: [FaultyEnv("no_reward", 5)], "reward is None", "float"),
    "flags of one value": (lambda: OneFlag(2), "truncated have shape", "one NumPy value"),
    "observation space": (lambda: [Spaces(spaces.Dict(a=BOX), TWO)], "Dict", "FlattenObservation"),
    "action space": (lambda: [Spaces(BOX, spaces.MultiBinary(2))], "MultiBinary", "ActionWrapper"),
    "no environments": (list, "no environment", "at least one"),
}


def play(made, steps=60):
    stream = open_stream(made, env_id="broken/env-v0", label="actor 1")
    envs, shape = stream.num_envs, stream.spec.obs_shape
    flags = [np.zeros(envs, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    row = StepRow(np.zeros((envs, *shape), stream.spec.obs_dtype), *flags)
    stream.reset(list(range(envs)), row.obs, row.first)
    for _ in range(steps):
        stream.step(np.zeros(envs, np.int64), row)


@pytest.mark.parametrize("name", CASES)
def test_broken_contract_is_named_with_advice(name):
    make, problem, advice = CASES[name]
    made = make()
    with pytest.raises(EnvContractError) as error:
        play(made)
    message = str(error.value)
    assert "broken/env-v0" in message
    assert problem in message
    assert advice in message


def test_rare_checks_find_a_late_fault():
    """After the first steps spaces are compared every 256th step: a lasting fault is found then."""
    stream = open_stream([FaultyEnv("out_of_space", 100, times=0)], env_id="x")
    flags = [np.zeros(1, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    row = StepRow(np.zeros((1, 4), np.float32), *flags)
    stream.reset([0], row.obs, row.first)
    for _ in range(255):
        stream.step(np.zeros(1, np.int64), row)
    with pytest.raises(EnvContractError, match="step 256"):
        stream.step(np.zeros(1, np.int64), row)


def test_checks_can_be_turned_off():
    envs = [FaultyEnv("wrong_dtype", times=0)]
    stream = open_stream(envs, env_id="x", check=False)
    flags = [np.zeros(1, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    row = StepRow(np.zeros((1, 4), np.float32), *flags)
    stream.reset([0], row.obs, row.first)
    stream.step(np.zeros(1, np.int64), row)
    assert row.obs.any()
