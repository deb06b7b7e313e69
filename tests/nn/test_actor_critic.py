"""The recurrent core and the actor-critic: acting, unrolling and evaluating agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlcore.errors import ConfigError
from rlcore.nn.actor_critic import ActorCritic
from rlcore.nn.config import NetworkConfig
from rlcore.nn.recurrent import LSTMCore

F64 = torch.float64


def test_lstm_equals_torchs_cell_with_resets() -> None:
    torch.manual_seed(0)
    core, cell = LSTMCore(3, 5).double(), nn.LSTMCell(3, 5).double()
    with torch.no_grad():
        cell.weight_ih.copy_(core.weight_ih)
        cell.weight_hh.copy_(core.weight_hh)
        cell.bias_ih.copy_(core.bias)
        cell.bias_hh.zero_()
    x = torch.randn(6, 4, 3, dtype=F64)
    first = torch.rand(6, 4) < 0.3
    assert first.any()
    h, c = torch.randn(2, 4, 5, dtype=F64).unbind(0)
    hs, cs = core(x, first, (h, c))
    for t in range(6):
        keep = (~first[t])[:, None].double()
        h, c = cell(x[t], (h * keep, c * keep))
        torch.testing.assert_close(hs[t], h, rtol=0, atol=1e-14)
        torch.testing.assert_close(cs[t], c, rtol=0, atol=1e-14)
    assert core.bias[5:10].tolist() == [1.0] * 5


def make(lstm: int | None, shared: bool, actions: int | None = 3, **kw) -> ActorCritic:
    torch.manual_seed(1)
    config = NetworkConfig(hidden=(8,), lstm=lstm, shared_trunk=shared, **kw)
    return ActorCritic(config, (4,), actions, () if actions else (2,)).double()


def perturb(network: ActorCritic) -> ActorCritic:
    """Make logits differ enough for mistakes to show."""
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return network


NETWORKS = [(None, True), (None, False), (6, True), (6, False)]


@pytest.mark.parametrize(("lstm", "shared"), NETWORKS)
def test_learner_repeats_what_the_actor_did_over_chunks(lstm: int | None, shared: bool) -> None:
    """Unrolls from the stored initial state give the actor's log-probabilities and one value."""
    network = perturb(make(lstm, shared))
    steps, chunk, envs = 12, 4, 5
    obs = torch.randn(steps + 1, envs, 4, dtype=F64)
    first = torch.rand(steps + 1, envs) < 0.25
    generator = torch.Generator().manual_seed(0)
    state = network.initial_state(envs)
    assert len(state) == len(network.core_sizes)
    stored, actions, log_mu = [], [], []
    for t in range(steps):
        if t % chunk == 0:
            stored.append(state)
        state = tuple(part * (~first[t])[:, None] for part in state)
        with torch.inference_mode():
            action, log_prob, state = network.act(obs[t], state, generator)
        state = tuple(part.clone() for part in state)
        actions.append(action)
        log_mu.append(log_prob)
    _, values, _ = network(obs, first, network.initial_state(envs))
    for k, initial in enumerate(stored):
        rows = slice(k * chunk, (k + 1) * chunk + 1)
        outputs, chunk_values, _ = network(obs[rows], first[rows], initial)
        torch.testing.assert_close(chunk_values, values[rows], rtol=0, atol=1e-12)
        log_pi, _ = network.head.log_prob_and_entropy(
            outputs[:-1], torch.stack(actions[k * chunk : (k + 1) * chunk])
        )
        wanted = torch.stack(log_mu[k * chunk : (k + 1) * chunk])
        torch.testing.assert_close(log_pi, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lstm", "shared"), NETWORKS)
def test_next_values(lstm: int | None, shared: bool) -> None:
    """Zero at the end, V(final) from the state after the step, V of the next row elsewhere."""
    network = perturb(make(lstm, shared))
    steps, envs = 5, 3
    obs = torch.randn(steps + 1, envs, 4, dtype=F64)
    first = torch.zeros(steps + 1, envs, dtype=torch.bool)
    terminated = torch.zeros(steps, envs, dtype=torch.bool)
    terminated[1, 0] = first[2, 0] = True
    first[3, 1] = first[5, 2] = True  # truncated at (2, 1) and (4, 2)
    final_obs = torch.randn(2, 4, dtype=F64)
    batch = {
        "obs": obs, "first": first, "terminated": terminated, "final_obs": final_obs,
        "final_row": torch.tensor([4 * envs + 2, 2 * envs + 1]),
    }  # fmt: skip
    initial = tuple(torch.randn(envs, size, dtype=F64) for size in network.core_sizes)
    batch |= {f"core_{i}": part for i, part in enumerate(initial)}
    ours = network.evaluate(batch)
    _, values, _ = network(obs, first, initial)
    torch.testing.assert_close(ours.values, values[:-1], rtol=0, atol=0)
    assert not ours.next_values.requires_grad
    wanted = values[1:].detach().clone()
    wanted[1, 0] = 0.0
    for row, (t, b) in enumerate([(4, 2), (2, 1)]):
        # The same episode going on: the final observation as one more row without a reset.
        longer = torch.cat([obs[: t + 1, b], final_obs[row : row + 1]])[:, None]
        kept = torch.cat([first[: t + 1, b], torch.zeros(1, dtype=torch.bool)])[:, None]
        start = tuple(part[b : b + 1] for part in initial)
        wanted[t, b] = network(longer, kept, start)[1][-1, 0].detach()
    torch.testing.assert_close(ours.next_values, wanted, rtol=0, atol=1e-12)


def test_values_before_a_reset_do_not_depend_on_what_follows() -> None:
    network = perturb(make(6, True))
    obs = torch.randn(6, 2, 4, dtype=F64)
    first = torch.zeros(6, 2, dtype=torch.bool)
    first[3] = True
    state = network.initial_state(2)
    other = obs.clone()
    other[:3] += 1.0
    _, before, _ = network(obs, first, state)
    _, after, _ = network(other, first, state)
    assert torch.equal(before[3:], after[3:])
    assert not torch.equal(before[:3], after[:3])


@pytest.mark.parametrize("std", ["parameter", "softplus"])
def test_gaussian_head(std: str) -> None:
    network = perturb(make(None, True, actions=None, std=std))
    obs = torch.randn(7, 4, dtype=F64)
    action, log_prob, _ = network.act(obs, (), torch.Generator().manual_seed(0))
    assert action.shape == (7, 2)
    outputs = network.head.linear(network.trunk.step(obs, ())[0])
    mean, log_std = network.head.mean_and_log_std(outputs)
    peer = torch.distributions.Normal(mean, log_std.exp().expand_as(mean))
    torch.testing.assert_close(log_prob, peer.log_prob(action).sum(-1))
    if std == "softplus":
        variance = torch.nn.functional.softplus(outputs[:, 2]) + 1e-6
        torch.testing.assert_close(log_std[:, 0].exp() ** 2, variance)
        assert torch.equal(log_std[:, 0], log_std[:, 1])
    best, _, _ = network.act(obs, (), torch.Generator(), deterministic=True)
    assert torch.equal(best, mean)


def test_deterministic_acting_takes_the_mode() -> None:
    network = perturb(make(None, True))
    obs = torch.randn(9, 4, dtype=F64)
    action, _, _ = network.act(obs, (), torch.Generator(), deterministic=True)
    logits, _, _ = network(obs[None], torch.zeros(1, 9, dtype=torch.bool), ())
    assert torch.equal(action, logits[0].argmax(-1))


def test_separate_trunks_share_nothing() -> None:
    network = make(None, False)
    obs: Tensor = torch.randn(2, 3, 4, dtype=F64)
    outputs, values, _ = network(obs, torch.zeros(2, 3, dtype=torch.bool), ())
    of_policy = torch.autograd.grad(
        outputs.sum(), list(network.parameters()), allow_unused=True, retain_graph=True
    )
    of_value = torch.autograd.grad(values.sum(), list(network.parameters()), allow_unused=True)
    assert all((a is None) != (b is None) for a, b in zip(of_policy, of_value, strict=True))


def test_initial_policy_is_nearly_uniform() -> None:
    outputs, _, _ = make(None, True)(
        torch.randn(1, 50, 4, dtype=F64), torch.zeros(1, 50, dtype=torch.bool), ()
    )
    assert outputs.softmax(-1).sub(1 / 3).abs().max() < 0.02


@pytest.mark.parametrize(
    ("actions", "shape", "words"),
    [(0, (), "got 0"), (None, (2, 2), "(2, 2)"), (None, (), "()")],
)
def test_unsupported_actions_are_named(actions, shape, words) -> None:
    with pytest.raises(ConfigError) as caught:
        ActorCritic(NetworkConfig(), (4,), actions, shape)
    assert words in str(caught.value)
