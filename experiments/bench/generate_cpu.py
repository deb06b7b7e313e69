"""``rlcore bench generate``: the engine on a CPU beside Transformers' ``generate``, one thread.

The model has 3.5 M parameters in the Qwen3 layout, random weights, float32; each request has 64
prompt and 64 new tokens. Both sides have the same weights, prompts and number of new tokens.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from experiments.bench.harness import Row, Side, compare, table

PROMPT, NEW, VOCAB = 64, 64, 1024
BATCHES = (1, 8, 32)
TEMPERATURES = {"greedy": 0.0, "sampled": 1.0}
ROUNDS = 3
"""Runs of a sample, after one that does not count."""


def ours(batch: int, temperature: float) -> dict[str, float]:
    """Return the new tokens per second of the engine."""
    from rlcore.inference.config import EngineConfig, SamplingParams
    from rlcore.inference.engine import Engine
    from rlcore.inference.request import Request

    model, prompts = _bed(batch)
    engine = Engine(model, EngineConfig(num_blocks=2048, prefix_cache=False))
    requests = [
        Request(
            prompt=prompt,
            max_new_tokens=NEW,
            sampling=SamplingParams(temperature=temperature, seed=i),
        )
        for i, prompt in enumerate(prompts)
    ]

    def run() -> int:
        return sum(len(trace.ids) - PROMPT for trace in engine.generate(requests))

    return _rate(run)


def theirs(batch: int, temperature: float) -> dict[str, float]:
    """Return the new tokens per second of ``generate``."""
    import torch
    from transformers import AutoModelForCausalLM

    from rlcore.nn.transformer.pretrained import save_pretrained

    model, prompts = _bed(batch)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor(prompts)

    @torch.inference_mode()
    def run() -> int:
        found = peer.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=temperature > 0.0, top_k=0,
            max_new_tokens=NEW, min_new_tokens=NEW, pad_token_id=0,
        )  # fmt: skip
        return int(found.numel() - ids.numel())

    return _rate(run)


def _bed(batch: int) -> tuple[Any, list[list[int]]]:
    """Return the model and the prompts."""
    import torch

    from rlcore.nn.transformer import Transformer, TransformerConfig

    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=VOCAB, dim=256, layers=4, heads=8, hidden=704, qk_norm=True, tie_embeddings=True
    )
    model = Transformer(shape).eval()
    return model, torch.randint(0, VOCAB, (batch, PROMPT)).tolist()


def _rate(run: Callable[[], int]) -> dict[str, float]:
    run()
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        made = run()
        rates.append(made / (time.perf_counter() - start))
    return {"value": statistics.median(rates)}


def generate(
    repeats: int, say: Callable[[str], None], only: str, keep: Callable[[list[Row]], None]
) -> list[Row]:
    """Compare both at each batch size, greedily and with sampling."""
    rows: list[Row] = []
    for name, temperature in TEMPERATURES.items():
        for batch in BATCHES:
            if only not in f"{name}/{batch}":
                continue
            say(f"{name}/{batch} ...")
            sides = [
                Side(title, f"{__name__}:{side}", {"batch": batch, "temperature": temperature})
                for title, side in (("engine", "ours"), ("transformers generate", "theirs"))
            ]
            metric = f"{name}, {batch} at once"
            rows.append(compare(metric, "new tokens/s", *sides, repeats))
            say(table(rows[-1:]))
            keep(rows)
    return rows
