"""What the environments add to their tasks; the contract's tests run over all of them too."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import envs
from envs.reasoning import CountdownTask, GSM8KTask, SudokuTask
from envs.reasoning.splits import split_of
from envs.reasoning.task import MAX_COMPLETION, Item

IDS = [entry.id for entry in envs.entries(family="reasoning")]


def test_the_ids():
    names = ("countdown", "sudoku4", "sudoku9", "gsm8k", "chain-sum", "expr-set", "expr-tree",
             "box-search")  # fmt: skip
    assert [f"reasoning/{name}-v0" for name in names] == IDS


def test_one_step_scores_the_completion():
    env = gymnasium.make("envs:reasoning/countdown-v0", n=3, profile="d1")
    prompt, info = env.reset(seed=5)
    item = Item(*env.unwrapped.get_state()["model"]["item"]["objects"][0])
    assert prompt == item.prompt
    assert info == {"segments": [("user", prompt)]}
    text = f"<answer>{item.answer}</answer>"
    obs, reward, terminated, truncated, info = env.step(text)
    assert (obs, reward, terminated, truncated) == (prompt, 1.0, True, False)
    assert info["segments"] == [("user", prompt), ("assistant", text)]
    assert info["correct"] is True
    assert info["answer"] == item.answer


@pytest.mark.parametrize("id", IDS)
def test_splits_do_not_share_prompts(id):
    prompts = {}
    for split in ("train", "test"):
        vector = gymnasium.make_vec(id, 60, vectorization_mode="vector_entry_point", split=split)
        prompts[split] = set(vector.reset(seed=1)[0])
    assert not prompts["train"] & prompts["test"]
    assert len(prompts["train"]) > 20


def test_a_reset_option_names_the_split():
    env = gymnasium.make("reasoning/chain-sum-v0").unwrapped
    for seed in range(10):
        env.reset(seed=seed, options={"split": "test"})
        item = Item(*env.get_state()["model"]["item"]["objects"][0])
        assert env.model.task.split(item) == "test"
    with pytest.raises(ValueError, match=r"^reasoning/chain-sum-v0: unknown reset option size"):
        env.reset(options={"size": 3})
    with pytest.raises(ValueError, match=r"^reasoning/chain-sum-v0: split must be one of"):
        env.reset(options={"split": "dev"})


def test_shares_of_the_splits():
    found = [split_of(f"item {k}") for k in range(4000)]
    shares = {name: found.count(name) / 4000 for name in ("train", "valid", "test")}
    assert shares == pytest.approx({"train": 0.8, "valid": 0.1, "test": 0.1}, abs=0.02)
    assert split_of("\ud800") in shares  # any text has a split
    assert [split_of(text) for text in ("a", "b", "c", "abc")] == [
        split_of(text) for text in ("a", "b", "c", "abc")
    ]


def test_texts_of_any_characters_are_scored():
    env = gymnasium.make("reasoning/sudoku4-v0").unwrapped
    for text in ("\x00", "\u0661" * 5000, "\ud800", "x" * (MAX_COMPLETION + 1), ""):
        env.reset(seed=0)
        _, reward, terminated, _, info = env.step(text)
        assert (reward, terminated, info["correct"]) == (0.0, True, False)


def test_vector_rewards_are_the_tasks():
    vector = gymnasium.make_vec(
        "reasoning/gsm8k-v0", 5, vectorization_mode="vector_entry_point", profile="d1"
    )
    vector.reset(seed=2)
    items = [Item(*parts) for parts in vector.get_state()["model"]["item"]["objects"]]
    texts = [f"<answer>{item.answer if k % 2 else 0}</answer>" for k, item in enumerate(items)]
    _, rewards, ended, _, infos = vector.step(texts)
    task = GSM8KTask(profile="d1")
    assert rewards.tolist() == [task.reward(*pair).total for pair in zip(items, texts, strict=True)]
    assert infos["correct"].tolist() == [False, True, False, True, False]
    assert ended.all()


def test_real_prompts_lie_in_the_observation_space(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text('{"question": "Ann\\u2019s 3 \\u00bd?", "answer": "#### 3"}', encoding="utf-8")
    env = gymnasium.make("reasoning/gsm8k-v0", test_file=str(file), split="test")
    obs, _ = env.reset(seed=0)
    assert "\u2019" in obs
    assert env.observation_space.contains(obs)


def test_pictures_tell_right_from_wrong():
    pytest.importorskip("PIL")
    env = gymnasium.make("reasoning/sudoku4-v0", render_mode="rgb_array")
    env.reset(seed=0)
    blank = env.render()
    item = Item(*env.unwrapped.get_state()["model"]["item"]["objects"][0])
    seen = []
    for answer in (item.answer, item.answer[::-1].translate(str.maketrans("1234", "2341"))):
        env.reset(seed=0)
        env.step(f"<answer>{answer}</answer>")
        picture = env.render().astype(int)
        green = ((picture[..., 1] > picture[..., 0] + 40) & (picture[..., 2] < 130)).sum()
        red = ((picture[..., 0] > picture[..., 1] + 80) & (picture[..., 2] < 130)).sum()
        seen.append((green, red))
    assert seen[0][0] > 200
    assert seen[0][1] == 0
    assert seen[1][1] > 200
    assert blank.shape == picture.shape == (520, 480, 3)
    assert not np.array_equal(blank, picture)


def test_a_terminal_shows_prompt_answer_and_reward():
    env = gymnasium.make("reasoning/countdown-v0", render_mode="ansi")
    env.reset(seed=0)
    before = env.render()
    env.step("no \x1b[2J answer")
    after = env.render()
    assert "Numbers:" in before
    assert "reward" not in before
    assert "no \ufffd[2J answer" in after
    assert "reward 0" in after


def test_names_are_loaded_when_used():
    code = (
        "import sys, envs.reasoning as r\n"
        "assert 'envs.reasoning.countdown' not in sys.modules\n"
        "r.CountdownTask(n=4, profile='d1')\n"
        "assert 'envs.reasoning.countdown' in sys.modules\n"
        "assert 'envs.reasoning.sudoku' not in sys.modules\n"
        "assert not {'numba', 'torch', 'PIL'} & set(sys.modules)\n"
        "assert all(getattr(r, name) for name in r.__all__)\n"
        "assert not {'numba', 'torch', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        getattr(sys.modules["envs.reasoning"], "Nothing")  # noqa: B009 - an import would not do


def test_arguments_of_the_task_are_the_environments():
    with pytest.raises(ValueError, match=r"^reasoning/countdown-v0: n must be"):
        gymnasium.make("reasoning/countdown-v0", n=9)
    with pytest.raises(ValueError, match=r"^reasoning/sudoku9-v0: unknown argument size"):
        gymnasium.make("reasoning/sudoku9-v0", size=4)
    assert gymnasium.make("reasoning/countdown-v0", n=4).unwrapped.model.task.n == 4
    with pytest.raises(ValueError, match=r"^reasoning/countdown-v0: unique must be True or False"):
        CountdownTask(unique="yes")


def test_a_split_that_cannot_be_drawn_is_told(monkeypatch):
    task = CountdownTask()
    monkeypatch.setattr("envs.reasoning.task.MAX_DRAWS", 3)
    monkeypatch.setattr(task, "split", lambda item: "train")
    with pytest.raises(RuntimeError, match="no item of split test in 3 draws"):
        task.sample(np.random.default_rng(0), "test")


def test_sampled_completions_are_short_ones_of_the_space():
    env = gymnasium.make("reasoning/countdown-v0")
    env.action_space.seed(3)
    texts = [env.action_space.sample() for _ in range(300)]
    env.action_space.seed(3)
    assert texts == [env.action_space.sample() for _ in range(300)]
    assert all(env.action_space.contains(text) for text in texts)
    lengths = [len(text) for text in texts]
    assert min(lengths) < 10
    assert 240 < max(lengths) <= 256
    assert len(set("".join(texts))) == len(env.action_space.character_set) == 97
    assert env.action_space.contains("x" * MAX_COMPLETION)
    assert not env.action_space.contains("x" * (MAX_COMPLETION + 1))
    assert not env.action_space.contains("\u0661")


def test_the_speed_program_measures_half_right_batches():
    from envs.reasoning.speed import batch_of, per_second

    for task, wrong in ((CountdownTask(), 0.1), (SudokuTask(4, backend="python"), 7 / 8)):
        batch = batch_of(task, 40)
        found = task.rewards(batch)
        assert (found[1::2] == 1.0).all()
        assert (found[::2] == wrong).mean() > 0.8
        assert len({id(item) for item, _ in batch}) == 40
    calls = []
    assert per_second(lambda: calls.append(sum(range(20_000))), 10, 3) > 0
    assert len(calls) == 4
