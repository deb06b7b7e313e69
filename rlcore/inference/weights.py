"""Loading new weights while requests run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.branches import State
from rlcore.inference.errors import WeightUpdateError

if TYPE_CHECKING:
    from rlcore.inference.engine import Engine


class WeightUpdater:
    """Replaces the weights of an engine's model in place.

    ======================  ======================================================================
    mode                    requests that run
    ======================  ======================================================================
    ``drain``               are finished with the old weights first; those that wait, wait on
    ``recompute``           go on; their keys and values are computed again with the new weights
    ``keep_kv``             go on, with new weights on old keys and values
    ======================  ======================================================================

    Every token records the version that drew it. Cached blocks of older versions are given up.

    Args:
        engine: Whose weights.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def update(self, state: Mapping[str, Tensor], version: int, mode: str) -> None:
        """Load ``state``.

        Args:
            state: Names and tensors of all the module's parameters and buffers.
            version: Must be newer than the present one.
            mode: See the class.

        Raises:
            WeightUpdateError: Names, shapes or the version do not fit; nothing is changed then.
            ConfigError: The mode is unknown.
        """
        if mode not in ("drain", "recompute", "keep_kv"):
            raise ConfigError(f"mode must be drain, recompute or keep_kv, got {mode!r}")
        self._check(state, version)
        engine = self.engine
        if mode == "drain":
            self._finish_running()
        engine.drain()
        engine.runner.synchronize()
        self._load(state)
        engine.store.version = version
        if mode == "keep_kv":
            engine.store.forget()
            samples = engine.scheduler.samples.values()
            warm = {s for sample in samples for s in sample.stretches() if s.blocks}
            growing = {b.stretch for sample in samples for b in sample.in_state(State.DECODE)}
            engine.store.mark_mixed(warm | growing)
        else:
            engine.scheduler.restart()

    def _check(self, state: Mapping[str, Tensor], version: int) -> None:
        if version <= self.engine.version:
            raise WeightUpdateError(
                f"version {version} is not newer than the present one, {self.engine.version}"
            )
        own = self.engine.model.state_dict()
        if own.keys() != state.keys():
            raise WeightUpdateError(
                f"missing {sorted(own.keys() - state.keys())[:4]}, "
                f"unknown {sorted(state.keys() - own.keys())[:4]}"
            )
        for name, value in own.items():
            if state[name].shape != value.shape:
                raise WeightUpdateError(
                    f"{name} has shape {tuple(state[name].shape)}, wanted {tuple(value.shape)}"
                )

    @torch.no_grad()
    def _load(self, state: Mapping[str, Tensor]) -> None:
        """Copy in place: captured graphs keep the tensors' addresses."""
        for name, value in self.engine.model.state_dict().items():
            value.copy_(state[name], non_blocking=True)

    def _finish_running(self) -> None:
        self.engine.scheduler.paused = True
        try:
            while any(
                self.engine.scheduler.in_flight(sample)
                for sample in self.engine.scheduler.samples.values()
                if sample.finish_reason is None
            ):
                if not self.engine.step():
                    return  # what is left waits for its caller
        finally:
            self.engine.scheduler.paused = False
