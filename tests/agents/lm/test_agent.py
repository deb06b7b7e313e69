"""The agent's losses against documents one by one, in float64; what its randomness depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.lm.agent import LMAgent, next_token_targets
from agents.lm.config import LMConfig, LMNetworkConfig
from agents.lm.dropout import add_dropout
from agents.lm.losses import (
    mask_exactly,
    mask_probability,
    mask_tokens,
    random_length,
    stratified_times,
    uniform_counts,
)
from agents.lm.validation import HeldOut
from rlcore.data.tokens.file import TokenFile, TokenWriter
from rlcore.data.tokens.rows import RowReader, layout_of
from rlcore.data.tokens.spec import TokenSpec
from rlcore.nn.transformer import AttentionMask, Transformer, TransformerConfig
from rlcore.nn.transformer.config import MoeConfig
from rlcore.nn.transformer.moe import Routing

VOCAB, EOS, MASK = 12, 10, 11
DOCUMENTS = [([1, 2, 3, 4], 0), ([5, 6, 7], 2), ([8, 9], 1), ([2, 4, 6, 8, 1], 1), ([3], 0)]


def make_agent(**settings: Any) -> LMAgent:
    network = {"dim": 16, "layers": 2, "heads": 2, **settings.pop("network", {})}
    packing = settings.pop("packing", "fit")
    config = LMConfig(network=LMNetworkConfig(**network), **settings)
    return config.build(TokenSpec(VOCAB, 9, EOS, MASK, packing=packing))


def make_network(agent: LMAgent, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    network = agent.build_network().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    path = tmp_path_factory.mktemp("t") / "a.tokens"
    with TokenWriter(path, VOCAB) as writer:
        for tokens, prompt in DOCUMENTS:
            writer.add(tokens, prompt)
        writer.finish()
    return TokenFile(path)


def read(file: TokenFile, agent: LMAgent, packing: str = "fit", **more: Any) -> tuple[Any, Any]:
    layout = layout_of(file, packing, agent.width, overlap=0, eos_id=EOS, **more)
    reader = RowReader(file, layout, seed=0, shuffle=False)
    arrays = {n: np.zeros(f.full_shape(1, reader.rows), f.dtype) for n, f in
              layout.fields().items()}  # fmt: skip
    reader.read(0, arrays)
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return batch | {"noise": torch.arange(77, 77 + reader.rows)}, reader


def next_token_log_likelihood(network: Any, tokens: list[int], prompt: int) -> tuple[Tensor, int]:
    """Sum of log-probabilities of a document's targets, the document alone, and their number."""
    log_p = network(torch.tensor([tokens]))[0].log_softmax(-1)
    wanted = range(max(prompt, 1), len(tokens))
    terms = [log_p[i - 1, tokens[i]] for i in wanted]
    return sum(terms, torch.zeros((), dtype=torch.float64)), len(terms)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_packed_causal_loss_is_that_of_the_documents_alone(file: TokenFile, backend: str) -> None:
    """No attention across documents, no target across their borders, none in a prompt."""
    agent = make_agent(head_backend=backend)
    network = make_network(agent)
    batch, reader = read(file, agent)
    assert reader.rows < len(DOCUMENTS)
    output = agent.loss(network, batch)
    alone = [next_token_log_likelihood(network, *document) for document in DOCUMENTS]
    count = sum(n for _, n in alone)
    assert output.weight == count == 3 + 1 + 1 + 4 + 0
    torch.testing.assert_close(output.loss, -sum(t for t, _ in alone) / count, atol=1e-12, rtol=0)
    gradients = torch.autograd.grad(output.loss, list(network.parameters()))
    wanted = torch.autograd.grad(-sum(t for t, _ in alone) / count, list(network.parameters()))
    for found, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-11, rtol=0)


def test_a_whole_document_in_rows_is_read_in_windows(tmp_path) -> None:
    """``cut``: every token but the first is predicted once, from those before it in its row."""
    tokens = np.random.default_rng(0).integers(0, 10, 40)
    with TokenWriter(tmp_path / "a.tokens", VOCAB) as writer:
        writer.add(tokens)
        writer.finish()
    file = TokenFile(tmp_path / "a.tokens")
    agent = make_agent(packing="cut")
    network = make_network(agent)
    layout = layout_of(file, "cut", agent.width, overlap=1, partial=True)
    reader = RowReader(file, layout, seed=0, shuffle=False, partial=True)
    held_out = HeldOut(agent, reader, every=1, batch=2)
    loss, weight = held_out.measure(network)
    # Each row has noise of its own, whatever rows it is read with.
    noise = torch.cat([batch["noise"] for batch in held_out._batches(torch.device("cpu"))])
    assert noise.tolist() == list(range(reader.rows))
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, 39, 9):
        window = tokens[start : start + 10].tolist()
        total = total + next_token_log_likelihood(network, window, 0)[0]
    assert weight == 39
    assert loss == pytest.approx(float(-total.detach() / 39), abs=1e-12)


