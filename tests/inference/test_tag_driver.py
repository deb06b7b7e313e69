"""Tags that the model draws fork and join branches; what is malformed is refused by name."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.config import EngineConfig
from rlcore.inference.engine import Engine
from rlcore.inference.errors import RequestError
from rlcore.inference.parallel import ParallelSchema, build_intervals, build_positions, parse
from rlcore.inference.request import ParallelOptions, Request
from rlcore.inference.tags import ForkRefused, outline_labels
from rlcore.inference.trace import ParallelTrace
from rlcore.nn.transformer import Transformer, TransformerConfig
from tests.inference.arithmetic_model import ScriptedRunner, check_counts

OPEN, OUT, _OUT, FORK, PATH, _PATH, JOIN, END, COLON, EOS = range(20, 30)


SCHEMA = ParallelSchema(
    open_block=OPEN,
    outline_open=OUT,
    outline_close=_OUT,
    fork_tag=FORK,
    branch_open=PATH,
    branch_close=_PATH,
    join_open=JOIN,
    join_close=END,
    label_end=COLON,
    max_branches=4,
    max_depth=2,
)
BLOCK = [OPEN, 1, OUT, 11, COLON, 2, _OUT, OUT, 12, COLON, 3, _OUT, FORK]


def at(start: int, tokens: list[int]) -> dict[int, int]:
    return {start + i: token for i, token in enumerate(tokens)}


def run(
    scripts: dict[tuple[int, ...], dict[int, int]],
    overlaps: bool = False,
    budget: int = 80,
    path: int | None = None,
    blocks: int = 60,
    rows: int = 8,
    **options: object,
) -> ParallelTrace:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(vocab_size=32, dim=8, layers=1, heads=1))
    engine = Engine(model, EngineConfig(num_blocks=blocks, block_size=4, max_rows=rows))
    ScriptedRunner(engine, 32, scripts, overlaps)
    request = Request(
        prompt=[5, 6, 7], max_new_tokens=budget, max_path_tokens=path, stop_ids=[EOS],
        parallel=ParallelOptions(schema=SCHEMA, **({"min_fork_budget": 4} | options)),
    )  # fmt: skip
    trace = engine.generate([request])[0]
    check_counts(engine)
    assert engine.store.pool.used == len(engine.store.cache.blocks)
    assert not engine._drivers, "who has ended needs no driver"
    return trace


def two_branches() -> dict[tuple[int, ...], dict[int, int]]:
    fork = 3 + len(BLOCK)  # first position after the fork tag
    return {
        (0,): at(3, BLOCK) | at(fork + 8, [8, 9, END, EOS]),
        (0, 0): at(fork + 3, [1, _PATH]),
        (0, 1): at(fork + 3, [2, 2, 2, _PATH]),
    }


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize(("blocks", "rows"), [(60, 8), (16, 8), (60, 1)])
def test_a_block_is_forked_and_joined(overlaps: bool, blocks: int, rows: int) -> None:
    trace = run(two_branches(), overlaps, blocks=blocks, rows=rows, budget=40)
    first = [PATH, 11, COLON, 1, _PATH]
    second = [PATH, 12, COLON, 2, 2, 2, _PATH]
    assert trace.new_ids.tolist() == [*BLOCK, *first, *second, JOIN, 8, 9, END, EOS]
    g = 3 + len(BLOCK) - 1
    children = [*range(g + 1, g + 6), *range(g + 1, g + 8)]
    after = range(g + 8, g + 13)
    assert trace.positions.tolist() == [*range(g + 1), *children, *after]
    forced = [id_ in (PATH, JOIN, 11, 12) or id_ == COLON for id_ in [*first, *second, JOIN]]
    assert trace.forced[3 + len(BLOCK) :].tolist() == [*forced, False, False, False, False]
    assert not trace.forced[: 3 + len(BLOCK)].any()
    assert trace.n_forks == 1
    assert trace.finish_reason == "stop"
    assert trace.invalid_fork is None
    assert trace.critical_path_steps == len(BLOCK) + 7 + 5
    assert [c.finish_reason for c in trace.tree.forks[0].children] == ["closed", "closed"]
    start = g + 1
    assert trace.gs[0, start : start + 12].tolist() == [start] * 12
    assert trace.ps[0, start : start + 12].tolist() == [start] * 5 + [start + 5] * 7
    assert not trace.gs[0, start + 12 :].any()


def equals_what_is_parsed(trace: ParallelTrace) -> None:
    """The parser sees the branches that the engine made, at the same positions."""
    tree = parse(trace.ids.tolist(), SCHEMA, prompt=3)
    gs, ps = build_intervals(tree)
    assert tree.depth == len(trace.gs) > 0
    assert build_positions(tree).tolist() == trace.positions.tolist()
    assert gs.tolist() == trace.gs.tolist()
    assert ps.tolist() == trace.ps.tolist()


def test_what_was_generated_is_parsed_as_it_was_generated() -> None:
    equals_what_is_parsed(run(two_branches()))
    again = 3 + len(BLOCK) + 8 + 3
    twice = two_branches()
    twice[0,] |= at(again, BLOCK) | at(again + len(BLOCK) + 8, [8, END, EOS])
    fork = again + len(BLOCK)
    twice[0, 2] = at(fork + 3, [1, 1, 1, 1, _PATH])
    twice[0, 3] = at(fork + 3, [4, _PATH])
    trace = run(twice)
    assert trace.n_forks == 2
    equals_what_is_parsed(trace)


def test_the_joined_parent_waits_for_no_extra_step() -> None:
    trace = run(two_branches())
    # One step for each token that was drawn on the longest path: forced ones (three of the label,
    # one of the join) and the prompt are computed in a step that draws anyway.
    assert trace.forward_passes == trace.critical_path_steps - (3 + 1)


def test_blocks_nest() -> None:
    scripts = two_branches()
    fork = 3 + len(BLOCK)
    inner = fork + 3 + len(BLOCK)
    scripts[0, 0] = at(fork + 3, BLOCK) | at(inner + 6, [END, _PATH])
    scripts[0, 0, 0] = at(inner + 3, [1, _PATH])
    scripts[0, 0, 1] = at(inner + 3, [1, _PATH])
    outer = 3 + len(BLOCK) + 5 + 1 + 2
    scripts[0,] = at(3, BLOCK) | at(fork + outer + 1, [END, EOS])
    trace = run(scripts, budget=120)
    equals_what_is_parsed(trace)
    assert trace.finish_reason == "stop"
    assert trace.n_forks == 2
    assert trace.gs.shape[0] == 2
    assert trace.positions[-1] == fork + outer + 2
    deep = run(scripts, budget=120, max_depth=1)
    assert deep.finish_reason == "invalid_fork"
    assert deep.invalid_fork == "too_deep"


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([1, FORK], "unopened"),
        ([OPEN, 1, FORK], "no_outline"),
        ([OPEN, OUT, 11, COLON, FORK], "unclosed_outline"),
        ([OPEN, OUT, 11, COLON, OUT, 12, COLON, _OUT, FORK], "unclosed_outline"),
        ([OPEN, OUT, _OUT, FORK], "no_label"),
        ([OPEN, OUT, 11, _OUT, FORK], "no_label"),
        ([OPEN, OUT, COLON, _OUT, FORK], "no_label"),
        ([OPEN, OUT, 11, COLON, _OUT, OUT, 11, COLON, _OUT, FORK], "duplicate_label"),
        ([OPEN, *[x for i in range(5) for x in (OUT, i, COLON, _OUT)], FORK], "too_many"),
    ],
)
def test_malformed_forks_are_refused_by_name(ids: list[int], kind: str) -> None:
    stopped = run({(0,): at(3, [*ids, 9, EOS])})
    assert stopped.finish_reason == "invalid_fork"
    assert stopped.invalid_fork == kind
    assert stopped.new_ids.tolist() == ids
    assert stopped.n_forks == 0
    went_on = run({(0,): at(3, [*ids, 9, EOS])}, on_invalid="continue")
    assert went_on.finish_reason == "stop"
    assert went_on.invalid_fork == kind
    assert went_on.new_ids.tolist() == [*ids, 9, EOS]


def test_only_the_last_block_counts() -> None:
    labels = outline_labels([OPEN, OUT, 1, COLON, _OUT, *BLOCK], SCHEMA)
    assert labels == [[11, COLON], [12, COLON]]
    with pytest.raises(ForkRefused, match="no_outline"):
        outline_labels([*BLOCK, OPEN, FORK], SCHEMA)


def test_a_fork_wants_a_budget_and_room() -> None:
    trace = run(two_branches(), budget=len(BLOCK) + 10, min_fork_budget=11)
    assert trace.invalid_fork == "budget"
    trace = run(two_branches(), budget=len(BLOCK) + 5, min_fork_budget=0)
    assert trace.invalid_fork == "budget"  # the labels alone are six tokens
    trace = run(two_branches(), budget=40, blocks=11)
    assert trace.invalid_fork == "memory"
    assert trace.finish_reason == "invalid_fork"


def test_a_branch_that_is_closed_inside_its_own_block_is_crossed() -> None:
    scripts = two_branches()
    fork = 3 + len(BLOCK)
    scripts[0, 0] = at(fork + 3, [OPEN, _PATH])
    assert run(scripts).invalid_fork == "crossed"
    went_on = run(scripts, on_invalid="continue")
    assert went_on.finish_reason == "stop"
    assert went_on.n_forks == 1


@pytest.mark.parametrize("budget", range(1, 40))
def test_budgets_hold_whenever_they_end(budget: int) -> None:
    whole = run(two_branches(), budget=80)
    trace = run(two_branches(), budget=budget, on_invalid="continue")
    assert trace.new_tokens <= budget
    if budget >= whole.new_tokens:
        assert trace.ids.tolist() == whole.ids.tolist()
    elif trace.n_forks:
        assert trace.finish_reason == "length"
        assert trace.new_tokens >= budget - 1
    short = run(two_branches(), path=budget, on_invalid="continue")
    assert short.critical_path_steps <= budget
    if budget >= whole.critical_path_steps:
        assert short.ids.tolist() == whole.ids.tolist()
    else:
        assert short.finish_reason == "length"


def test_a_tag_in_the_prompt_and_wrong_options_are_refused() -> None:
    model = Transformer(TransformerConfig(vocab_size=32, dim=8, layers=1, heads=1))
    engine = Engine(model, EngineConfig(num_blocks=8))
    options = ParallelOptions(schema=SCHEMA)
    with pytest.raises(RequestError, match=r"prompt\[1\] is 23, the tag fork_tag"):
        engine.submit(Request(prompt=[1, FORK], max_new_tokens=2, parallel=options))
    for tag, name in SCHEMA.names.items():  # what the parser would call a tag in the prompt
        for prompt in ([tag], (1, tag), array("q", [1, 2, tag])):
            with pytest.raises(RequestError, match=f"is {tag}, the tag {name}: a prompt"):
                engine.submit(Request(prompt=prompt, max_new_tokens=2, parallel=options))
    for name in ("fork_tag", "join_open", "label_end"):
        beyond = ParallelOptions(schema=replace(SCHEMA, **{name: 32}))
        with pytest.raises(RequestError, match=rf"schema.{name}\[0\] is 32, wanted .* 0..31"):
            engine.submit(Request(prompt=[1], max_new_tokens=2, parallel=beyond))
    assert engine.store.pool.used == 0
    assert not engine.step()
    for wrong in ({"max_branches": 0}, {"min_fork_budget": -1}, {"on_invalid": "ignore"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ParallelOptions(schema=SCHEMA, **wrong)
