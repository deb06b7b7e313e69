"""Recorded device work: replays, shared memory, and old graphs that die while one is recorded."""

from __future__ import annotations

import pytest
import torch

from rlcore.ops.cuda_graph import WARM_UPS, record_graph


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_survives_the_death_of_another_while_it_is_recorded() -> None:
    device = torch.device("cuda")
    x = torch.zeros(4, device=device)

    class Cycle:
        """Is freed by a collection alone."""

        def __init__(self) -> None:
            self.me = self
            self.graph = record_graph(lambda: x.add_(1), device)

    Cycle()
    x.zero_()
    calls = []

    def work() -> None:
        calls.append(None)
        # Enough garbage for a collection in each generation.
        kept = [[i] for i in range(100_000)]
        x.add_(len(kept[0]))

    graph = record_graph(work, device)
    assert len(calls) == WARM_UPS + 1
    assert x.tolist() == [float(WARM_UPS)] * 4
    graph.replay()
    graph.replay()
    assert x.tolist() == [WARM_UPS + 2.0] * 4
