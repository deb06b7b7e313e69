"""The engine on a GPU: graphs, overlap, uploads of what changed, against the eager runner."""

from __future__ import annotations

import pytest
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.request import Request
from rlcore.nn.transformer import Transformer, TransformerConfig
from tests.inference.engine_cases import mixed_requests, trace_gap

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def model_on_gpu(dtype: torch.dtype) -> Transformer:
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=512, dim=256, layers=3, heads=4, kv_heads=2, qk_norm=True, init_std=0.1
    )
    return Transformer(shape).to("cuda", dtype).eval()


def generate(model: Transformer, requests: list[Request], **settings: object) -> list:
    config = EngineConfig(**({"num_blocks": 512, "max_rows": 32} | settings))
    return Engine(model, config).generate(requests)


@pytest.mark.parametrize("settings", [{}, {"overlap": False}, {"num_blocks": 40, "max_rows": 5}])
def test_graphs_draw_what_the_eager_runner_draws(settings: dict) -> None:
    model = model_on_gpu(torch.float32)
    requests = mixed_requests(20, vocab=512)
    eager = generate(model, requests, cuda_graph_buckets=(), overlap=False)
    for ours, wanted in zip(generate(model, requests, **settings), eager, strict=True):
        assert ours.ids.tolist() == wanted.ids.tolist()
        assert abs(ours.raw_log_probs - wanted.raw_log_probs).max() < 1e-3


def test_bfloat16_log_probs_are_those_of_the_masked_forward() -> None:
    model = model_on_gpu(torch.bfloat16)
    engine = Engine(model, EngineConfig(num_blocks=512, max_rows=32))
    handle = engine.submit(Request(prompt=list(range(40)), max_new_tokens=100))
    for _ in range(10):
        engine.step()
    children = handle.root.fork(3, [[1, 2], [3], [4, 5, 6]])
    for _ in range(20):
        engine.step()
    for child in children:
        child.stop()
    handle.root.join([2, 0, 1], [7])
    trace = handle.result()[0]
    assert trace.n_forks == 1
    assert trace_gap(model, trace) < 2e-2 * 8  # log-probabilities of logits of scale 8


def test_weights_are_replaced_under_a_graph() -> None:
    model = model_on_gpu(torch.float32)
    engine = Engine(model, EngineConfig(num_blocks=512, max_rows=32))
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=40))
    for _ in range(10):
        engine.step()
    torch.manual_seed(1)
    state = {k: torch.randn_like(v) * 0.1 for k, v in model.state_dict().items()}
    engine.update_weights(state, 1, "recompute")
    trace = handle.result()[0]
    new = trace.versions == 1
    assert new.any()
    assert (trace.versions[3:] == 0).any()
    assert trace_gap(model, trace, select=new) < 1e-3


def test_greedy_tokens_do_not_depend_on_the_bucket() -> None:
    model = model_on_gpu(torch.float32)
    params = SamplingParams(temperature=0.0)
    requests = [
        Request(prompt=[i, 2 * i + 1, 5], max_new_tokens=30, sampling=params) for i in range(9)
    ]
    alone = [generate(model, [request])[0].ids.tolist() for request in requests]
    assert [trace.ids.tolist() for trace in generate(model, requests)] == alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shared_blocks_are_read_once_and_change_no_law(dtype: torch.dtype) -> None:
    """Eight samples of a long prompt, with others that come and go beside them."""
    model = model_on_gpu(dtype)
    long = torch.randint(512, (700,), generator=torch.Generator().manual_seed(1)).tolist()
    requests = [
        Request(prompt=long, max_new_tokens=60, n=8, sampling=SamplingParams(seed=3)),
        *mixed_requests(6, vocab=512),
        Request(prompt=[*long[:650], 7], max_new_tokens=30, n=3),
    ]
    engine = Engine(model, EngineConfig(num_blocks=1024, max_rows=32))
    ours = engine.generate(requests)
    assert any(key.own for key in engine.runner.captured)
    apart = Engine(model, EngineConfig(num_blocks=1024, max_rows=32, cascade=False))
    wanted = apart.generate(requests)
    assert not any(key.own for key in apart.runner.captured)
    for a, b in zip(ours, wanted, strict=True):
        if dtype == torch.float32:
            assert a.ids.tolist() == b.ids.tolist()
        assert trace_gap(model, a) < (1e-3 if dtype == torch.float32 else 0.16)
