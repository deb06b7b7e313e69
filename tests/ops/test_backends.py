"""Which backend runs: the rule, what is asked for, and the environment's word for ``auto``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.ops import backends
from rlcore.ops.attention.dense import plan_attention
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.backends import HALF_AND_SINGLE, resolve_backend


class OnGPU(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    device = torch.device("cuda")
    is_cuda = True


def test_auto_follows_the_tensors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_INSTALLED", {"triton": True, "numba": True})
    for dtype in (*HALF_AND_SINGLE, torch.float64):
        like = torch.zeros(1, dtype=dtype)
        assert resolve_backend("auto", like, triton_dtypes=HALF_AND_SINGLE) == "torch"
        wanted = "triton" if dtype in HALF_AND_SINGLE else "torch"
        assert resolve_backend("auto", OnGPU(like), triton_dtypes=HALF_AND_SINGLE) == wanted
    assert resolve_backend("auto", OnGPU(torch.zeros(1, dtype=torch.float16))) == "torch"


@pytest.mark.parametrize("name", ["torch", "reference"])
def test_the_environment_says_what_auto_stands_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_override", name)
    monkeypatch.setattr(backends, "_INSTALLED", {"triton": True, "numba": True})
    like = OnGPU(torch.zeros(1))
    assert resolve_backend("auto", like) == name
    assert resolve_backend("triton", like) == "triton"  # asked for by name
    mask = AttentionMask(causal=False, padding=torch.ones(1, 5, dtype=torch.bool))
    assert plan_attention(mask, (1, 5), torch.zeros(1)).backend == name


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_override", "fast")
    with pytest.raises(ConfigError, match="RLCORE_KERNELS must be reference or torch, got 'fast'"):
        resolve_backend("auto", torch.zeros(1))
    assert resolve_backend("torch", torch.zeros(1)) == "torch"


def test_the_variable_is_read_when_the_program_starts(repo_root: Path) -> None:
    code = (
        "import torch; from rlcore.ops.backends import resolve_backend; "
        "print(resolve_backend('auto', torch.zeros(1)))"
    )
    for value, wanted in (("reference", "reference"), ("", "torch")):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"RLCORE_KERNELS": value},
            cwd=repo_root, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert found.stdout.strip() == wanted


def test_unknown_and_impossible_backends_are_refused() -> None:
    with pytest.raises(ConfigError, match="backend must be one of"):
        resolve_backend("fast", torch.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wants tensors on cpu, got cuda"):
        resolve_backend("numba", OnGPU(torch.zeros(1)))
