"""Open-loop baselines and reference policies."""

import json
import math

import numpy as np
import pytest

from envs.finray.baselines import sinusoid_grid, square_wave
from envs.finray.lbm import FinRayLBMEnv
from envs.finray.policies import make_sine, make_square, make_zero, sine, square
from envs.finray.rom import FinRayROM, FinRayROMEnv, FinRayROMVectorEnv


def test_signals():
    assert sine(0.25, 1.0, 0.5) == pytest.approx(0.5)
    assert sine(0.0, 3.0, phase=math.pi / 2) == pytest.approx(1.0)
    assert [square(t, 2.0) for t in (0.0, 0.2, 0.26, 0.49, 0.51)] == [1, 1, -1, -1, 1]


def test_policies_play_their_signal():
    env = FinRayROMEnv(n_actions=2)
    obs, info = env.reset(seed=0)
    policy = make_sine(env)
    for k in range(1, 4):
        np.testing.assert_allclose(
            policy(obs, info), math.sin(2 * math.pi * 1.6 * 0.05 * k), rtol=1e-6
        )
    assert [float(make_square(env)(obs, info)[1]), float(make_zero(env)(obs, info)[0])] == [
        1.0,
        0.0,
    ]
    wave = make_square(env)
    signs = [float(wave(obs, info)[0]) for _ in range(27)]
    assert signs[:6] == [1.0] * 6  # half a period is 6 2/3 control steps
    assert signs[6:13] == [-1.0] * 7


def mean_by_hand(frequency, amplitude):
    model = FinRayROM()
    rng = [np.random.default_rng(0)]
    state, thrusts = model.start(rng, {}), []
    for k in range(round(6 / (frequency * 0.05))):
        action = np.array([[amplitude * math.sin(2 * math.pi * frequency * (k + 1) * 0.05)]])
        outcome = model.step(state, action.astype(np.float32), rng)
        state = outcome.state
        thrusts.append(outcome.info["thrust_coefficient"][0])
    return np.mean(thrusts[round(2 / (frequency * 0.05)) :])


def test_grid_is_sorted_and_each_point_is_its_own_run():
    for env in (FinRayROMEnv(), FinRayROMVectorEnv(2)):
        scores = sinusoid_grid(env, amps=[0.5, 1.0], freqs=[0.8, 1.6])
        assert len(scores) == 4
        assert [s.reward for s in scores] == sorted((s.reward for s in scores), reverse=True)
        for score in scores:
            assert score.thrust == pytest.approx(
                mean_by_hand(score.frequency, score.amplitude), rel=1e-5
            )
            assert score.reward == pytest.approx(score.thrust)
            assert not score.diverged
            assert score.efficiency == pytest.approx(score.thrust / score.power)


def test_second_harmonic_is_clipped_to_the_bound():
    env = FinRayROMEnv()
    plain = sinusoid_grid(env, [1.0], [1.0])[0]
    both = sinusoid_grid(env, [1.0], [1.0], seconds=[0.3], phases=[0.0, 1.5])
    assert {s.phase for s in both} == {0.0, 1.5}
    assert all(abs(s.thrust - plain.thrust) > 1e-3 for s in both)


def test_square_wave_beats_the_sine_of_its_frequency():
    env = FinRayROMEnv()
    wave, calm = square_wave(env, [1.5])[0], sinusoid_grid(env, [1.0], [1.5])[0]
    assert wave.thrust > calm.thrust
    assert wave.power > calm.power


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        sinusoid_grid(FinRayROMEnv(), [], [1.0])


def test_a_diverged_point_comes_last_and_has_no_score():
    env = FinRayLBMEnv(
        preset="tiny", passive_time=0.1, pre_actuation=0, amplitude=2.0, u_lattice=0.1
    )
    good, bad = sinusoid_grid(env, [1.0, 0.02], [5.0])
    assert (good.amplitude, good.diverged) == (0.02, False)
    assert (bad.amplitude, bad.diverged) == (1.0, True)
    assert math.isnan(bad.thrust)
    assert bad.max_speed > 0.4 > good.max_speed


def test_the_surrogate_ranks_signals_as_the_lattice_does(repo_root):
    """Spearman's correlation of C_T over the signals that the lattice was measured with."""
    folder = repo_root / "docs" / "results" / "finray"
    table = json.loads((folder / "policies.json").read_text())["values"]["table"]
    square = json.loads((folder / "square_wave.json").read_text())["values"]
    freqs = [0.8, 1.0, 1.2, 1.4, 1.6, 2.0]
    lattice = [table[name]["thrust"] for name in ("zero", *(f"sine {f}" for f in freqs))]
    env = FinRayROMEnv()
    sines = sinusoid_grid(env, amps=[0.0, 1.0], freqs=freqs)
    ours = {(score.amplitude, score.frequency): score.thrust for score in sines}
    surrogate = [ours[0.0, 0.8], *(ours[1.0, f] for f in freqs), square_wave(env)[0].thrust]
    lattice.append(square["thrust"])
    apart = np.argsort(np.argsort(surrogate)) - np.argsort(np.argsort(lattice))
    n = len(apart)
    assert n == 8
    assert 1 - 6 * (apart**2).sum() / (n * (n * n - 1)) == pytest.approx(0.929, abs=0.03)
