"""The kernels of decode steps change speed, not tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlcore.errors import ConfigError, MissingDependencyError
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


def test_numba_is_taken_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    model = Transformer(SHAPE)
    assert Engine(model, EngineConfig(num_blocks=8)).runner.backend == "numba"
    half = Transformer(SHAPE).bfloat16()
    assert Engine(half, EngineConfig(num_blocks=8)).runner.backend == "auto"
    with pytest.raises(ConfigError, match=r"numba cannot run this model: it is torch\.bfloat16"):
        Engine(half, EngineConfig(num_blocks=8, backend="numba"))
    with monkeypatch.context() as patch:
        patch.setattr("rlcore.ops.backends._override", "torch")
        assert Engine(model, EngineConfig(num_blocks=8)).runner.backend == "auto"
    with monkeypatch.context() as patch:
        patch.setattr("rlcore.ops.backends._INSTALLED", {"numba": False, "triton": False})
        assert Engine(model, EngineConfig(num_blocks=8)).runner.backend == "auto"
        with pytest.raises(MissingDependencyError, match=r"pip install 'rlcore\[fast\]'"):
            Engine(model, EngineConfig(num_blocks=8, backend="numba"))
    with pytest.raises(ConfigError, match="must be auto, numba or torch, got 'gpu'"):
        EngineConfig(backend="gpu")


SCRIPT = """
import hashlib, torch
from rlcore.inference.engine import Engine
from rlcore.inference.config import EngineConfig
from rlcore.nn.transformer import Transformer
from tests.inference.test_engine_backends import SHAPE, requests

torch.manual_seed(0)
engine = Engine(Transformer(SHAPE), EngineConfig(num_blocks=64, block_size=4, backend="numba"))
digest = hashlib.sha256()
engine.runner.observe = lambda rows, logits: digest.update(logits.numpy().tobytes())
for trace in engine.generate(requests()):
    digest.update(trace.log_probs.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_a_process_that_compiles_draws_as_one_that_loads_what_was_compiled(tmp_path) -> None:
    pytest.importorskip("numba")
    root = Path(__file__).parents[2]
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    command, found, files = [sys.executable, "-c", SCRIPT], [], []
    for _ in range(2):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found.append(done.stdout.strip())
        files.append({p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?")})
    assert any(name.startswith("linear_numba._linear") for name in files[0])
    assert files[0] == files[1]  # nothing was compiled
    assert len(found[0]) == 64
    assert found[0] == found[1]
