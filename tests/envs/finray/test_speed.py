"""Speed on one core, in seconds of CPU."""

import time

import numpy as np
import pytest

from envs.finray.fluid import Fluid
from envs.finray.numba_chain import flow
from envs.finray.numba_kernels import fluid_step
from envs.finray.rom import FinRayROMVectorEnv

pytestmark = pytest.mark.bench


@pytest.mark.parametrize(("dtype", "wanted"), [("float64", 45e6), ("float32", 70e6)])
def test_cell_updates(dtype, wanted):
    fluid = Fluid(192, 128, 8e-4, np.full(128, 0.0125))
    c, f = flow(fluid, np.dtype(dtype)), fluid.uniform(1, dtype)[0]
    g, zero = f.copy(), np.zeros((128, 192), dtype)
    rest = (zero, zero, np.zeros(128, bool), zero[0], c.inlet, c.k, c.walls, c.open_ends)
    speed, best = np.zeros(190, dtype), 0.0
    fluid_step(f, g, *rest, speed)
    for _ in range(5):
        start = time.process_time()
        for _ in range(50):
            fluid_step(f, g, *rest, speed)
            fluid_step(g, f, *rest, speed)
        best = max(best, 100 * 128 * 192 / (time.process_time() - start))
    assert best > wanted


def test_control_steps_of_the_surrogate():
    envs = FinRayROMVectorEnv(256)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 256, 1)).astype(np.float32)
    envs.step(actions[0])
    start = time.process_time()
    for action in actions:
        envs.step(action)
    assert 40 * 256 / (time.process_time() - start) > 20_000
