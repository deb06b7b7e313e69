"""The catalogue: every line of it, and the functions that read it."""

import re
from importlib import import_module

import gymnasium
import pytest

import envs
from envs.catalogue import FAMILIES, entries, entry, register_all


@pytest.mark.parametrize("one", entries(), ids=lambda one: one.id)
def test_an_entry_is_complete(one):
    family, name = re.fullmatch(r"([a-z]+)/([a-z0-9-]+)-v\d+", one.id).groups()
    assert family in FAMILIES
    assert name
    assert one.cost in ("us", "ms", "100ms")
    assert 10 <= len(one.summary) <= 90
    assert not one.summary.endswith(".")
    for point in (one.entry_point, one.vector_entry_point):
        if point is not None:
            module, _, form = point.partition(":")
            assert module.startswith(f"envs.{family}.")
            assert (getattr(import_module(module), form).__doc__ or "").strip()
    spec = gymnasium.spec(one.id)
    assert spec.max_episode_steps == one.max_episode_steps
    assert spec.kwargs == dict(one.kwargs)
    assert spec.entry_point == one.entry_point
    assert spec.vector_entry_point == one.vector_entry_point
    assert spec.additional_wrappers == ()
    for reference in one.references:
        if reference.policy != "random":
            assert reference.policy.startswith(f"envs.{family}.")


def test_ids_are_listed_by_family_and_cost():
    every = envs.list()
    assert len(every) == len(set(every))
    assert [one.id for one in entries()] == list(every)
    by_family = [one.id for family in FAMILIES for one in entries(family)]
    assert by_family == list(every)
    by_cost = {id for cost in ("us", "ms", "100ms") for id in envs.list(cost)}
    assert by_cost == set(every)
    assert all(entry(id).cost == "ms" for id in envs.list("ms"))
    with pytest.raises(ValueError, match="no family 'dynamic'; there are: testing, dynamics"):
        entries("dynamic")
    with pytest.raises(ValueError, match="no cost 'fast'; there are: us, ms, 100ms"):
        envs.list("fast")
    with pytest.raises(KeyError, match="dynamics/lorentz-v0"):
        entry("dynamics/lorentz-v0")


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    register_all()
    assert dict(gymnasium.registry) == before
    del gymnasium.registry["testing/counting-v0"]
    register_all()
    assert gymnasium.registry["testing/counting-v0"].id == "testing/counting-v0"
