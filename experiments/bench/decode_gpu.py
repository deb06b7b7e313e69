"""Generation end to end on one GPU: the engine beside Transformers, in one run.

The model has the Qwen3 layout with 40.6 M parameters, random weights, bfloat16; each request has 64
prompt and 128 new tokens. Run it as ``python -m experiments.bench.decode_gpu --out FOLDER``; one
failing section does not stop the others, and none is begun after ``--seconds``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.request import Request
from rlcore.nn.transformer import Transformer, TransformerConfig

PROMPT, NEW, VOCAB = 64, 128, 4096
BATCHES = (1, 64, 512)
DEADLINE = [float("inf")]
"""When no other measurement is begun, by ``time.perf_counter``."""
SLOW_S = 10.0
"""A peer whose second run takes longer is timed once."""
SHAPE = TransformerConfig(
    vocab_size=VOCAB, dim=512, layers=12, heads=8, hidden=1344, qk_norm=True, rope_theta=1e6
)


def model_of(dtype: torch.dtype = torch.bfloat16, shape: TransformerConfig = SHAPE) -> Transformer:
    """Return the model with fixed random weights."""
    torch.manual_seed(0)
    return Transformer(shape).to("cuda", dtype).eval()


def requests_of(count: int, new: int = NEW, **sampling: Any) -> list[Request]:
    """Return requests with random prompts that differ from each other."""
    g = torch.Generator().manual_seed(count)
    prompts = torch.randint(0, VOCAB, (count, PROMPT), generator=g).tolist()
    params = {"temperature": 1.0} | sampling
    return [
        Request(prompt=p, max_new_tokens=new, sampling=SamplingParams(seed=i, **params))
        for i, p in enumerate(prompts)
    ]


def engine_of(model: Transformer, **settings: Any) -> Engine:
    """Return an engine without a prefix cache: every prompt is computed."""
    defaults = {"num_blocks": 16384, "prefill_chunk": 4096, "prefix_cache": False}
    return Engine(model, EngineConfig(**(defaults | settings)))


def _seconds(run: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def timed(run: Callable[[], Any], repeats: int = 3) -> list[float]:
    """Return the seconds of each of a few runs, after one that is not counted."""
    return [_seconds(run) for _ in range(repeats + 1)][1:]


def same_as_eager() -> dict[str, Any]:
    """Compare graphs and overlap with the eager runner: tokens and log-probabilities, float32."""
    model = model_of(torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = False
    requests = requests_of(24, 40)
    graphs = engine_of(model).generate(requests)
    eager = engine_of(model, cuda_graph_buckets=(), overlap=False).generate(requests)
    tight = engine_of(model, num_blocks=60, max_rows=6).generate(requests)
    same = [a.ids.tolist() == b.ids.tolist() for a, b in zip(graphs, eager, strict=True)]
    waves = [a.ids.tolist() == b.ids.tolist() for a, b in zip(graphs, tight, strict=True)]
    gap = max(
        float(abs(a.raw_log_probs - b.raw_log_probs).max())
        for a, b, equal in zip(graphs, eager, same, strict=True)
        if equal
    )
    return {"same_tokens": sum(same), "same_when_tight": sum(waves), "of": len(same), "gap": gap}


def steps() -> dict[str, Any]:
    """Time whole steps of the engine at each batch, and the host's share of them."""
    model = model_of()
    engine = engine_of(model)
    found: dict[str, Any] = {}
    for count in BATCHES:
        requests = requests_of(count)
        host: list[float] = []

        def run(requests: list[Request] = requests, host: list[float] = host) -> None:
            handles = [engine.submit(request) for request in requests]
            while not all(handle.done for handle in handles):
                start = time.perf_counter()
                engine.step()
                host.append(time.perf_counter() - start)

        seconds = timed(run)
        best, middle = min(seconds), statistics.median(seconds)
        found[str(count)] = {
            "tokens_per_s": count * NEW / middle,
            "best_tokens_per_s": count * NEW / best,
            "us_per_step": middle / NEW * 1e6,
            "host_us_median": statistics.median(host) * 1e6,
        }
    return found


