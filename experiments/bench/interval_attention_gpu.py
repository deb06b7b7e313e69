"""Training attention under the interval mask of branches against causal attention, on a GPU.

``python -m experiments.bench.interval_attention_gpu`` prints JSON sections and writes
``$OUT/interval_attention.json``; it ends with an error where a result is wrong. ``--count`` needs
no GPU: it counts the tiles of 128 x 128 that the kernels visit for each mask.

The mask: a prompt, then a block whose equal branches fill 80 % of the row, then a conclusion.
Forward and backward passes in bfloat16 take turns within one process, each as a CUDA graph, so that
the time is the device's:

* ``ours``: :mod:`rlcore.ops.attention.tiled`, with the launches of the table there;
* ``causal``: torch's fused attention, which sees twice as much and needs no mask: the peer;
* ``dense``: the same with the mask as a bool matrix.

Sections: ``counts``, ``correct`` (output and gradients against float64), ``dim64`` and ``dim128``
(times and their ratios to the peer), ``launches`` (other cuts of each kernel, alone). What does not
fit into ``--seconds`` is named as left out.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.bench.gpu_timing import Report, captured, interleaved
from rlcore.inference.parallel import Block, Span, SpanTree, build_intervals
from rlcore.ops.attention.dense import attention, plan_attention
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.tiled_triton import Launch, launches_of, tiled_backward, tiled_forward
from rlcore.ops.attention.tiles import TILE, tile_lists

LENGTH, BRANCHES, SHARE = 8192, 4, 0.8
HEADS = {64: 16, 128: 8}
BATCH = 2
BARS = {"causal": 0.65, "dense": 0.4}
LIMIT = 8e-3
"""Largest relative error in the Euclidean norm of bfloat16 against float64."""


def block_tree(length: int, branches: int = BRANCHES, share: float = SHARE) -> SpanTree:
    """Return one block whose equal branches fill ``share`` of ``length`` tokens, in the middle."""
    each = int(length * share) // branches
    first = (length - each * branches) // 2
    spans = tuple(Span(first + i * each, first + (i + 1) * each, (i,), ()) for i in range(branches))
    block = Block(first - 1, first - 1, spans, spans[-1].stop + 1)
    return SpanTree(length, (block,))


def interval_mask(length: int, branches: int = BRANCHES, share: float = SHARE) -> AttentionMask:
    """Return the mask of :func:`block_tree`, one row that stands for all."""
    gs, ps = build_intervals(block_tree(length, branches, share))
    return AttentionMask(intervals=(gs[None], ps[None]))


def repeated(mask: AttentionMask, rows: int) -> AttentionMask:
    """Return the mask for some rows, on the GPU."""
    gs, ps = mask.intervals or (None, None)
    if gs is None or ps is None:
        raise ValueError("the mask has no intervals")
    return AttentionMask(intervals=(gs.expand(rows, -1, -1).cuda(), ps.expand(rows, -1, -1).cuda()))


def visible_pairs(mask: AttentionMask, length: int) -> int:
    """Return how many (query, key) pairs of one row are visible."""
    gs, ps = mask.intervals or (None, None)
    if gs is None or ps is None:
        return length * (length + 1) // 2
    return int(length * (length + 1) // 2 - (ps - gs).long().sum())  # one level: no overlap


def count_section() -> dict[str, Any]:
    """Tiles that are visited, as shares of causal tiles, beside the share of visible pairs."""
    found = {}
    for length in (2048, 4096, 8192, 16384, 32768):
        causal = int(tile_lists(AttentionMask(), (1, length)).visited)
        for branches in (2, 4, 8):
            mask = interval_mask(length, branches)
            lists = tile_lists(mask, (1, length))
            found[f"{length} tokens, {branches} branches"] = {
                "tiles": int(lists.visited),
                "tested": int(lists.of_queries[3].sum()),
                "causal": causal,
                "share": round(int(lists.visited) / causal, 4),
                "pairs": round(visible_pairs(mask, length) / (length * (length + 1) / 2), 4),
            }
    return found


def tensors(rows: int, length: int, heads: int, dim: int, seed: int = 0) -> list[Tensor]:
    """Return ``q``, ``k``, ``v`` and a slope, ``[B, S, H, D]`` in bfloat16."""
    generator = torch.Generator("cuda").manual_seed(seed)
    shape = (rows, length, heads, dim)
    return [
        torch.randn(shape, generator=generator, device="cuda").bfloat16().requires_grad_(i < 3)
        for i in range(4)
    ]


def both_ways(call: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], Any]:
    """Return a call of the forward and the backward pass."""
    q, k, v, slope = inputs
    return lambda: torch.autograd.grad(call(q, k, v), (q, k, v), slope)


def correct_section() -> dict[str, Any]:
    """Relative errors of output and gradients against float64; raises where one is too large."""
    rows, length, dim = 1, 2048, 64
    mask = repeated(interval_mask(length), rows)
    inputs = tensors(rows, length, HEADS[dim], dim)
    found = []
    for dtype, backend in ((torch.float64, "reference"), (torch.bfloat16, "triton")):
        q, k, v = (x.detach().to(dtype).requires_grad_() for x in inputs[:3])
        out = attention(q, k, v, plan_attention(mask, (rows, length), q, backend))  # type: ignore[arg-type]
        found.append([out, *torch.autograd.grad(out, (q, k, v), inputs[3].to(dtype))])
    names = ("out", "dq", "dk", "dv")
    errors = {
        name: float((ours.double() - wanted).norm() / wanted.norm())
        for name, wanted, ours in zip(names, *found, strict=True)
    }
    wrong = {name: error for name, error in errors.items() if not error <= LIMIT}
    if wrong:
        raise ValueError(f"relative errors over {LIMIT}: {wrong}")
    return errors


def contenders(dim: int) -> dict[str, Callable[[], Any]]:
    """Return the calls to be timed."""
    rows, heads = BATCH, HEADS[dim]
    mask = repeated(interval_mask(LENGTH), rows)
    inputs = tensors(rows, LENGTH, heads, dim)
    plan = plan_attention(mask, (rows, LENGTH), inputs[0], "triton")
    calls = {"ours": both_ways(lambda q, k, v: attention(q, k, v, plan), inputs)}
    others = [x.detach().transpose(1, 2).contiguous().requires_grad_(i < 3)
              for i, x in enumerate(inputs)]  # fmt: skip
    seen = mask.dense()[:1]
    calls["causal"] = both_ways(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True), others
    )
    calls["dense"] = both_ways(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, attn_mask=seen), others
    )
    return calls


def time_section(dim: int, samples: int = 12) -> dict[str, Any]:
    """Times of forward and backward passes, and their ratios to the peers."""
    graphs = {name: captured(call) for name, call in contenders(dim).items()}
    times = interleaved(graphs, 1, samples)
    ratios = {f"ours/{peer}": times["ours"]["us"] / times[peer]["us"] for peer in BARS}
    return {
        "shape": [BATCH, LENGTH, HEADS[dim], dim],
        **times,
        "ratios": ratios,
        "bars": BARS,
        "met": {peer: ratios[f"ours/{peer}"] <= bar for peer, bar in BARS.items()},
    }


def launch_section(dim: int, until: float) -> dict[str, Any]:
    """Microseconds of each kernel with other cuts, those of the table first."""
    rows, heads = BATCH, HEADS[dim]
    q, k, v, slope = (x.detach() for x in tensors(rows, LENGTH, heads, dim))
    plan = plan_attention(repeated(interval_mask(LENGTH), rows), (rows, LENGTH), q, "triton")
    if plan.tiled is None:
        raise ValueError("the plan is not for the kernels")
    lists, rules = plan.tiled.lists, plan.tiled.rules
    every = [*lists.of_queries, *lists.of_keys]
    scale = 1.0 / math.sqrt(dim)
    usual = launches_of(q.dtype, dim)
    out, lse = tiled_forward(q, k, v, every[:4], rules, True, scale)
    found: dict[str, Any] = {"left_out": []}
    for name, launch in _cuts(dim):
        if time.perf_counter() > until:
            found["left_out"].append(f"{name} {launch}")
            continue
        changed = {part: getattr(usual, part) for part in ("forward", "queries", "keys")}
        changed[name] = launch
        launches = type(usual)(**changed)
        run: Callable[[], Any]
        if name == "forward":
            run = partial(tiled_forward, q, k, v, every[:4], rules, True, scale, launch)
        else:  # both halves of the backward pass, one of them cut in another way
            saved = (q, k, v, out, lse)
            run = partial(tiled_backward, slope, saved, every, rules, True, scale, launches)
        try:
            found[f"{name} {_say(launch)}"] = interleaved({"us": captured(run)}, 1, 5)["us"]["us"]
        except Exception as problem:  # a cut that does not fit says so; the others go on
            found[f"{name} {_say(launch)}"] = f"{type(problem).__name__}: {problem}"[:200]
    return found


def _say(launch: Launch) -> str:
    return f"{launch.queries}x{launch.keys}, {launch.warps} warps, {launch.stages} stages"


def _cuts(dim: int) -> list[tuple[str, Launch]]:
    usual = launches_of(torch.bfloat16, dim)
    cuts = [("forward", usual.forward), ("queries", usual.queries)]
    if dim == 64:
        cuts += [("forward", Launch(64, 128, 4, 2)), ("forward", Launch(128, 64, 4, 3)),
                 ("queries", Launch(64, 128, 4, 2)), ("keys", Launch(128, 64, 4, 2)),
                 ("keys", Launch(32, 64, 4, 2)), ("queries", Launch(128, 128, 8, 2))]  # fmt: skip
    else:
        cuts += [("forward", Launch(64, 64, 4, 3)), ("forward", Launch(128, 64, 4, 2)),
                 ("keys", Launch(64, 128, 8, 2)), ("keys", Launch(32, 64, 4, 3)),
                 ("queries", Launch(128, 128, 8, 2)),
                 ("queries", Launch(128, 64, 8, 3))]  # fmt: skip
    return cuts


def main() -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", action="store_true", help="count tiles and end; no GPU")
    parser.add_argument("--seconds", type=float, default=40.0, help="begin nothing after this long")
    args = parser.parse_args()
    if args.count:
        sys.stdout.write(json.dumps(count_section(), indent=1) + "\n")
        return
    if not torch.cuda.is_available():
        sys.exit("interval_attention_gpu needs a CUDA device; --count runs without one")
    begin = time.perf_counter()
    until = begin + args.seconds
    report = Report("interval_attention")
    report.results["tile"] = TILE
    report.section("counts", count_section)
    report.section("correct", correct_section)
    report.section("dim64", lambda: time_section(64))
    report.section("dim128", lambda: time_section(128))
    report.section("launches64", lambda: launch_section(64, until - 18))
    report.section("launches128", lambda: launch_section(128, until - 12))
    report.section("seconds", lambda: time.perf_counter() - begin)
    if report.failed():
        sys.exit(f"failed: {', '.join(report.failed())}")


if __name__ == "__main__":
    main()
