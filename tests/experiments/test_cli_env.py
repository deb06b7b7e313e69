"""The commands ``rlcore env``: list, bench, picture, and check on environments of texts."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import envs
from experiments import cli
from experiments.env_bench import BY_COST, SYNC_ENVS, env_bench
from experiments.env_check import check_env, env_rows
from experiments.env_picture import contact_sheet


def run(capsys, *words):
    code = cli.main([str(word) for word in words])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_list_shows_family_cost_and_summary(capsys):
    code, out, _ = run(capsys, "env", "list", "dynamics/lorenz")
    head, line = out.splitlines()
    assert code == 0
    assert head.split() == ["id", "family", "cost", "summary"]
    assert line.split()[:3] == ["dynamics/lorenz-v0", "dynamics", "us"]
    assert "Lorenz" in line


def test_list_by_cost_and_as_json(capsys):
    _, out, _ = run(capsys, "env", "list", "--cost", "ms", "--json")
    found = json.loads(out)
    assert {row["id"] for row in found} == set(envs.list("ms"))
    assert {row["cost"] for row in found} == {"ms"}
    everything = {row["id"]: row for row in env_rows()}
    assert everything["CartPole-v1"] == {
        "id": "CartPole-v1", "family": None, "cost": None, "summary": "",
    }  # fmt: skip
    assert set(envs.list()) < set(everything)
    code, _, err = run(capsys, "env", "list", "--cost", "slow")
    assert code == 2
    assert "no cost 'slow'; there are: us, ms, 100ms" in err


# -- bench ----------------------------------------------------------------------------------------


def test_bench_counts_steps_of_every_form(monkeypatch):
    clock = iter(np.arange(0, 1e6, 0.25))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    found = env_bench("CartPole-v1", num_envs=10, seconds=1.0)
    # A clock that ticks a quarter of a second at every look: three steps in one second.
    assert found["vector"]["steps_per_s"] == 30.0
    assert found["plain"]["steps_per_s"] == 3.0
    assert found["gymnasium"]["steps_per_s"] == 3.0 * SYNC_ENVS
    assert found["ratio"] == {"median": 1.25, "min": 1.25, "max": 1.25}
    assert len(found["plain"]["samples"]) == 5


def test_bench_of_an_environment_without_a_vector_form():
    found = env_bench("testing/one-step-v0", seconds=0.01)
    assert found["vector"] is None
    assert found["ratio"] is None
    assert found["plain"]["steps_per_s"] > 100
    assert found["num_envs"] == BY_COST["us"]


def test_bench_command(capsys, tmp_path):
    file = tmp_path / "new" / "lorenz.json"
    code, out, _ = run(
        capsys, "env", "bench", "dynamics/lorenz-v0", "--num-envs", 16, "--seconds", 0.01,
        "--json", file,
    )  # fmt: skip
    assert code == 0
    for words in ("vector form, 16 environments", "plain form", "SyncVectorEnv, 8 environments",
                  "vector form over Gymnasium's loop"):  # fmt: skip
        assert words in out
    result = json.loads(file.read_text())
    assert result["id"] == "dynamics/lorenz-v0"
    assert result["machine"]["cores"] >= 1
    assert result["ratio"]["min"] <= result["ratio"]["median"] <= result["ratio"]["max"]
    assert result["ratio"]["median"] > 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["bench", "dynamics/lorentz-v0"], "lorenz"),
        (["bench", "CartPole-v1", "--kwargs", "{x}"], "--kwargs {x}"),
        (["bench", "CartPole-v1", "--kwargs", "[1]"], "wanted a JSON object"),
        (["picture", "dynamics/lorentz-v0", "--out", "x.png"], "lorenz"),
        (["picture", "CartPole-v1", "--out", "x.png"], "CartPole-v1 names no policies"),
        (["picture", "CartPole-v1", "--out", "x.png", "--policy", "no:pe"], "no policy 'no:pe'"),
        (["picture", "testing/one-step-v0", "--out", "x.png", "--policy", "random"], "no picture"),
        (["picture", "CartPole-v1", "--out", "x.nope", "--policy", "random"], "x.nope"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render method without specifying any render mode")
@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")
def test_mistakes_are_named(capsys, tmp_path, monkeypatch, words, problem):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "env", *words)
    assert code == 2
    assert problem in err


# -- picture --------------------------------------------------------------------------------------


def frame(shade, wide=200, high=100):
    return np.full((high, wide, 3), shade, np.uint8)


def test_a_sheet_holds_every_frame_in_order():
    shades = [10, 60, 110, 160, 210, 250]
    sheet = contact_sheet([frame(shade) for shade in shades], ["x"] * 6, "title")
    found = [shade for shade in shades if (sheet == shade).all(2).sum() >= 190 * 90]
    assert found == shades
    places = {shade: np.argwhere((sheet == shade).all(2)).mean(0) for shade in shades}
    rows = [round(places[shade][0]) for shade in shades]
    columns = [round(places[shade][1]) for shade in shades]
    assert rows[0] == rows[1] == rows[2] < rows[3] == rows[4] == rows[5]
    assert columns[0] < columns[1] < columns[2]
    assert columns[:3] == columns[3:]
    assert sheet.shape == (34 + 2 * (100 + 22 + 10), 10 + 3 * 210, 3)


@pytest.mark.parametrize(("wide", "shown"), [(40, 180), (200, 200), (1000, 380)])
def test_frames_are_brought_to_a_size_that_can_be_seen(wide, shown):
    sheet = contact_sheet([frame(100, wide, wide)], [""], "t")
    assert (sheet == 100).all(2).sum() == pytest.approx(shown * shown, rel=0.03)


def test_picture_command_plays_the_named_policy(capsys, tmp_path):
    from PIL import Image

    file = tmp_path / "new" / "cartpole.png"
    words = ["env", "picture", "CartPole-v1", "--out", file, "--policy", "random", "--seed", 3]
    code, out, _ = run(capsys, *words)
    assert code == 0
    env = gymnasium.make("CartPole-v1")
    from envs.references import returns

    score = returns("CartPole-v1", "random", 1, 3)[0]
    assert out == f"{file}: {score:g} steps of random, return {score:g}\n"
    env.close()
    first = np.asarray(Image.open(file))
    assert first.shape[2] == 3
    run(capsys, *words)
    assert np.array_equal(np.asarray(Image.open(file)), first), "one seed, one picture"
    run(capsys, *words, "--steps", 2, "--frames", 1)
    assert Image.open(file).width < first.shape[1]


# -- environments of texts ------------------------------------------------------------------------


class Echo(gymnasium.Env):
    """Says back what it is told; ``fault`` makes it do so in a way that a check must find."""

    observation_space = action_space = spaces.Text(20, charset="abc!")

    def __init__(self, fault=None, render_mode=None):
        self.fault, self.render_mode, self.turn = fault, render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn = 0
        return "abc"[int(self.np_random.integers(3))], {}

    def step(self, action):
        self.turn += 1
        said = action[:5] + ("abc"[int(self.np_random.integers(3))])
        if self.fault == "space":
            said += "?"
        if self.fault == "repeat":
            said = "a" * np.random.default_rng().integers(1, 20)
        if self.fault == "raise":
            raise KeyError("lost")
        return said, 1.0, self.turn >= 4, False, {}


@pytest.mark.parametrize(
    ("fault", "check"),
    [(None, None), ("space", "contract"), ("repeat", "repeatability"), ("raise", "contract")],
)
def test_texts_are_checked(fault, check):
    gymnasium.register("test/echo-v0", entry_point=Echo)
    try:
        found = check_env("test/echo-v0", steps=40, kwargs={"fault": fault})
    finally:
        del gymnasium.registry["test/echo-v0"]
    levels = {one.check.removeprefix("texts: "): one.level for one in found}
    if fault is None:
        assert levels.pop("gymnasium checker") in ("ok", "warning")
        assert set(levels.values()) == {"ok"}
        (spaces_line,) = [one.message for one in found if one.check == "texts: spaces"]
        assert spaces_line == (
            "observations of 1 to 20 characters out of 4, actions of 1 to 20 characters out of 4"
        )
        assert levels.keys() == {"spaces", "contract", "repeatability", "state round trip", "speed"}
    else:
        assert levels[check] == "error"