def device_steps() -> dict[str, Any]:
    """Time graph replays alone, without host work between them."""
    model = model_of()
    engine = engine_of(model)
    found: dict[str, Any] = {}
    for count in BATCHES:
        handles = [engine.submit(request) for request in requests_of(count)]
        for _ in range(70):
            engine.step()
        engine.drain()
        runner: Any = engine.runner
        rows = engine.scheduler.rows
        graph = runner._graph(runner._key(rows, rows.occupied()))
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(20):
            graph.replay()
        stop.record()
        torch.cuda.synchronize()
        found[str(count)] = start.elapsed_time(stop) / 20 * 1e3
        for handle in handles:
            handle.abort()
    return found


def host_work() -> dict[str, Any]:
    """Time the scheduler's work of a step at 512 rows, with no model behind it."""
    model = model_of()
    engine = engine_of(model)
    runner: Any = engine.runner
    for request in requests_of(512):
        engine.submit(request)
    engine.step()
    engine.drain()
    launch, spent = runner.launch, {"launch": 0.0}

    def timed_launch(*args: Any) -> None:
        start = time.perf_counter()
        launch(*args)
        spent["launch"] += time.perf_counter() - start

    runner.launch = timed_launch
    read, spent["read"] = runner.read, 0.0

    def timed_read(*args: Any) -> Any:
        start = time.perf_counter()
        result = read(*args)
        spent["read"] += time.perf_counter() - start
        return result

    runner.read = timed_read
    start = time.perf_counter()
    count = 100
    for _ in range(count):
        engine.step()
    total = time.perf_counter() - start
    schedule = total - spent["launch"] - spent["read"]
    return {
        "step_us": total / count * 1e6,
        "scheduler_us": schedule / count * 1e6,
        "launch_us": spent["launch"] / count * 1e6,
        "wait_us": spent["read"] / count * 1e6,
    }


def joins() -> dict[str, Any]:
    """Time the step in which branches of several lengths are joined, beside a plain one."""
    model = model_of()
    found: dict[str, Any] = {}
    for length in (32, 256):
        engine = engine_of(model)
        plain: list[float] = []
        joined: list[float] = []
        for attempt in range(4):
            handle = engine.submit(
                Request(
                    prompt=list(range(64)), max_new_tokens=8192, keep=True,
                    sampling=SamplingParams(seed=attempt),
                )
            )  # fmt: skip
            for _ in range(8):
                engine.step()
            children = handle.root.fork(4, [[1, 2]] * 4)
            for _ in range(length):
                engine.step()
            plain.append(_one_step(engine))
            for child in children:
                child.stop()
            torch.cuda.synchronize()
            start = time.perf_counter()
            handle.root.join(forced=[3])
            engine.step()
            engine.drain()
            torch.cuda.synchronize()
            joined.append(time.perf_counter() - start)
            handle.abort()
        found[str(length)] = {
            "plain_us": statistics.median(plain[1:]) * 1e6,
            "join_us": statistics.median(joined[1:]) * 1e6,
        }
    return found


def _one_step(engine: Engine) -> float:
    engine.drain()
    torch.cuda.synchronize()
    start = time.perf_counter()
    engine.step()
    engine.drain()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def shared_prefixes() -> dict[str, Any]:
    """Time eight samples of each long prompt with what they share read once, and row by row."""
    model = model_of()
    engines = [engine_of(model, cascade=cascade) for cascade in (None, False)]
    found: dict[str, Any] = {}
    for families in (1, 16):
        g = torch.Generator().manual_seed(families)
        prompts = torch.randint(0, VOCAB, (families, 2048), generator=g).tolist()
        requests = [
            Request(prompt=p, max_new_tokens=NEW, n=8, sampling=SamplingParams(seed=i))
            for i, p in enumerate(prompts)
        ]
        once, by_row = (partial(engine.generate, requests) for engine in engines)
        times = _in_turn(once, by_row, 8 * families)
        found[str(families)] = {
            name.replace("theirs", "row_by_row"): x for name, x in times.items()
        }
    return found


