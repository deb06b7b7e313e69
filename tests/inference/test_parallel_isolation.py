"""Branches do not see each other: gradients that are exactly zero, and torch's FlexAttention."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from rlcore.inference.parallel import build_intervals, build_positions, flex_mask_mod, parse
from rlcore.ops.attention.dense import attention, plan_attention
from rlcore.ops.attention.masks import AttentionMask
from tests.inference.engine_cases import small_model
from tests.inference.parallel_traces import SCHEMA, Writer, random_trace, seen_by_all


def forked_trace(seed: int, least: int = 2) -> Writer:
    """Return the next random trace that has a fork of at least ``least`` branches."""
    while True:
        writer = random_trace(seed)
        tree = parse(writer.ids, SCHEMA)
        if any(len(block.branches) >= least for block, _ in tree.walk()):
            return writer
        seed += 1000


def intervals_of(writer: Writer) -> tuple[torch.Tensor, torch.Tensor]:
    """The intervals of a trace as rows of a batch of one."""
    gs, ps = build_intervals(parse(writer.ids, SCHEMA))
    return gs[None], ps[None]


@pytest.mark.parametrize("seed", range(4))
def test_no_gradient_flows_from_a_logit_to_a_token_that_it_does_not_see(seed: int) -> None:
    """Exactly zero, through all layers; and not zero to every token that it sees."""
    writer = forked_trace(seed)
    model = small_model(vocab=128)
    found: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        found.append(output.detach().requires_grad_())
        return found[0]

    model.embed.register_forward_hook(keep)
    positions = build_positions(parse(writer.ids, SCHEMA))[None]
    mask = AttentionMask(intervals=intervals_of(writer))
    logits = model(torch.tensor([writer.ids]), positions=positions, mask=mask)[0]
    slope = torch.randn(logits.shape[1], generator=torch.Generator().manual_seed(seed)).double()
    seen = seen_by_all(writer)
    assert (~seen).sum() > len(seen) * (
        len(seen) - 1
    ) // 2  # something besides the future is hidden
    for q in range(len(seen)):
        (gradient,) = torch.autograd.grad(logits[q] @ slope, found, retain_graph=True)
        moved = gradient[0].abs().amax(-1)
        assert (moved[~seen[q]] == 0.0).all()
        assert (moved[seen[q]] > 0.0).all()


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)],
)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("seed", [1, 7])
def test_flex_attention_equals_the_dense_mask(seed: int, device: str) -> None:
    """Outputs to 1e-5 and gradients to 1e-4 in float32, of two packed traces with branches.

    On a CPU FlexAttention has no gradient.
    """
    writers = [forked_trace(seed), forked_trace(seed + 1)]
    trees = [parse(writer.ids, SCHEMA) for writer in writers]
    length, depth = sum(t.length for t in trees), max(t.depth for t in trees)
    gs, ps = torch.zeros(2, depth, length, dtype=torch.int32)
    documents = torch.zeros(length, dtype=torch.int32)
    before = 0
    for number, tree in enumerate(trees):
        own, part = build_intervals(tree), slice(before, before + tree.length)
        inside = own[1] > own[0]
        gs[: tree.depth, part] = torch.where(inside, own[0] + before, 0)
        ps[: tree.depth, part] = torch.where(inside, own[1] + before, 0)
        documents[part] = number
        before += tree.length
    gs, ps, documents = (x.to(device) for x in (gs, ps, documents))
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(1, length, n, 16, generator=generator).to(device) for n in (4, 2, 2, 4)]
    mask = AttentionMask(intervals=(gs[None], ps[None]), documents=documents[None])
    blocks = create_block_mask(
        flex_mask_mod(gs, ps, documents), None, None, length, length, device=device
    )
    results = []
    for kind in ("dense", "flex"):
        q, k, v = (x.clone().requires_grad_(device == "cuda") for x in values[:3])
        if kind == "dense":
            out = attention(q, k, v, plan_attention(mask, (1, length), q, "reference"))
        else:
            heads = (x.transpose(1, 2) for x in (q, k, v))
            out = flex_attention(*heads, block_mask=blocks, enable_gqa=True).transpose(1, 2)
        results.append([out.detach()])
        if device == "cuda":
            out.backward(values[3])
            results[-1] += [q.grad, k.grad, v.grad]
    for one, other, bound in zip(
        *results, (1e-5, 1e-4, 1e-4, 1e-4)[: len(results[0])], strict=True
    ):
        assert float((one - other).abs().max()) <= bound
