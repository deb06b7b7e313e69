"""Generation on a CPU: the engine beside Transformers' ``generate``, in turn, one thread.

The model has 3.5 M parameters in the Qwen3 layout, random weights, float32; each request has 64
prompt and 64 new tokens. Run it as ``python -m experiments.bench.generate_cpu --out FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.request import Request
from rlcore.nn.transformer import Transformer, TransformerConfig
from rlcore.nn.transformer.pretrained import save_pretrained

PROMPT, NEW, VOCAB = 64, 64, 1024
BATCHES = (1, 8, 32)
SHAPE = TransformerConfig(
    vocab_size=VOCAB, dim=256, layers=4, heads=8, hidden=704, qk_norm=True, tie_embeddings=True
)


def timed(run: Callable[[], Any]) -> float:
    """Return the seconds of a run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def beside_generate(rounds: int, temperature: float) -> dict[str, Any]:
    """Time both on the same prompts and weights, in turn."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = Transformer(SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = Engine(model, EngineConfig(num_blocks=2048, prefix_cache=False))
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    for count in BATCHES:
        ids = torch.randint(0, VOCAB, (count, PROMPT))
        requests = [
            Request(
                prompt=row,
                max_new_tokens=NEW,
                sampling=SamplingParams(temperature=temperature, seed=i),
            )
            for i, row in enumerate(ids.tolist())
        ]

        def theirs(ids: torch.Tensor = ids) -> Any:
            with torch.inference_mode():
                return peer.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=temperature > 0.0,
                    max_new_tokens=NEW, min_new_tokens=NEW, pad_token_id=0,
                )  # fmt: skip

        theirs()
        engine.generate(requests)
        pairs = [
            (timed(lambda r=requests: engine.generate(r)), timed(theirs)) for _ in range(rounds)
        ]
        ratios = [b / a for a, b in pairs]
        found[str(count)] = {
            "ours_tokens_per_s": count * NEW / statistics.median(a for a, _ in pairs),
            "theirs_tokens_per_s": count * NEW / statistics.median(b for _, b in pairs),
            "ratio": statistics.median(ratios),
            "ratios": ratios,
        }
    return found


def main() -> None:
    """Run greedily and with sampling; write ``generate_cpu.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"torch": torch.__version__}
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        results[name] = beside_generate(args.rounds, temperature)
        sys.stdout.write(f"{name} {json.dumps(results[name], indent=1)}\n")
        sys.stdout.flush()
    (args.out / "generate_cpu.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
