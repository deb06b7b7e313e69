"""The kernels of decode steps change speed, not tokens."""

from __future__ import annotations

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.request import Request
from rlcore.nn.transformer import Transformer, TransformerConfig

SHAPE = TransformerConfig(
    vocab_size=61, dim=24, layers=2, heads=4, kv_heads=2, hidden=40, qk_norm=True, qkv_bias=True
)


def requests() -> list[Request]:
    return [
        Request(
            prompt=list(range(1, 4 + i)),
            max_new_tokens=9,
            n=1 + i % 2,
            sampling=SamplingParams(
                temperature=i % 3 * 0.7, top_k=5 * (i == 2), seed=i, repetition_penalty=1 + i / 9
            ),
        )
        for i in range(5)
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_steps_draw_what_torch_draws(dtype: torch.dtype) -> None:
    pytest.importorskip("numba")
    torch.manual_seed(0)
    model = Transformer(SHAPE).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    traces = {}
    for backend in ("numba", "torch"):
        engine = Engine(model, EngineConfig(num_blocks=64, block_size=4, backend=backend))
        assert engine.runner.backend == backend
        traces[backend] = engine.generate(requests())
    bound = 1e-12 if dtype == torch.float64 else 2e-4
    for ours, theirs in zip(traces["numba"], traces["torch"], strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert abs(ours.log_probs - theirs.log_probs).max() <= bound
        assert abs(ours.raw_log_probs - theirs.raw_log_probs).max() <= bound


def test_numba_is_taken_where_it_can_run() -> None:
    pytest.importorskip("numba")
    model = Transformer(SHAPE)
    assert Engine(model, EngineConfig(num_blocks=8)).runner.backend == "numba"
    half = Transformer(SHAPE).bfloat16()
    assert Engine(half, EngineConfig(num_blocks=8)).runner.backend == "auto"
    with pytest.raises(ConfigError, match="numba wants a float32 or float64 model on a CPU"):
        Engine(half, EngineConfig(num_blocks=8, backend="numba"))
    with pytest.raises(ConfigError, match="must be auto, numba or torch, got 'gpu'"):
        EngineConfig(backend="gpu")
