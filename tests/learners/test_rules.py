"""Update rules against their scalar twins and against torch.optim."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.learners.config import AdamConfig, AdamWConfig, RMSPropConfig, SGDConfig
from rlcore.learners.errors import LearnerStateError
from rlcore.learners.optim import reference

BOUNDS = [0, 3, 4, 9]
CONFIGS = {
    "sgd": SGDConfig(lr=0.1),
    "momentum": SGDConfig(lr=0.1, momentum=0.9),
    "average": SGDConfig(lr=0.1, momentum=0.9, dampening=0.9),
    "rmsprop": RMSPropConfig(lr=0.01),
    "rmsprop outside": RMSPropConfig(lr=0.01, eps=0.01, eps_inside=False, g_init=0.0),
    "rmsprop momentum": RMSPropConfig(lr=0.01, momentum=0.8),
    "adam": AdamConfig(lr=0.02, betas=(0.8, 0.95), eps=1e-6),
    "adamw": AdamWConfig(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3),
}


def twin(config, theta, grads, lr=None):
    lr = config.lr if lr is None else lr
    if isinstance(config, SGDConfig):
        return reference.sgd(theta, grads, lr, config.momentum, config.dampening)
    if isinstance(config, RMSPropConfig):
        c = config
        return reference.rmsprop(
            theta, grads, lr, c.alpha, c.eps, c.eps_inside, c.g_init, c.momentum
        )
    decay = getattr(config, "weight_decay", 0.0)
    return reference.adam(theta, grads, lr, config.betas, config.eps, decay)


def theirs(config, parameter):
    if isinstance(config, SGDConfig):
        assert not config.dampening
        return torch.optim.SGD([parameter], config.lr, momentum=config.momentum)
    if isinstance(config, RMSPropConfig):
        assert not config.eps_inside
        return torch.optim.RMSprop(
            [parameter], config.lr, config.alpha, config.eps, momentum=config.momentum
        )
    if isinstance(config, AdamWConfig):
        return torch.optim.AdamW(
            [parameter], config.lr, config.betas, config.eps, config.weight_decay
        )
    return torch.optim.Adam([parameter], config.lr, config.betas, config.eps)


def bound(config, theta, state=None):
    rule = config.build()
    rule.bind(theta, BOUNDS, state)
    return rule


def draw(seed, steps=12, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(BOUNDS[-1], generator=generator, dtype=torch.float64)
    grads = torch.randn(steps, BOUNDS[-1], generator=generator, dtype=torch.float64)
    grads[3:4] *= 100.0
    grads[5:6] = 0.0
    return theta.to(dtype), grads.to(dtype)


@pytest.mark.parametrize("name", CONFIGS)
@given(seed=st.integers(0, 2**32 - 1))
def test_rule_is_its_scalar_twin(name: str, seed: int) -> None:
    theta, grads = draw(seed)
    wanted = twin(CONFIGS[name], theta.tolist(), grads.tolist())
    rule = bound(CONFIGS[name], theta)
    for grad in grads:
        kept = grad.clone()
        rule.apply(grad, CONFIGS[name].lr)
        assert torch.equal(grad, kept)
    torch.testing.assert_close(
        theta, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop outside", "adam", "adamw"])
def test_rule_is_torchs(name: str) -> None:
    config = CONFIGS[name]
    theta, grads = draw(1, steps=40)
    parameter = torch.nn.Parameter(theta.clone())
    optimizer, rule = theirs(config, parameter), bound(config, theta)
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        rule.apply(grad, config.lr)
    torch.testing.assert_close(theta, parameter.detach(), rtol=1e-12, atol=1e-12)


def test_rmsprop_momentum_is_torchs() -> None:
    config = RMSPropConfig(lr=0.01, eps_inside=False, g_init=0.0, momentum=0.7)
    theta, grads = draw(2, steps=40)
    parameter = torch.nn.Parameter(theta.clone())
    optimizer, rule = theirs(config, parameter), bound(config, theta)
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        rule.apply(grad, config.lr)
    torch.testing.assert_close(theta, parameter.detach(), rtol=1e-12, atol=1e-12)


def test_rmsprop_by_hand() -> None:
    # alpha 0.9, g 1, d 2: g = 0.9 + 0.4 = 1.3; inside sqrt(1.3 + 0.39) = 1.3.
    inside = RMSPropConfig(alpha=0.9, eps=0.39, g_init=1.0)
    theta = torch.full((9,), 5.0, dtype=torch.float64)
    bound(inside, theta).apply(torch.full_like(theta, 2.0), 0.65)
    torch.testing.assert_close(theta, torch.full_like(theta, 4.0))
    # g 0: g = 0.4 - 0.04 = 0.36 with alpha 0.91; outside 0.6 + 0.4 = 1.
    outside = RMSPropConfig(alpha=0.91, eps=0.4, g_init=0.0, eps_inside=False)
    theta = torch.full((9,), 5.0, dtype=torch.float64)
    bound(outside, theta).apply(torch.full_like(theta, 2.0), 0.5)
    torch.testing.assert_close(theta, torch.full_like(theta, 4.0))


@pytest.mark.parametrize("name", CONFIGS)
def test_step_size_is_the_callers(name: str) -> None:
    theta, grads = draw(3, steps=1)
    wanted = twin(CONFIGS[name], theta.tolist(), grads.tolist(), lr=0.5)
    bound(CONFIGS[name], theta).apply(grads[0], 0.5)
    torch.testing.assert_close(theta, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(present=st.lists(st.sets(st.integers(0, 2)), min_size=1, max_size=8))
def test_absent_parameters_keep_value_and_state(name, dtype, present) -> None:
    """Each parameter moves as if it were alone and saw only its own gradients."""
    theta, grads = draw(4, steps=len(present) + 6, dtype=dtype)
    alone = [theta[a:b].clone() for a, b in itertools.pairwise(BOUNDS)]
    rules = []
    for part in alone:
        rule = CONFIGS[name].build()
        rule.bind(part, [0, len(part)])
        rules.append(rule)
    rule = bound(CONFIGS[name], theta)
    for grad, indices in zip(grads, present, strict=False):
        rule.apply(grad, CONFIGS[name].lr, sorted(indices))
        for i in indices:
            rules[i].apply(grad[BOUNDS[i] : BOUNDS[i + 1]].clone(), CONFIGS[name].lr)
    assert torch.equal(theta, torch.cat(alone))
    for slot, value in rule.state.items():
        assert torch.equal(value, torch.cat([r.state[slot] for r in rules])), slot


@pytest.mark.parametrize("name", CONFIGS)
def test_state_given_is_state_used(name: str) -> None:
    """Two rules bound to one vector and one state, as in two workers, are one rule."""
    theta, grads = draw(5)
    single_theta = theta.clone()
    single = bound(CONFIGS[name], single_theta)
    spec = CONFIGS[name].build().state_spec(BOUNDS, torch.float64)
    state = {
        slot: torch.full(shape, start, dtype=dtype) for slot, (shape, dtype, start) in spec.items()
    }
    workers = [bound(CONFIGS[name], theta, state) for _ in range(2)]
    for i, grad in enumerate(grads):
        workers[i % 2].apply(grad, CONFIGS[name].lr)
        single.apply(grad, CONFIGS[name].lr)
    assert torch.equal(theta, single_theta)
    for slot in state:
        assert workers[0].state[slot].data_ptr() == state[slot].data_ptr()
    if name == "adam":
        assert state["step"].tolist() == [12.0] * 3


@pytest.mark.parametrize("name", CONFIGS)
def test_working_memory_only(name: str) -> None:
    """Once bound, a rule allocates nothing as large as a parameter vector."""
    theta = torch.zeros(1000)
    rule = CONFIGS[name].build()
    rule.bind(theta, [0, 1000])
    grad = torch.ones(1000)
    rule.apply(grad, 0.1)
    with torch.profiler.profile(profile_memory=True) as profile:
        rule.apply(grad, 0.1)
    largest = max((e.self_cpu_memory_usage for e in profile.events()), default=0)
    assert largest < 1000, largest


def test_clone_state_is_a_copy() -> None:
    theta, grads = draw(6)
    rule = bound(CONFIGS["adam"], theta)
    rule.apply(grads[0], 0.1)
    kept = rule.clone_state()
    before = {name: value.clone() for name, value in kept.items()}
    rule.apply(grads[1], 0.1)
    for name, value in kept.items():
        assert torch.equal(value, before[name])
        assert not torch.equal(value, rule.state[name])


def test_prediction() -> None:
    theta, grads = draw(7)
    for name in ("sgd", "rmsprop"):
        rule = bound(CONFIGS[name], theta.clone())
        rule.apply(grads[0], 0.1)
        assert torch.equal(rule.predict(3.0, 0.1), rule.theta)
        assert rule.predict(3.0, 0.1).data_ptr() != rule.theta.data_ptr()
    for name in ("momentum", "rmsprop momentum"):
        rule = bound(CONFIGS[name], theta.clone())
        rule.apply(grads[0], 0.1)
        wanted = rule.theta - 3.0 * 0.1 * rule.state["momentum"]
        torch.testing.assert_close(rule.predict(3.0, 0.1), wanted)
    rule = bound(CONFIGS["adam"], theta.clone())
    assert torch.equal(rule.predict(2.0, 0.1), theta)
    rule.apply(grads[0], 0.1)
    # After one step the corrected moments are the gradient and its square.
    wanted = rule.theta - 2.0 * 0.1 * grads[0] / (grads[0].abs() + 1e-6)
    torch.testing.assert_close(rule.predict(2.0, 0.1), wanted)


def test_a_state_of_another_shape_is_refused() -> None:
    theta, _ = draw(8)
    with pytest.raises(LearnerStateError, match=r"\['momentum'\]; wanted \['g'\]"):
        bound(CONFIGS["rmsprop"], theta, {"momentum": torch.zeros(9)})
    with pytest.raises(LearnerStateError, match=r"'g' is torch.float32 \(9,\); wanted .*float64"):
        bound(CONFIGS["rmsprop"], theta, {"g": torch.zeros(9)})
    with pytest.raises(LearnerStateError, match=r"\(8,\)"):
        bound(CONFIGS["rmsprop"], theta, {"g": torch.zeros(8, dtype=torch.float64)})
