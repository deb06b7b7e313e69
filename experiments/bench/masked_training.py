"""Training of the masked-diffusion models that decoding is measured on.

On CUDA an update (draw of masks, forward, backward, AdamW) is one CUDA graph over a compiled loss;
rows are made by other processes beforehand and lie on the device.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from agents.lm.losses import (
    mask_probability,
    mask_tokens,
    masked_diffusion_loss,
    stratified_times,
)
from experiments.bench.masked_beds import BEDS, Bed
from rlcore.nn.transformer import Transformer

WARM_UP = 200
"""Updates over which the learning rate rises."""
CLIP = 1.0


@dataclass
class Trained:
    """A trained model and how it came about.

    Attributes:
        model: float32, in evaluation mode.
        seconds: Wall time of the updates, compilation included.
        losses: Means over spans of updates, first to last.
        detail: Settings and times.
    """

    model: Transformer
    seconds: float
    losses: list[float]
    detail: dict[str, Any] = field(default_factory=dict)


def make_rows(bed: Bed, n: int, seed: int, workers: int = 1) -> np.ndarray:
    """Return at least ``n`` training rows, int8 ``[m, P + L]``, made by some processes."""
    share = math.ceil(n / workers * 1.08)
    tasks = [(bed.name, share, seed, k) for k in range(workers)]
    if workers == 1:
        return _part(tasks[0])
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=fork) as pool:
        return np.concatenate(list(pool.map(_part, tasks)))


def _part(task: tuple[str, int, int, int]) -> np.ndarray:
    name, n, seed, index = task
    rng = np.random.default_rng([seed, 0, index])
    bed = BEDS[name]()
    chunks = [bed.train(rng, min(n - at, 50_000)) for at in range(0, n, 50_000)]
    return np.concatenate(chunks)


def loss_of(model: Transformer, rows: Tensor, prompt_length: int) -> Tensor:
    """Return the masked-diffusion loss of int8 rows ``[B, P + L]``; responses are maskable."""
    tokens = rows.long()
    targets = (torch.arange(tokens.shape[1], device=tokens.device) >= prompt_length).expand_as(
        tokens
    )
    u = torch.rand((), device=tokens.device)
    p = mask_probability(stratified_times(len(tokens), u))
    masked = mask_tokens(torch.rand(tokens.shape, device=tokens.device), p, targets)
    assert model.config.mask_id is not None
    seen = tokens.masked_fill(masked, model.config.mask_id)
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.is_cuda):
        hidden = model.hidden(seen)
        logits = model.head(hidden)
    log_probs = -cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none")
    return masked_diffusion_loss(log_probs.view(tokens.shape), masked, p, targets).loss


def train(
    bed: Bed,
    *,
    steps: int | None = None,
    batch: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    limit_s: float = math.inf,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train a model with AdamW and a cosine that ends at the last update.

    Args:
        bed: Task and model.
        steps: Updates; None takes the bed's.
        batch: Rows of an update; None takes the bed's.
        device: ``cpu`` or ``cuda``.
        seed: Of weights, rows and masks.
        limit_s: Wall time of the updates, compilation apart: where they take longer, there are
            fewer of them and the cosine ends at the last of those.
        workers: Processes that make rows.
        say: Receives progress.
    """
    steps, batch = steps or bed.steps, batch or bed.batch
    begin = time.perf_counter()
    rows = make_rows(bed, steps * batch, seed, workers)
    made = time.perf_counter() - begin
    torch.manual_seed(seed)
    model = Transformer(bed.model)
    if bed.torch_init:
        use_torch_init(model)
    model = model.to(device)
    model.attention_backend = "torch"  # rows are shorter than one tile of the others
    pool = torch.from_numpy(rows[: len(rows) // batch * batch]).to(device)
    begin = time.perf_counter()
    update = _Update(model, pool, batch, bed)
    losses, span = [], max(1, steps // 20)
    done, started = 0, time.perf_counter()
    while done < steps:
        total = torch.zeros((), device=device)
        count = min(span, steps - done)
        for step in range(done, done + count):
            total += update(step, _rate(bed.lr, step, steps))
        losses.append(float(total) / count)  # waits for the device, before the clock is read
        done += count
        steps = affordable(done, steps, time.perf_counter() - started, limit_s)
        say(f"{bed.name}: {done} of {steps}, loss {losses[-1]:.4f}, "
            f"{time.perf_counter() - begin:.1f} s")  # fmt: skip
    seconds = time.perf_counter() - begin
    detail = {
        "steps": done, "batch": batch, "lr": bed.lr, "seed": seed, "rows_s": made,
        "parameters": sum(p.numel() for p in model.parameters()), "graph": update.graph is not None,
        "set_up_s": update.set_up_s,
    }  # fmt: skip
    return Trained(model.eval().requires_grad_(False), seconds, losses, detail)


def use_torch_init(model: Transformer) -> None:
    """Draw weights as ``nn.Linear`` and ``nn.Embedding`` do: wider, and alike in all layers."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.reset_parameters()


def affordable(done: int, steps: int, spent_s: float, limit_s: float) -> int:
    """Return how many updates there will be: at most ``steps``, at the pace until now in time."""
    if math.isinf(limit_s):
        return steps
    return max(done, min(steps, int(done * limit_s / spent_s)))


def _rate(peak: float, step: int, steps: int) -> float:
    warm = min(WARM_UP, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class _Update:
    """One update: plain on a CPU, a CUDA graph of a compiled loss on a GPU."""

    def __init__(self, model: Transformer, pool: Tensor, batch: int, bed: Bed) -> None:
        begin = time.perf_counter()
        self.pool, self.batch, self.bed = pool, batch, bed
        self.model = model
        cuda = pool.is_cuda
        self.rate = torch.tensor(0.0, device=pool.device)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=self.rate if cuda else 0.0,
            weight_decay=bed.weight_decay,
            fused=cuda,
            capturable=cuda,
        )
        self.offset = torch.zeros((), dtype=torch.int64, device=pool.device)
        self.loss_fn: Any = torch.compile(loss_of) if cuda else loss_of
        self.loss = torch.zeros((), device=pool.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        if cuda:
            self._capture()
        self.set_up_s = time.perf_counter() - begin

    def _capture(self) -> None:
        saved = {name: value.clone() for name, value in self.model.state_dict().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._run()
        self._check_masks()
        # The updates made until here never were: the same tensors start again.
        self.model.load_state_dict(saved)
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def _check_masks(self) -> None:
        """Refuse a graph that draws the same masks at each replay; the rate is 0 until now."""
        assert self.graph is not None
        seen = []
        for _ in range(2):
            self.graph.replay()
            seen.append(float(self.loss))
        if seen[0] == seen[1]:
            raise RuntimeError(f"two replays of an update drew the same masks: loss {seen[0]}")

    def _run(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        index = torch.arange(self.batch, device=self.pool.device) + self.offset
        rows = self.pool.index_select(0, index % len(self.pool))
        loss = self.loss_fn(self.model, rows, self.bed.prompt_length)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.loss.copy_(loss.detach())

    def __call__(self, step: int, rate: float) -> Tensor:
        """Make update ``step`` at a learning rate; return the loss, overwritten by the next."""
        self.offset.fill_(step * self.batch)
        if self.graph is not None:
            self.rate.fill_(rate)
            self.graph.replay()
        else:
            self.optimizer.param_groups[0]["lr"] = rate
            self._run()
        return self.loss


def cores() -> int:
    """Return the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))
