"""The parameter store: versions grow, the last ones are kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rlcore.errors import RlcoreError
from rlcore.runtime.param_store import ParamReader, ParamStore, TensorLayout


class Net(nn.Module):
    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def filled(layout: TensorLayout, value: int) -> dict[str, torch.Tensor]:
    return {name: torch.full(shape, value, dtype=dtype) for name, shape, dtype, _ in layout.entries}


def test_reader_follows_the_newest_version():
    net = Net()
    store = ParamStore(TensorLayout.of(net))
    reader = ParamReader(store, net)
    store.publish(filled(store.layout, 4), 4)
    assert reader.pull_newest() == 4
    assert (net.linear.weight == 4).all()
    assert net.count == 4
    store.publish(filled(store.layout, 9), 9)
    assert (net.linear.weight == 4).all()  # private until pulled
    assert reader.pull_newest() == 9
    assert (net.linear.bias == 9).all()


def test_versions_only_grow():
    store = ParamStore(TensorLayout.of(Net()))
    store.publish(filled(store.layout, 1), 1)
    with pytest.raises(RlcoreError, match="version 1 published after version 1"):
        store.publish(filled(store.layout, 1), 1)


@pytest.mark.parametrize("copies", [2, 4])
def test_the_last_versions_are_kept(copies):
    net = Net()
    store = ParamStore(TensorLayout.of(net), copies)
    for version in range(7):
        store.publish(filled(store.layout, version), version)
    reader = ParamReader(store, net)
    for version in range(7 - copies, 7):
        assert reader.pull_exact(version) == version
        assert (net.linear.weight == version).all()
    with pytest.raises(RlcoreError, match="is not in the store"):
        reader.pull_exact(6 - copies)


def test_a_version_cannot_be_read_while_it_is_overwritten():
    """The writer is caught between two tensors: the old version is half gone, the new not there."""
    store = ParamStore(TensorLayout.of(Net()))
    into = torch.empty(store.layout.size, dtype=torch.uint8)

    class Watched(dict):
        def __getitem__(self, name):
            during.append([store.read(version, into) for version in range(3)])
            assert store.version == 1
            return super().__getitem__(name)

    during = []
    for version in range(2):
        store.publish(filled(store.layout, version), version)
    store.publish(Watched(filled(store.layout, 2)), 2)
    assert during == [[False, True, False]] * 3
    assert [store.read(version, into) for version in range(3)] == [False, True, True]


def test_layout_does_not_need_memory():
    with torch.device("meta"):
        layout = TensorLayout.of(Net(1000))
    assert layout == TensorLayout.of(Net(1000))