@pytest.mark.parametrize("eps", [1e-3, 0.3])
@pytest.mark.parametrize("normalise", ["batch", "response"])
@pytest.mark.parametrize("exact", [False, True])
def test_diffusion_loss_is_that_of_the_documents_alone(file, normalise, exact, eps) -> None:
    agent = make_agent(objective="diffusion", normalise=normalise, packing="single", eps=eps)
    network = make_network(agent)
    batch, _ = read(file, agent, "single")
    call = agent.held_out_loss if exact else agent.loss
    output = call(network, batch)

    generator = torch.Generator().manual_seed(77)
    uniforms = torch.rand(batch["tokens"].shape, generator=generator)
    targets, rows = batch["targets"], len(DOCUMENTS)
    if exact:
        counts = uniform_counts(torch.rand(rows, generator=generator), targets)
        masked = mask_exactly(uniforms, counts, targets)
        scale = targets.sum(-1) / counts
    else:
        p = mask_probability(stratified_times(rows, torch.rand((), generator=generator)), eps)
        masked, scale = mask_tokens(uniforms, p, targets), 1 / p
    assert masked.any()
    per_row = []
    for row, (tokens, prompt) in enumerate(DOCUMENTS):
        hidden = masked[row, : len(tokens)].tolist()
        assert not any(hidden[:prompt])
        seen = [MASK if m else t for t, m in zip(tokens, hidden, strict=True)]
        log_p = network(torch.tensor([seen]))[0].log_softmax(-1)
        terms = [log_p[i, t] for i, (t, m) in enumerate(zip(tokens, hidden, strict=True)) if m]
        total = sum(terms, torch.zeros((), dtype=torch.float64)) * scale[row].double()
        per_row.append((-total, len(tokens) - prompt))
    if normalise == "batch":
        expected = sum(t for t, _ in per_row) / sum(n for _, n in per_row)
    else:
        expected = sum(t / n for t, n in per_row) / rows
    torch.testing.assert_close(output.loss, expected, atol=1e-7, rtol=0)
    if not exact:
        torch.testing.assert_close(output.loss, expected, atol=1e-7, rtol=0)
        output.loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_next_token_targets() -> None:
    targets = torch.tensor([[True, True, False, True, True, False]])
    documents = torch.tensor([[0, 0, 0, 1, 1, -1]])
    assert next_token_targets(targets, documents).tolist() == [[True, False, False, True, False]]
    assert next_token_targets(targets, None).tolist() == [[True, False, True, True, False]]


@pytest.mark.parametrize("dropout", [{"dropout": 0.3}, {"attention_dropout": 0.3}])
@pytest.mark.parametrize("objective", ["causal", "diffusion"])
def test_random_numbers_follow_from_the_batch_alone(
    file: TokenFile, objective: str, dropout: dict[str, float]
) -> None:
    agent = make_agent(objective=objective, network=dropout)
    network = make_network(agent)
    batch, _ = read(file, agent)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = agent.loss(network, batch).loss
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(agent.loss(network, batch).loss, first)
    other = agent.loss(network, batch | {"noise": batch["noise"] + 1}).loss
    assert not torch.equal(other, first)
    network.eval()
    held_out = [agent.held_out_loss(network, batch).loss for _ in range(2)]
    assert torch.equal(*held_out)
    assert not torch.equal(held_out[0], first)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation(file: TokenFile) -> None:
    plain, dropped = make_agent(), make_agent(network={"dropout": 0.5})
    network, other = make_network(plain), make_network(dropped)
    ids = torch.tensor([[1, 2, 3]])
    other.eval()
    assert torch.equal(network(ids), other(ids))
    other.train()
    seen: list[Tensor] = []
    other.blocks[0].mixer_norm.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    for _ in range(4000):
        other.hidden(ids)
    zeros = torch.stack([(x == 0).double() for x in seen]).mean(0)
    assert (zeros - 0.5).abs().max() < 0.05
    mean = torch.stack(seen).mean(0)
    torch.testing.assert_close(mean, network.embed(ids), atol=0.12, rtol=0)


