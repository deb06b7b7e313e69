"""Pretraining step on a GPU: this transformer against the same layout of `transformers`.

    PYTHONPATH=. python experiments/bench/pretrain_gpu.py --out pretrain.json

A step is forward, mean next-token cross-entropy, backward and a fused AdamW update of a 125 M model
(12 layers, width 768, 6 heads of 128, SwiGLU 2048, tied head of 50,304 tokens) on packed rows of
4,096 tokens, in bfloat16 autocast over float32 weights. Every side is compiled with
``torch.compile`` and gets the same tokens, targets and loss; sides take turns within one process
and the ratio is the median of the paired ratios.

Ours masks documents (kernels over tile tables). The peer runs twice: with flash attention
over the whole row, which ignores documents and so does other, simpler work; and with its own
FlexAttention and document mask.

Model FLOPs utilisation is ``flops_per_token * tokens / seconds / peak``: see
:func:`rlcore.nn.transformer.counts.flops_per_token`; ``keys`` is the mean number of keys a token
sees under the document mask, for every side alike. The peak is 989e12 (H100 and H200 SXM, dense
bfloat16, data sheet).
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
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.nn.transformer import AttentionMask, Transformer, TransformerConfig
from rlcore.nn.transformer.counts import flops_per_token, parameters
from rlcore.ops.log_prob import linear_cross_entropy

PEAK = 989e12
SHAPE: dict[str, Any] = {"vocab_size": 50_304, "dim": 768, "layers": 12, "heads": 6,
                         "hidden": 2048, "tie_embeddings": True}  # fmt: skip
TINY: dict[str, Any] = {"vocab_size": 64, "dim": 32, "layers": 2, "heads": 2, "hidden": 64,
                        "tie_embeddings": True}  # fmt: skip


@dataclass
class Batch:
    """Packed rows: ``ids``, ``targets`` (-100 at the last token of a document), ``documents``."""

    ids: Tensor
    targets: Tensor
    documents: Tensor
    positions: Tensor


def packed_rows(rows: int, length: int, vocab: int, device: str) -> Batch:
    """Return random documents of 64 to 2,048 tokens, cut into rows."""
    generator = torch.Generator().manual_seed(0)
    documents = torch.zeros(rows, length, dtype=torch.int32)
    positions = torch.zeros(rows, length, dtype=torch.int64)
    for row in range(rows):
        at = number = 0
        while at < length:
            size = int(torch.randint(64, 2049, (), generator=generator))
            documents[row, at : at + size] = number
            end = min(length, at + size)
            positions[row, at:end] = torch.arange(end - at)
            at, number = at + size, number + 1
    ids = torch.randint(0, vocab, (rows, length), generator=generator)
    targets = ids.roll(-1, 1)
    targets[:, :-1][documents[:, 1:] != documents[:, :-1]] = -100
    targets[:, -1] = -100
    return Batch(*(x.to(device) for x in (ids, targets, documents, positions)))


def mean_keys(positions: Tensor) -> float:
    """Return the mean number of keys a token sees: those of its document up to itself."""
    return float((positions + 1).double().mean())


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over targets, in float32."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100)


Loss = Callable[[Batch], Tensor]


def our_side(shape: dict[str, Any], device: str, **more: Any) -> tuple[nn.Module, Loss]:
    """Return our model and its loss on packed rows with a document mask.

    Blocks are compiled one by one; the head's loss and gradient are one kernel.
    """
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(**shape, **more)).to(device)
    if device == "cuda":
        model.compile_blocks()

    def loss(batch: Batch) -> Tensor:
        mask = AttentionMask(documents=batch.documents)
        hidden = model.hidden(batch.ids, mask=mask, positions=batch.positions)
        return linear_cross_entropy(
            hidden, model.head_weight.to(hidden.dtype), batch.targets,
            chunk=batch.ids.numel(), half_logits=True, skip_ignored=False,
        )  # fmt: skip

    return model, loss


def peer_side(
    shape: dict[str, Any], device: str, attention: str, qwen: bool = False, mode: str | None = None
) -> tuple[nn.Module, Loss]:
    """Return the same layout in ``transformers`` and its loss, compiled as one."""
    import transformers

    torch.manual_seed(0)
    kind = transformers.Qwen3Config if qwen else transformers.LlamaConfig
    config = kind(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["dim"],
        intermediate_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        head_dim=shape["dim"] // shape["heads"],
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    make = transformers.Qwen3ForCausalLM if qwen else transformers.LlamaForCausalLM
    model = make(config).to(device)

    def loss(batch: Batch) -> Tensor:
        # Positions that begin again make it mask documents; whole rows are plain causal.
        positions = batch.positions if attention == "flex_attention" else None
        logits = model(batch.ids, position_ids=positions, use_cache=False).logits
        return cross_entropy(logits, batch.targets)

    # A batch is a plain container: what is traced are its tensors.
    return model, torch.compile(loss, mode=mode) if device == "cuda" else loss


class Side:
    """A model, its optimizer and a step."""

    def __init__(self, model: nn.Module, loss: Loss, device: str) -> None:
        self.device = device
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=device == "cuda"
        )
        self.loss = loss

    def step(self, batch: Batch) -> Tensor:
        """Run one update; return the loss."""
        with torch.autocast(self.device, torch.bfloat16):
            loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def seconds(self, batch: Batch, steps: int) -> float:
        """Return the time of one of ``steps`` updates."""
        _wait(self.device)
        begin = time.perf_counter()
        for _ in range(steps):
            self.step(batch)
        _wait(self.device)
        return (time.perf_counter() - begin) / steps


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


Maker = Callable[[], tuple[nn.Module, Loss]]


def compare(makers: dict[str, Maker], batch: Batch, args: argparse.Namespace) -> dict[str, Any]:
    """Run all sides in turns; the first is ours. A side that fails is reported and left out."""
    sides: dict[str, Side] = {}
    result: dict[str, Any] = {"failed": {}, "first_loss": {}, "compile_s": {}}
    for name, make in makers.items():
        try:
            side = Side(*make(), args.device)
            begin = time.perf_counter()
            result["first_loss"][name] = float(side.step(batch))
            side.seconds(batch, 2)
            result["compile_s"][name] = time.perf_counter() - begin
            sides[name] = side
        except Exception:  # the other sides are still worth their time
            result["failed"][name] = traceback.format_exc()[-3000:]
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items():
            times[name].append(side.seconds(batch, args.steps))
    result["seconds"] = times
    return result


def summary(times: dict[str, list[float]], flops: float, tokens: int) -> dict[str, Any]:
    """Return MFU and tokens a second of each side, and the paired ratios of the others to ours."""
    ours = next(iter(times), None)
    rows: dict[str, Any] = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        ratios = [theirs / mine for mine, theirs in zip(times[ours or ""], seconds, strict=True)]
        rows[name] = {
            "ms": median * 1e3,
            "tokens_per_s": tokens / median,
            "mfu": flops * tokens / median / PEAK,
            "slower_than_ours": [min(ratios), statistics.median(ratios), max(ratios)],
        }
    return rows


def layouts(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the Llama and the Qwen3 layout."""
    shape = TINY if args.tiny else SHAPE
    batch = packed_rows(args.rows, args.length, shape["vocab_size"], args.device)
    keys = mean_keys(batch.positions)
    out: dict[str, Any] = {}
    for layout in args.layouts:
        qwen = layout == "qwen3"
        config = TransformerConfig(**shape, qk_norm=qwen)
        makers: dict[str, Maker] = {
            "ours": lambda qwen=qwen: our_side(shape, args.device, qk_norm=qwen),
            "transformers, flash, no document mask": lambda qwen=qwen: peer_side(
                shape, args.device, "sdpa", qwen, args.mode
            ),
            "transformers, flex, document mask": lambda qwen=qwen: peer_side(
                shape, args.device, "flex_attention", qwen, args.mode
            ),
        }
        makers = {name: make for name, make in makers.items() if name.startswith(tuple(args.sides))}
        measured = compare(makers, batch, args)
        flops = flops_per_token(config, keys)
        measured["summary"] = summary(measured["seconds"], flops, batch.ids.numel())
        measured |= {"parameters": parameters(config), "flops_per_token": flops, "keys": keys}
        out[layout] = measured
        _say(f"{layout} {json.dumps(measured['summary'], indent=1)}")
        _say(json.dumps(measured["failed"])[:3000])
    return out


