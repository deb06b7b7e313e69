"""The compiled pass beside the transformer it is the twin of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlcore.nn.transformer import MoeConfig, RopeScaling, Transformer
from rlcore.ops.attention.paged import PagedBatch
from tests.nn.transformer.models import model, tokens

pytest.importorskip("numba")

import rlcore.nn.transformer.numba_pass as module_under_test
from rlcore.nn.transformer.numba_pass import FEW_TOKENS, NumbaPass, why_not

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all at once": {
        "qk_norm": True, "qkv_bias": True, "tie_embeddings": True, "head_dim": 10,
        "rope_scaling": RopeScaling(type="linear", factor=2.0),
    },
    "experts": {"mlp": MoeConfig(experts=5, top_k=2, hidden=12, dense_layers=(0,))},
    "no rope": {"position_tables": (tuple(i // 5 for i in range(100)),), "rope": False},
    "one key head": {"kv_heads": 1},
}  # fmt: skip
BLOCK = 8


class Row:
    """One row whose keys and values lie in scattered blocks of a pool."""

    def __init__(self, module: Transformer) -> None:
        made = module.config
        shape = (made.layers, 16, BLOCK, made.num_kv_heads, made.head_size)
        dtype = module.embed.weight.dtype
        self.keys, self.values = torch.zeros(2, *shape, dtype=dtype)
        self.order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
        self.length = 0

    def grow(self, count: int) -> tuple[Tensor, PagedBatch]:
        """Return positions and places of the next tokens."""
        positions = torch.arange(self.length, self.length + count)
        self.length += count
        slots = self.order[positions // BLOCK] * BLOCK + positions % BLOCK
        fill = (self.length - torch.arange(16) * BLOCK).clamp(0, BLOCK).int()
        starts = torch.tensor([0, count]).int()
        table = self.order.int()[None]
        return positions, PagedBatch(starts, table, fill[None], slots, count, 16)


@torch.no_grad()
def passed(module: Transformer, ids: Tensor, parts: list[int]) -> Tensor:
    """Return the logits of a row that is taken in parts."""
    row = Row(module)
    run, found = NumbaPass(module, row.keys, row.values), []
    for part in ids.split(parts):
        positions, batch = row.grow(len(part))
        found.append(run(part, positions, batch, last=len(part)))
    return torch.cat(found)


@pytest.mark.parametrize("parts", [[1] * 9, [6, 1, 1, 5], [FEW_TOKENS + 6, 1, 4]])
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_those_of_the_module(name: str, parts: list[int]) -> None:
    module, ids = model(**VARIANTS[name]), tokens(1, sum(parts))[0]
    with torch.no_grad():
        wanted = module(ids[None])[0]
    found = passed(module, ids, parts)
    assert found.dtype == torch.float64
    assert (found - wanted).abs().max() <= 1e-12
    single = passed(module.float(), ids, parts)
    assert single.dtype == torch.float32
    assert (single - wanted).abs().max() <= 2e-4


@pytest.mark.parametrize(("threads", "rows", "compiled"), [(1, 64, True), (2, 64, True),
    (3, 64, False), (3, 16, True), (3, 17, False), (1, 65, False)])  # fmt: skip
def test_who_multiplies(monkeypatch, threads, rows, compiled) -> None:
    called = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(module_under_test, "linear_kernel", lambda: lambda *a: called.append(a))
    x, weight = torch.randn(rows, 512).numpy(), torch.randn(512, 512).numpy()
    out = torch.empty(rows, 512).numpy()
    module_under_test._linear(x, weight, out)
    assert len(called) == compiled
    if not compiled:
        assert abs(out - x @ weight.T).max() <= 1e-3


def test_only_the_last_tokens_get_logits() -> None:
    module, ids = model(), tokens(1, 7)[0]
    row = Row(module)
    with torch.no_grad():
        positions, batch = row.grow(7)
        found = NumbaPass(module, row.keys, row.values)(ids, positions, batch, last=2)
        assert (found - module(ids[None])[0, 5:]).abs().max() <= 1e-12
        positions, batch = row.grow(7)
        none = NumbaPass(module, row.keys, row.values)(ids, positions, batch, last=0)
    assert none.shape == (0, module.config.vocab_size)


def test_new_weights_count_at_once_in_place_or_not() -> None:
    module, ids = model(), tokens(1, 4)[0]
    row = Row(module)
    run = NumbaPass(module, row.keys, row.values)

    def replace() -> None:
        state = {name: value * 1.1 for name, value in module.state_dict().items()}
        module.load_state_dict(state, assign=True)

    def change(one: Callable[[Tensor], Any]) -> None:
        for parameter in module.parameters():
            one(parameter)

    changes = (
        lambda: change(lambda p: p.mul_(1.1)),
        lambda: change(lambda p: setattr(p, "data", p.data * 1.1)),
        replace,
    )
    for renew in changes:
        with torch.no_grad():
            renew()
            row.length = 0
            positions, batch = row.grow(4)
            found = run(ids, positions, batch, last=4)
            assert (found - module(ids[None])[0]).abs().max() <= 1e-12


def test_what_it_cannot_run_is_named() -> None:
    assert why_not(model()) is None
    assert why_not(model(norm="layer")) == "it has a LayerNorm, wanted RMSNorm"
    assert "it is torch.float64" in str(why_not(model(float32_statistics=True)))
    assert why_not(model(float32_statistics=True).float()) is None
    assert "it is torch.bfloat16, wanted torch.float32" in str(why_not(model().bfloat16()))
    assert why_not(model().to("meta")) == "it is on meta, wanted cpu"
    module = model()
    module.lm_head.weight.data = module.lm_head.weight.data.t().contiguous().t()
    assert "wanted contiguous ones" in str(why_not(module))