def test_attention_dropout_drops_weights_of_the_attention_alone(file: TokenFile) -> None:
    """What a mixer returns keeps its mean, and differs from draw to draw; embeddings do not."""
    plain, dropped = make_agent(), make_agent(network={"attention_dropout": 0.4})
    network, other = make_network(plain), make_network(dropped)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    wanted: list[Tensor] = []
    network.blocks[0].mixer.register_forward_hook(lambda _, __, out: wanted.append(out))
    assert torch.equal(network.eval()(ids), other.eval()(ids))
    seen: list[Tensor] = []
    inputs: list[Tensor] = []
    other.blocks[0].mixer.register_forward_hook(lambda _, __, out: seen.append(out))
    other.blocks[0].mixer.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
    other.train()
    for _ in range(4000):
        other.hidden(ids)
    assert all(torch.equal(x, inputs[0]) for x in inputs)
    assert not torch.equal(seen[0], seen[1])
    draws = torch.stack(seen)
    spread = draws.std(0).clamp(min=1e-6) / 4000**0.5
    assert ((draws.mean(0) - wanted[0]).abs() < 5 * spread).all()


@pytest.mark.parametrize("objective", ["causal", "diffusion"])
def test_experts_are_kept_in_use_in_training_alone(file, tmp_path, objective: str) -> None:
    """The balance of all real tokens, with its weight; the held-out loss is the model's own."""
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=VOCAB, dim=16, layers=2, heads=2, qk_norm=True, causal=objective == "causal",
        mask_id=MASK, mlp=MoeConfig(experts=4, top_k=2, hidden=8), init_std=0.3,
    )  # fmt: skip
    network = Transformer(shape).double()
    plain, balanced = (
        make_agent(objective=objective, balance_coef=coef, packing="fit") for coef in (0.0, 0.7)
    )
    batch, _ = read(file, plain)
    assert (batch["documents"] < 0).any()
    calls: list[tuple[Tensor, AttentionMask]] = []
    hidden = network.hidden

    def watched(ids: Tensor, *, mask: AttentionMask, routing: Routing | None) -> Tensor:
        calls.append((ids, mask))
        return hidden(ids, mask=mask, routing=routing)

    network.hidden = watched  # type: ignore[method-assign]
    first, second = plain.loss(network, batch), balanced.loss(network, batch)
    ids, mask = calls[-1]
    routing = Routing()
    hidden(ids, mask=mask, routing=routing)
    wanted = routing.balance_loss(mask.documents >= 0)
    assert wanted != routing.balance_loss()
    torch.testing.assert_close(second.loss - first.loss, 0.7 * wanted, atol=1e-12, rtol=0)
    assert second.weight == first.weight
    assert first.metrics == {}
    assert second.metrics == {"loss/balance": wanted}
    routers = [block.mlp.router.weight for block in network.blocks]
    for found, own in zip(
        torch.autograd.grad(second.loss - first.loss, routers),
        torch.autograd.grad(0.7 * wanted, routers),
        strict=True,
    ):
        torch.testing.assert_close(found, own, atol=1e-12, rtol=0)
        assert found.abs().max() > 0
    held_out = [agent.held_out_loss(network, batch).loss for agent in (plain, balanced)]
    assert torch.equal(*held_out)


def test_what_each_mixer_and_mlp_adds_is_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    network = Transformer(TransformerConfig(vocab_size=VOCAB, dim=16, layers=2, heads=2))
    ids = torch.arange(10)[None]
    plain: list[Tensor] = []
    added: list[Tensor] = []
    parts = [part for block in network.blocks for part in (block.mixer, block.mlp)]
    hooks = [p.register_forward_hook(lambda _, __, out: plain.append(out)) for p in parts]
    network.eval()(ids)
    for hook in hooks:
        hook.remove()
    add_dropout(network, 0.5)
    for part in parts:
        part.register_forward_hook(lambda _, __, out: added.append(out))
    network(ids)
    for found, wanted in zip(added, plain, strict=True):
        assert torch.equal(found, wanted)
    added.clear()
    network.train()(ids)
    for found in added:
        assert 0.3 < float((found == 0).float().mean()) < 0.7


def test_what_experts_add_is_dropped_like_any_mlp() -> None:
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=VOCAB, dim=16, layers=1, heads=2, mlp=MoeConfig(experts=4, top_k=2, hidden=8)
    )
    network = Transformer(shape)
    add_dropout(network, 0.5)
    added: list[Tensor] = []
    network.blocks[0].mlp.register_forward_hook(lambda _, __, out: added.append(out[0]))
    ids = torch.arange(10)[None]
    network.train()(ids)
    network.eval()(ids)
    assert 0.3 < float((added[0] == 0).float().mean()) < 0.7
    assert not (added[1] == 0).any()


