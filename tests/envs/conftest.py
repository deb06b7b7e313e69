"""What the contract tests share: which ids a check is for, how long it plays, recorded actions."""

import functools
from types import SimpleNamespace

import gymnasium
import pytest

import envs
from envs.catalogue import entry
from envs.testing.traces import record

# The instruments of the runtime's own tests. Each line says why a rule does not hold for them.
EXEMPT = {
    "testing/counting-v0": {
        "seed children": "its observation shows the seed, so it takes Gymnasium's s + k",
        "bad actions": "what it is told does not matter: it counts",
        "reset needed": "a step after the end is a RuntimeError, which a runtime test wants",
        "own state": "the runtime's reading of attributes is tested on it",
        "arguments": "a test hands it whatever schedule it wants to break",
        "pictures": "nothing to see",
        "num_envs": "a vector of none has its use in tests of the runtime",
        "seeds matter": "what follows from the seed is only the schedule's phase",
    },
    "testing/faulty-v0": {
        "vector": "one fault strikes one environment",
        "bad actions": "what it is told does not matter: it fails",
        "reset needed": "its faults are counted over all steps, in or out of turn",
        "own state": "the runtime's reading of attributes is tested on it",
        "arguments": "its arguments are what a test wants to break",
        "pictures": "nothing to see",
    },
    "testing/noop-image-v0": {
        "fresh arrays": "it is the ceiling of a benchmark: not a pixel is copied",
        "vector": "its environments start at different steps, so that they do not end together",
        "bad actions": "a check would be most of its cost",
        "reset needed": "a check would be most of its cost",
        "arguments": "its arguments are a benchmark's",
        "pictures": "its observation is one",
        "seeds matter": "nothing is drawn",
    },
    "testing/one-step-v0": {
        "vector": "it tests the plain path of the runtime",
        "bad actions": "an action beyond the space is a wrong action",
        "reset needed": "tests step it twice to see both rewards",
        "own state": "the runtime's reading of attributes is tested on it",
        "arguments": "its arguments are a test's",
        "pictures": "nothing to see",
    },
}

PLAN = {"us": (400, 9), "ms": (36, 7), "100ms": (6, 3)}
"""Steps of a recording and the time limit of short episodes, by cost."""

KWARGS = {"finray/lbm-v0": {"preset": "tiny"}}
"""Arguments that make an id small enough to be played many times."""


def ids(check: str = "", cost: str = "") -> list[str]:
    """Return the ids that a check is for, of one cost class or any."""
    found = [id for id in envs.list() if check not in EXEMPT.get(id, {})]
    return [id for id in found if cost in ("", entry(id).cost)]


def make(id: str, **kwargs):
    """Make the plain form without Gymnasium's own checks around it."""
    return gymnasium.make(id, disable_env_checker=True, **KWARGS.get(id, {}) | kwargs)


def make_vec(id: str, n: int, **kwargs):
    """Make the vector form."""
    chosen = KWARGS.get(id, {}) | kwargs
    return gymnasium.make_vec(id, n, vectorization_mode="vector_entry_point", **chosen)


@functools.cache
def recorded(id: str, seed: int = 3, short: bool = False):
    """Return actions of the environment's own policies and random ones, as played from ``seed``."""
    steps, limit = PLAN[entry(id).cost]
    env = make(id, **(limited(id) if short else {}))
    actions = record(env, id, 4 * limit if short else steps, seed)
    env.close()
    return actions


def limited(id: str) -> dict[str, int]:
    """Return the argument that makes episodes short, if the environment has a time limit."""
    found = entry(id)
    return {"max_episode_steps": PLAN[found.cost][1]} if found.max_episode_steps else {}


@pytest.fixture(scope="session")
def contract():
    """The functions above."""
    return SimpleNamespace(
        make=make, make_vec=make_vec, recorded=recorded, limited=limited, plan=PLAN, kwargs=KWARGS
    )


def pytest_generate_tests(metafunc):
    """Run a test that is marked ``every_id(check, cost)`` for each id that the check is for."""
    for mark in metafunc.definition.iter_markers("every_id"):
        metafunc.parametrize("id", ids(*mark.args, **mark.kwargs))
