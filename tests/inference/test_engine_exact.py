"""Generation branch by branch equals one masked forward pass, and a plain greedy loop."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.handles import BranchHandle, RequestHandle
from rlcore.inference.request import Request
from rlcore.inference.trace import ParallelTrace
from tests.inference.engine_cases import (
    masked_log_probs,
    mixed_requests,
    predecessor,
    small_model,
    trace_gap,
)

GREEDY = SamplingParams(temperature=0.0)


def random_tree(engine: Engine, seed: int, depth: int = 3, order: str = "random") -> ParallelTrace:
    """Generate with forks and joins at random moments, nested up to ``depth``."""
    r = random.Random(seed)
    prompt = [r.randrange(40) for _ in range(r.randint(1, 25))]
    params = SamplingParams(seed=seed)
    handle = engine.submit(Request(prompt=prompt, max_new_tokens=2500, sampling=params, keep=True))
    _grow(engine, handle.root, r, depth, order)
    handle.root.stop()
    trace = handle.finish()[0]
    handle.release()
    return trace


def _grow(engine: Engine, branch: BranchHandle, r: random.Random, depth: int, order: str) -> None:
    for _ in range(r.randint(1, 2)):
        _steps(engine, r.randint(0, 9))
        n = r.randint(1, 6)
        forced = [[r.randrange(40) for _ in range(r.randint(1, 3))] for _ in range(n)]
        children = branch.fork(n, r.choice([None, forced]))
        for child in children:
            _steps(engine, r.randint(0, 4))
            if depth > 1 and r.random() < 0.3:
                _grow(engine, child, r, depth - 1, order)
            _steps(engine, r.randint(0, 5))
            child.stop()
        listed = list(range(n))
        if order == "random":
            r.shuffle(listed)
        branch.join(listed, [r.randrange(40) for _ in range(r.randint(1, 2))])
        _steps(engine, r.randint(1, 8))


def _steps(engine: Engine, count: int) -> None:
    for _ in range(count):
        engine.step()


@pytest.mark.parametrize("seed", range(12))
def test_random_trees_equal_the_masked_forward(seed: int) -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=1000, block_size=4, prefill_chunk=9))
    trace = random_tree(engine, seed)
    assert trace.n_forks > 0
    assert trace.drawn.sum() > 20
    assert trace_gap(model, trace) <= 1e-12
    assert trace.positions.max() + 1 - trace.prompt_tokens == trace.critical_path_steps


def test_hundred_random_traces_give_the_trainers_log_probs() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=600, block_size=16))
    traces = [random_tree(engine, 1000 + seed, depth=1) for seed in range(100)]
    assert max(trace_gap(model, trace) for trace in traces) <= 1e-10
    assert sum(trace.n_forks for trace in traces) > 100
    single = small_model(torch.float32)
    engine = Engine(single, EngineConfig(num_blocks=600, block_size=16))
    traces = [random_tree(engine, 1000 + seed, depth=1) for seed in range(10)]
    assert max(trace_gap(single, trace) for trace in traces) <= 2e-5


def test_order_of_siblings_does_not_change_what_follows() -> None:
    model = small_model()
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        engine = Engine(model, EngineConfig(num_blocks=100, block_size=4))
        logits: list[torch.Tensor] = []
        handle = engine.submit(Request(prompt=[1, 2, 3, 4, 5], max_new_tokens=200, keep=True))
        _steps(engine, 3)
        children = handle.root.fork(3, [[1], [2, 3], [4]])
        for child, steps in zip(children, (2, 5, 1), strict=True):
            _steps(engine, steps)
            child.stop()
        handle.root.join(order, [7])
        engine.runner.observe = lambda rows, x, logits=logits: logits.append(x.clone())
        _steps(engine, 12)
        found.append(torch.cat(logits))
    assert found[0].shape[0] == 12
    assert float((found[0] - found[1]).abs().max()) <= 1e-10


def test_a_branch_does_not_depend_on_its_siblings() -> None:
    model = small_model()
    drawn = []
    for token in (7, 8):
        engine = Engine(model, EngineConfig(num_blocks=100, block_size=4))
        handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=200, keep=True))
        _steps(engine, 2)
        first, second = handle.root.fork(2, [[token, 9], [5]])
        _steps(engine, 10)
        drawn.append((first.token_ids, second.token_ids, second._branch.stretch.raw_log_probs))
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1:] == drawn[1][1:]  # bit for bit


def test_without_forks_tokens_equal_a_greedy_loop() -> None:
    model = small_model()
    prompts = [[3, 1, 4, 1, 5], [9] * 30, [2]]
    requests = [Request(prompt=p, max_new_tokens=25, sampling=GREEDY) for p in prompts]
    engine = Engine(model, EngineConfig(num_blocks=60, block_size=4, prefill_chunk=7))
    for prompt, trace in zip(prompts, engine.generate(requests), strict=True):
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(25):
                ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        assert trace.ids.tolist() == ids
        assert trace.finish_reason == "length"
        # Known tokens but the last, seven a pass; the pass that ends them draws the first token.
        assert trace.forward_passes >= 25 + max(-(-(len(prompt) - 1) // 7) - 1, 0)


def test_passes_over_a_prompt_are_counted_once_each() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=60, block_size=4, prefill_chunk=8))
    trace = engine.generate([Request(prompt=[1] * 20, max_new_tokens=5)])[0]
    assert trace.prefill_tokens == 19
    assert trace.forward_passes == 3 + 5 - 1 == engine.stats()["steps"]


def test_greedy_tokens_equal_those_of_transformers(tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra rlcore[llm]")
    from rlcore.nn.transformer.pretrained import from_pretrained, save_pretrained

    save_pretrained(small_model(vocab=300), tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    ours = from_pretrained(tmp_path)
    r = np.random.default_rng(0)
    for length in (1, 9, 40):
        prompt = r.integers(0, 300, length).tolist()
        wanted = theirs.eval().generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, length), do_sample=False,
            max_new_tokens=40, min_new_tokens=40, pad_token_id=0,
        )[0].tolist()  # fmt: skip
        request = Request(prompt=prompt, max_new_tokens=40, sampling=GREEDY)
        assert Engine(ours, EngineConfig(num_blocks=64)).generate([request])[0].ids.tolist() == (
            wanted
        )


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_log_probs_of_any_mixture_of_lengths_equal_training(dtype, most: float) -> None:
    model = small_model(dtype)
    engine = Engine(model, EngineConfig(num_blocks=400, block_size=4, max_rows=16))
    traces = engine.generate(mixed_requests(25, vocab=48))
    for trace in traces:
        assert trace_gap(model, trace) <= most
    ended = [t for t in traces if t.finish_reason == "stop"]
    assert ended
    assert all(t.ids[-1] == 5 and t.drawn[-1] for t in ended)
    # Padded on either side, as a trainer may batch them.
    trace = ended[0]
    for side in (0, 1):
        ids = torch.zeros(1, len(trace) + 3, dtype=torch.int64)
        real = torch.zeros(1, len(trace) + 3, dtype=torch.bool)
        place = slice(3, None) if side else slice(0, len(trace))
        ids[0, place], real[0, place] = torch.from_numpy(trace.ids), True
        with torch.no_grad():
            logits = model(ids, padding=real)[0, place].log_softmax(-1)
        for q in np.flatnonzero(trace.drawn):
            gap = logits[q - 1, trace.ids[q]] - trace.raw_log_probs[q]
            assert abs(float(gap)) <= most


def test_log_probs_after_truncation_and_penalty_are_those_of_the_law() -> None:
    model = small_model()
    params = SamplingParams(temperature=0.7, top_k=7, top_p=0.8, repetition_penalty=1.3, seed=4)
    engine = Engine(model, EngineConfig(num_blocks=64))
    trace = engine.generate([Request(prompt=[1, 2, 3], max_new_tokens=30, sampling=params)])[0]
    logits = masked_log_probs(model, trace)
    for q in np.flatnonzero(trace.drawn):
        x = torch.from_numpy(logits[q - 1]).clone()
        # Log-probabilities are negative logits up to a constant that a penalty does notice.
        with torch.no_grad():
            x = model(torch.from_numpy(trace.ids)[None])[0, q - 1]
        seen = torch.from_numpy(np.unique(trace.ids[:q]))
        x[seen] = torch.where(x[seen] > 0, x[seen] / 1.3, x[seen] * 1.3)
        x = x / np.float64(np.float32(0.7))
        x[x < x.topk(7).values[-1]] = -torch.inf
        weights, order = x.softmax(0).sort(descending=True)
        keep = (weights.cumsum(0) - weights) < np.float32(0.8)
        law = torch.full_like(x, -torch.inf)
        law[order[keep]] = x[order[keep]]
        wanted = float(law.log_softmax(0)[trace.ids[q]])
        assert trace.log_probs[q] == pytest.approx(wanted, abs=1e-6)
    assert (trace.log_probs[trace.drawn] >= trace.raw_log_probs[trace.drawn] - 3).all()


@pytest.mark.parametrize("overlap", [False, True])
def test_tokens_do_not_depend_on_batch_memory_or_arrival(overlap: bool) -> None:
    model = small_model(torch.float32 if overlap else torch.float64)
    requests = mixed_requests(14, vocab=48)
    wide = Engine(model, EngineConfig(num_blocks=600, block_size=4))
    wanted = [t.ids.tolist() for t in wide.generate(requests)]
    settings = {"block_size": 4, "num_blocks": 32, "max_rows": 5, "prefill_chunk": 6}
    tight = Engine(model, EngineConfig(overlap=overlap, **settings))
    assert [t.ids.tolist() for t in tight.generate(requests)] == wanted
    assert tight.stats()["preemptions"] > 0
    late = Engine(model, EngineConfig(num_blocks=300, block_size=4, prefix_cache=False))
    handles: dict[int, RequestHandle] = {}
    for i in reversed(range(len(requests))):
        handles[i] = late.submit(requests[i])
        _steps(late, 3)
    found = [t.ids.tolist() for i in range(len(requests)) for t in handles[i].result()]
    assert found == wanted


def test_predecessors_skip_the_siblings() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=300))
    trace = random_tree(engine, 5, depth=1)
    for fork in trace.tree.forks:
        for child in fork.children:
            assert predecessor(trace, child.start) == fork.start - 1
            assert trace.positions[child.start] == fork.position + 1
