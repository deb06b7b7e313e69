"""The surrogate: its kernel against the reference, and the physics that it keeps."""

import gymnasium
import numpy as np
import pytest

from envs.finray.chain import make_chain
from envs.finray.lbm import FinRayLBM
from envs.finray.rom import FinRayROM, FinRayROMEnv
from envs.finray.rom_kernels import make_load, reference_steps


def rngs(n):
    return [np.random.default_rng(k) for k in range(n)]


def load(**options):
    chain = make_chain(links=16, length=1.0, base=(0.0, 0.0), mass=0.5, stiffness=10.0)
    return make_load(chain, **{"added": 0.3, "normal": 2.0, "tangent": 0.13, "dt": 0.005} | options)


def test_kernel_equals_the_reference():
    fast, slow = FinRayROM(n_actions=3), FinRayROM(n_actions=3, backend="reference")
    one, two = fast.start(rngs(5), {}), slow.start(rngs(5), {})
    draw = np.random.default_rng(0)
    for _ in range(40):
        action = draw.uniform(-1, 1, (5, 3)).astype(np.float32)
        a, b = fast.step(one, action, rngs(5)), slow.step(two, action, rngs(5))
        one, two = a.state, b.state
        np.testing.assert_allclose(a.reward, b.reward, rtol=1e-8, atol=1e-9)
    for name, array in one.items():
        np.testing.assert_allclose(array, two[name], rtol=1e-7, atol=1e-8, err_msg=name)
    assert np.abs(one["theta"]).max() > 0.05


def test_spaces_are_those_of_the_lattice():
    rom, full = FinRayROM(), FinRayLBM("tiny")
    assert rom.observation_space == full.observation_space
    assert rom.action_space == full.action_space


def test_ray_at_rest_feels_the_drag_of_a_plate():
    theta = np.zeros((1, 16))
    _, _, sums = reference_steps(load(), theta, theta, np.zeros((1, 1)), np.zeros((1, 1)), 3)
    assert sums[0, 0] == pytest.approx(-0.5 * 0.13)  # holds the stream back by C_t / 2
    assert sums[0, 1] == pytest.approx(0.0, abs=1e-15)


def test_straight_ray_at_an_angle_bears_lighthills_force():
    """So heavy that it stays: m_a w u across and -m_a w^2 / 2 along the ray leave at its tip."""
    angle, m_a = 0.2, 0.3
    chain = make_chain(links=16, length=1.0, base=(0.0, 0.0), mass=1e9, stiffness=0.0)
    heavy = make_load(chain, added=m_a, normal=0.0, tangent=0.0, dt=1e-6)
    theta, still = np.full((1, 16), angle), np.zeros((1, 16))
    _, _, sums = reference_steps(heavy, theta, still, *np.zeros((2, 1, 1)), 1)
    w, u = np.sin(angle), -np.cos(angle)
    across, along = m_a * u * w, -0.5 * m_a * w * w
    body_x = -across * np.sin(angle) + along * np.cos(angle)
    body_y = across * np.cos(angle) + along * np.sin(angle)
    assert sums[0, 0] == pytest.approx(-body_x, rel=1e-5)
    assert sums[0, 1] == pytest.approx(-body_y, rel=1e-5)
    assert body_y < 0, "a ray that points up is pushed down by the stream"


def test_drag_across_an_inclined_ray():
    chain = make_chain(links=16, length=1.0, base=(0.0, 0.0), mass=1e9, stiffness=0.0)
    heavy = make_load(chain, added=1e-9, normal=2.0, tangent=0.0, dt=1e-6)
    theta = np.full((1, 16), 0.3)
    _, _, sums = reference_steps(heavy, theta, np.zeros((1, 16)), *np.zeros((2, 1, 1)), 1)
    force = 0.5 * 2.0 * np.sin(0.3) ** 2
    assert sums[0, 0] == pytest.approx(-force * np.sin(0.3), rel=1e-5)
    assert sums[0, 1] == pytest.approx(force * np.cos(0.3), rel=1e-5)


def test_energy_balance():
    """Power of the actuation = rate of the ray's energy + power to the fluid, as steps shrink."""
    gaps = []
    for substeps in (20, 80):
        m = FinRayROM(substeps=substeps, pre_actuation=0)
        state = m.start(rngs(1), {})
        power = fluid = stored = 0.0
        for k in range(60):
            action = np.array([[np.sin(2 * np.pi * 1.2 * (k + 1) * 0.05)]], np.float32)
            outcome = m.step(state, action, rngs(1))
            state, info = outcome.state, outcome.info
            power += info["power_coefficient"][0] * 0.05
            fluid += info["fluid_power_coefficient"][0] * 0.05
            stored = info["energy_coefficient"][0]
        gaps.append(abs(power - fluid - stored) / power)
    assert gaps[1] < 0.02
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.35), "first order in the step"


def test_mirrored_actions_mirror_the_motion():
    m = FinRayROM(pre_actuation=0)
    state = m.start(rngs(2), {})
    draw = np.random.default_rng(1)
    for _ in range(100):
        value = draw.uniform(-1, 1)
        outcome = m.step(state, np.array([[value], [-value]], np.float32), rngs(2))
        state = outcome.state
        thrust = outcome.info["thrust_coefficient"]
        assert thrust[0] == pytest.approx(thrust[1], abs=1e-11)
    np.testing.assert_allclose(state["theta"][0], -state["theta"][1], atol=1e-12)


def test_seeds_time_limit_and_picture():
    env = gymnasium.make("envs:finray/rom-v0", render_mode="rgb_array")
    a, _ = env.reset(seed=1)
    b, _ = env.reset(seed=2)
    c, _ = env.reset(seed=1)
    np.testing.assert_array_equal(a, c)
    assert np.abs(a - b).max() > 1e-3
    for k in range(200):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert not terminated
        assert truncated == (k == 199)
    assert info["time"] == pytest.approx(10.0)
    picture = env.render()
    assert picture.shape == (450, 720, 3)
    assert picture[225, 180].max() < 90  # the base, 1 L from the left in the middle


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"added_mass": 0.0}, "finray/rom-v0: added_mass must be"),
        ({"substeps": 0}, "substeps must be"),
        ({"backend": "triton"}, "backend must be one of numba, reference"),
        ({"cells_per_length": 32}, "unknown argument cells_per_length"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        FinRayROMEnv(**options)
