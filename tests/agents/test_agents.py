"""The agents as objects: settings, specs, acting; a terminal reward is learnt."""

from __future__ import annotations

import math

import pytest
import torch

import agents
from agents.a3c.config import A3CConfig
from agents.impala.config import ImpalaConfig
from rlcore.data.env_spec import BoxActions, DiscreteActions, EnvSpec
from rlcore.data.spec import Field
from rlcore.errors import ConfigError
from rlcore.nn.config import NetworkConfig

CONFIGS = (A3CConfig, ImpalaConfig)


def test_the_package_says_whose_it_is() -> None:
    assert agents.__rlcore__ is True


def test_published_defaults() -> None:
    a3c, impala = A3CConfig(), ImpalaConfig()
    assert (a3c.unroll, a3c.gamma, a3c.entropy_coef, a3c.value_coef) == (5, 0.99, 0.01, 0.5)
    assert (impala.unroll, impala.rho_bar, impala.c_bar, impala.lam) == (20, 1.0, 1.0, 1.0)
    assert a3c.reduction == impala.reduction == "sum"


@pytest.mark.parametrize("config_type", CONFIGS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unroll": 0}, "unroll must be >= 1, got 0"),
        ({"gamma": -0.5}, "gamma must be in [0, 1], got -0.5"),
        ({"gamma": math.nan}, "got nan"),
        ({"entropy_coef": -1.0}, "entropy_coef must be >= 0"),
        ({"entropy_coef_end": math.inf}, "entropy_coef_end must be >= 0.0, got inf"),
        ({"value_coef": -1.0}, "value_coef must be >= 0"),
        ({"reward_clip": 0.0}, "reward_clip must be > 0, got 0.0"),
        ({"reduction": "none"}, "reduction must be one of ('sum', 'mean'), got 'none'"),
    ],
)
def test_bad_settings_are_named(config_type, settings, words) -> None:
    with pytest.raises(ConfigError) as caught:
        config_type(**settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rho_bar": 0.5}, "rho_bar=0.5 and c_bar=1.0"),
        ({"rho_pg_bar": -1.0}, "rho_pg_bar must be >= 0, got -1.0"),
        ({"lam": 1.5}, "lam must be in [0, 1], got 1.5"),
        ({"correction": "retrace"}, "got 'retrace'"),
    ],
)
def test_bad_impala_settings_are_named(settings, words) -> None:
    with pytest.raises(ConfigError) as caught:
        ImpalaConfig(**settings)
    assert words in str(caught.value)


def test_bad_trace_decay_of_a3c() -> None:
    with pytest.raises(ConfigError, match="gae_lambda must be in"):
        A3CConfig(gae_lambda=-0.1)


@pytest.mark.parametrize("config_type", CONFIGS)
@pytest.mark.parametrize(
    ("env", "network", "words"),
    [
        (EnvSpec((4,), "float32", DiscreteActions(2)), {"type": "atari"}, "wants images"),
        (EnvSpec((84, 84, 3), "uint8", DiscreteActions(2)), {"type": "impala"}, "channels first"),
        (EnvSpec((4,), "float32", DiscreteActions(0)), {}, "n >= 1 actions, got 0"),
        (EnvSpec((4,), "float32", BoxActions((2, 2), (), ())), {}, "(2, 2)"),
        (EnvSpec((4,), "float32", "MultiDiscrete"), {}, "'MultiDiscrete'"),
    ],
)
def test_misfits_are_found_when_the_agent_is_built(config_type, env, network, words) -> None:
    with pytest.raises(ConfigError) as caught:
        config_type(network=NetworkConfig(**network)).build(env)
    assert words in str(caught.value)


@pytest.mark.parametrize("config_type", CONFIGS)
def test_building_an_agent_leaves_the_global_generator_alone(config_type, env_spec) -> None:
    before = torch.random.get_rng_state()
    agent = config_type(network=NetworkConfig(lstm=4)).build(env_spec)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(p.is_meta for p in agent.build_network().parameters())


@pytest.mark.parametrize("config_type", CONFIGS)
def test_the_spec_carries_what_acting_produced(config_type, env_spec) -> None:
    agent = config_type(network=NetworkConfig(lstm=4, shared_trunk=False)).build(env_spec)
    spec = agent.spec()
    assert spec["log_mu"] == Field((), "float32")
    assert [spec[f"core_{i}"] for i in range(4)] == [Field((4,), "float32", "initial")] * 4
    network = agent.build_network()
    state = agent.initial_state(network, 6)
    assert [tuple(part.shape) for part in state] == [(6, 4)] * 4
    step = agent.act(network, torch.zeros(6, 4), state, torch.Generator())
    assert [part.shape for part in step.state] == [part.shape for part in state]
    assert set(step.extras) == {"log_mu"}
    assert step.action.shape == step.extras["log_mu"].shape == (6,)
    assert step.action.dtype == torch.int64


@pytest.mark.parametrize("config_type", CONFIGS)
def test_acting_is_a_function_of_the_generator(config_type, env_spec, box_spec) -> None:
    for spec in (env_spec, box_spec):
        agent = config_type().build(spec)
        network = agent.build_network()
        obs = torch.randn(64, 4)
        draws = [
            agent.act(network, obs, (), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        ]
        assert torch.equal(draws[0].action, draws[1].action)
        assert torch.equal(draws[0].extras["log_mu"], draws[1].extras["log_mu"])
        assert not torch.equal(draws[0].action, draws[2].action)
        best = agent.act(network, obs, (), torch.Generator(), deterministic=True)
        again = agent.act(network, obs, (), torch.Generator().manual_seed(5), deterministic=True)
        assert torch.equal(best.action, again.action)


@pytest.mark.parametrize("config_type", CONFIGS)
def test_a_reward_at_termination_is_learnt(config_type) -> None:
    """One-step episodes that pay 1 for one of two actions: mean return > 0.99 in < 2000 steps."""
    torch.manual_seed(0)
    steps, envs = 5, 8
    env = EnvSpec((1,), "float32", DiscreteActions(2))
    agent = config_type(
        unroll=steps, entropy_coef=0.0, reduction="mean", network=NetworkConfig(hidden=(16,))
    ).build(env)
    network = agent.build_network()
    optimizer = torch.optim.RMSprop(network.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    obs = torch.ones(steps + 1, envs, 1)
    yes = torch.ones(steps, envs, dtype=torch.bool)
    for _ in range(1960 // (steps * envs)):
        with torch.inference_mode():
            acted = [agent.act(network, obs[t], (), generator) for t in range(steps)]
        action = torch.stack([a.action for a in acted]).clone()
        batch = {
            "obs": obs, "first": torch.ones(steps + 1, envs, dtype=torch.bool), "action": action,
            "reward": (action == 1).float(), "terminated": yes, "truncated": ~yes, "valid": yes,
            "log_mu": torch.stack([a.extras["log_mu"] for a in acted]).clone(),
            "final_obs": torch.zeros(0, 1), "final_row": torch.zeros(0, dtype=torch.int64),
        }  # fmt: skip
        optimizer.zero_grad()
        agent.loss(network, batch).loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits, values, _ = network(obs[:1], yes[:1], ())
    assert logits.softmax(-1)[0, 0, 1] > 0.99
    assert abs(values[0, 0] - 1) < 0.1
