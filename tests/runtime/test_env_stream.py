"""What a stream writes into a row: conversions, accounts, clipping, seeds and copies."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from envs.make import make_envs
from rlcore.data.env_spec import BoxActions, DiscreteActions
from rlcore.runtime.env_stream import StepRow, open_stream


def new_row(stream):
    envs, spec = stream.num_envs, stream.spec
    flags = [np.zeros(envs, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    return StepRow(np.zeros((envs, *spec.obs_shape), spec.obs_dtype), *flags)


def over(envs, vector):
    made = SyncVectorEnv([lambda env=env: env for env in envs]) if vector else envs
    return open_stream(made, env_id="e")


class Echo(gym.Env):
    """Shows the seed it was reset with and keeps the action it was given."""

    def __init__(self, obs_space, action_space, obs):
        self.observation_space = obs_space
        self.action_space = action_space
        self.obs = obs
        self.got = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.obs, {}

    def step(self, action):
        self.got.append(action)
        return self.obs, 0.1, False, False, {}


BOX64 = spaces.Box(-9.0, 9.0, (2, 3), np.float64)
CASES = [
    (BOX64, np.linspace(0, 1, 6).reshape(2, 3), (2, 3), "float32"),
    (spaces.Box(0, 255, (5,), np.uint8), np.arange(5, dtype=np.uint8), (5,), "uint8"),
    (spaces.Box(0, 9, (2,), np.int64), np.array([3, 4]), (2,), "float32"),
    (spaces.Discrete(4, start=-1), np.int64(1), (4,), "float32"),
]


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(("space", "obs", "shape", "dtype"), CASES)
def test_observations_as_stored(space, obs, shape, dtype, vector):
    envs = [Echo(space, spaces.Discrete(2), obs) for _ in range(2)]
    stream = open_stream(
        SyncVectorEnv([lambda e=e: e for e in envs]) if vector else envs, env_id="e"
    )
    assert (stream.spec.obs_shape, stream.spec.obs_dtype) == (shape, dtype)
    row = new_row(stream)
    stream.reset([1, 2], row.obs, row.first)
    assert row.first.all()
    want = np.eye(4, dtype=np.float32)[2] if isinstance(space, spaces.Discrete) else obs
    for _ in range(2):
        np.testing.assert_array_equal(row.obs, np.stack([want, want]).astype(dtype))
        row.obs.fill(0)
        stream.step(np.zeros(2, np.int64), row)
    row.obs.fill(0)
    stream.carry_in(row.obs, row.first)
    np.testing.assert_array_equal(row.obs, np.stack([want, want]).astype(dtype))
    assert not row.first.any()


@pytest.mark.parametrize("vector", [False, True])
def test_continuous_actions_are_clipped_and_fresh(vector):
    low, high = np.array([-1.0, 0.0], np.float32), np.array([1.0, 2.0], np.float32)
    envs = [Echo(BOX64, spaces.Box(low, high), np.zeros((2, 3))) for _ in range(2)]
    stream = open_stream(
        SyncVectorEnv([lambda e=e: e for e in envs]) if vector else envs, env_id="e"
    )
    assert stream.spec.actions == BoxActions((2,), (-1.0, 0.0), (1.0, 2.0))
    row = new_row(stream)
    stream.reset([1, 2], row.obs, row.first)
    actions = np.array([[-5.0, 0.5], [0.25, 7.0]], np.float32)
    given = actions.copy()
    stream.step(actions, row)
    np.testing.assert_array_equal(actions, given, "the fragment keeps what the policy chose")
    np.testing.assert_array_equal(envs[0].got[0], [-1.0, 0.5])
    np.testing.assert_array_equal(envs[1].got[0], [0.25, 2.0])
    actions[:] = 0.125
    stream.step(actions, row)
    np.testing.assert_array_equal(envs[0].got[0], [-1.0, 0.5], "an environment may keep its action")


def test_discrete_actions_are_shifted_by_start():
    env = Echo(BOX64, spaces.Discrete(3, start=5), np.zeros((2, 3)))
    stream = open_stream([env], env_id="e")
    assert stream.spec.actions == DiscreteActions(3)
    row = new_row(stream)
    stream.reset([1], row.obs, row.first)
    stream.step(np.array([2]), row)
    assert env.got == [7]
    assert isinstance(env.got[0], int)


@pytest.mark.parametrize("vector", [False, True])
def test_returns_are_summed_in_double_precision(vector):
    class Long(Echo):
        def step(self, action):
            self.got.append(action)
            return self.obs, 0.1, len(self.got) == 3000, False, {}

    envs = [Long(BOX64, spaces.Discrete(2), np.zeros((2, 3)))]
    stream = over(envs, vector)
    row = new_row(stream)
    stream.reset([1], row.obs, row.first)
    for _ in range(2999):
        stream.step(np.zeros(1, np.int64), row)
        assert row.episode_return[0] == 0
        assert row.episode_length[0] == 0
    stream.step(np.zeros(1, np.int64), row)
    assert row.terminated[0]
    assert row.episode_length[0] == 3000
    # A float32 sum is off by more than 1e-2 here.
    assert abs(float(row.episode_return[0]) - 300.0) < 1e-3


@pytest.mark.parametrize("vector", [False, True])
def test_returns_are_summed_before_rewards_are_rounded(vector):
    class Large(Echo):
        """Pays 2**24 + 1, which float32 rounds to 2**24, and then takes 2**24 back."""

        def step(self, action):
            self.got.append(action)
            last = len(self.got) == 2
            return self.obs, -(2.0**24) if last else 2.0**24 + 1, last, False, {}

    stream = over([Large(BOX64, spaces.Discrete(2), np.zeros((2, 3)))], vector)
    row = new_row(stream)
    stream.reset([1], row.obs, row.first)
    for _ in range(2):
        stream.step(np.zeros(1, np.int64), row)
    assert row.episode_return[0] == 1.0


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_seeds_are_one_an_environment(vectorization):
    made = make_envs("testing/counting-v0", 3, vectorization=vectorization)
    stream = open_stream(made, env_id="c")
    row = new_row(stream)
    stream.reset([5, 3, 5], row.obs, row.first)
    np.testing.assert_array_equal(row.obs, [[5, 0, 0], [3, 0, 0], [5, 0, 0]])


def test_single_seed_environments_depend_on_every_seed():
    starts = []
    for seeds in ([1, 2], [1, 2], [1, 3], [2, 1]):
        stream = open_stream(make_envs("CartPole-v1", 2), env_id="CartPole-v1")
        row = new_row(stream)
        stream.reset(seeds, row.obs, row.first)
        starts.append(row.obs.tobytes())
    assert starts[0] == starts[1]
    assert len(set(starts)) == 3


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_checks_change_no_number(vectorization):
    traces = []
    for check in (True, False):
        made = make_envs("CartPole-v1", 3, vectorization=vectorization)
        stream = open_stream(made, env_id="CartPole-v1", check=check)
        row, rng, trace = new_row(stream), np.random.default_rng(0), []
        stream.reset([1, 2, 3], row.obs, row.first)
        for _ in range(80):
            stream.step(rng.integers(0, 2, 3), row)
            trace.append(row.obs.tobytes() + row.reward.tobytes() + row.first.tobytes())
        traces.append(trace)
    assert traces[0] == traces[1]


def test_final_observations_survive_a_reused_buffer():
    class Buffer(Echo):
        """Returns one array, changed in place by reset and step."""

        def reset(self, *, seed=None, options=None):
            gym.Env.reset(self, seed=seed)
            self.obs[:] = 0
            return self.obs, {}

        def step(self, action):
            self.obs += 1
            return self.obs, 0.0, False, bool(self.obs[0] == 3), {}

    space = spaces.Box(0, 9, (2,), np.float32)
    stream = open_stream([Buffer(space, spaces.Discrete(2), np.zeros(2, np.float32))], env_id="b")
    row = new_row(stream)
    stream.reset([0], row.obs, row.first)
    finals = [stream.step(np.zeros(1, np.int64), row) for _ in range(3)]
    assert [len(one) for one in finals] == [0, 0, 1]
    np.testing.assert_array_equal(finals[2][0][1], [3, 3])
    np.testing.assert_array_equal(row.obs, [[0, 0]])


def test_native_images_are_views_until_the_row():
    made = make_envs("testing/noop-image-v0", 4)
    obs, _ = made.reset(seed=[1, 2, 3, 4])
    again = made.step(np.zeros(4, np.int64))[0]
    assert np.shares_memory(obs, made._frames)
    assert np.shares_memory(again, made._frames)


def test_noop_image_episodes_end_apart():
    stream = open_stream(
        make_envs("testing/noop-image-v0", 4, kwargs={"episode_steps": 8}), env_id="n"
    )
    row = new_row(stream)
    stream.reset([1, 2, 3, 4], row.obs, row.first)
    lengths = [[] for _ in range(4)]
    for _ in range(40):
        stream.step(np.zeros(4, np.int64), row)
        for env in np.flatnonzero(row.truncated):
            lengths[env].append(int(row.episode_length[env]))
    assert all(set(one[1:]) == {8} for one in lengths)
    assert [one[0] for one in lengths] == [8, 7, 6, 5]


def test_metadata_tells_frames_per_step_and_limit():
    env = Echo(BOX64, spaces.Discrete(2), np.zeros((2, 3)))
    env.metadata = {"frames_per_step": 4}
    assert open_stream([env], env_id="e").spec.frames_per_step == 4
    for vectorization in ("native", "sync"):
        made = make_envs("CartPole-v1", 1, vectorization=vectorization)
        assert open_stream(made, env_id="CartPole-v1").spec.max_episode_steps == 500
