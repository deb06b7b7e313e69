"""What every learner must do, whatever it is made of: one check a promise.

``CHECKS`` holds functions of a :class:`LearnerConfig` that raise :class:`ConformanceError`. A new
estimator, optimizer or parallelism passes all of them before it is used; the tests run them on
every registered combination.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rlcore.errors import LearnerError, NonFiniteError, RlcoreError
from rlcore.learners.base import Batch, GradStamp, LossOutput
from rlcore.learners.composed import ComposedLearner
from rlcore.learners.config import LearnerConfig
from rlcore.learners.errors import (
    EmptyBatchError,
    LossOutputError,
    NoGradientError,
    ParameterError,
)


class ConformanceError(RlcoreError):
    """A learner broke a promise that all learners make."""


class ToyNetwork(nn.Module):
    """Two layers, a frozen parameter and one that no loss reaches."""

    def __init__(self, dtype: torch.dtype, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def values(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.body = nn.Parameter(values(5, 3))
        self.bias = nn.Parameter(values(5))
        self.unused = nn.Parameter(values(7))
        self.frozen = nn.Parameter(values(2), requires_grad=False)
        self.head = nn.Parameter(values(2, 5))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, 2]`` for ``[B, 3]``."""
        return torch.tanh(x @ self.body.T + self.bias) @ self.head.T + self.frozen