def profile(args: argparse.Namespace) -> dict[str, Any]:
    """Return where the time of our step goes: the kernels that take most of it."""
    shape = TINY if args.tiny else SHAPE
    batch = packed_rows(args.rows, args.length, shape["vocab_size"], args.device)
    side = Side(*our_side(shape, args.device), args.device)
    side.seconds(batch, 3)
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as record:
        side.seconds(batch, 3)
    rows = [
        {"kernel": e.key[:110], "ms": e.self_device_time_total / 3e3, "calls": e.count / 3}
        for e in record.key_averages()
        if e.self_device_time_total > 0 and e.device_type != torch.autograd.DeviceType.CPU
    ]
    rows.sort(key=lambda row: -row["ms"])
    for row in rows[:40]:
        _say(f"{row['ms']:8.3f} ms {row['calls']:6.1f} x {row['kernel']}")
    return {"kernels": rows[:60], "total_ms": sum(row["ms"] for row in rows)}


def kernels(args: argparse.Namespace) -> dict[str, Any]:
    """Time the parts alone, forward and backward: attention of one layer, the head."""
    if args.device != "cuda":
        return {}
    batch = packed_rows(args.rows, args.length, SHAPE["vocab_size"], args.device)
    out: dict[str, Any] = {}
    parts: dict[str, Callable[[], Callable[[], Any]]] = {
        "flex 12x64": lambda: _flex_part(batch, 12, {}),
        "flex 6x128": lambda: _flex_part(batch, 6, {}),
        "varlen 12x64": lambda: _varlen_part(batch, 12),
        "varlen 6x128": lambda: _varlen_part(batch, 6),
        "head, chunked": lambda: _head_part(batch, chunked=True),
        "head, compiled": lambda: _head_part(batch, chunked=False),
    }
    for name, options in FLEX_OPTIONS.items():
        parts[f"flex 6x128 {name}"] = lambda options=options: _flex_part(batch, 6, options)
    for name, make in parts.items():
        try:
            out[name] = _median_ms(make())
        except Exception:  # the other parts are still worth their time
            out[name] = traceback.format_exc()[-600:]
        _say(f"{name}: {out[name]}")
    return out


