"""The losses of A3C and IMPALA against their formulas, one transition at a time, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agents.a3c.config import A3CConfig
from agents.impala.config import ImpalaConfig
from agents.impala.losses import impala_loss
from rlcore.nn.config import NetworkConfig
from rlcore.ops.returns.reference import gae_reference, vtrace_reference
from rlcore.tracking.metrics import unknown_names

NETWORK = NetworkConfig(hidden=(8,))


def per_row(network, batch):
    """Return (distribution, V) of single observations: no fused pass, no batching."""

    def policy(obs):
        features, _ = network.trunk.step(obs[None], ())
        return torch.distributions.Categorical(logits=network.head.linear(features)[0])

    def value(obs):
        return network.value(network.trunk.step(obs[None], ())[0])[0, 0]

    return policy, value


def next_value(value, batch, t, b):
    if batch["terminated"][t, b]:
        return torch.tensor(0.0, dtype=torch.float64)
    row = t * batch["reward"].shape[1] + b
    used = (batch["final_row"] == row).nonzero().flatten()
    return value(batch["final_obs"][used[0]] if len(used) else batch["obs"][t + 1, b]).detach()


def a3c_by_hand(network, batch, gamma, beta, value_coef):
    """Algorithm S3 as it is written: R backwards, one gradient term a step."""
    policy, value = per_row(network, batch)
    steps, envs = batch["reward"].shape
    loss = torch.tensor(0.0, dtype=torch.float64)
    for b in range(envs):
        ret = None
        for t in reversed(range(steps)):
            done = batch["terminated"][t, b] or batch["truncated"][t, b]
            if done or ret is None:
                ret = next_value(value, batch, t, b)
            ret = batch["reward"][t, b] + gamma * ret
            v, pi = value(batch["obs"][t, b]), policy(batch["obs"][t, b])
            loss = loss - pi.log_prob(batch["action"][t, b]) * (ret - v.detach())
            loss = loss + value_coef * (ret - v) ** 2 - beta * pi.entropy()
    return loss / (steps * envs)


def test_a3c_equals_the_formula(env_spec, perturbed, random_batch, loss_and_gradients) -> None:
    agent = A3CConfig(gamma=0.9, entropy_coef=0.03, network=NETWORK).build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    loss, grads = loss_and_gradients(agent, network, batch)
    wanted = a3c_by_hand(network, batch, 0.9, 0.03, 0.5)
    torch.testing.assert_close(loss, wanted.detach(), rtol=0, atol=1e-12)
    wanted_grads = torch.autograd.grad(wanted, list(network.parameters()))
    for ours, twin in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(ours, twin, rtol=0, atol=1e-12)


def test_separate_trunks_of_equal_weights_give_the_same_loss(
    config, env_spec, perturbed, random_batch
) -> None:
    shared = config.build(env_spec)
    apart = replace(config, network=replace(NETWORK, shared_trunk=False)).build(env_spec)
    network, batch = perturbed(shared), random_batch(shared)
    twin = perturbed(apart)
    weights = network.state_dict()
    weights |= {k.replace("trunk.", "value_trunk.", 1): v for k, v in weights.items()
                if k.startswith("trunk.")}  # fmt: skip
    twin.load_state_dict(weights)
    torch.testing.assert_close(
        apart.loss(twin, batch).loss, shared.loss(network, batch).loss, rtol=0, atol=1e-13
    )


def test_gae_replaces_the_advantage_alone(env_spec, perturbed, random_batch) -> None:
    plain = A3CConfig(gamma=0.9, network=NETWORK).build(env_spec)
    traced = A3CConfig(gamma=0.9, gae_lambda=0.7, network=NETWORK).build(env_spec)
    network, batch = perturbed(plain), random_batch(plain)
    fragment = network.evaluate(batch)
    log_pi, _ = network.head.log_prob_and_entropy(fragment.outputs, batch["action"])
    advantages = gae_reference(
        batch["reward"], fragment.values, fragment.next_values,
        batch["terminated"], batch["truncated"], 0.9, 0.7,
    ).detach()  # fmt: skip
    ours = traced.loss(network, batch)
    torch.testing.assert_close(ours.metrics["loss/policy"], -(log_pi * advantages).mean().detach())
    assert ours.metrics["loss/value"] == plain.loss(network, batch).metrics["loss/value"]


@pytest.mark.parametrize("correction", ["vtrace", "one_step_is", "epsilon", "none"])
def test_impala_equals_the_formula(correction, env_spec, perturbed, random_batch) -> None:
    levels = {"lam": 0.9, "rho_bar": 1.5, "c_bar": 1.1, "rho_pg_bar": 1.3}
    agent = ImpalaConfig(
        gamma=0.9, entropy_coef=0.03, correction=correction, network=NETWORK, **levels
    ).build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    policy, value = per_row(network, batch)
    steps, envs = batch["reward"].shape
    grid = [(t, b) for t in range(steps) for b in range(envs)]
    shape = (steps, envs)
    pis = [policy(batch["obs"][t, b]) for t, b in grid]
    log_pi = torch.stack(
        [pi.log_prob(batch["action"][t, b]) for pi, (t, b) in zip(pis, grid, strict=True)]
    ).view(shape)
    entropy = torch.stack([pi.entropy() for pi in pis]).view(shape)
    v = torch.stack([value(batch["obs"][t, b]) for t, b in grid]).view(shape)
    after = torch.stack([next_value(value, batch, t, b) for t, b in grid]).view(shape)
    log_rho = (log_pi - batch["log_mu"]).detach()
    arrays = (batch["reward"], v.detach(), after, batch["terminated"], batch["truncated"])
    if correction == "vtrace":
        vs, advantage = vtrace_reference(log_rho, *arrays, 0.9, *levels.values())
    else:
        vs, advantage = vtrace_reference(torch.zeros(shape).double(), *arrays, 0.9, 0.9, 1, 1, 1)
    log_of_policy = log_pi
    if correction == "one_step_is":
        advantage = advantage * log_rho.exp().clamp(max=1.3)
    if correction == "epsilon":
        log_of_policy = (log_pi.exp() + 1e-6).log()
    wanted = (-log_of_policy * advantage + 0.25 * (vs - v) ** 2 - 0.03 * entropy).mean()

    loss = agent.loss(network, batch).loss
    torch.testing.assert_close(loss, wanted, rtol=0, atol=1e-12)
    parameters = list(network.parameters())
    for ours, twin in zip(
        torch.autograd.grad(loss, parameters),
        torch.autograd.grad(wanted, parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin, rtol=0, atol=1e-12)


def test_no_correction_ignores_the_behaviour_policy(env_spec, perturbed, random_batch) -> None:
    for correction, moves in (("none", False), ("epsilon", False), ("vtrace", True)):
        agent = ImpalaConfig(correction=correction, network=NETWORK).build(env_spec)
        network, batch = perturbed(agent), random_batch(agent)
        other = dict(batch, log_mu=batch["log_mu"] - 0.5)
        changed = agent.loss(network, batch).loss != agent.loss(network, other).loss
        assert bool(changed) == moves


def test_on_policy_impala_has_the_policy_gradient_of_a3c(env_spec, perturbed, random_batch) -> None:
    impala = ImpalaConfig(gamma=0.9, network=NETWORK).build(env_spec)
    a3c = A3CConfig(gamma=0.9, network=NETWORK).build(env_spec)
    network, batch = perturbed(a3c), random_batch(a3c)
    fragment = network.evaluate(batch)
    log_pi, _ = network.head.log_prob_and_entropy(fragment.outputs, batch["action"])
    batch["log_mu"] = log_pi.detach()
    ours, theirs = impala.loss(network, batch), a3c.loss(network, batch)
    torch.testing.assert_close(ours.metrics["loss/policy"], theirs.metrics["loss/policy"])
    torch.testing.assert_close(2 * ours.metrics["loss/value"], theirs.metrics["loss/value"])
    assert ours.metrics["is/ess"].item() == pytest.approx(1.0)
    assert ours.metrics["policy/kl"].item() == pytest.approx(0.0, abs=1e-12)


def test_rewards_are_clipped_in_the_loss_alone(config, env_spec, perturbed, random_batch) -> None:
    agent = replace(config, reward_clip=0.5).build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    clipped = dict(batch, reward=batch["reward"].clamp(-0.5, 0.5))
    kept = batch["reward"].clone()
    plain = config.build(env_spec)
    assert agent.loss(network, batch).loss == plain.loss(network, clipped).loss
    assert agent.loss(network, batch).loss != plain.loss(network, batch).loss
    assert torch.equal(batch["reward"], kept)


def test_entropy_bonus_is_annealed_over_progress(config, env_spec, perturbed, random_batch) -> None:
    agent = replace(config, entropy_coef=0.2, entropy_coef_end=0.0).build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    outs = [agent.loss(network, dict(batch, progress=p)) for p in (0.0, 0.5, 1.0)]
    entropy = outs[0].metrics["policy/entropy"]
    for share, out in zip((0.2, 0.1, 0.0), outs, strict=True):
        torch.testing.assert_close(out.loss, outs[2].loss - share * entropy)
    assert entropy > 0


def test_normalised_advantages(env_spec, perturbed, random_batch) -> None:
    a3c = A3CConfig(gamma=0.9, normalize_advantages=True, network=NETWORK).build(env_spec)
    impala = ImpalaConfig(gamma=0.9, normalize_advantages=True, network=NETWORK).build(env_spec)
    network, batch = perturbed(a3c), random_batch(a3c)
    batch["valid"][-1, 0] = False
    valid = batch["valid"]
    fragment = network.evaluate(batch)
    log_pi, _ = network.head.log_prob_and_entropy(fragment.outputs, batch["action"])
    arrays = (batch["reward"], fragment.values.detach(), fragment.next_values)
    ends = (batch["terminated"], batch["truncated"].clone())
    log_rhos = (log_pi.detach() - batch["log_mu"]).masked_fill(~valid, float("-inf"))
    _, of_impala = vtrace_reference(log_rhos, *arrays, *ends, 0.9, 1, 1, 1, 1)
    ends[1][-2, 0] = True  # the last row of column 0 is no transition
    of_a3c = gae_reference(*arrays, *ends, 0.9, 1.0)
    for agent, advantages in ((a3c, of_a3c), (impala, of_impala)):
        kept = advantages[valid]
        scaled = (kept - kept.mean()) / kept.std(correction=0)
        ours = agent.loss(network, batch).metrics["loss/policy"]
        wanted = -(log_pi[valid] * scaled).mean().detach()
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("wanted", [True, False])
def test_metrics_are_documented_detached_and_optional(
    wanted, config, env_spec, perturbed, random_batch
) -> None:
    agent = config.build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    out = agent.loss(network, dict(batch, metrics=wanted))
    assert unknown_names(out.metrics) == []
    assert not any(v.requires_grad or v.dim() for v in out.metrics.values())
    cheap = {"loss/policy", "loss/value", "policy/entropy"}
    assert cheap <= set(out.metrics)
    assert ({"policy/kl", "is/ess", "value/explained_variance"} <= set(out.metrics)) == wanted
    assert out.weight.item() == batch["reward"].numel()
    assert out.loss == agent.loss(network, batch).loss


def test_non_finite_values_reach_the_loss(config, env_spec, perturbed, random_batch) -> None:
    """The learner's non-finite policy sees them; the loss neither raises nor hides them."""
    agent = config.build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    batch["obs"][2, 1] = float("nan")
    assert not agent.loss(network, batch).loss.isfinite()


