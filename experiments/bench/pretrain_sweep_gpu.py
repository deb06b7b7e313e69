"""Which settings make a pretraining step fastest on this GPU, and how far they are from its floor.

    PYTHONPATH=. python experiments/bench/pretrain_sweep_gpu.py --out sweep.json --seconds 95

Model, rows and MFU are those of :mod:`experiments.bench.pretrain_gpu`. One JSON line a result, as
soon as it is known, and the whole in the file:

* ``floor``: the parts of a step alone. Matrix products of the model's shapes, a copy of the bytes
  that must move between them, attention, head with loss, AdamW; their sum is what a step takes if
  nothing but these runs.
* candidates: a compiled unit (each block, or all of them as one graph), an attention and a head.
  First loss and gradients are compared with an eager pass of the definition.
* ``profile``: the kernels of the fastest.

What does not fit into ``--seconds`` is named as skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.bench.pretrain_gpu import (
    PEAK,
    SHAPE,
    TINY,
    Batch,
    cross_entropy,
    mean_keys,
    packed_rows,
)
from rlcore.nn.transformer import AttentionMask, Transformer, TransformerConfig
from rlcore.nn.transformer.counts import flops_per_token
from rlcore.ops.attention.dense import attention, plan_attention
from rlcore.ops.log_prob import linear_cross_entropy

LOSS_LIMIT, GRADIENT_LIMIT = 1e-3, 0.1
"""Largest relative difference of the loss, and of a gradient in the Euclidean norm: bfloat16."""
WATCHED = ("embed.weight", "blocks.0.mixer.qkv.weight", "blocks.1.mlp.down.weight")


@dataclass(frozen=True)
class Candidate:
    """One way to run a step.

    Attributes:
        unit: ``blocks``: each is compiled by itself; ``whole``: all of them; ``loss``: with the
            head; ``none``.
        attention: An attention backend, or ``best``: that of the fastest so far.
        head: ``fused``: loss and gradient in one kernel; ``plain``: logits and cross-entropy.
        seconds: What it takes to compile and measure.
    """

    unit: str
    attention: str
    head: str = "fused"
    seconds: float = 16.0

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return f"{self.unit} {self.attention} {self.head}"


CANDIDATES = (
    Candidate("blocks", "varlen"),
    Candidate("blocks", "auto"),
    Candidate("blocks", "triton"),
    Candidate("whole", "best", seconds=35.0),
    Candidate("loss", "auto", "plain", seconds=50.0),
)


class Step:
    """A model, its optimizer and one of the ways to run a step."""

    def __init__(self, candidate: Candidate, shape: dict[str, Any], device: str) -> None:
        torch.manual_seed(0)
        self.candidate, self.device = candidate, device
        self.model = Transformer(TransformerConfig(**shape)).to(device)
        self.model.attention_backend = candidate.attention  # type: ignore[assignment]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
            fused=device == "cuda",
        )  # fmt: skip
        self.hidden: Callable[..., Tensor] = self._hidden
        self.loss: Callable[..., Tensor] = self._loss
        if candidate.unit == "blocks":
            self.model.compile_blocks()
        elif candidate.unit == "whole":
            self.hidden = torch.compile(self._hidden)
        elif candidate.unit == "loss":
            self.loss = torch.compile(self._loss)

    def _hidden(self, batch: Batch) -> Tensor:
        mask = AttentionMask(documents=batch.documents)
        return self.model.hidden(batch.ids, mask=mask, positions=batch.positions)

    def _loss(self, batch: Batch) -> Tensor:
        hidden = self.hidden(batch)
        if self.candidate.head == "plain":
            return cross_entropy(self.model.head(hidden), batch.targets)
        return linear_cross_entropy(
            hidden, self.model.head_weight.to(hidden.dtype), batch.targets,
            chunk=batch.ids.numel(), half_logits=True, skip_ignored=False,
        )  # fmt: skip

    def backward(self, batch: Batch) -> Tensor:
        """Return the loss, its gradient in the parameters."""
        with torch.autocast(self.device, torch.bfloat16):
            loss = self.loss(batch)
        loss.backward()
        return loss.detach()

    def update(self) -> None:
        """Take a step along the gradient and forget it."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def seconds(self, batch: Batch, steps: int) -> float:
        """Return the time of one of ``steps`` updates."""
        wait(self.device)
        begin = time.perf_counter()
        for _ in range(steps):
            self.backward(batch)
            self.update()
        wait(self.device)
        return (time.perf_counter() - begin) / steps

    def gradients(self) -> dict[str, Tensor]:
        """Return the watched gradients on the CPU."""
        found = dict(self.model.named_parameters())
        return {name: found[name].grad.float().cpu() for name in WATCHED}  # type: ignore[union-attr]


