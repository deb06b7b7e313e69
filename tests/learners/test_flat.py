"""Flat parameters: views, order, tied and frozen parameters, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rlcore.learners.errors import ParameterError
from rlcore.learners.flat import ALIGNMENT, FlatParameters, flat_size


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 4, bias=False)
        self.frozen = nn.Parameter(torch.ones(5), requires_grad=False)
        self.out = nn.Linear(3, 4)
        self.out.weight = self.embed.weight
        self.register_buffer("count", torch.tensor(3))


def test_parameters_are_views_in_the_order_of_their_names() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flat = FlatParameters(module)
    assert flat.names == ["0.weight", "0.bias", "1.weight"]
    assert flat.bounds == [0, 16, 32, 48]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    flat.theta.copy_(torch.arange(48.0))
    assert torch.equal(module[0].weight, torch.arange(12.0).view(3, 4).reshape(4, 3))
    assert torch.equal(module[1].weight, torch.arange(32.0, 40.0).view(2, 4))
    with torch.no_grad():
        module[0].bias.fill_(-1.0)
    assert torch.equal(flat.theta[16:20], -torch.ones(4))


@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_layout(shapes: list[list[int]], dtype: torch.dtype) -> None:
    module = nn.Module()
    for i, shape in enumerate(shapes):
        module.register_parameter(f"p{i}", nn.Parameter(torch.randn(shape, dtype=dtype)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flat = FlatParameters(module)
    for name, view in flat.named(flat.theta).items():
        assert torch.equal(view, before[name])
        assert view.data_ptr() == module.get_parameter(name).data_ptr() or view.numel() == 0
    starts = [start * flat.theta.element_size() % ALIGNMENT for start in flat.bounds]
    assert not any(starts)
    assert flat.bounds[-1] == len(flat.theta) == flat_size(module)
    values = torch.cat([v.flatten() for v in before.values()])
    assert float(flat.theta.abs().sum()) == pytest.approx(float(values.abs().sum()))


def test_tied_parameters_appear_once_and_frozen_ones_stay() -> None:
    module = Tied()
    frozen = module.frozen.data_ptr()
    flat = FlatParameters(module)
    assert flat.names == ["embed.weight", "out.bias"]
    flat.theta.fill_(2.0)
    assert torch.equal(module.out.weight, torch.full((4, 3), 2.0))
    assert module.out.weight is module.embed.weight
    assert module.frozen.data_ptr() == frozen
    assert torch.equal(module.frozen, torch.ones(5))
    x = torch.randn(2, 3)
    (module.embed(x) + module.out(x)).sum().backward()
    assert flat.gather({"embed.weight": module.embed.weight.grad}) == [0]
    torch.testing.assert_close(flat.grad[:12].view(4, 3), (2 * x.sum(0)).expand(4, 3))


def test_gather() -> None:
    module = nn.Linear(3, 4)
    flat = FlatParameters(module)
    weight, bias = torch.randn(4, 3), torch.randn(4)
    assert flat.gather({"bias": bias, "weight": weight}) is None
    assert torch.equal(flat.grad[:12], weight.flatten())
    assert torch.equal(flat.grad[16:20], bias)
    assert flat.gather({"bias": bias}) == [1]
    assert torch.equal(flat.grad[:16], torch.zeros(16))
    assert torch.equal(flat.grad[16:20], bias)
    assert flat.gather({}) == []
    assert not flat.grad.any()


def test_a_given_vector_is_used() -> None:
    module = nn.Linear(3, 4)
    before = module.weight.detach().clone()
    theta = torch.full((flat_size(module),), 7.0)
    flat = FlatParameters(module, theta)
    assert flat.theta is theta
    assert torch.equal(theta[:12].view(4, 3), before)
    assert not theta[12:16].any()
    theta[16] = 9.0
    assert float(module.bias[0].detach()) == 9.0


def test_making_one_again_keeps_values() -> None:
    module = nn.Linear(3, 4)
    first = FlatParameters(module)
    values = first.theta.clone()
    assert torch.equal(FlatParameters(module).theta, values)
    assert torch.equal(FlatParameters(module, torch.empty(32)).theta, values)


@pytest.mark.parametrize(
    ("theta", "words"),
    [
        (torch.zeros(31), r"shape \(31,\); wanted 32"),
        (torch.zeros(4, 8), r"shape \(4, 8\)"),
        (torch.zeros(64)[::2], "contiguous"),
        (torch.zeros(32, dtype=torch.float64), "float64 on cpu; wanted torch.float32"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(theta: torch.Tensor, words: str) -> None:
    module = nn.Linear(3, 4)
    before = module.weight.data_ptr()
    with pytest.raises(ParameterError, match=words):
        FlatParameters(module, theta)
    assert module.weight.data_ptr() == before


def test_parameters_that_cannot_be_trained_are_refused() -> None:
    with pytest.raises(ParameterError, match="Tanh has no trainable parameter"):
        FlatParameters(nn.Tanh())
    module = nn.Linear(2, 2)
    module.register_parameter("n", nn.Parameter(torch.tensor([1]), requires_grad=False))
    with pytest.raises(ParameterError, match=r"'n' is torch\.int64"):
        FlatParameters(module)
    module = nn.Linear(2, 2)
    module.register_parameter("z", nn.Parameter(torch.zeros(2, dtype=torch.complex64)))
    with pytest.raises(ParameterError, match=r"'z' is torch\.complex64"):
        FlatParameters(module)
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ParameterError, match=r"'1.weight' is torch.float64 .*float32.*'0.weight'"):
        FlatParameters(module)


def test_parameters_that_moved_are_noticed() -> None:
    module = nn.Linear(3, 4)
    flat = FlatParameters(module)
    flat.check_places()
    module.weight.data.mul_(2.0)
    flat.check_places()
    module.bias.data = torch.zeros(4)
    with pytest.raises(ParameterError, match="'bias' was moved to other memory"):
        flat.check_places()
    module.bias.data = torch.zeros(5)
    with pytest.raises(ParameterError, match=r"'bias' has shape \(5,\); it had \(4,\)"):
        flat.check_places()
