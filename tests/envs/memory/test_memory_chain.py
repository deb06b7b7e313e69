"""Memory chain: rules, and what is possible without memory."""

import itertools

import gymnasium
import numpy as np
import pytest

from envs.memory.memory_chain import MemoryChain


@pytest.mark.parametrize("length", [1, 3, 50])
def test_an_episode_by_hand(length):
    env = gymnasium.make("envs:memory/memory-chain-v0", length=length)
    for seed in range(6):
        obs, info = env.reset(seed=seed)
        bit = int(obs[0] > 0)
        assert obs.tolist() == [2 * bit - 1, 0, 0]
        assert info == {"success": 0}
        for step in range(1, length + 1):
            obs, reward, terminated, truncated, info = env.step(1 - bit)
            assert obs[:2].tolist() == [0, step == length]
            assert obs[2] == pytest.approx(step / length)
            assert (reward, terminated, truncated, info["success"]) == (0, False, False, 0)
        answer = bit if seed % 2 else 1 - bit
        _, reward, terminated, _, info = env.step(answer)
        assert (reward, terminated) == (1 if seed % 2 else -1, True)
        assert info["success"] == seed % 2


def test_no_policy_without_memory_scores():
    # All maps from the observations of length 3 (5 of them: two contexts, two steps, the query).
    model = MemoryChain(3)
    values = []
    for actions in itertools.product(range(2), repeat=5):
        state = {"bit": np.array([0, 1]), "steps": np.zeros(2, np.int64)}
        total, seen = np.zeros(2), {}
        for _ in range(4):
            obs = [tuple(row) for row in model.observe(state).tolist()]
            for row in sorted(obs):
                seen.setdefault(row, len(seen))
            outcome = model.step(state, np.array([actions[seen[row]] for row in obs]), [])
            total, state = total + outcome.reward, outcome.state
        assert len(seen) == 5
        assert outcome.terminated.all()
        values.append(total.mean())
    assert values == [0.0] * 32


def test_both_bits_come_alike():
    bit = MemoryChain().start([np.random.default_rng(k) for k in range(2000)], {})["bit"]
    assert bit.mean() == pytest.approx(0.5, abs=0.045)


def test_bad_length_is_named():
    with pytest.raises(ValueError, match=r"memory/memory-chain-v0: length must be an integer in"):
        MemoryChain(0)
