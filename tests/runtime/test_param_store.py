"""The parameter store: whole versions only, kept versions, readers under a hammering writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

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
    return {
        name: torch.full(shape, value, dtype=dtype) for name, shape, dtype, _ in layout.entries
    }


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


def test_layout_does_not_need_memory():
    with torch.device("meta"):
        layout = TensorLayout.of(Net(1000))
    assert layout == TensorLayout.of(Net(1000))


def test_readers_see_whole_versions_only():
    """Each tensor is filled with its version; a mixed one would show two numbers."""
    net = Net(4096)
    store = ParamStore(TensorLayout.of(net))
    store.publish(filled(store.layout, 0), 0)
    script = textwrap.dedent("""
        import json, sys, torch
        from torch import nn
        from rlcore.runtime.param_store import ParamReader, ParamStore, TensorLayout
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(4096, 2)
                self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        torch.set_num_threads(1)
        net = Net()
        reader = ParamReader(ParamStore(TensorLayout.of(net), fd=int(sys.argv[1])), net)
        print("ready", flush=True)
        seen, mixed, backwards, last = 0, 0, 0, -1
        while last < 3000:
            version = reader.pull_newest()
            seen += version != last
            backwards += version < last
            last = version
            values = {int(net.linear.weight.min()), int(net.linear.weight.max()),
                      int(net.linear.bias[0]), int(net.count)}
            mixed += values != {version}
        print(json.dumps([seen, mixed, backwards]))
    """)
    reader = subprocess.Popen(
        [sys.executable, "-c", script, str(store.fd)],
        pass_fds=(store.fd,),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert reader.stdout.readline() == "ready\n"
        for version in range(1, 3001):
            store.publish(filled(store.layout, version), version)
        seen, mixed, backwards = json.loads(reader.stdout.readline())
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()
    assert (mixed, backwards) == (0, 0)
    assert seen > 10