def toy_batch(seed: int, rows: int = 6, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return inputs ``x`` ``[B, 3]`` and rewards ``reward`` ``[B, 2]``."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    reward = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    return {"x": x.to(dtype), "reward": reward.to(dtype)}


def toy_loss(network: nn.Module, batch: Batch) -> LossOutput:
    """Return the mean squared error; the weight is the number of rows."""
    error = (network(batch["x"]) - batch["reward"]).square().sum(-1)
    rows = torch.tensor(float(len(error)), dtype=torch.float64)
    return LossOutput(error.sum() / max(len(error), 1), rows, {"loss/value": error.detach().mean()})


def endless_gradient(network: nn.Module, batch: Batch) -> LossOutput:
    """Return a finite loss with a NaN in the gradient of ``bias``."""
    output = toy_loss(network, batch)
    root = network.get_parameter("bias")[0].mul(0.0).sqrt()
    return replace(output, loss=output.loss + root * 0.0)


def make(config: LearnerConfig, dtype: torch.dtype = torch.float64) -> ComposedLearner:
    """Return a learner of a toy network."""
    return config.build(ToyNetwork(dtype))


def contents(learner: ComposedLearner) -> dict[str, Tensor]:
    """Return copies of all tensors that training changes."""
    state = learner.state_dict()
    slots = state["optimizer"]["state"]
    moments = {f"{slot} of {name}": v for slot in slots for name, v in slots[slot].items()}
    return {**state["network"], **moments}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def _require_equal(got: dict[str, Tensor], wanted: dict[str, Tensor], what: str) -> None:
    _require(set(got) == set(wanted), f"{what}: {sorted(set(got) ^ set(wanted))} on one side only")
    for name, value in wanted.items():
        _require(torch.equal(got[name], value), f"{what}: {name!r} differs")


def check_version(config: LearnerConfig) -> None:
    """An applied update moves the parameters and raises ``version`` by exactly one."""
    for dtype in (torch.float32, torch.float64):
        learner = make(config, dtype)
        for step in range(1, 4):
            before = contents(learner)
            report = learner.update(toy_batch(step, dtype=dtype), toy_loss)
            _require(int(report.version) == learner.version == step, "version is not +1 an update")
            _require(not report.skipped, "an update with finite loss and gradient was skipped")
            moved = (learner.network.get_parameter("head") - before["head"]).abs().sum()
            _require(bool(moved > 0), "an update left the parameters as they were")
            _require(float(report.update_norm) > 0, "the reported update norm is 0")


def check_resume(config: LearnerConfig) -> None:
    """Saved after 7 updates and restored elsewhere, updates 8 to 20 give the same bits."""
    config = replace(config, on_nonfinite="skip", max_consecutive_skips=5)
    straight = make(config)
    for step in range(7):
        straight.update(toy_batch(step), endless_gradient if step in (2, 6) else toy_loss)
    saved = straight.state_dict()
    resumed = config.build(ToyNetwork(torch.float64, seed=99))
    resumed.update(toy_batch(99), toy_loss)
    resumed.load_state_dict(saved)
    _require_equal(contents(resumed), contents(straight), "restored state")
    for step in range(7, 20):
        for learner in (straight, resumed):
            learner.update(toy_batch(step), toy_loss)
    _require_equal(contents(resumed), contents(straight), "after resuming")
    _require(resumed.version == straight.version == 18, "versions differ after resuming")
    _require(resumed.skipped == straight.skipped == 2, "skip counts differ after resuming")


def check_delay(config: LearnerConfig) -> None:
    """Reported delays are the versions that passed between pull and update of each worker."""
    learner = make(config)
    script = "aabcbdaacddbcaabbdcad"
    pulled = dict.fromkeys("abcd", 0)
    since = dict.fromkeys("abcd", 0)
    for step, worker in enumerate(script):
        stamp = GradStamp(pulled[worker], worker)
        loss = endless_gradient if step == 5 and config.on_nonfinite == "skip" else toy_loss
        report = learner.update(toy_batch(step), loss, stamp=stamp)
        wanted = since[worker]
        _require(
            int(report.delay) == wanted, f"update {step}: delay {report.delay} is not {wanted}"
        )
        for other in since:
            since[other] += not report.skipped
        pulled[worker], since[worker] = learner.version, 0


def check_untouched(config: LearnerConfig) -> None:
    """Frozen parameters and such without a gradient keep their value and optimizer state."""
    learner = make(config)
    before = contents(learner)
    for step in range(3):
        learner.update(toy_batch(step), toy_loss)
    after = contents(learner)
    still = [name for name in before if name.endswith(("unused", "frozen"))]
    _require(len(still) == 2 + len(learner.rule.state), "state of the unused parameter is missing")
    for name in still:
        _require(torch.equal(after[name], before[name]), f"{name!r} was changed")


def check_skip(config: LearnerConfig) -> None:
    """A non-finite loss or gradient changes nothing and is counted; too many in a row raise."""
    learner = make(replace(config, on_nonfinite="skip", max_consecutive_skips=3))
    bad = toy_batch(1)
    bad["reward"][2, 1] = math.nan
    learner.update(toy_batch(0), toy_loss)
    before = contents(learner)
    for batch, loss in ((bad, toy_loss), (toy_batch(1), endless_gradient)):
        report = learner.update(batch, loss)
        _require(bool(report.skipped), "a non-finite update was not reported as skipped")
        _require_equal(contents(learner), before, "after a skipped update")
    _require(learner.version == 1 and learner.skipped == 2, "skips are miscounted")
    learner.update(toy_batch(2), toy_loss)
    _expect(NonFiniteError, "'reward'] at [2, 1]", lambda: _repeat(learner, bad, 4))
    _require(learner.skipped == 5, f"3 skips in a row must raise, got {learner.skipped - 2}")


def check_raise_and_zero(config: LearnerConfig) -> None:
    """``raise`` stops at the first bad update; ``zero`` takes bad entries of a gradient as 0."""
    learner = make(replace(config, on_nonfinite="raise"))
    before = contents(learner)
    _expect(
        NonFiniteError,
        "gradient of 'bias'",
        lambda: [learner.update(toy_batch(i), endless_gradient) for i in range(2)],
    )
    _require_equal(contents(learner), before, "after a raised update")
    learner = make(replace(config, on_nonfinite="zero"))
    report = learner.update(toy_batch(0), endless_gradient)
    _require(not report.skipped and learner.version == 1, "'zero' skipped a bad gradient")
    _require(learner.tally.zeroed == 1, "'zero' did not count")
    finite = all(bool(value.isfinite().all()) for value in contents(learner).values())
    _require(finite, "'zero' let a non-finite entry through")


def check_merge(config: LearnerConfig) -> None:
    """Parts of unequal weight, merged, are the whole batch to 1e-12."""
    whole, parts = make(config), make(config)
    for step in range(3):
        batch = toy_batch(step, rows=9)
        cuts = [{k: v[a:b] for k, v in batch.items()} for a, b in ((0, 1), (1, 4), (4, 9))]
        one, many = whole.update(batch, toy_loss), parts.update(cuts, toy_loss)
        _require(abs(float(one.loss) - float(many.loss)) < 1e-12, "merged losses differ")
    gap = (whole.theta - parts.theta).abs().max()
    _require(float(gap) < 1e-12, f"merged gradients are {float(gap):.3g} off")


def check_bad_input(config: LearnerConfig) -> None:
    """What cannot be trained on is refused by name, and changes nothing."""
    learner = make(config)
    before = contents(learner)
    good = toy_batch(0)
    fixed = LossOutput(torch.tensor(1.0), torch.tensor(6.0))
    cases: list[tuple[type[LearnerError], str, Any, Callable[[nn.Module, Batch], Any]]] = [
        (EmptyBatchError, "weight 0", toy_batch(0, rows=0), toy_loss),
        (EmptyBatchError, "no fields", {}, toy_loss),
        (EmptyBatchError, "no batch", [], toy_loss),
        (NoGradientError, "does not require", good, lambda n, b: fixed),
        (LossOutputError, r"loss has shape (6, 2)", good, _unreduced),
        (LossOutputError, "weight is a float", good, _weight_as_number),
        (LossOutputError, "Tensor; wanted LossOutput", good, lambda n, b: toy_loss(n, b).loss),
    ]
    for kind, words, batch, loss in cases:
        _expect(kind, words, lambda b=batch, f=loss: learner.update(b, f))  # type: ignore[misc]
        _require_equal(contents(learner), before, f"after {kind.__name__}")
    _require(learner.version == 0, "a refused batch counted as an update")
    network = ToyNetwork(torch.float64)
    network.register_parameter("count", nn.Parameter(torch.tensor([1, 2]), requires_grad=False))
    _expect(ParameterError, "'count' is torch.int64", lambda: config.build(network))
    learner.network.get_parameter("head").data = torch.zeros(3, 5, dtype=torch.float64)
    _expect(ParameterError, "'head' has shape (3, 5)", lambda: learner.update(good, toy_loss))


def check_memory(config: LearnerConfig) -> None:
    """What a learner keeps beyond the parameters is what it declares."""
    network = nn.Linear(200, 200)
    network.get_parameter("weight").grad = None
    before = _tensor_bytes()
    learner = config.build(network)
    batch = {"x": torch.randn(2, 200)}

    def loss(module: nn.Module, batch: Batch) -> LossOutput:
        return LossOutput(module(batch["x"]).square().mean(), torch.tensor(2.0))

    for _ in range(3):
        learner.update(batch, loss)
    for parameter in network.parameters():
        parameter.grad = None
    used = _tensor_bytes() - before
    declared = learner.declared_state_bytes()
    _require(used <= declared + 8192, f"learner keeps {used} bytes; declared {declared}")


def _tensor_bytes() -> int:
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if type(found) in (Tensor, nn.Parameter) and found.layout == torch.strided:
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _unreduced(network: nn.Module, batch: Batch) -> LossOutput:
    return replace(toy_loss(network, batch), loss=network(batch["x"]))


def _weight_as_number(network: nn.Module, batch: Batch) -> Any:
    return replace(toy_loss(network, batch), weight=6.0)  # type: ignore[arg-type]


def _repeat(learner: ComposedLearner, batch: Batch, times: int) -> None:
    for _ in range(times):
        learner.update(batch, toy_loss)


def _expect(kind: type[RlcoreError], words: str, call: Callable[[], object]) -> None:
    try:
        call()
    except RlcoreError as error:
        name = type(error).__name__
        _require(isinstance(error, kind), f"{name} was raised; wanted {kind.__name__}")
        _require(words in str(error), f"{name} says {error}; wanted {words!r} in it")
        return
    raise ConformanceError(f"{kind.__name__} ({words}) was not raised")


CHECKS: dict[str, Callable[[LearnerConfig], None]] = {
    "version": check_version,
    "resume": check_resume,
    "delay": check_delay,
    "untouched": check_untouched,
    "skip": check_skip,
    "raise_and_zero": check_raise_and_zero,
    "merge": check_merge,
    "bad_input": check_bad_input,
    "memory": check_memory,
}
"""Every check by name."""
