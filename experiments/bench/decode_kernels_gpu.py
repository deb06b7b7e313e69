"""The decode step by itself against a captured graph of unfused operations, on a GPU.

``python -m experiments.bench.decode_kernels_gpu`` prints the sections and writes
``$OUT/decode_kernels.json``. Model: 40.6 M parameters in the Qwen3 layout, bfloat16. Context: 64
prompt tokens and 128 new ones, the last of which is decoded.

* ``step``: our module over paged memory, with the sampler, as one CUDA graph; the peer
  (:mod:`experiments.bench.decode_peer`); the floor, weights and keys over a copy's bandwidth.
* ``parts``: where our step's time goes.
* ``cascade``: attention of 8 branches over a shared prefix of 2,048 tokens, shared or not.
* ``join``: a step over the ragged blocks of joined branches, against one over full blocks.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.bench.decode_peer import StaticPeer
from experiments.bench.gpu_timing import Report, captured, copy_bandwidth, interleaved
from rlcore.inference.rows import RowTable
from rlcore.inference.shared_prefix import MOST_PIECES, shared_pieces
from rlcore.nn.transformer.config import TransformerConfig
from rlcore.nn.transformer.model import Transformer
from rlcore.ops.attention.paged import KVWrite, PagedBatch, SharedPrefix, paged_attention
from rlcore.ops.sampling import SamplingRows, head_statistics, sample

CONTEXT, BLOCK = 192, 16
ROWS = (1, 64, 512)
CONFIG = TransformerConfig(
    vocab_size=4096, dim=512, layers=12, heads=8, hidden=1408, qk_norm=True, tie_embeddings=True
)
BRANCHES, PREFIX, OWN = 8, 2048, 128


class PagedMemory:
    """Keys and values of all layers in one pool, and what the rows see of it."""

    def __init__(self, blocks: int, batch: PagedBatch) -> None:
        shape = (CONFIG.layers, blocks, BLOCK, CONFIG.num_kv_heads, CONFIG.head_size)
        self.keys, self.values = (
            torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2)
        )
        self.batch = batch

    def cache(self, layer: int) -> KVWrite:
        """Return where a layer's new keys and values go."""
        return KVWrite(self.keys[layer], self.values[layer], self.batch.slots)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention of the new tokens."""
        return paged_attention(q, self.keys[layer], self.values[layer], self.batch)


def batch_of(table: Tensor, fill: Tensor, prefix: SharedPrefix | None = None) -> PagedBatch:
    """Return rows that decode one token each, the last valid slot of their last used block."""
    last = (fill > 0).sum(1, keepdim=True) - 1
    slots = table.gather(1, last).long() * BLOCK + fill.gather(1, last).long() - 1
    rows = len(table)
    starts = torch.arange(rows + 1)
    return PagedBatch(
        starts.int().cuda(), table.int().cuda(), fill.int().cuda(), slots[:, 0].cuda(), 1,
        table.shape[1], prefix,
    )  # fmt: skip


def plain_batch(rows: int, tokens: int) -> PagedBatch:
    """Return rows of ``tokens`` each, blocks in random order of the pool."""
    width = math.ceil(tokens / BLOCK)
    table = torch.randperm(rows * width).view(rows, width)
    fill = (tokens - torch.arange(width) * BLOCK).clamp(max=BLOCK).expand(rows, -1)
    return batch_of(table, fill.contiguous())


def joined_batch(rows: int, branches: int, tokens: int) -> PagedBatch:
    """Return rows that see ``branches`` ragged lists of about ``tokens`` each, and a new token."""
    width = branches * math.ceil(tokens / BLOCK) + 1
    table = torch.randperm(rows * width).view(rows, width)
    fill = torch.full((rows, width), BLOCK)
    each = math.ceil(tokens / BLOCK)
    ends = torch.arange(branches) * each + each - 1
    fill[:, ends] = torch.randint(1, BLOCK + 1, (rows, branches))
    fill[:, -1] = 1
    return batch_of(table, fill)


def sampling_rows(rows: int) -> SamplingRows:
    """Return rows that sample at temperature 1."""
    keys = torch.randint(-(2**62), 2**62, (rows,))
    return SamplingRows(keys.cuda(), torch.full((rows,), 9).cuda(), torch.ones(rows).cuda())


def our_step(model: Transformer, memory: PagedMemory, rows: int, position: int) -> Any:
    """Return a call of one step: module, paged memory, sampler, tokens fed back."""
    ids = torch.randint(CONFIG.vocab_size, (rows,), device="cuda")
    positions = torch.full((rows,), position, device="cuda")
    settings = sampling_rows(rows)

    def step() -> None:
        with torch.no_grad():
            drawn = sample(model(ids, positions=positions, memory=memory), settings)
            ids.copy_(drawn.tokens)

    return step


def model_of() -> Transformer:
    """Return the model, evaluated in bfloat16."""
    torch.manual_seed(0)
    return Transformer(CONFIG).cuda().bfloat16().eval()


def step_section(model: Transformer, rows: int, bandwidth: float) -> dict[str, Any]:
    """Our step, the peer's and the floor."""
    memory = PagedMemory(rows * CONTEXT // BLOCK, plain_batch(rows, CONTEXT))
    peer = StaticPeer(model, rows, CONTEXT)
    graphs = {
        "ours": captured(our_step(model, memory, rows, CONTEXT - 1)),
        "peer": captured(peer.step),
    }
    times = interleaved(graphs)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kv = 2 * memory.keys.element_size() * rows * CONTEXT * CONFIG.layers * CONFIG.dim
    ours = times["ours"]["us"]
    return {
        **times,
        "ratio": ours / times["peer"]["us"],
        "floor_us": (weights + kv) / bandwidth * 1e6,
        "tokens_per_s": rows / ours * 1e6,
    }


def parts_section(model: Transformer, rows: int) -> dict[str, float]:
    """Microseconds a step of each part, twelve layers together where it is a layer's."""
    memory = PagedMemory(rows * CONTEXT // BLOCK, plain_batch(rows, CONTEXT))
    x = torch.randn(rows, CONFIG.dim, device="cuda", dtype=torch.bfloat16)
    q = torch.randn(rows, CONFIG.heads, CONFIG.head_size, device="cuda", dtype=torch.bfloat16)
    ids = torch.randint(CONFIG.vocab_size, (rows,), device="cuda")
    settings, logits = sampling_rows(rows), model.head(x)

    def attention() -> None:
        for layer in range(CONFIG.layers):
            memory.attend(layer, q, q, q)

    with torch.no_grad():
        graphs = {
            "attention": captured(attention),
            "hidden": captured(
                lambda: model.hidden(ids, positions=torch.full_like(ids, 9), memory=memory)
            ),
            "head": captured(lambda: model.head(x)),
            "sampler": captured(lambda: sample(logits, settings)),
            "statistics": captured(lambda: head_statistics(logits)),
        }
    return {name: found["us"] for name, found in interleaved(graphs).items()}


def shared_prefix(table: Tensor, fill: Tensor) -> SharedPrefix:
    """Return what the rows of block lists share, as the engine finds it."""
    count, width = table.shape
    rows = RowTable(count, width, BLOCK, CONFIG.vocab_size)
    rows.table[:], rows.fill[:], rows.width[:] = table.numpy(), fill.numpy(), width
    found = shared_pieces(rows, np.arange(count), CONFIG.num_kv_heads)
    if found is None:
        raise ValueError("the rows share nothing that is worth a kernel")
    parts = (found.members, found.bounds, found.place, found.skip, found.pieces)
    own = width - int(found.skip.min())
    return SharedPrefix(*(torch.from_numpy(x).cuda() for x in parts), MOST_PIECES, own)


def cascade_section(groups: int) -> dict[str, Any]:
    """Attention of 12 layers: ``groups`` prefixes, 8 branches each, shared or read by each."""
    shared, own = PREFIX // BLOCK, OWN // BLOCK
    rows = groups * BRANCHES
    prefixes = torch.arange(groups * shared).view(groups, 1, shared).expand(-1, BRANCHES, -1)
    private = groups * shared + torch.randperm(rows * own).view(rows, own)
    table = torch.cat([prefixes.reshape(rows, shared), private], 1)
    fill = torch.full_like(table, BLOCK)
    prefix = shared_prefix(table, fill)
    memory = PagedMemory(groups * shared + rows * own, batch_of(table, fill))
    q = torch.randn(rows, CONFIG.heads, CONFIG.head_size, device="cuda", dtype=torch.bfloat16)

    def attention(batch: PagedBatch) -> Tensor:
        for layer in range(CONFIG.layers):
            out = paged_attention(q, memory.keys[layer], memory.values[layer], batch)
        return out

    together = batch_of(table, fill, prefix)
    apart = memory.batch
    error = (attention(together).float() - attention(apart).float()).norm()
    times = interleaved(
        {
            "shared": captured(lambda: attention(together)),
            "apart": captured(lambda: attention(apart)),
        }
    )
    return {
        **times,
        "speedup": times["apart"]["us"] / times["shared"]["us"],
        "difference": float(error / attention(apart).float().norm()),
    }


def join_section(model: Transformer, rows: int, branches: int) -> dict[str, Any]:
    """A step after a join of branches of some length, against a step over full blocks."""
    found = {}
    for tokens in (16, 64, 256, 1024):
        joined = joined_batch(rows, branches, tokens)
        plain = plain_batch(rows, int(joined.block_fill[0].sum()))
        blocks = max(b.block_table.numel() for b in (joined, plain))
        memory = PagedMemory(blocks, joined)
        straight = PagedMemory(1, plain)
        straight.keys, straight.values = memory.keys, memory.values
        times = interleaved(
            {
                "joined": captured(our_step(model, memory, rows, 9)),
                "plain": captured(our_step(model, straight, rows, 9)),
            },
            samples=15,
        )
        ratio = times["joined"]["us"] / times["plain"]["us"]
        found[str(tokens)] = {k: v["us"] for k, v in times.items()} | {"ratio": ratio}
    return found


def main() -> int:
    """Run all sections; return 1 if one failed."""
    report = Report("decode_kernels")
    bandwidth = copy_bandwidth()
    report.section("copy_gb_per_s", lambda: bandwidth / 1e9)
    model = model_of()
    for rows in ROWS:
        report.section(f"step_{rows}", lambda rows=rows: step_section(model, rows, bandwidth))
        report.section(f"parts_{rows}", lambda rows=rows: parts_section(model, rows))
    for groups in (1, 4, 16, 48):
        report.section(f"cascade_{groups}", lambda groups=groups: cascade_section(groups))
    report.section("join", lambda: join_section(model, 16, 4))
    return 1 if report.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
