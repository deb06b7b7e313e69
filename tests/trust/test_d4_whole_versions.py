"""Promise D4: readers see whole parameter versions only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import torch
from torch import nn

from rlcore.runtime.param_store import ParamStore, TensorLayout

READER = textwrap.dedent("""
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
    while seen < 200:
        version = reader.pull_newest()
        seen += version != last
        backwards += version < last
        last = version
        values = {int(net.linear.weight.min()), int(net.linear.weight.max()),
                  int(net.linear.bias[0]), int(net.count)}
        mixed += values != {version}
    print(json.dumps([mixed, backwards]))
""")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4096, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def test_readers_see_whole_versions_only() -> None:
    """Each tensor is filled with its version; a mixed one would show two numbers.

    The writer goes on until the reader has seen enough, however busy the machine is.
    """
    store = ParamStore(TensorLayout.of(Net()))
    states = [
        {n: torch.full(shape, v, dtype=dtype) for n, shape, dtype, _ in store.layout.entries}
        for v in range(2)
    ]
    store.publish(states[0], 0)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(store.fd)],
        pass_fds=(store.fd,),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == "ready\n"
        version = 0
        while reader.poll() is None:
            version += 1
            for tensor in states[1].values():
                tensor.fill_(version)
            store.publish(states[1], version)
        mixed, backwards = json.loads(reader.stdout.readline())
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()
    assert (mixed, backwards) == (0, 0)
