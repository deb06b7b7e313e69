"""A plain Stable-Baselines3 agent learns every control environment within a minute or two."""

import pytest

from tests.envs.learning.baselines import LEARNERS, score


@pytest.mark.learning
@pytest.mark.timeout(900)
@pytest.mark.parametrize("id", list(LEARNERS))
def test_it_beats_the_random_policy(id):
    pytest.importorskip("stable_baselines3")
    result = score(id, LEARNERS[id], seed=0)
    assert result["share"] >= LEARNERS[id].wanted, result
