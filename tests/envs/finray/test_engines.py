"""The engines against each other, and the numba kernels against the reference by parts."""

import os
import platform
import subprocess
import sys

import numba
import numpy as np
import pytest

from envs.finray.chain import make_chain
from envs.finray.engine import make_engine
from envs.finray.fluid import Fluid, finish_step, stream
from envs.finray.numba_chain import flow
from envs.finray.numba_engine import NumbaEngine
from envs.finray.numba_kernels import collide_row, constants, fluid_step

CHAIN = {"links": 8, "length": 12.0, "base": (9.0, 13.37), "mass": 3.0, "stiffness": 9.0}


def setting(walls="periodic", u=0.04):
    fluid = Fluid(36, 28, u * 12 / 200, np.full(28, u), walls)
    return fluid, make_chain(**CHAIN, shapes=("exponential", "uniform"), gravity=1e-6)


def played(backend, walls="periodic", intervals=3, dtype="float64", **options):
    engine = make_engine(backend, *setting(walls), dtype, "cpu", **options)
    f = engine.uniform(2)
    theta, omega = np.zeros((2, 8)), np.zeros((2, 8))
    a = np.zeros((2, 2))
    for k in range(intervals):
        target = np.array([[0.4, -0.1], [-0.2, 0.3]]) * (-1) ** k
        after = engine.advance(f, theta, omega, a, target, 11)
        f, theta, omega, a = after.f, after.theta, after.omega, after.a
    return after


NUMBERS = ("theta", "omega", "a", "steps", "force_x", "force_y", "power", "power_positive",
           "fluid_power", "moment", "max_speed", "tip")  # fmt: skip


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("walls", ["periodic", "free_slip"])
def test_engines_equal_the_reference(backend, walls):
    ours, twin = played(backend, walls), played("reference", walls)
    np.testing.assert_allclose(np.asarray(ours.f), twin.f, rtol=0, atol=1e-13)
    for name in NUMBERS:
        expected = getattr(twin, name)
        scale = max(np.abs(expected).max(), 1e-6)
        np.testing.assert_allclose(getattr(ours, name) / scale, expected / scale, atol=1e-9)
    assert not ours.diverged.any()
    assert np.abs(twin.theta).max() > 0.02, "the case moves"


def test_float32_stays_close():
    ours, twin = played("numba", dtype="float32"), played("reference")
    assert ours.f.dtype == np.float32
    np.testing.assert_allclose(ours.f, twin.f, rtol=0, atol=2e-6)
    np.testing.assert_allclose(ours.theta, twin.theta, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "packed"), [(np.float64, "divpd"), (np.float32, "divps")])
def test_the_collision_runs_on_the_vector_units(dtype, packed):
    # LLVM gives up silently where a limit of its own is passed, and a step takes 2.5 times as long.
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("looks for the instructions of x86-64")
    again = numba.njit(nogil=True, error_model="numpy")(collide_row.py_func)
    rows = [np.full(40, 1 / 9, dtype) for _ in range(20)]
    again(*rows, rows[0].copy(), constants(1.5, dtype))
    (code,) = again.inspect_asm().values()
    assert packed in code


