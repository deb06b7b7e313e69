"""The environment checks find planted faults and pass sound environments."""

import pytest

from experiments.env_check import check_env, list_envs


def levels(findings):
    return {finding.check: finding.level for finding in findings}


@pytest.mark.parametrize("env_id", ["testing/counting-v0", "CartPole-v1", "Pendulum-v1"])
def test_sound_environments_have_no_error(env_id):
    findings = check_env(env_id, steps=250, seconds=0.01)
    bad = [one for one in findings if one.level == "error"]
    assert not bad
    found = levels(findings)
    forms = {"sync"} if env_id == "Pendulum-v1" else {"native", "sync"}
    for form in forms:
        for check in ("contract and seeding", "repeatability", "autoreset", "state round trip"):
            assert found[f"{form}: {check}"] == "ok", (form, check)
        assert found[f"{form}: speed"] == "ok"


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("nan", "sync: contract and seeding"),
        ("ignore_seed", "sync: repeatability"),
        ("out_of_space", "sync: contract and seeding"),
    ],
)
def test_planted_faults_are_found(fault, check):
    findings = check_env(
        "testing/faulty-v0", steps=60, seconds=0.01, kwargs={"fault": fault, "times": 0}
    )
    assert levels(findings)[check] == "error"


def test_missing_state_is_a_warning():
    pytest.importorskip("ale_py")
    findings = check_env(
        "ALE/Pong-v5", preset="atari", vectorization="native", steps=20, seconds=0.01, num_envs=1
    )
    assert levels(findings)["native: state round trip"] == "warning"


def test_list_holds_gymnasium_and_ours():
    assert "CartPole-v1" in list_envs()
    assert "testing/one-step-v0" in list_envs("testing/")
    assert all(env_id.startswith("testing/") for env_id in list_envs("testing/"))
