"""Promise A11: NEXT_STEP and SAME_STEP autoreset give identical training sets."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.make import make_envs
from envs.testing.counting import DEFAULT_SCHEDULE
from rlcore.runtime.env_stream import StepRow, open_stream

MODES = ("next_step", "same_step", "plain")


def open_counting(mode, schedule, seeds):
    kwargs = {"schedule": schedule}
    if mode != "plain":
        kwargs["autoreset_mode"] = {"next_step": "NextStep", "same_step": "SameStep"}[mode]
    made = make_envs(
        "testing/counting-v0",
        len(seeds),
        kwargs=kwargs,
        vectorization="sync" if mode == "plain" else "native",
    )
    stream = open_stream(made, env_id="testing/counting-v0")
    assert stream.autoreset == ("same_step" if mode == "plain" else mode)
    return stream


def transitions(mode, schedule, seeds, episodes, unroll=4):
    """Play fragments as an actor does; return the transitions of the first ``episodes``.

    A transition is (obs, first, reward, terminated, truncated, next value's observation or None,
    episode return, episode length), next to its environment.
    """
    stream = open_counting(mode, schedule, seeds)
    envs = len(seeds)
    obs = np.zeros((unroll + 1, envs, 3), np.float32)
    first = np.zeros((unroll + 1, envs), bool)
    arrays = {
        name: np.zeros((unroll, envs), kind)
        for name, kind in (
            ("reward", "f4"), ("terminated", bool), ("truncated", bool), ("valid", bool),
            ("episode_return", "f4"), ("episode_length", "i4"),
        )
    }  # fmt: skip
    rows = [
        StepRow(obs=obs[t + 1], first=first[t + 1], **{k: v[t] for k, v in arrays.items()})
        for t in range(unroll)
    ]
    stream.reset(seeds, obs[0], first[0])
    total = max(length for length, _ in schedule) * episodes + 2 * episodes + unroll
    found = []
    for _ in range(0, total, unroll):
        for array in (obs, first, *arrays.values()):
            array.view(np.uint8).fill(1)  # what an earlier fragment left in the slot
        stream.carry_in(obs[0], first[0])
        finals = {}
        for t in range(unroll):
            for env, final in stream.step(np.zeros(envs, np.int64), rows[t]):
                finals[t, env] = final.copy()
        for t, env in np.argwhere(arrays["valid"]):
            terminated, truncated = arrays["terminated"][t, env], arrays["truncated"][t, env]
            bootstrap = None if terminated else obs[t + 1, env]
            if stream.autoreset == "same_step" and truncated and not terminated:
                bootstrap = finals.pop((t, env))
            found.append((
                int(env), tuple(obs[t, env]), bool(first[t, env]), float(arrays["reward"][t, env]),
                bool(terminated), bool(truncated), None if bootstrap is None else tuple(bootstrap),
                float(arrays["episode_return"][t, env]), int(arrays["episode_length"][t, env]),
            ))  # fmt: skip
        assert not finals, "a final observation for a row that was no truncation"
        assert not arrays["reward"][~arrays["valid"]].any()
        assert not (arrays["terminated"] | arrays["truncated"])[~arrays["valid"]].any()
    return Counter(one for one in found if one[1][1] < episodes)


def expected(schedule, seeds, episodes):
    """Write the same set down from the schedule alone."""
    found = []
    for env, seed in enumerate(seeds):
        for episode in range(episodes):
            length, end = schedule[(seed + episode) % len(schedule)]
            rewards = [episode + (t + 1) / 64 for t in range(length)]
            for t in range(length):
                last = t == length - 1
                terminated, truncated = last and end != "truncated", last and end != "terminated"
                key = float(seed % 2**16)
                bootstrap = None if terminated else (key, float(episode), float(t + 1))
                found.append((
                    env, (key, float(episode), float(t)), t == 0, rewards[t], terminated,
                    truncated, bootstrap, sum(rewards) if last else 0.0, length if last else 0,
                ))  # fmt: skip
    return Counter(found)


@pytest.mark.parametrize("mode", MODES)
def test_the_training_set_is_the_one_written_down(mode):
    seeds = [0, 1, 2]
    found = transitions(mode, DEFAULT_SCHEDULE, seeds, 6)
    wanted = expected(DEFAULT_SCHEDULE, seeds, 6)
    assert found == wanted, [*(found - wanted), "missing", *(wanted - found)]


schedules = st.lists(
    st.tuples(st.integers(1, 7), st.sampled_from(["terminated", "truncated", "both"])),
    min_size=1,
    max_size=5,
)


@given(
    schedule=schedules,
    seeds=st.lists(st.integers(0, 50), min_size=1, max_size=3),
    unroll=st.integers(1, 9),
)
def test_any_schedule_gives_one_training_set(schedule, seeds, unroll):
    wanted = expected(schedule, seeds, 4)
    for mode in MODES:
        assert transitions(mode, schedule, seeds, 4, unroll) == wanted, mode


def test_next_step_resets_cost_one_masked_row_each():
    stream = open_counting("next_step", [(2, "terminated")], [0])
    flags = [np.zeros(1, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    row = StepRow(np.zeros((1, 3), np.float32), *flags)
    stream.reset([0], row.obs, row.first)
    seen = []
    for _ in range(6):
        stream.step(np.zeros(1, np.int64), row)
        seen.append((bool(row.valid[0]), bool(row.first[0]), row.obs[0, 1:].tolist()))
    one = [(True, False, [0, 1]), (True, False, [0, 2]), (False, True, [1, 0])]
    two = [(True, False, [1, 1]), (True, False, [1, 2]), (False, True, [2, 0])]
    assert seen == one + two
