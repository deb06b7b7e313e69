"""The reference returns of the catalogue, measured again with other seeds."""

import numpy as np
import pytest

import envs
from envs.catalogue import entries, entry
from envs.references import chosen, make_policy, measured, returns


def references():
    for one in entries():
        for reference in one.references:
            marks = [pytest.mark.slow, pytest.mark.timeout(1800)] if reference.slow else []
            name = f"{one.id}-{reference.policy.rpartition(':')[2]}"
            yield pytest.param(one.id, reference, marks=marks, id=name)


@pytest.mark.parametrize(("id", "reference"), [*references()])
def test_a_policy_scores_what_the_catalogue_says(id, reference):
    assert measured(id, reference) == pytest.approx(reference.mean, abs=reference.tolerance)


@pytest.mark.parametrize("id", [id for id in envs.list() if not id.startswith("testing/")])
def test_the_catalogue_tells_good_from_random(id):
    means = {reference.policy: reference for reference in entry(id).references}
    assert "random" in means, "what random actions score"
    best = max(entry(id).references, key=lambda reference: reference.mean)
    random = means["random"]
    assert best.policy != "random", "what a good policy scores"
    assert best.mean - best.tolerance > random.mean + random.tolerance
    for reference in means.values():
        assert reference.tolerance > 0
        assert reference.episodes >= 1


def test_returns_are_those_of_the_seeds():
    alone = [returns("testing/one-step-v0", "random", 1, seed)[0] for seed in range(40)]
    together = returns("testing/one-step-v0", "random", 40)
    assert together.tolist() == alone
    assert 5 < together.sum() < 35


def test_policies_by_name():
    import gymnasium

    env = gymnasium.make("testing/one-step-v0")
    obs, info = env.reset(seed=1)
    random = make_policy("random", env, 5)
    drawn = [int(random(obs, info)) for _ in range(20)]
    again = make_policy("random", env, 5)
    assert drawn == [int(again(obs, info)) for _ in range(20)]
    assert set(drawn) == {0, 1}
    argmax = make_policy("numpy:shape", env, 0)
    assert argmax == np.shape(env.unwrapped)
    for bad in ("nonsense", "no.such.module:make", "numpy:no_such_function"):
        with pytest.raises(ValueError, match=f"no policy '{bad}'"):
            make_policy(bad, env, 0)


def test_the_best_policy_is_found():
    assert chosen("CartPole-v1", "random") == "random"
    with pytest.raises(ValueError, match="testing/one-step-v0 names no policies"):
        chosen("testing/one-step-v0", "best")
    with pytest.raises(ValueError, match="CartPole-v1 names no policies"):
        chosen("CartPole-v1", "best")
