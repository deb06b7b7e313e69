"""The validation cases: small forms of them by default, the cases themselves where slow."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs.finray.validation import __main__ as command
from envs.finray.validation.coupled import energy_residual, mirror_difference
from envs.finray.validation.cylinders import coefficients, shedding
from envs.finray.validation.flag import amplitude_and_frequency
from envs.finray.validation.flows import channel_error, vortex_error
from envs.finray.validation.report import Check, Result, save

RECORDED = Path(__file__).parents[3] / "docs" / "results" / "finray"


def test_channel_flow_is_of_second_order():
    coarse, fine = channel_error(8), channel_error(16)
    assert 3.7 < coarse / fine < 4.3
    assert fine < 2e-3


def test_vortices_decay_at_the_viscosity_asked_for():
    (coarse, _), (fine, rate) = vortex_error(16), vortex_error(32)
    assert 3.5 < coarse / fine < 4.6
    assert rate == pytest.approx(1.0, abs=0.003)


def test_drag_of_a_small_cylinder():
    both = coefficients(20, 6, 16)
    assert 2.2 < both[-600:, 0].mean() < 3.0  # a thick boundary and a short time raise it
    assert abs(both[-600:, 1].mean()) < 0.1


def test_energy_budget_closes():
    residual, series = energy_residual(60, preset="tiny", passive_time=0.5)
    assert series["power_coefficient"][30:].mean() > 3
    assert abs(residual) < 0.02


def test_mirrored_actions_mirror_the_flow():
    thrust, angle = mirror_difference(40, preset="tiny")
    assert thrust < 1e-10
    assert angle < 1e-11


def test_measures_of_a_signal():
    time = np.arange(0, 30, 0.01)
    lift = 0.4 * np.sin(2 * np.pi * 0.165 * time)
    assert shedding(lift, 100) == pytest.approx((0.4, 0.165), rel=1e-3)
    assert shedding(np.ones(10), 1.0) == (0.0, 0.0)
    found = amplitude_and_frequency(time, 0.1 + 0.35 * np.sin(2 * np.pi * 0.3 * time))
    assert found == pytest.approx((0.35, 0.3), rel=5e-3)


def test_a_result_is_written_with_its_bands(tmp_path):
    checks = [Check("inside", 1.0, 0.5, 1.5, "theory"), Check("outside", 2.0, 0.0, 1.0)]
    result = Result("case", {"n": 3}, checks, {"nan": float("nan")}, lambda f: f.subplots())
    assert result.failures() == ["case: outside is 2, wanted 0 to 1"]
    pytest.importorskip("matplotlib")
    record = json.loads(save(result, tmp_path, 1.25).read_text())
    assert [c["passed"] for c in record["checks"]] == [True, False]
    assert record["values"] == {"nan": None}
    assert record["command"].startswith("python -m envs.finray.validation case --out")
    assert (tmp_path / "case.png").stat().st_size > 1000


def test_the_command_runs_a_case_and_tells(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    bad = Result("bad", {}, [Check("number", 3.0, 0.0, 1.0)])
    monkeypatch.setattr(command, "CASES", {"bad": lambda: bad})
    monkeypatch.setattr("sys.argv", ["validation", "bad", "--out", str(tmp_path)])
    assert command.main() == 1
    assert "FAIL bad: number 3 [0, 1]" in capsys.readouterr().out


MISSED = {
    ("square_wave", "mean C_T over the starts"): "2.23 over 12 starts, wanted 4.25 to 5.75",
}
"""Bands that are known not to be reached; each is said on the fin ray's page."""


@pytest.mark.parametrize("case", sorted(path.stem for path in RECORDED.glob("*.json")))
def test_recorded_results_lie_in_their_bands(case):
    record = json.loads((RECORDED / f"{case}.json").read_text())
    assert record["case"] == case
    assert case in command.CASES
    for check in record["checks"]:
        low, high = check["band"]
        reached = low <= check["value"] <= (high if high is not None else np.inf)
        assert check["passed"] == reached
        assert reached != ((case, check["name"]) in MISSED), check


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", list(command.CASES))
def test_case(case, request):
    if case == "actuated":  # its mean depends on bursts of thrust: see the fin ray's page
        request.applymarker(pytest.mark.xfail(reason="C_T 2.24 at 32 cells, band to 1.55"))
    if case == "square_wave":
        reason = MISSED[case, "mean C_T over the starts"]
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    assert command.CASES[case]().failures() == []
