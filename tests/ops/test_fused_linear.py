"""Linear layers with a norm, a gate or an addition: definition, kernels, errors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.ops.fused_linear import linear_add, norm_gated_linear, norm_linear
from rlcore.ops.fused_linear_triton import Tiling, fused_linear_triton
from tests.ops.triton_devices import DEVICES, LIMITS, dtypes_of, relative_l2

ROWS = [1, 3, 5, 16, 33, 130, 700]


def inputs(rows: int, seed: int, dim: int = 96, out: int = 40, dtype=torch.float64, device="cpu"):
    g = torch.Generator().manual_seed(seed)
    shapes = {
        "x": (rows, dim), "norm": (dim,), "weight": (out, dim), "gate_up": (2 * out, dim),
        "residual": (rows, out), "bias": (out,),
    }  # fmt: skip
    return {k: torch.randn(*s, generator=g).to(device, dtype) for k, s in shapes.items()}


def all_three(t: dict[str, torch.Tensor], backend: str) -> list[torch.Tensor]:
    return [
        norm_linear(t["x"], t["norm"], 1e-2, t["weight"], backend=backend),
        norm_linear(t["x"], t["norm"], 1e-2, t["weight"], t["bias"], backend=backend),
        norm_gated_linear(t["x"], t["norm"], 1e-2, t["gate_up"], backend=backend),
        linear_add(t["x"], t["weight"], t["residual"], backend=backend),
    ]


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_equals_the_separate_operations(rows: int, backend: str) -> None:
    t = inputs(rows, rows)
    normed = t["norm"] * t["x"] / (t["x"].square().mean(-1, keepdim=True) + 1e-2).sqrt()
    plain = normed @ t["weight"].T
    gate, up = (normed @ t["gate_up"].T).chunk(2, -1)
    wanted = [plain, plain + t["bias"], F.silu(gate) * up, t["residual"] + t["x"] @ t["weight"].T]
    for ours, want in zip(all_three(t, backend), wanted, strict=True):
        torch.testing.assert_close(ours, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("dim", "out"), [(96, 40), (64, 65), (1100, 17)])
def test_kernels_equal_float64(rows: int, dim: int, out: int, device: str) -> None:
    for dtype in dtypes_of(device):
        t = inputs(rows, rows, dim, out, dtype, device)
        exact = {k: v.double().cpu() for k, v in t.items()}
        results = all_three(t, "triton")
        for ours, again, wanted in zip(
            results, all_three(t, "triton"), all_three(exact, "torch"), strict=True
        ):
            assert ours.dtype == dtype
            assert torch.equal(ours, again)
            assert relative_l2(ours, wanted) <= LIMITS[dtype]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "tile",
    [Tiling(1, 4, 64, 4), Tiling(16, 16, 64, 4), Tiling(32, 64, 32, 4), Tiling(128, 64, 64, 8)],
)
def test_every_tile_computes_the_same(tile: Tiling, device: str) -> None:
    t = inputs(21, 2, 96, 40, torch.float32, device)
    wanted = norm_gated_linear(t["x"], t["norm"], 1e-2, t["gate_up"], backend="torch")
    ours = fused_linear_triton(t["x"], t["gate_up"], norm=(t["norm"], 1e-2), gated=True, tile=tile)
    assert relative_l2(ours, wanted) <= 2e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rows", [1, 16, 64])
def test_a_chain_of_early_starts_waits_for_its_inputs(rows: int) -> None:
    """Kernels that start before the one before has ended, captured and replayed many times."""
    t = inputs(rows, 1, 512, 512, torch.float32, "cuda")
    w = [t["weight"] * (i + 1) / 40 for i in range(8)]

    def chain(backend: str) -> torch.Tensor:
        x = t["x"]
        for weight in w:
            mixed = norm_linear(x, t["norm"], 1e-5, weight, backend=backend)
            x = linear_add(mixed, weight, x, backend=backend)
        return x

    wanted = chain("torch")
    ours = chain("triton")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = chain("triton")
    for _ in range(50):
        captured.zero_()
        graph.replay()
        assert torch.equal(captured, ours)
    assert relative_l2(ours, wanted) <= 1e-4


def test_gradients_flow_where_they_are_wanted() -> None:
    t = {k: v.requires_grad_() for k, v in inputs(3, 0, 8, 4).items()}
    norm = lambda x, n, w, b: norm_linear(x, n, 1e-2, w, b)  # noqa: E731
    assert torch.autograd.gradcheck(norm, (t["x"], t["norm"], t["weight"], t["bias"]))
    gated = lambda x, n, w: norm_gated_linear(x, n, 1e-2, w)  # noqa: E731
    assert torch.autograd.gradcheck(gated, (t["x"], t["norm"], t["gate_up"]))
    assert torch.autograd.gradcheck(linear_add, (t["x"], t["weight"], t["residual"]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: linear_add(t["x"], t["gate_up"], t["residual"]),
            r"residual of shape \(2, 80\)",
        ),
        (
            lambda t: linear_add(t["x"][0], t["weight"], t["residual"]),
            r"linear_add wants x \[N, D\]",
        ),
        (
            lambda t: norm_linear(t["x"], t["bias"], 0.1, t["weight"]),
            r"norm_weight of shape \(96,\), got \(40,\)",
        ),
        (
            lambda t: norm_gated_linear(t["x"], t["norm"], 0.1, t["gate_up"][1:]),
            r"wants weight \[2 F, D\], got shape \(79, 96\)",
        ),
        (
            lambda t: linear_add(t["x"], t["weight"], t["residual"], backend="numba"),
            "no numba backend",
        ),
        (
            lambda t: linear_add(
                t["x"].requires_grad_(), t["weight"], t["residual"], backend="numba"
            ),
            "has no gradient",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(inputs(2, 0))