def wait(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


class Sweep:
    """Runs the parts within a time and keeps the results."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, args.device
        self.end = time.monotonic() + args.seconds
        self.shape = TINY if args.tiny else SHAPE
        self.batch = packed_rows(args.rows, args.length, self.shape["vocab_size"], self.device)
        self.tokens = self.batch.ids.numel()
        keys = mean_keys(self.batch.positions)
        self.flops = flops_per_token(TransformerConfig(**self.shape), keys) * self.tokens
        self.results: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "torch": torch.__version__,
            "tokens": self.tokens,
            "keys": keys,
            "flops": self.flops,
        }
        self.reference: tuple[float, dict[str, Tensor]] = (0.0, {})
        self.fastest: tuple[float, Candidate] | None = None

    def section(self, name: str, run: Callable[[], Any], seconds: float) -> None:
        """Run what still fits; keep its result or its error."""
        left = self.end - time.monotonic()
        begin = time.monotonic()
        if left < seconds:
            result: Any = {"skipped": f"{left:.0f} s were left, {seconds:.0f} wanted"}
        else:
            try:
                result = run()
            except Exception:  # the others are still worth their time; main reports failure
                result = {"error": traceback.format_exc()[-2500:]}
        if isinstance(result, dict):
            result["section_s"] = round(time.monotonic() - begin, 2)
        self.results[name] = result
        sys.stdout.write(json.dumps({name: result}) + "\n")
        sys.stdout.flush()
        self.args.out.write_text(json.dumps(self.results, indent=1))
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def definition(self) -> dict[str, Any]:
        """Loss and gradients of an eager pass with torch's own cross-entropy."""
        eager = "varlen" if self.device == "cuda" else "reference"
        step = Step(Candidate("none", eager, "plain"), self.shape, self.device)
        loss = float(step.backward(self.batch))
        self.reference = (loss, step.gradients())
        return {"loss": loss}

    def measured(self, candidate: Candidate) -> dict[str, Any]:
        """Check and time one candidate."""
        if candidate.attention == "best":
            best = self.fastest[1].attention if self.fastest else "varlen"
            candidate = Candidate(candidate.unit, best, candidate.head)
        step = Step(candidate, self.shape, self.device)
        begin = time.monotonic()
        loss = float(step.backward(self.batch))
        compiled = time.monotonic() - begin
        wanted, gradients = self.reference
        differences = {
            name: float((found - gradients[name]).norm() / gradients[name].norm())
            for name, found in step.gradients().items()
        }
        step.update()
        step.seconds(self.batch, 2)
        times = [step.seconds(self.batch, self.args.steps) for _ in range(self.args.rounds)]
        seconds = statistics.median(times)
        right = abs(loss - wanted) <= LOSS_LIMIT * abs(wanted)
        right = right and all(x <= GRADIENT_LIMIT for x in differences.values())
        if right and (self.fastest is None or seconds < self.fastest[0]):
            self.fastest = (seconds, candidate)
        result = {
            "runs": candidate.name,
            "ms": seconds * 1e3,
            "spread_ms": [min(times) * 1e3, max(times) * 1e3],
            "tokens_per_s": self.tokens / seconds,
            "mfu": self.flops / seconds / PEAK,
            "loss": loss,
            "loss_wanted": wanted,
            "gradient_differences": differences,
            "compile_s": compiled,
        }
        return result if right else result | {"error": "loss or gradients are not the definition's"}

    def profile(self) -> dict[str, Any]:
        """Return the kernels of the fastest that take most of its time."""
        if self.fastest is None:
            return {"error": "no candidate was measured"}
        step = Step(self.fastest[1], self.shape, self.device)
        step.seconds(self.batch, 3)
        kinds = list(torch.profiler.supported_activities())
        with torch.profiler.profile(activities=kinds) as record:
            step.seconds(self.batch, 2)
        rows = [
            {"kernel": e.key[:90], "ms": e.self_device_time_total / 2e3, "calls": e.count / 2}
            for e in record.key_averages()
            if e.self_device_time_total > 0 and e.device_type != torch.autograd.DeviceType.CPU
        ]
        rows.sort(key=lambda row: -row["ms"])
        total = sum(row["ms"] for row in rows)
        for row in rows[:15]:
            sys.stdout.write(f"{row['ms']:8.3f} ms {row['calls']:6.1f} x {row['kernel']}\n")
        return {"runs": self.fastest[1].name, "kernels_ms": total, "top": rows[:40]}

    def floor(self) -> dict[str, Any]:
        """Time the parts of a step alone."""
        found = matrix_products(self.shape, self.tokens)
        found |= {"between_ms": bytes_between(self.shape, self.tokens) / copy_bandwidth() * 1e3}
        found["attention_ms"] = {
            name: attempt(lambda name=name: attention_ms(self.batch, self.shape, name))
            for name in ("varlen", "triton")
        }
        found["head_ms"] = {
            str(chunk): attempt(lambda chunk=chunk: head_ms(self.batch, self.shape, chunk))
            for chunk in (8192, 16_384, self.tokens)
        }
        found["adamw_ms"] = adamw_ms(self.shape)
        best = [
            min((x for x in found[part].values() if isinstance(x, float)), default=0.0)
            for part in ("attention_ms", "head_ms")
        ]
        total = found["blocks_ms"] + found["between_ms"] + sum(best) + found["adamw_ms"]
        return found | {"sum_ms": total, "mfu_of_sum": self.flops / total * 1e3 / PEAK}


def attempt(run: Callable[[], float]) -> float | str:
    """Return the result, or why there is none."""
    try:
        return run()
    except Exception as problem:  # other variants are still worth their time
        return f"{type(problem).__name__}: {problem}"[:300]


def median_ms(run: Callable[[], Any], repeats: int = 8) -> float:
    """Return the median time of a call by events, after two calls."""
    for _ in range(2):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def matrix_products(shape: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Return milliseconds and TFLOP/s of each product, forward and both gradients."""
    dim, hidden = shape["dim"], shape["hidden"]
    sizes = {"qkv": (dim, 3 * dim), "out": (dim, dim), "gate_up": (dim, 2 * hidden),
             "down": (hidden, dim), "head": (dim, shape["vocab_size"])}  # fmt: skip
    found: dict[str, Any] = {}
    total = 0.0
    for name, (inputs, outputs) in sizes.items():
        x, w, g = (
            torch.randn(size, device="cuda", dtype=torch.bfloat16)
            for size in ((tokens, inputs), (outputs, inputs), (tokens, outputs))
        )
        calls = {"forward": lambda x=x, w=w: x @ w.T, "inputs": lambda g=g, w=w: g @ w,
                 "weights": lambda g=g, x=x: g.T @ x}  # fmt: skip
        times = {call: median_ms(run) for call, run in calls.items()}
        work = 2.0 * tokens * inputs * outputs
        found[name] = {call: [ms, work / ms / 1e9] for call, ms in times.items()}
        total += 0.0 if name == "head" else sum(times.values())
    return {"products_ms_and_tflops": found, "blocks_ms": shape["layers"] * total}


def bytes_between(shape: dict[str, Any], tokens: int) -> float:
    """Return the least bytes of bfloat16 that kernels between matrix products and attention move.

    Forward: addition and norm read two and write two streams, twice a layer; rotation reads and
    writes queries and keys; the gate reads ``2 hidden`` and writes ``hidden``. Backward: the norm
    reads three streams and writes one, twice; rotation as before; the gate reads ``3 hidden`` and
    writes ``3 hidden``, its result again for the gradient of the weights.
    """
    dim, hidden = shape["dim"], shape["hidden"]
    forward = 8 * dim + 4 * dim + 3 * hidden
    backward = 8 * dim + 4 * dim + 6 * hidden
    return 2.0 * tokens * shape["layers"] * (forward + backward)


def copy_bandwidth() -> float:
    """Return the bytes a second that a device copy reads and writes."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / median_ms(lambda: target.copy_(source)) * 1e3


def attention_ms(batch: Batch, shape: dict[str, Any], name: str) -> float:
    """Return forward and backward of all layers' attention."""
    size = (*batch.ids.shape, shape["heads"], shape["dim"] // shape["heads"])
    q, k, v, g = (torch.randn(size, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    mask = AttentionMask(documents=batch.documents)
    backend: Any = name
    plan = plan_attention(mask, size[:2], q, backend)

    def run() -> None:
        torch.autograd.grad(attention(*leaves, plan), leaves, g)

    return shape["layers"] * median_ms(run)


def head_ms(batch: Batch, shape: dict[str, Any], chunk: int) -> float:
    """Return head, loss and gradients, matrix products included."""
    made = torch.randn(batch.ids.numel(), shape["dim"], device="cuda", dtype=torch.bfloat16)
    hidden = made.requires_grad_()
    weight = (torch.randn(shape["vocab_size"], shape["dim"], device="cuda") * 0.02).bfloat16()
    weight.requires_grad_()
    targets = batch.targets.flatten()

    def run() -> None:
        loss = linear_cross_entropy(
            hidden, weight, targets, chunk=chunk, half_logits=True, skip_ignored=False
        )
        torch.autograd.grad(loss, (hidden, weight))

    return median_ms(run, 4)


def adamw_ms(shape: dict[str, Any]) -> float:
    """Return an update of all parameters."""
    model = Transformer(TransformerConfig(**shape)).cuda()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    return median_ms(optimizer.step)


def main() -> int:
    """Run what fits into the time; return 1 if a section failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file for the results, JSON")
    parser.add_argument("--seconds", type=float, default=95.0, help="time for everything")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a small model, to check the script")
    args = parser.parse_args()
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.device == "cpu" and not args.tiny:
        parser.error("there is no CUDA device; --tiny checks the script on a CPU")
    torch.set_float32_matmul_precision("high")
    F.silu(torch.zeros(1, device=args.device))
    sweep = Sweep(args)
    sweep.section("definition", sweep.definition, 3)
    if args.device == "cuda":
        sweep.section("floor", sweep.floor, 8)
    names = [c for c in CANDIDATES if args.device == "cuda" or c.attention in ("varlen", "auto")]
    for candidate in names:
        run = lambda candidate=candidate: sweep.measured(candidate)  # noqa: E731
        sweep.section(candidate.name, run, candidate.seconds)
    sweep.section("profile", sweep.profile, 6)
    failed = [k for k, v in sweep.results.items() if isinstance(v, dict) and "error" in v]
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
