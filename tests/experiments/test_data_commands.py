"""From text to tokens, to a trained model, to a folder that others read: the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.cli import main
from experiments.task_data import GRIDS, TASKS, task_documents
from experiments.tokenize_text import choose_tokenizer, read_documents, write_dataset
from rlcore.data.tokenizers import load_tokenizer
from rlcore.data.tokens.dataset import TokenDataset, read_index
from rlcore.errors import ConfigError, DataError

TEXT = "First Citizen:\nBefore we proceed, hear me speak.\n\nAll:\nSpeak, spéak.\n" * 40


def rlcore(*words: str | Path) -> int:
    return main([str(word) for word in words])


def texts(folder: Path, split: str) -> list[str]:
    dataset = TokenDataset.open(folder, verify=True)
    tokenizer, file = load_tokenizer(folder / "tokenizer"), dataset.split(split)
    return [tokenizer.decode(file.document(i).tolist()) for i in range(len(file))]


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_a_text_file_comes_back_in_two_parts(tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    out = tmp_path / "d"
    assert (
        rlcore("data", "tokenize", tmp_path / "a.txt", "--tokenizer", tokenizer, "--out", out) == 0
    )
    (train,), (held_out,) = texts(out, "train"), texts(out, "val")
    assert train + held_out == TEXT
    assert len(train) == int(len(TEXT) * 0.9)
    index = read_index(out)
    assert index.vocab_size == (len(set(TEXT)) if tokenizer == "char" else 256 + 3)
    if tokenizer == "char":
        assert index.eos_id is None
    else:
        assert index.eos_id == 257


def test_lines_and_pairs_end_with_eos(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \nthree\n")
    splits = read_documents([tmp_path / "a.txt"], "line", 0.0)
    assert [d.text for d in splits["train"]] == ["one", " two ", "three"]
    tokenizer = choose_tokenizer("char", splits, ["eos", "mask"])
    index = write_dataset(tmp_path / "d", splits, tokenizer, eos=True)
    assert texts(tmp_path / "d", "train") == ["one<eos>", " two <eos>", "three<eos>"]
    assert index.mask_id == index.eos_id + 1 == index.vocab_size - 1
    assert list(index.splits) == ["train"]

    lines = [{"prompt": "a+b=", "response": "c"}, {"text": "free"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["data", "tokenize", tmp_path / "p.jsonl", "--documents", "pairs", "--held-out", "0"]
    assert rlcore(*command, "--special", "eos", "--out", tmp_path / "p") == 0
    file = TokenDataset.open(tmp_path / "p").split("train")
    assert texts(tmp_path / "p", "train") == ["a+b=c<eos>", "free<eos>"]
    assert file.prompts.tolist() == [4, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ('{"prompt": "a"}', "line 2: wanted"),
        ('{"prompt": 1, "response": "b"}', "line 2: prompt and response must be text"),
        ("[1]", "line 2: wanted"),
        ("[" * 100_000, "line 2: not JSON"),
    ],
)
def test_bad_pairs_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "ok"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        read_documents([tmp_path / "p.jsonl"], "pairs", 0.0)


def test_what_cannot_be_tokenized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "a.txt", tmp_path / "d"
    assert rlcore("data", "tokenize", file, "--out", out) == 2
    assert "No such file" in capsys.readouterr().err
    file.write_bytes(b"ok \xff")
    assert rlcore("data", "tokenize", file, "--out", out) == 2
    assert "not UTF-8 at byte 3" in capsys.readouterr().err
    file.write_text("x")
    assert rlcore("data", "tokenize", file, "--out", out) == 2
    assert "no document for the split" in capsys.readouterr().err
    assert not out.exists()
    file.write_text(TEXT)
    assert rlcore("data", "tokenize", file, "--held-out", "1", "--out", out) == 2
    assert rlcore("data", "tokenize", file, "--out", out) == 0
    assert rlcore("data", "tokenize", file, "--out", out) == 2
    assert "holds a data set already" in capsys.readouterr().err
    assert rlcore("data", "tokenize", file, "--tokenizer", out / "tokenizer", "--special", "eos",
                  "--out", tmp_path / "e") == 2  # fmt: skip
    assert "special tokens of its own" in capsys.readouterr().err
    raw = bytearray((out / "val.tokens").read_bytes())
    raw[-1] ^= 1
    (out / "val.tokens").write_bytes(raw)
    assert rlcore("data", "show", out) == 2
    assert "damaged or replaced" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(TASKS))
def test_problems_are_answered_and_of_their_own_split(name: str) -> None:
    import importlib

    module, _, cls = TASKS[name].partition(":")
    task = getattr(importlib.import_module(module), cls)()
    splits = task_documents(name, {"train": 30, "val": 10}, 3)
    again = task_documents(name, {"train": 30, "val": 10}, 3)
    assert splits == again != task_documents(name, {"train": 30, "val": 10}, 4)
    assert {s: len(d) for s, d in splits.items()} == {"train": 30, "val": 10}
    assert not {d.prompt for d in splits["train"]} & {d.prompt for d in splits["val"]}
    assert all(d.prompt and d.text for documents in splits.values() for d in documents)
    if name == "chain-sum":
        for document in splits["train"]:
            terms = sum(map(int, document.prompt.rstrip("=").split("+")))
            assert document.text.endswith(f"#{terms}")
        lengths = {";" in d.text for d in splits["train"]}
        assert lengths == {True, False}
    assert task.id


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_grids_are_valid_and_held_out_ones_are_others(name: str) -> None:
    from envs.reasoning.sudoku import SudokuTask
    from envs.reasoning.sudoku_rules import as_cells, valid
    from envs.reasoning.task import Item

    task = SudokuTask(GRIDS[name] ** 2, backend="python")
    splits = task_documents(name, {"train": 40, "val": 8}, 0)
    for split, documents in splits.items():
        assert valid(np.stack([as_cells(d.text) for d in documents]), GRIDS[name]).all()
        items = [Item("", d.text, {"solution": d.text}) for d in documents]
        assert {task.split(item) for item in items} == {{"val": "valid"}.get(split, split)}
    assert not {d.text for d in splits["train"]} & {d.text for d in splits["val"]}


def test_unknown_tasks_and_arguments() -> None:
    with pytest.raises(ConfigError, match="did you mean 'chain-sum'"):
        task_documents("chain-sums", {"train": 1}, 0)
    with pytest.raises(ConfigError, match="low_terms"):
        task_documents("chain-sum", {"train": 1}, 0, {"low_terms": 99})
    with pytest.raises(ConfigError, match="unexpected keyword"):
        task_documents("chain-sum", {"train": 1}, 0, {"lowest": 3})


def settings(data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "lm",
        "data": {"path": str(data), "length": 16, "rows": 8},
        "agent": {"type": "lm", "network": {"dim": 16, "layers": 1, "heads": 2}},
        "learner": {"optimizer": {"type": "adamw", "lr": 0.01}},
        "runtime": {"placement": "inline", "schedule": "serial"},
        "stop": {"updates": 20},
        "eval": {"every": 10},
        "track": {"wandb": "off", "tensorboard": False, "console": "none"},
        **changes,
    }


def test_train_evaluate_export_and_start_from_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import experiments
    from rlcore.nn.transformer import from_pretrained

    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT)
    data = tmp_path / "d"
    rlcore("data", "tokenize", "a.txt", "--out", data)
    run = experiments.run(settings(data), out=tmp_path / "runs")
    trained = [r["eval/loss"] for r in run.metrics() if "eval/loss" in r][-1]

    capsys.readouterr()
    assert rlcore("eval", run.path, "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["eval/loss"] == pytest.approx(trained, abs=1e-6)
    assert measured["step/tokens"] == 20 * 8 * 16

    assert rlcore("export", run.path, "model") == 0
    network = from_pretrained(Path("model"))
    assert network.config.vocab_size == len(set(TEXT))
    assert load_tokenizer("model").decode(load_tokenizer("model").encode("hear me")) == "hear me"
    assert rlcore("export", run.path, "model") == 2
    assert "holds a model already" in capsys.readouterr().err
    assert rlcore("export", run.path, "half", "--dtype", "bfloat16") == 0
    assert next(from_pretrained(Path("half")).parameters()).dtype == torch.bfloat16

    # A run that starts from the folder starts where the first one ended.
    agent = {"type": "lm", "pretrained": "model"}
    onward = settings(data, agent=agent, stop={"updates": 1}, eval={"every": 1})
    onward["learner"] = {"optimizer": {"type": "sgd", "lr": 1e-12}}
    second = experiments.run(onward, out=tmp_path / "runs")
    start = next(r["eval/loss"] for r in second.metrics() if "eval/loss" in r)
    assert start == pytest.approx(trained, abs=1e-5)

    for words in (["show", run.path], ["ls", "runs"], ["report", run.path], ["validate", "--strict",
                  run.path / "config.resolved.yaml"]):  # fmt: skip
        assert rlcore(*words) == 0
    shown = capsys.readouterr().out
    assert "held_out_loss" in shown
    report = (run.path / "report.html").read_text()
    assert "held-out loss, nats a token" in report
    assert "Loss (nats a token)" in report
    assert rlcore("play", run.path) == 2
    assert "has no environment to play" in capsys.readouterr().err


def test_a_pretrained_model_must_know_all_tokens(tmp_path: Path) -> None:
    import experiments

    for name, text in (("few", "ab" * 400), ("many", TEXT)):
        (tmp_path / f"{name}.txt").write_text(text)
        rlcore("data", "tokenize", tmp_path / f"{name}.txt", "--out", tmp_path / name)
    run = experiments.run(settings(tmp_path / "few", eval={}), ["stop.updates=1"], out=tmp_path)
    rlcore("export", run.path, tmp_path / "model")
    agent = {"type": "lm", "pretrained": str(tmp_path / "model")}
    with pytest.raises(ConfigError, match=r"has 2 tokens; the data set has \d+"):
        experiments.run(settings(tmp_path / "many", agent=agent), out=tmp_path)