def test_bfloat16_computes_close_to_float32_and_keeps_float32_weights(file: TokenFile) -> None:
    losses, gradients = [], []
    for precision in ("float32", "bfloat16"):
        agent = make_agent(precision=precision)
        network = make_network(agent).float()
        batch, _ = read(file, agent)
        output = agent.loss(network, batch)
        output.loss.backward()
        assert output.loss.dtype == torch.float32
        assert all(p.grad.dtype == torch.float32 for p in network.parameters())
        losses.append(float(output.loss.detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.995


@pytest.mark.gpu
def test_compiled_bfloat16_on_a_gpu_is_close_to_float32_on_a_cpu(file: TokenFile) -> None:
    found = []
    for settings, device in (({}, "cpu"), ({"precision": "bfloat16", "compile": True}, "cuda")):
        agent = make_agent(**settings)
        network = make_network(agent).float().to(device)
        batch, _ = read(file, agent)
        batch = {name: value.to(device) for name, value in batch.items()}
        loss = agent.loss(network, batch).loss
        loss.backward()
        gradient = torch.cat([p.grad.flatten().cpu() for p in network.parameters()])
        with torch.no_grad():
            held_out = float(agent.held_out_loss(network.eval(), batch).loss)
        found.append((float(loss), held_out, gradient))
    assert found[1][0] == pytest.approx(found[0][0], rel=0.02)
    assert found[1][1] == pytest.approx(found[0][1], rel=0.02)
    assert torch.cosine_similarity(found[0][2], found[1][2], dim=0) > 0.99


def test_some_updates_are_cut_to_a_random_length(file) -> None:
    """Their loss is that of the cut rows, and every length occurs; evaluation sees whole rows."""
    cutting = make_agent(objective="diffusion", random_length_share=0.5, normalise="batch")
    whole = make_agent(objective="diffusion")
    network = make_network(cutting)
    batch, _ = read(file, cutting)
    widths: list[int] = []
    hidden = network.hidden

    def watched(ids: Tensor, **more: Any) -> Tensor:
        widths.append(ids.shape[1])
        return hidden(ids, **more)

    network.hidden = watched
    for seed in range(200):
        batch["noise"][:] = seed
        found = cutting.loss(network, batch)
        draws = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
        width = 1 + int(draws[1] * 9) if draws[0] < 0.5 else 9
        assert widths[-1] == width
        assert found.weight == batch["targets"][:, :width].sum()
    assert set(widths) == set(range(1, 10))
    assert 90 < sum(width == 9 for width in widths) < 135
    widths.clear()
    batch["noise"][:] = next(s for s in range(99) if torch.rand(
        2, generator=torch.Generator().manual_seed(s))[0] < 0.5)  # fmt: skip
    cutting.loss(network, batch)
    held_out = [agent.held_out_loss(network, batch).loss for agent in (cutting, whole)]
    whole.loss(network, batch)
    assert widths[0] < 9
    assert widths[1:] == [9, 9, 9]
    assert torch.equal(*held_out)


def test_the_numbers_of_a_random_length() -> None:
    for uniforms, wanted in (
        ((0.3, 0.99), 9),
        ((0.29, 0.0), 1),
        ((0.0, 0.999), 9),
        ((0.1, 0.5), 5),
    ):
        assert random_length(torch.tensor(uniforms), 0.3, 9) == wanted


@pytest.mark.parametrize("objective", ["causal", "diffusion"])
def test_a_network_of_experts_learns(file, objective: str) -> None:
    agent = make_agent(
        objective=objective, network={"experts": 4, "experts_per_token": 3, "expert_hidden": 8}
    )
    network = make_network(agent)
    mixtures = [block.mlp for block in network.blocks]
    assert [m.down.shape for m in mixtures] == [(4, 16, 8)] * 2
    assert agent.config.network.transformer(agent.token_spec, causal=True).mlp.top_k == 3
    batch, _ = read(file, agent)
    loss = agent.loss(network, batch).loss
    loss.backward()
    for mixture in mixtures:
        assert mixture.router.weight.grad.abs().max() > 0
        assert mixture.down.grad.abs().max() > 0
    assert not hasattr(make_agent().build_network().blocks[0].mlp, "router")
