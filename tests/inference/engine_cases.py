"""Models, requests and the masked forward pass that the engine is compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rlcore.inference.config import SamplingParams
from rlcore.inference.request import Request
from rlcore.inference.trace import ParallelTrace
from rlcore.nn.transformer import AttentionMask, Transformer, TransformerConfig


def small_model(
    dtype: torch.dtype = torch.float64, vocab: int = 48, seed: int = 0, layers: int = 3
) -> Transformer:
    """Grouped heads, norms of heads, and weights large enough for peaked laws."""
    torch.manual_seed(seed)
    shape = TransformerConfig(
        vocab_size=vocab, dim=32, layers=layers, heads=4, kv_heads=2, qk_norm=True, init_std=0.2
    )
    return Transformer(shape).to(dtype).eval()


def mixed_requests(count: int, vocab: int, seed: int = 0) -> list[Request]:
    """Prompts, budgets and sampling settings of all kinds; some with the same beginning."""
    r = np.random.default_rng(seed)
    requests = []
    for i in range(count):
        prompt = r.integers(0, vocab, int(r.integers(1, 40))).tolist()
        if i % 3 == 0:
            prompt = [*range(20), *prompt]
        requests.append(
            Request(
                prompt=prompt,
                max_new_tokens=int(r.integers(1, 50)),
                n=int(r.integers(1, 4)),
                stop_ids=[5],
                sampling=SamplingParams(
                    seed=i,
                    temperature=float(r.choice([0.0, 0.7, 1.0])),
                    top_k=int(r.choice([0, 5])),
                    top_p=float(r.choice([1.0, 0.8])),
                    repetition_penalty=float(r.choice([1.0, 1.3])),
                ),
            )
        )
    return requests


@torch.no_grad()
def masked_log_probs(model: Transformer, trace: ParallelTrace) -> NDArray[np.floating]:
    """Log-probabilities ``[L, V]`` of one masked forward pass over a trace."""
    device = model.embed.weight.device
    intervals = None
    if len(trace.gs):
        intervals = tuple(torch.from_numpy(x)[None].to(device) for x in (trace.gs, trace.ps))
    logits = model(
        torch.from_numpy(trace.ids)[None].to(device),
        positions=torch.from_numpy(trace.positions)[None].to(device),
        mask=AttentionMask(intervals=intervals),
    )[0]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.log_softmax(-1).cpu().numpy()


def predecessor(trace: ParallelTrace, q: int) -> int:
    """The last token that token ``q`` sees before itself: the one it was drawn after."""
    k = q - 1
    while True:
        covering = [
            int(g) for g, p in zip(trace.gs[:, q], trace.ps[:, q], strict=True) if g <= k < p
        ]
        if not covering:
            return k
        k = min(covering) - 1


def trace_gap(
    model: Transformer, trace: ParallelTrace, select: NDArray[np.bool_] | None = None
) -> float:
    """Largest difference between recorded and masked-forward log-probabilities."""
    log_probs = masked_log_probs(model, trace)
    chosen = trace.drawn if select is None else trace.drawn & select
    gaps = [
        abs(log_probs[predecessor(trace, q), trace.ids[q]] - trace.raw_log_probs[q])
        for q in np.flatnonzero(chosen)
    ]
    return float(max(gaps))
