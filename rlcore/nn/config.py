"""Settings of an actor-critic network; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from rlcore.errors import ConfigError

TorsoType = Literal["mlp", "atari", "impala"]
Activation = Literal["tanh", "relu"]
Init = Literal["orthogonal", "default"]
Std = Literal["parameter", "softplus"]

MAX_WIDTH = 65_536
_HIDDEN: dict[str, tuple[int, ...]] = {"mlp": (64, 64), "atari": (256,), "impala": (256,)}


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """How policy and value are computed from an observation.

    Attributes:
        type: ``mlp``; ``atari``, the convolutions of A3C (16 8x8/4, 32 4x4/2); or ``impala``, the
            deep residual network of IMPALA (16, 32, 32 channels).
        hidden: Sizes of the dense layers (after the convolutions, if any); null for [64, 64] in an
            ``mlp`` and [256] in the others.
        activation: ``tanh`` or ``relu``, between the layers of an ``mlp``; the others use ReLU.
        init: ``orthogonal`` (gain sqrt 2; 0.01 for the policy head, 1 for the value head) or
            ``default``, torch's own.
        lstm: Cells of an LSTM after the dense layers; null for a network without memory.
        shared_trunk: Whether policy and value share all layers but the last; false gives each its
            own.
        std: Standard deviation of continuous actions: ``parameter``, one learned number for each
            dimension; or ``softplus``, one variance for all dimensions that depends on the state.
    """

    type: TorsoType = "mlp"
    hidden: tuple[int, ...] | None = None
    activation: Activation = "tanh"
    init: Init = "orthogonal"
    lstm: int | None = None
    shared_trunk: bool = True
    std: Std = "parameter"

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        choices = {"type": TorsoType, "activation": Activation, "init": Init, "std": Std}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ConfigError(f"{name} must be one of {get_args(allowed)}, got {value!r}")
        if self.hidden is not None:
            object.__setattr__(self, "hidden", tuple(self.hidden))
            if not all(1 <= size <= MAX_WIDTH for size in self.hidden):
                raise ConfigError(
                    f"hidden sizes must be >= 1 and <= {MAX_WIDTH}, got {list(self.hidden)}"
                )
        if self.lstm is not None and not 1 <= self.lstm <= MAX_WIDTH:
            raise ConfigError(f"lstm must be >= 1 and <= {MAX_WIDTH} or null, got {self.lstm}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the dense layers."""
        return _HIDDEN[self.type] if self.hidden is None else self.hidden

    @property
    def core_sizes(self) -> tuple[int, ...]:
        """Widths of the recurrent state's tensors: (h, c) for each trunk that has an LSTM."""
        if self.lstm is None:
            return ()
        return (self.lstm,) * (2 if self.shared_trunk else 4)
