"""Single games, vectors and subsets play by the same rules; nobody waits."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.core import InvalidActionError, ResetNeeded
from envs.core.seeding import generators
from envs.text.forms import BatchedTextEnv
from envs.text.policies import make_noisy

IDS = [id for id in envs.list() if id.startswith("text/")]
TWENTY = "text/twenty-questions-v0"


def transcript(id, seed, turns=40):
    """Play one environment with some player and return actions and what came of them."""
    env = gymnasium.make(f"envs:{id}")
    steps, over, first, policy = [], True, True, None
    while len(steps) < turns:
        if over:
            obs, info = env.reset(seed=seed if first else None)
            policy, first = make_noisy(env), False
        action = policy(obs, info)
        obs, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        steps.append((action, obs, reward, terminated, truncated, info["segments"]))
    return steps


@pytest.mark.parametrize("id", IDS)
def test_a_transcript_gives_the_same_in_any_order_of_subsets(id):
    n = 5
    seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(3).spawn(n)]
    scripts = [transcript(id, seed) for seed in seeds]
    batch = BatchedTextEnv(id, n)
    batch._rngs = generators(seeds, n)
    batch.reset()
    places, rng = [0] * n, np.random.default_rng(0)
    while min(places) < 40:
        ids = [k for k in rng.permutation(n)[: rng.integers(1, n + 1)] if places[k] < 40]
        if not ids:
            continue
        turns = batch.step(ids, [scripts[k][places[k]][0] for k in ids])
        for row, k in enumerate(ids):
            _, obs, reward, terminated, truncated, segments = scripts[k][places[k]]
            assert turns.replies[row] == obs
            assert turns.reward[row] == reward
            assert (turns.terminated[row], turns.truncated[row]) == (terminated, truncated)
            assert turns.info["segments"][row] == segments
            if terminated or truncated:
                assert batch.segments([k])[0] == [("environment", turns.observations[row])]
            else:
                assert turns.observations[row] == obs
            places[k] += 1


def test_a_finished_game_rests_without_refill():
    batch = BatchedTextEnv(TWENTY, 3, seed=0, refill=False)
    with pytest.raises(ResetNeeded, match="reset"):
        batch.step([0], ["Is it alive?"])
    with pytest.raises(ResetNeeded, match="all games first"):
        batch.reset([0])
    batch.reset(options={"hidden": "dog"})
    assert batch.step([1], ["Is it a dog?"]).terminated[0]
    with pytest.raises(ResetNeeded, match="is over"):
        batch.step([0, 1], ["Is it alive?"] * 2)
    assert batch.step([2, 0], ["Is it alive?"] * 2).replies.tolist() == ["Yes.", "Yes."]
    batch.reset([1], options={"hidden": "piano"})
    assert batch.step([1, 0], ["Is it alive?"] * 2).replies.tolist() == ["No.", "Yes."]
    assert len(batch.segments([1])[0]) == 3


def test_mistakes_in_batches_are_named():
    batch = BatchedTextEnv(TWENTY, 3, seed=0)
    batch.reset()
    for ids in ([3], [-1], [1, 1]):
        with pytest.raises(IndexError, match="distinct and below 3"):
            batch.step(ids, ["x"] * len(ids))
    with pytest.raises(InvalidActionError, match="1 texts, wanted 2"):
        batch.step([0, 1], ["x"])
    with pytest.raises(InvalidActionError, match="wanted a text"):
        batch.step([0], [7])
    with pytest.raises(InvalidActionError, match="no game"):
        batch.step([], [])
    with pytest.raises(ValueError, match="not a text game"):
        BatchedTextEnv("dynamics/lorenz-v0", 2)
    with pytest.raises(ValueError, match="num_games must be"):
        BatchedTextEnv(TWENTY, 0)
    with pytest.raises(ValueError, match="unknown argument subste; did you mean subset"):
        BatchedTextEnv(TWENTY, 1, subste="ten")


def test_a_time_limit_truncates_and_refills():
    batch = BatchedTextEnv("text/maze-v0", 2, seed=0, max_episode_steps=3)
    batch.reset()
    for _ in range(2):
        assert not batch.step([0], ["jump"]).truncated[0]
    turns = batch.step([0, 1], ["jump", "jump"])
    assert turns.truncated.tolist() == [True, False]
    assert not turns.terminated.any()
    assert turns.info["turn"].tolist() == [3, 1]
    assert [len(s) for s in batch.segments()] == [1, 3]


def test_a_saved_batch_goes_on_exactly():
    batch = BatchedTextEnv("text/adventure-v0", 4, seed=5)
    batch.reset()
    batch.step([0, 2], ["look", "inventory"])
    saved = batch.get_state()
    actions = ["go north", "go east", "look", "take lamp"]
    wanted = [batch.step(range(4), actions).replies.tolist() for _ in range(70)]
    other = BatchedTextEnv("text/adventure-v0", 4, seed=99)
    other.reset()
    other.set_state(saved)
    assert [other.step(range(4), actions).replies.tolist() for _ in range(70)] == wanted
    assert len({tuple(row) for row in wanted}) > 1


@pytest.mark.parametrize("id", IDS)
def test_renderings(id):
    env = gymnasium.make(f"envs:{id}", render_mode="ansi")
    with pytest.raises(ResetNeeded):
        env.unwrapped.render()
    obs, info = env.reset(seed=1)
    action = make_noisy(env)(obs, info)
    obs, *_ = env.step(action)
    text = env.render()
    assert f"> {action}" in text
    assert text.endswith(obs)
    picture = gymnasium.make(f"envs:{id}", render_mode="rgb_array")
    picture.reset(seed=1)
    before = picture.render()
    picture.step(action + "\x1b[31m\u0434")
    after = picture.render()
    assert before.shape == after.shape
    assert before.dtype == np.uint8
    assert (before != after).any()


def test_controls_do_not_reach_the_terminal():
    env = gymnasium.make(f"envs:{TWENTY}", render_mode="ansi")
    env.reset(seed=0)
    env.step("\x1b[2Jhello\x07")
    assert "> ?[2Jhello?" in env.render()


def test_observations_lie_in_their_space_and_texts_are_strings():
    for id in IDS:
        vector = gymnasium.make_vec(f"envs:{id}", 3, vectorization_mode="vector_entry_point")
        obs, _ = vector.reset(seed=0)
        assert isinstance(obs, tuple)
        assert obs in vector.observation_space
        obs, *_ = vector.step(["look", "move up", "Is it alive?"])
        assert obs in vector.observation_space
        assert all(isinstance(text, str) for text in obs)


@pytest.mark.slow
@pytest.mark.parametrize(("id", "floor"), [(TWENTY, 10), ("text/wordle-v0", 10)])
def test_a_batch_is_ten_times_a_loop_of_single_games(id, floor):
    import gc
    import time

    from envs.text.objects_table import object_table
    from envs.text.wordle import word_lists

    pool = object_table().questions if id == TWENTY else word_lists()[1]
    rng, n = np.random.default_rng(0), 1024
    actions = [[pool[k] for k in rng.integers(len(pool), size=n)] for _ in range(40)]

    def batched():
        batch = BatchedTextEnv(id, n, seed=0)
        batch.reset()
        began = time.process_time()
        for texts in actions:
            batch.step(range(n), texts)
        return 40 * n / (time.process_time() - began)

    def single():
        env = gymnasium.make(f"envs:{id}")
        env.reset(seed=0)
        began = time.process_time()
        for text in actions[0] + actions[1]:
            *_, terminated, truncated, _ = env.step(text)
            if terminated or truncated:
                env.reset()
        return 2 * n / (time.process_time() - began)

    gc.collect()
    gc.disable()  # as timeit does: a collection of all of pytest's objects is not the games' cost
    try:
        pairs = [(batched(), single()) for _ in range(5)]
    finally:
        gc.enable()
    assert max(fast for fast, _ in pairs) >= 100_000
    assert np.median([fast / slow for fast, slow in pairs]) >= floor
