"""Held-out loss of a language model, measured between updates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from agents.lm.agent import LMAgent
    from rlcore.data.tokens.rows import RowReader

Arrays = dict[str, np.ndarray[Any, Any]]


class HeldOut:
    """Measures a network on held-out rows: the same rows, and masks, each time.

    Args:
        agent: Gives the loss.
        reader: The rows; all of an epoch are taken, in order.
        every: Updates between two measurements.
        batch: Rows of a forward pass.
        limit: Rows to take; all of them where ``None``.
        after: Called as ``after(network, update)`` behind each measurement.
    """

    def __init__(
        self,
        agent: LMAgent,
        reader: RowReader,
        *,
        every: int,
        batch: int,
        limit: int | None = None,
        after: Callable[[nn.Module, int], None] | None = None,
    ) -> None:
        self.agent = agent
        self.reader = reader
        self.every = every
        self.batch = batch
        self.rows = reader.rows if limit is None else min(limit, reader.rows)
        self.after = after

    def __call__(self, network: nn.Module, update: int) -> dict[str, float]:
        """Return ``eval/loss`` in nats a token, perplexity, and the tokens they are means over."""
        started = time.monotonic()
        loss, weight = self.measure(network)
        if self.after is not None:
            with evaluating(network):
                self.after(network, update)
        return {
            "eval/loss": loss,
            "eval/perplexity": math.exp(min(loss, 700.0)),
            "eval/tokens": weight,
            "eval/seconds": time.monotonic() - started,
        }

    def measure(self, network: nn.Module) -> tuple[float, float]:
        """Return the mean loss over all rows and its weight."""
        device = next(network.parameters()).device
        total = torch.zeros((), dtype=torch.float64, device=device)
        weight = torch.zeros((), dtype=torch.float64, device=device)
        with evaluating(network):
            for batch in self._batches(device):
                output = self.agent.held_out_loss(network, batch)
                total += output.loss.double() * output.weight
                weight += output.weight
        return float(total / weight), float(weight)

    def _batches(self, device: torch.device) -> Iterator[dict[str, Tensor]]:
        fields = self.reader.layout.fields()
        for first in range(0, self.rows, self.batch):
            count = min(self.batch, self.rows - first)
            arrays: Arrays = {n: np.zeros(f.full_shape(1, count), f.dtype) for n, f in
                              fields.items()}  # fmt: skip
            self.reader.read(first, arrays)
            batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            yield batch | {"noise": torch.arange(first, first + count)}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, without gradients, and back into what it was in."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
