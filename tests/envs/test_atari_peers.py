"""The Atari preset against Gymnasium's and Stable-Baselines3's preprocessing, frame by frame."""

import gymnasium
import numpy as np
import pytest

from envs.make import make_envs

STEPS = 1000


@pytest.fixture(autouse=True)
def need_ale():
    pytest.importorskip("cv2")
    gymnasium.register_envs(pytest.importorskip("ale_py"))


def ours(id, **kwargs):
    # noop_max=1 leaves the drawn number no choice: 0.
    kwargs = {"repeat_action_probability": 0.0, "noop_max": 1, **kwargs}
    return make_envs(id, 1, preset="atari", kwargs=kwargs, vectorization="sync")[0]


def both(one, other, steps, compare):
    """Play the same random actions in both and compare what every step gives."""
    rng = np.random.default_rng(0)
    compare((one.reset(seed=5)[0], 0, False, False), (other.reset(seed=5)[0], 0, False, False))
    ends = 0
    for _ in range(steps):
        action = int(rng.integers(one.action_space.n))
        step = one.step(action)[:4]
        compare(step, other.step(action)[:4])
        if step[2] or step[3]:
            ends += 1
            compare((one.reset()[0], 0, False, False), (other.reset()[0], 0, False, False))
    return ends


@pytest.mark.parametrize(
    ("id", "kwargs", "theirs"),
    [
        ("ALE/Breakout-v5", {}, {}),
        ("ALE/Breakout-v5", {"terminal_on_life_loss": True}, {"terminal_on_life_loss": True}),
        ("ALE/MsPacman-v5", {"frame_skip": 3, "size": 64}, {"frame_skip": 3, "screen_size": 64}),
    ],
)
def test_frames_are_those_of_gymnasium(id, kwargs, theirs):
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    raw = gymnasium.make(id, frameskip=1, repeat_action_probability=0.0)
    peer = FrameStackObservation(
        AtariPreprocessing(raw, noop_max=0, **theirs), 4, padding_type="zero"
    )

    def equal(step, want):
        np.testing.assert_array_equal(step[0], want[0])
        assert tuple(map(float, step[1:])) == tuple(map(float, want[1:]))

    ends = both(ours(id, **kwargs), peer, STEPS, equal)
    assert ends or "Breakout" not in id


def test_play_is_that_of_stable_baselines3():
    """Rewards and ends agree exactly; frames up to how the two make grey of the same colours.

    Stable-Baselines3 takes the maximum of two colour frames and then their luma, the emulator
    gives grey frames: a few grey levels where something moves. A game without FIRE, since the
    resets of the two differ where there is one.
    """
    wrappers = pytest.importorskip("stable_baselines3.common.atari_wrappers")
    raw = gymnasium.make("MsPacmanNoFrameskip-v4")
    peer = wrappers.AtariWrapper(raw, noop_max=0, terminal_on_life_loss=False, clip_reward=True)
    one = ours("MsPacmanNoFrameskip-v4", stack=1)
    total, apart = [], []

    def close(step, want):
        assert np.sign(step[1]) == want[1]
        assert step[2:] == want[2:]
        total.append(float(step[1]))
        apart.append(np.abs(step[0][0].astype(int) - want[0][:, :, 0].astype(int)).mean())

    assert both(one, peer, STEPS, close) >= 1
    assert sum(total) > 0
    assert np.mean(apart) < 1.5
    assert np.max(apart) < 6
