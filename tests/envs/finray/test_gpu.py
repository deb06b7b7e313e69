"""The Triton engine against the NumPy twin; needs a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest

from envs.finray.lbm import FinRayLBM

pytestmark = pytest.mark.gpu


def played(backend: str, device: str, dtype: str, rows: int, steps: int, **options):
    model = FinRayLBM(
        "tiny", backend=backend, device=device, dtype=dtype, passive_time=0.1, pre_actuation=0,
        n_actions=2, **options,
    )  # fmt: skip
    rngs = [np.random.default_rng(k) for k in range(rows)]
    state = model.start(rngs, {})
    draw = np.random.default_rng(1)
    actions = draw.uniform(-1, 1, (steps, 7, 2)).astype(np.float32)[:, :rows]
    for action in actions:
        outcome = model.step(state, action, rngs)
        state = outcome.state
    return {name: np.asarray(array, np.float64) for name, array in state.items()}, outcome


@pytest.mark.parametrize("walls", ["periodic", "free_slip"])
def test_float64_equals_the_reference(walls):
    ours, _ = played("triton", "cuda", "float64", 2, 3, walls=walls)
    twin, _ = played("reference", "cpu", "float64", 2, 3, walls=walls)
    np.testing.assert_allclose(ours["f"], twin["f"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours["theta"], twin["theta"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours["measured"], twin["measured"], rtol=1e-6, atol=1e-6)


def test_float32_agrees_with_the_cpu_after_200_steps():
    ours, _ = played("triton", "cuda", "float32", 2, 7)
    twin, _ = played("numba", "cpu", "float32", 2, 7)
    scale = np.abs(twin["f"]).max()
    assert np.abs(ours["f"] - twin["f"]).max() / scale < 1e-5
    np.testing.assert_allclose(ours["theta"], twin["theta"], rtol=0, atol=1e-5)


def test_rows_are_independent_and_runs_repeat_bit_for_bit():
    many, _ = played("triton", "cuda", "float32", 7, 4)
    again, _ = played("triton", "cuda", "float32", 7, 4)
    few, _ = played("triton", "cuda", "float32", 2, 4)
    for name in ("f", "theta", "measured"):
        np.testing.assert_array_equal(many[name], again[name])
        np.testing.assert_array_equal(many[name][:2], few[name])


def test_a_row_beyond_the_mach_limit_stops_and_the_others_go_on():
    model = FinRayLBM(
        "tiny", backend="triton", device="cuda", dtype="float32", passive_time=0.1,
        pre_actuation=0, amplitude=2.0, u_lattice=0.1,
    )  # fmt: skip
    rngs = [np.random.default_rng(0)] * 2
    state = model.start(rngs, {})
    for k in range(8):
        outcome = model.step(state, np.array([[(-1.0) ** k], [0.0]], np.float32), rngs)
        state = outcome.state
        if outcome.terminated[0]:
            break
    assert outcome.terminated.tolist() == [True, False]
    assert outcome.info["lattice_steps"][0] < model.steps == outcome.info["lattice_steps"][1]
    assert outcome.info["max_speed"][0] > 0.4 > outcome.info["max_speed"][1]