FLEX_OPTIONS: dict[str, dict[str, Any]] = {
    "backward 64x64, 4 warps": {
        "bwd_BLOCK_M1": 64, "bwd_BLOCK_N1": 64, "bwd_BLOCK_M2": 64, "bwd_BLOCK_N2": 64,
        "bwd_num_warps": 4, "bwd_num_stages": 3,
    },
    "backward 64x128, 8 warps, 2 stages": {
        "bwd_BLOCK_M1": 64, "bwd_BLOCK_N1": 128, "bwd_BLOCK_M2": 128, "bwd_BLOCK_N2": 64,
        "bwd_num_warps": 8, "bwd_num_stages": 2,
    },
    "forward 128x128, 8 warps, 2 stages": {
        "fwd_BLOCK_M": 128, "fwd_BLOCK_N": 128, "fwd_num_warps": 8, "fwd_num_stages": 2,
    },
}  # fmt: skip


def _inputs(batch: Batch, heads: int) -> list[Tensor]:
    shape = (*batch.ids.shape, heads, 768 // heads)
    made = [torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    return [x.requires_grad_() for x in made[:3]] + made[3:]


def _flex_part(batch: Batch, heads: int, options: dict[str, Any]) -> Callable[[], Any]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v, g = _inputs(batch, heads)
    documents = batch.documents

    def seen(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents[row, query] == documents[row, key])

    rows, length = documents.shape
    tiles = create_block_mask(seen, rows, None, length, length, device="cuda")
    compiled = torch.compile(flex_attention)

    def run() -> None:
        rows = [x.transpose(1, 2) for x in (q, k, v)]
        compiled(*rows, block_mask=tiles, kernel_options=options).transpose(1, 2).backward(g)

    return run


def _varlen_part(batch: Batch, heads: int) -> Callable[[], Any]:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v, g = (x.flatten(0, 1) for x in _inputs(batch, heads))
    begins = F.pad(batch.documents[:, 1:] != batch.documents[:, :-1], (1, 0), value=True)
    starts = begins.flatten().nonzero().flatten()
    ends = torch.tensor([batch.ids.numel()], device="cuda")
    bounds = torch.cat((starts, ends)).int()
    longest = int((bounds[1:] - bounds[:-1]).max())
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))

    def causal() -> Tensor:
        if "window_size" in varlen_attn.__annotations__:
            return varlen_attn(q, k, v, bounds, bounds, longest, longest, window_size=(-1, 0))
        return varlen_attn(q, k, v, bounds, bounds, longest, longest, is_causal=True)

    return lambda: causal().backward(g)


def _head_part(batch: Batch, *, chunked: bool) -> Callable[[], Any]:
    shape = (batch.ids.numel(), 768)
    hidden = torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = (torch.randn(50_304, 768, device="cuda") * 0.02).bfloat16().requires_grad_()
    targets = batch.targets.flatten()
    if chunked:
        return lambda: linear_cross_entropy(hidden, weight, targets).backward()

    @torch.compile
    def plain(hidden: Tensor, weight: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(hidden, weight).float(), targets, ignore_index=-100)

    return lambda: plain(hidden, weight).backward()


def _median_ms(run: Callable[[], Any], repeats: int = 20) -> float:
    for _ in range(3):
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


SECTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "kernels": kernels,
    "profile": profile,
    "layouts": layouts,
}


def main() -> int:
    """Run the chosen sections; one that fails does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file for the results, JSON")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--mode", default=None, help="of torch.compile, for transformers")
    parser.add_argument("--layouts", nargs="+", default=["llama", "qwen3"])
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS))
    parser.add_argument("--sides", nargs="+", default=["ours", "transformers"], metavar="PREFIX")
    parser.add_argument("--tiny", action="store_true", help="a small model, to check the script")
    args = parser.parse_args()
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "arguments": {k: str(v) for k, v in vars(args).items()},
    }
    failed = False
    for name in args.sections:
        begin = time.perf_counter()
        try:
            result[name] = SECTIONS[name](args)
        except Exception:
            failed = True
            result[name] = {"error": traceback.format_exc()[-4000:]}
            _say(f"{name}: {result[name]['error']}")
        result[f"{name}_s"] = time.perf_counter() - begin
        args.out.write_text(json.dumps(result, indent=1))
        torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
