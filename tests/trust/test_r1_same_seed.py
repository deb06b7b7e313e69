"""Promise R1: equal seeds give equal parameters in ``serial``, different seeds different ones."""

from __future__ import annotations

import pytest
from toy_runs import train


@pytest.mark.parametrize("vector", [True, False])
def test_a_seed_decides_the_parameters(vector: bool) -> None:
    config = {"vector": vector}

    def parameters(placement: str, seed: int) -> str:
        outcome = train(placement, "serial", updates=30, seed=seed, config=config)
        assert outcome.error is None
        return outcome.parameters

    one = parameters("inline", 3)
    assert parameters("inline", 3) == one
    assert parameters("local", 3) == one
    assert len({one, parameters("inline", 4), parameters("inline", 5)}) == 3