def test_a_process_that_compiles_plays_as_one_that_loads_what_was_compiled(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.envs.finray.test_engines import played\n"
        "print(played('numba', 'free_slip', intervals=2).f.tobytes().hex())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, *sys.path]
    compiled, loaded = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert compiled == loaded
    assert len(compiled) > 100_000


def test_threads_change_nothing():
    one, two = played("numba"), played("numba", threads=2)
    np.testing.assert_array_equal(one.f, two.f)
    np.testing.assert_array_equal(one.theta, two.theta)


@pytest.mark.parametrize("walls", ["periodic", "free_slip", "no_slip"])
@pytest.mark.parametrize("ends", ["open", "periodic"])
def test_fluid_kernel_equals_the_reference(walls, ends):
    rng = np.random.default_rng(2)
    fluid = Fluid(17, 11, 0.01, np.linspace(0.01, 0.05, 11), walls, ends)
    f = fluid.uniform(1)[0] * rng.uniform(0.97, 1.03, (9, 11, 17))
    fx, fy = rng.normal(0, 1e-3, (2, 11, 17))
    forced = np.array([True, False] * 5 + [True])
    fx[~forced], fy[~forced] = 0.0, 0.0
    g, constants = np.empty_like(f), flow(fluid, f.dtype)
    square = fluid_step(
        f, g, fx, fy, forced, np.zeros(17), constants.inlet, constants.k, constants.walls,
        constants.open_ends, np.zeros(15),
    )  # fmt: skip
    twin, speed = finish_step(np, fluid, stream(np, fluid, f[None]), fx, fy, fluid.inlet)
    np.testing.assert_allclose(g, twin[0], rtol=0, atol=1e-15)
    assert np.sqrt(square) == pytest.approx(speed[0], rel=1e-12)


def test_momentum_given_by_the_markers_is_what_the_fluid_takes():
    """In a closed periodic box the fluid's momentum changes by the markers' force alone."""
    fluid = Fluid(38, 28, 0.02, np.full(28, 0.03), "periodic", "periodic")
    chain = make_chain(**CHAIN | {"base": (12.0, 13.2)})
    engine = NumbaEngine(fluid, chain)
    f = engine.uniform(1)

    def momentum(f):
        cell = f[0, :, :, 1:-1].sum((1, 2))
        return cell[1] - cell[3] + cell[5] - cell[6] - cell[7] + cell[8]

    before = momentum(f)
    after = engine.advance(f, np.zeros((1, 8)), np.zeros((1, 8)), *np.zeros((2, 1, 1)), 40)
    assert momentum(after.f) - before == pytest.approx(40 * after.force_x[0], rel=1e-9)
    assert after.force_x[0] < 0, "a ray at rest holds the stream back"


@pytest.mark.parametrize("backend", ["numba", "reference", "torch"])
def test_a_row_beyond_the_mach_limit_stops_where_it_was(backend):
    engine = make_engine(backend, *setting(u=0.08))
    state = (engine.uniform(2), np.zeros((2, 8)), np.zeros((2, 8)), np.zeros((2, 2)))
    after = engine.advance(*state, np.array([[30.0, 30.0], [0.0, 0.0]]), 60)
    assert after.diverged.tolist() == [True, False]
    assert after.steps[0] < after.steps[1] == 60
    assert after.max_speed[0] > 0.4 > after.max_speed[1]
    np.testing.assert_allclose(after.a[0], 30.0 * after.steps[0] / 60)
    assert np.isfinite(np.asarray(after.f)).all()


@pytest.mark.parametrize("mass", [1.5, 0.02])
@pytest.mark.parametrize("stiffness", [0.0015, 200.0])
def test_coupling_is_stable_over_its_range(mass, stiffness):
    """Mass ratios and stiffnesses at which staggered coupling diverges."""
    u, cells = 0.025, 16
    fluid = Fluid(64, 48, u * cells / 200, np.full(48, u))
    chain = make_chain(
        links=8, length=cells, base=(21.0, 24.37), mass=mass * cells,
        stiffness=stiffness * u**2 * cells**3,
    )  # fmt: skip
    engine = NumbaEngine(fluid, chain)
    f, theta, omega = engine.uniform(1), np.full((1, 8), 0.1), np.zeros((1, 8))
    after = engine.advance(f, theta, omega, *np.zeros((2, 1, 1)), 1500)
    assert not after.diverged[0]
    assert after.max_speed[0] < 0.2
    if stiffness == 200.0:
        assert np.abs(after.theta).max() < 5e-3, "a stiff ray is straight again"


def test_unknown_device_is_named():
    for backend in ("numba", "reference", "torch"):
        with pytest.raises(ValueError, match="device"):
            make_engine(backend, *setting(), "float64", "cuda:7")


def test_a_missing_package_is_named_and_no_engine_takes_its_place(monkeypatch):
    monkeypatch.setitem(sys.modules, "envs.finray.triton_engine", None)
    with pytest.raises(ImportError, match="backend 'triton' needs torch with triton"):
        make_engine("triton", *setting(), "float32", "cuda")


def test_the_package_stays_light():
    code = (
        "import sys, envs, envs.finray.lbm, envs.finray.rom\n"
        "print([name for name in ('numba', 'torch', 'PIL') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