def test_gaussian_policies(config, box_spec, perturbed, random_batch, loss_and_gradients) -> None:
    for std in ("parameter", "softplus"):
        agent = replace(config, network=replace(NETWORK, std=std)).build(box_spec)
        network, batch = perturbed(agent), random_batch(agent)
        loss, grads = loss_and_gradients(agent, network, batch)
        assert loss.isfinite()
        assert all(bool(g.abs().sum() > 0) for g in grads)


def test_all_rows_invalid_weigh_nothing(config, env_spec, perturbed, random_batch) -> None:
    agent = config.build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    out = agent.loss(network, dict(batch, valid=torch.zeros_like(batch["valid"])))
    assert out.weight == 0
    assert out.loss == 0


def test_losses_take_plain_tensors() -> None:
    """Two steps by hand: on policy, gamma 1/2, V = (1, 2), V(end) = 4, r = (1, 3)."""
    column = lambda *x: torch.tensor(x, dtype=torch.float64)[:, None]  # noqa: E731
    no = torch.zeros(2, 1, dtype=torch.bool)
    out = impala_loss(
        column(-1.0, -2.0), column(0.5, 0.7), column(-1.0, -2.0),
        column(1.0, 2.0), column(2.0, 4.0), column(1.0, 3.0), no, no, ~no,
        gamma=0.5, entropy_coef=0.1,
    )  # fmt: skip
    # R_1 = 3 + 4/2 = 5, R_0 = 1 + 5/2 = 3.5; advantages 2.5 and 3.
    policy, value = (1.0 * 2.5 + 2.0 * 3.0) / 2, 0.5 * (2.5**2 + 3.0**2) / 2
    assert out.loss.item() == pytest.approx(policy + 0.5 * value - 0.1 * 0.6)