def transformers_model(folder: Path) -> Any:
    """Return the same weights as a model of Transformers."""
    from transformers import AutoModelForCausalLM

    from rlcore.nn.transformer.pretrained import save_pretrained

    save_pretrained(model_of(), folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to("cuda").eval()


def beside_generate() -> dict[str, Any]:
    """Time the engine and ``generate`` with a static cache, compiled, in turn."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = transformers_model(Path(folder))
    engine = engine_of(model_of())
    for count in (64, 1, 512):
        if time.perf_counter() > DEADLINE[0]:
            found[str(count)] = "no time left"
            continue
        requests = requests_of(count)
        ids = torch.tensor([list(r.prompt) for r in requests], device="cuda")

        def theirs(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                peer.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW,
                    min_new_tokens=NEW, do_sample=True, cache_implementation="static",
                )  # fmt: skip

        found[str(count)] = _in_turn(lambda r=requests: engine.generate(r), theirs, count)
    return found


def beside_continuous() -> dict[str, Any]:
    """Time the engine and ``generate_batch``, Transformers' continuous batching, in turn.

    Its manager is kept from run to run, with its graphs, and has a cache of twice the blocks that
    the requests fill: one of all memory, its default, took 64 requests no less time.
    """
    from transformers import ContinuousBatchingConfig, GenerationConfig

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = transformers_model(Path(folder))
    engine = engine_of(model_of())
    config = GenerationConfig(max_new_tokens=NEW, do_sample=True, eos_token_id=-1, pad_token_id=0)
    for count in (64, 1, 512):
        if time.perf_counter() > DEADLINE[0]:
            found[str(count)] = "no time left"
            continue
        requests = requests_of(count)
        inputs = [list(r.prompt) for r in requests]
        batching = ContinuousBatchingConfig(
            use_cuda_graph=True, num_blocks=2 * count + 8, max_batch_tokens=max(1024, count),
            allow_block_sharing=False,
        )  # fmt: skip

        def theirs(
            inputs: list[list[int]] = inputs, batching: ContinuousBatchingConfig = batching
        ) -> None:
            outputs = peer.generate_batch(
                inputs=inputs, generation_config=config, continuous_batching_config=batching,
                persistent_manager=True,
            )  # fmt: skip
            found["peer_tokens"] = sum(len(o.generated_tokens) for o in outputs.values())

        found[str(count)] = _in_turn(lambda r=requests: engine.generate(r), theirs, count)
        found[str(count)]["peer_tokens"] = found.pop("peer_tokens")
        peer.destroy_cached_continuous_batching_manager()
    return found


def _in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], count: int, rounds: int = 5
) -> dict[str, Any]:
    # Twice before it counts: both sides compile, and ours captures a prompt at its second sight.
    ours(), theirs()
    _, slow = _seconds(ours), _seconds(theirs) > SLOW_S
    pairs = [(timed(ours, 1)[0], timed(theirs, 1)[0]) for _ in range(1 if slow else rounds)]
    ratios = [theirs_s / ours_s for ours_s, theirs_s in pairs]
    return {
        "ours_tokens_per_s": count * NEW / statistics.median(a for a, _ in pairs),
        "theirs_tokens_per_s": count * NEW / statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "steps": steps,
    "same_as_eager": same_as_eager,
    "host_work": host_work,
    "device_steps": device_steps,
    "joins": joins,
    "shared_prefixes": shared_prefixes,
    "beside_continuous": beside_continuous,
    "beside_generate": beside_generate,
}


def main() -> None:
    """Run the sections and write ``decode_gpu.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", nargs="*", default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    DEADLINE[0] = time.perf_counter() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__
    }  # fmt: skip
    for name in args.sections:
        start = time.perf_counter()
        if start > DEADLINE[0]:
            results[name] = "no time left"
            continue
        try:
            results[name] = SECTIONS[name]()
        except Exception:  # one section's failure is its result
            results[name] = {"error": traceback.format_exc()}
        spent = time.perf_counter() - start
        text = results[name].get("error") or json.dumps(results[name], indent=1)
        sys.stdout.write(f"{name} {spent:.1f} s\n{text}\n")
        sys.stdout.flush()
        (args.out / "decode_gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        torch.cuda.empty_cache()
    failed = [name for name in args.sections if "error" in results[name]]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
