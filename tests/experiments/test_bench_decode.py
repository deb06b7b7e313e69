"""``rlcore bench decode``: test sets, judges, figures and tables."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from experiments.bench import decode as bench
from experiments.bench import decode_picture
from experiments.bench.harness import Row
from experiments.bench.masked_beds import (
    BEDS,
    EOS,
    PAD,
    all_small_grids,
    answers_of,
    chain_sum_bed,
    held_out,
    sudoku_bed,
)
from experiments.bench.masked_training import affordable, loss_of, make_rows, train, use_torch_init
from experiments.bench.suite import BENCHES
from rlcore.inference.decoding import TransformerDenoiser
from rlcore.nn.transformer import Transformer


def tiny(name):
    bed = BEDS[name]()
    return replace(bed, model=replace(bed.model, dim=16, layers=1, heads=2))


@pytest.mark.parametrize("name", BEDS)
def test_training_rows_are_right_and_never_those_of_the_test(name):
    bed = BEDS[name]()
    rows = make_rows(bed, 3_000, seed=0)
    assert rows.shape[1] == bed.prompt_length + bed.length
    assert len(rows) >= 3_000
    assert rows.dtype == np.int8
    assert rows.min() >= 0
    assert rows.max() < bed.model.vocab_size
    assert not (rows == bed.model.mask_id).any()
    prompts, answers = bed.test(0, 64)
    assert len(prompts) == len(answers) == 64
    responses = torch.from_numpy(rows[:64, bed.prompt_length :]).long()
    if name.startswith("chain_sum"):
        seen = {row.tobytes() for row in rows[:, : bed.prompt_length]}
        asked = prompts.ids.numpy().astype(np.int8)
        assert not seen & {row.tobytes() for row in asked}
        sums = np.array([int(text.rpartition("#")[2]) for text in answers_of(responses)])
        assert bed.judge(responses, sums).all()
        assert not bed.judge(responses, sums + 1).any()
        for given in (prompts.ids.numpy(), rows[:, : bed.prompt_length]):
            # Terms stand at even places from the left on; what fills a prompt up is behind them.
            used = given != PAD
            assert (used[:, :-1] >= used[:, 1:]).all()
            assert (np.isin(given[:, ::2], range(10)) == used[:, ::2]).all()
        for row, answer in zip(prompts.ids.tolist(), answers, strict=True):
            assert sum(token for token in row if token < 10) == answer
    else:
        assert bed.judge(responses, answers).all()
        assert not bed.judge(responses.roll(1, 1), answers).all()
        known = prompts.given >= 0
        solution = torch.from_numpy(answers.astype(np.int64)) - 1
        assert torch.equal(prompts.given[known], solution[known])
        hidden = {"sudoku9": 55, "sudoku4": 10}[name]
        assert ((~known).sum(1) == hidden).all()


def test_other_seeds_give_other_test_sets():
    bed = chain_sum_bed()
    first, again, other = (bed.test(seed, 20)[0].ids for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    made = np.array([[1, 2, 3], [1, 2, 4]], np.int8)
    assert held_out(np.tile(made, (50, 1))).reshape(50, 2).std(0).tolist() == [0, 0]


def test_small_grids():
    grids = all_small_grids()
    assert len(grids) == 288
    assert len({grid.tobytes() for grid in grids}) == 288
    bed = sudoku_bed(2)
    train_grids = {row.tobytes() for row in bed.train(np.random.default_rng(0), 5_000)}
    test_grids = {(row - 1).astype(np.int8).tobytes() for row in bed.test(0, 2_000)[1]}
    assert (len(train_grids), len(test_grids)) == (240, 48)
    assert not train_grids & test_grids


def test_judge_reads_what_stands_before_the_end():
    bed = chain_sum_bed()
    rows = torch.full((4, 64), EOS)
    for row, text in enumerate(["#12", "3+9=12;#12", "12", "#12#"]):
        for place, character in enumerate(text):
            rows[row, place] = "0123456789+=;#".index(character)
    rows[0, 40] = 3  # behind the end: not read
    assert bed.judge(rows, np.array([12] * 4)).tolist() == [True, True, False, False]


def test_intervals():
    assert bench.wilson(8, 10) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert bench.wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert bench.wilson(10, 10)[1] == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match="n >= 1"):
        bench.wilson(0, 0)
    mean, half = bench.mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (mean, half) == (2.0, pytest.approx(1.96 / np.sqrt(3), abs=1e-3))


@pytest.mark.parametrize("name", ["chain_sum_small", "sudoku4"])
def test_every_composition_runs_and_counts(name):
    bed, said = tiny(name), []
    torch.manual_seed(0)
    denoiser = TransformerDenoiser(Transformer(bed.model).eval())
    found = bench.table_of(bed, denoiser, n=6, say=said.append)
    assert list(found) == list(bench.compositions(bed))
    assert len(said) == len(found) + 1
    masked = 10 if name == "sudoku4" else bed.length
    for title, figures in found.items():
        assert figures["n"] == 6
        assert 0 <= figures["accuracy_interval"][0] <= figures["accuracy_interval"][1] <= 1
        assert figures["tpf"] >= figures["useful_tpf"] > 0
        assert figures["tokens_per_branch_forward"] == figures["tpf"]
        if "1 a pass" in title:
            assert (figures["nfe"], figures["tpf"]) == (masked, 1.0)
        if "2 a pass" in title:
            assert figures["nfe"] == masked / 2
        if "ASS" in title:
            assert figures["nfe"] == 5
        assert f"{figures['accuracy']:.3f}" in bench.line(title, figures)
    json.dumps(found)


def test_recorded_rows_exist():
    for name, rows in bench.RECORDED.items():
        assert set(rows) <= set(bench.compositions(BEDS[name]()))
    assert set(bench.RECORDED_SHARES) == set(bench.RECORDED["chain_sum"])


def test_accuracy_at_a_share_of_styles():
    figures = {"accuracy_with_sums": 0.9, "accuracy_without": 0.5}
    assert bench.accuracy_at(0.25, figures) == pytest.approx(0.6)
    assert bench.accuracy_at(0.25, {"accuracy_with_sums": 0.9}) is None
    texts = ["1+1=2;#2", "#2", "#3", "1+2=4;#4"]
    styles = bench._styles(texts, np.array([True, True, False, False]))
    assert styles["with_running_sums"] == 0.5
    # At the share that was found it is the accuracy.
    assert bench.accuracy_at(0.5, styles) == 0.5


def test_the_command_trains_once_and_returns_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CACHE", tmp_path)
    monkeypatch.setattr(bench, "N", 5)
    small = replace(tiny("sudoku4"), steps=3, batch=4)
    monkeypatch.setitem(bench.BEDS, "sudoku4", lambda: small)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(bench, "cores", lambda: 1)
    said, kept = [], []
    rows = BENCHES["decode"](2, said.append, "sudoku4/a pass", lambda r: kept.append(len(r)))
    assert [row.metric for row in rows] == [
        f"sudoku4: {k}" for k in bench.compositions(small) if "a pass" in k
    ]
    assert all(isinstance(row, Row) for row in rows)
    assert any("training 3 updates" in text for text in said)
    assert kept == [len(rows)]
    said.clear()
    BENCHES["decode"](1, said.append, "sudoku4/2 a pass", lambda r: None)
    assert not any("training" in text for text in said)
    assert any("weights of" in text for text in said)


def test_training_lowers_the_loss_and_follows_the_seed():
    bed = replace(tiny("chain_sum_small"), lr=3e-3)
    first = train(bed, steps=60, batch=16, seed=1)
    again = train(bed, steps=60, batch=16, seed=1)
    assert first.losses == again.losses
    assert np.mean(first.losses[-5:]) < np.mean(first.losses[:5]) - 0.5
    assert not first.model.training
    assert first.detail["steps"] == 60
    stopped = train(bed, steps=60, batch=16, limit_s=0.0)
    assert stopped.detail["steps"] == 3  # the first span measures the pace


def test_rows_are_masked_at_times_that_differ_from_call_to_call():
    seen = []
    model = SimpleNamespace(
        config=SimpleNamespace(mask_id=9),
        hidden=lambda ids: seen.append(ids) or ids,
        head=lambda ids: torch.zeros(*ids.shape, 10),
    )
    torch.manual_seed(0)
    losses = [loss_of(model, torch.ones(4, 1002, dtype=torch.int8), 2) for _ in range(200)]
    masked = torch.stack(seen) == 9
    assert not masked[:, :, :2].any()
    # Row b of 4 is masked with a probability that is uniform in b/4 .. (b + 1)/4.
    within = 4 * masked[:, :, 2:].double().mean(-1) - torch.arange(4)
    assert within.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.1)
    assert within.std(0).tolist() == pytest.approx([12**-0.5] * 4, abs=0.1)
    assert float(torch.stack(losses).mean()) == pytest.approx(math.log(10), abs=0.05)


def test_weights_begin_as_those_of_torch_s_own_modules_where_asked():
    torch.manual_seed(0)
    model = Transformer(tiny("chain_sum_small").model).requires_grad_(False)
    before = [model.embed.weight.clone(), model.blocks[0].mixer.qkv.weight.clone()]
    use_torch_init(model)
    assert float(model.embed.weight.std()) == pytest.approx(1, rel=0.15)
    weight = model.blocks[0].mixer.qkv.weight
    assert float(weight.abs().max()) == pytest.approx(16**-0.5, rel=0.05)  # uniform in +-1/sqrt(n)
    assert float(weight.std()) == pytest.approx((3 * 16) ** -0.5, rel=0.1)
    assert float(before[0].std()) < 0.5
    assert not torch.equal(weight, before[1])


def test_updates_that_would_take_too_long_are_fewer_from_the_start():
    assert affordable(5, 100, 1.0, math.inf) == 100
    assert affordable(5, 100, 1.0, 8.0) == 40
    assert affordable(5, 100, 1.0, 80.0) == 100
    assert affordable(5, 100, 1.0, 0.1) == 5


def test_answers_are_told_apart_by_their_style():
    found = bench._styles(
        ["3+5=8;#8", "#8", "#9", "3+5=9;#9"], np.array([True, True, False, False])
    )
    assert found == {
        "with_running_sums": 0.5,
        "accuracy_with_sums": 0.5,
        "accuracy_without": 0.5,
        "wrong_texts": ["#9", "3+5=9;#9"],
    }
    assert "accuracy_with_sums" not in bench._styles(["#8"], np.array([True]))


def test_a_picture_shows_every_token_in_the_colour_of_its_pass(tmp_path, monkeypatch):
    small = tiny("chain_sum_small")
    torch.manual_seed(0)
    bench.save_model(Transformer(small.model), tmp_path / "chain_sum_small.safetensors", {})
    monkeypatch.setitem(bench.BEDS, "chain_sum_small", lambda: small)
    out = tmp_path / "folder" / "order.svg"
    decode_picture.main(["chain_sum_small", "--weights", str(tmp_path), "--out", str(out)])
    root = ElementTree.fromstring(out.read_text())
    rects = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(rects) == len(decode_picture.SHOWN) * 32
    one_a_pass = [rect.get("fill") for rect in rects[:32]]
    assert len(set(one_a_pass)) == 32
    assert {decode_picture.colour(0.0), decode_picture.colour(1.0)} <= set(one_a_pass)
    strip = decode_picture.Strip("<&", ["a", "·", "c"], [0, -2, 1])
    text = decode_picture.picture([strip])
    assert "#cccccc" in text
    assert "&lt;&amp;" in text
