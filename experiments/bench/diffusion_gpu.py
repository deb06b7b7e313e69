"""Train the two standard masked-diffusion models on a GPU and measure decoding with them.

    python -m experiments.bench.diffusion_gpu --out OUT

Writes ``OUT/diffusion.json`` after every section, and the weights beside it; ``--weights FOLDER``
reads them instead of training. Sections: ``chain_sum`` and ``sudoku9`` (training and table),
``pass`` (time of one pass of 1,024 rows of 80 tokens under each way of running it), ``loop``
(against a plain decoding loop), ``graph`` (graphs against eager passes, replay, batch invariance),
``check`` (a plain loop in float32 against the pipeline, block by block: what is left between both
is arithmetic). ``--limit-s`` bounds the updates of a training, ``--recorded`` the table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.bench.decode import load_model, save_model, table_of, to_device
from experiments.bench.masked_beds import BEDS, Bed
from experiments.bench.masked_training import cores, train
from rlcore.inference.decoding import (
    PromptBatch,
    TransformerDenoiser,
    build_decoder,
    replay_log_probs,
)
from rlcore.inference.decoding.denoiser import finish_logits
from rlcore.ops.backends import Backend

ONE = {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 64}}


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Session:
    """Weights, results and where they go."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.out, self.weights, self.device = chosen.out, chosen.weights, chosen.device
        self.scale, self.limit_s, self.recorded = chosen.scale, chosen.limit_s, chosen.recorded
        self.seed = chosen.seed
        self.results: dict[str, Any] = {"torch": torch.__version__, "device": self._name()}

    def _name(self) -> str:
        return torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def path(self, bed: Bed) -> Path:
        """Return where a bed's weights are, or go."""
        return (self.weights or self.out) / f"{bed.name}.safetensors"

    def denoiser(
        self,
        name: str,
        *,
        compile: bool = False,
        backend: Backend = "auto",
        dtype: torch.dtype = torch.bfloat16,
    ) -> TransformerDenoiser:
        """Return a trained model."""
        bed = BEDS[name]()
        model = load_model(bed, self.path(bed)).to(self.device, dtype)
        model.attention_backend = backend
        return TransformerDenoiser(model, compile=compile)

    def prompts(self, name: str, n: int = 1024, seed: int = 0) -> tuple[PromptBatch, Any]:
        """Return a test set on the device."""
        prompts, answers = BEDS[name]().test(seed, n)
        return to_device(prompts, self.device), answers

    def wait(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def bed_section(session: Session, name: str) -> dict[str, Any]:
    """Train a bed's model where there are no weights, and print its table."""
    bed = BEDS[name]()
    found: dict[str, Any] = {}
    if not session.path(bed).exists():
        made = train(
            bed,
            steps=max(1, int(bed.steps * session.scale)),
            device=session.device,
            workers=cores(),
            limit_s=session.limit_s,
            seed=session.seed,
            say=say,
        )
        found["training"] = made.detail | {"seconds": made.seconds, "losses": made.losses}
        save_model(made.model, session.path(bed), found["training"])
        session.results[name] = found
    n = max(8, int(1024 * min(1.0, session.scale)))
    found["table"] = table_of(
        bed,
        session.denoiser(name),
        device=session.device,
        n=n,
        say=say,
        recorded_alone=session.recorded,
    )
    return found


def pass_section(session: Session) -> dict[str, Any]:
    """Return milliseconds of one pass, 64 of which decode 1,024 rows of 16 + 64 tokens."""
    prompts, _ = session.prompts("chain_sum")
    found: dict[str, Any] = {}
    ways: dict[str, tuple[str, bool, Backend]] = {
        "eager": ("eager", False, "auto"),
        "graph": ("graph", False, "auto"),
        "graph, dense mask": ("graph", False, "torch"),
        "graph, compiled": ("graph", True, "auto"),
    }
    for name, (execution, compile, backend) in ways.items():
        if execution == "graph" and session.device != "cuda":
            continue
        try:
            denoiser = session.denoiser("chain_sum", compile=compile, backend=backend)
            decoder = build_decoder(
                {"acceptance": ONE, "stop": {"eos": False}, "execution": execution}, denoiser
            )
            begin = time.perf_counter()
            decoder.generate(prompts, 64)
            session.wait()
            first = time.perf_counter() - begin
            times = []
            for _ in range(5):
                begin = time.perf_counter()
                decoder.generate(prompts, 64)
                session.wait()
                times.append((time.perf_counter() - begin) / 64 * 1e3)
            found[name] = {"ms_a_pass": sorted(times), "first_s": first}
            say(f"pass, {name}: {sorted(times)[2]:.3f} ms (first call {first:.1f} s)")
        except Exception as error:  # one way that fails must not hide the others
            found[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
            say(f"pass, {name}: {found[name]['error']}")
    return found


def plain_loop(
    denoiser: TransformerDenoiser, prompts: PromptBatch, length: int, block: int | None = None
) -> Tensor:
    """Decode one position a pass as public codes do: whole head, softmax, top-k row by row.

    With a ``block`` length, blocks go from left to right.
    """
    mask = denoiser.mask_id
    ids = torch.cat([prompts.ids, torch.full((len(prompts), length), mask).to(prompts.ids)], 1)
    start = prompts.ids.shape[1]
    real = torch.cat([prompts.real, torch.ones_like(ids[:, start:], dtype=torch.bool)], 1)
    place = torch.arange(ids.shape[1], device=ids.device) - start
    for done in range(length):
        masked = ids == mask
        if block is not None:
            masked = masked & (place // block == done // block)
        logits = finish_logits(denoiser(ids, padding=real), mask)
        tokens = logits.argmax(-1)
        sure = torch.softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
        sure = sure.masked_fill(~masked, -torch.inf)
        chosen = torch.zeros_like(masked)
        for row in range(len(ids)):
            chosen[row, torch.topk(sure[row], k=1).indices] = True
        ids = torch.where(chosen, tokens, ids)
    return ids[:, start:]


def loop_section(session: Session) -> dict[str, Any]:
    """Return the seconds of the plain loop against ours, interleaved, and whether tokens agree."""
    prompts, _ = session.prompts("chain_sum")
    denoiser = session.denoiser("chain_sum")
    decoder = build_decoder({"acceptance": ONE, "stop": {"eos": False}}, denoiser)
    ours: list[float] = []
    peer: list[float] = []
    tokens: dict[str, Tensor] = {}
    decoder.generate(prompts, 64)
    with torch.no_grad():
        for _ in range(2):
            session.wait()
            begin = time.perf_counter()
            tokens["ours"] = decoder.generate(prompts, 64).tokens
            session.wait()
            ours.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            tokens["peer"] = plain_loop(denoiser, prompts, 64)
            session.wait()
            peer.append(time.perf_counter() - begin)
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    same = float((tokens["ours"] == tokens["peer"]).float().mean())
    say(f"loop: ours {min(ours):.3f} s, plain {min(peer):.3f} s, ratio {ratios}, same {same:.4f}")
    return {"ours_s": ours, "plain_s": peer, "ratios": ratios, "same_tokens": same}


def check_section(session: Session, n: int = 256) -> dict[str, Any]:
    """Return accuracies of the plain loop in float32 and of the pipeline in both precisions."""
    bed = BEDS["chain_sum"]()
    prompts, answers = session.prompts("chain_sum", n)
    found: dict[str, Any] = {}
    for block in (None, 16):
        planner = {} if block is None else {"planner": {"name": "semi_ar", "block_length": block}}
        settings = {"acceptance": ONE, "stop": {"eos": False}, **planner}
        exact = session.denoiser("chain_sum", backend="reference", dtype=torch.float32)
        with torch.no_grad():
            plain = plain_loop(exact, prompts, bed.length, block).cpu()
        row = {"plain_float32": float(bed.judge(plain, answers).mean())}
        for dtype in (torch.float32, torch.bfloat16):
            decoder = build_decoder(settings, session.denoiser("chain_sum", dtype=dtype))
            tokens = decoder.generate(prompts, bed.length).tokens.cpu()
            kind = str(dtype).removeprefix("torch.")
            row[f"pipeline_{kind}"] = float(bed.judge(tokens, answers).mean())
            row[f"same_tokens_{kind}"] = float((tokens == plain).float().mean())
        found["full" if block is None else f"block {block}"] = row
        say(f"check, block {block}: {row}")
    return found


def graph_section(session: Session) -> dict[str, Any]:
    """Return how far graphs are from eager passes, replay from the record, rows from batches."""
    prompts, _ = session.prompts("chain_sum", 300)
    settings: dict[str, Any] = {
        "acceptance": {"name": "threshold", "tau": 0.6},
        "temperature": 1.0,
        "planner": {"name": "semi_ar", "block_length": 16},
        "confidence_transforms": [{"name": "eos_early_rejection"}],
    }
    denoiser = session.denoiser("chain_sum")
    eager = build_decoder({**settings, "execution": "eager"}, denoiser)
    graph = build_decoder(settings, denoiser)
    a, b = eager.generate(prompts, 64, seed=1), graph.generate(prompts, 64, seed=1)
    found: dict[str, Any] = {
        "graph_same_tokens": float((a.tokens == b.tokens).float().mean()),
        "graph_same_steps": float((a.commit_step == b.commit_step).float().mean()),
    }
    record = graph.trajectory(b)
    committed = record.commit_step >= 0
    again = torch.no_grad()(replay_log_probs)(denoiser, record)
    difference = (again - record.old_logp)[committed].abs()
    found["replay_mean_difference"] = float(difference.mean())
    found["replay_largest_difference"] = float(difference.max())
    half = PromptBatch(prompts.ids[:100], prompts.real[:100])
    c = graph.generate(half, 64, seed=1)
    found["batch_same_tokens"] = float((c.tokens == b.tokens[:100]).float().mean())
    say(f"graph: {found}")
    return found


def main() -> int:
    """Run the sections that were asked for; return how many failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="of updates and of test prompts")
    parser.add_argument("--limit-s", type=float, default=math.inf, help="of updates of a training")
    parser.add_argument("--seed", type=int, default=0, help="of a training")
    parser.add_argument("--recorded", action="store_true", help="only rows with earlier figures")
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    session = Session(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "chain_sum": lambda: bed_section(session, "chain_sum"),
        "sudoku9": lambda: bed_section(session, "sudoku9"),
        "pass": lambda: pass_section(session),
        "check": lambda: check_section(session),
        "loop": lambda: loop_section(session),
        "graph": lambda: graph_section(session),
    }
    for name, section in sections.items():
        if arguments.only and name not in arguments.only:
            continue
        begin = time.perf_counter()
        try:
            session.results[name] = section()
        except Exception:  # one section that fails must not stop the others
            session.results[name] = session.results.get(name, {}) | {
                "error": traceback.format_exc()[-3000:]
            }
            say(f"{name} failed:\n{session.results[name]['error']}")
        session.results[name]["section_s"] = time.perf_counter() - begin
        text = json.dumps(session.results, indent=1, default=float)
        (arguments.out / "diffusion.json").write_text(text + "\n")
    failed = [name for name in sections if "error" in session.results.get(name, {})]
    say(f"failed: {failed}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
