"""Promise A9: a NaN or infinite observation or reward is caught at the boundary and placed."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.make import make_envs
from envs.testing.faulty import FaultyEnv
from rlcore.errors import NonFiniteError
from rlcore.runtime.env_stream import StepRow, open_stream


def new_row(envs):
    flags = [np.zeros(envs, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    return StepRow(np.zeros((envs, 4), np.float32), *flags)


def make(form, fault, at_step, seeds, check):
    """Three environments, of which the one with seed 12 has the fault."""
    kwargs = {"fault": fault, "at_step": at_step, "seeds": seeds}
    if form == "plain":
        made = make_envs("testing/faulty-v0", 3, kwargs=kwargs)
    else:
        mode = AutoresetMode.NEXT_STEP if form == "next_step" else AutoresetMode.SAME_STEP
        made = SyncVectorEnv([lambda: FaultyEnv(**kwargs)] * 3, autoreset_mode=mode)
    return open_stream(made, env_id="testing/faulty-v0", label="actor 2, stream 5", check=check)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("form", ["plain", "next_step", "same_step"])
@pytest.mark.parametrize("fault", ["nan", "inf", "nan_reward", "inf_reward"])
def test_the_error_names_id_owner_environment_and_step(fault, form, check):
    stream = make(form, fault, 47, [12], check)
    row = new_row(3)
    stream.reset([11, 12, 13], row.obs, row.first)
    # Episodes are truncated after 20 steps; NEXT_STEP takes two more for the resets.
    step = 49 if form == "next_step" else 47
    actions = np.ones(3, np.int64)
    for _ in range(step - 1):
        stream.step(actions, row)
    with pytest.raises(NonFiniteError) as error:
        stream.step(actions, row)
    message = str(error.value)
    for part in (
        "testing/faulty-v0",
        "actor 2, stream 5",
        "environment 1",
        f"step {step}",
        "reward" if "reward" in fault else "observation",
        "nan" if "nan" in fault else "inf",
    ):
        assert part in message
    stream.close()


@pytest.mark.parametrize("form", ["plain", "same_step"])
def test_a_final_observation_is_looked_at_too(form):
    stream = make(form, "nan", 20, [12], True)
    row = new_row(3)
    stream.reset([11, 12, 13], row.obs, row.first)
    for _ in range(19):
        stream.step(np.ones(3, np.int64), row)
    with pytest.raises(NonFiniteError, match=r"environment 1.*final observation"):
        stream.step(np.ones(3, np.int64), row)


def test_large_but_finite_observations_pass():
    from rlcore.runtime.env_checks import Boundary

    obs = np.full((2, 3), 3e38, np.float32)  # its square overflows
    Boundary("x", "", check=True).finite_obs(obs)
    obs[1, 2] = -np.inf
    with pytest.raises(NonFiniteError, match=r"environment 1.*-inf at flat position 2"):
        Boundary("x", "", check=True).finite_obs(obs)


def test_a_reward_too_large_for_float32_is_caught():
    class Huge(FaultyEnv):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return (obs, 1e39, *rest)

    stream = open_stream([Huge()], env_id="huge")
    row = new_row(1)
    stream.reset([1], row.obs, row.first)
    with np.errstate(over="ignore"), pytest.raises(NonFiniteError, match="reward is inf"):
        stream.step(np.zeros(1, np.int64), row)
