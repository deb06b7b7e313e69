"""A policy that decides nothing and learns almost nothing: what is left is the data path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rlcore.data.env_spec import DiscreteActions, EnvSpec
from rlcore.errors import ConfigError

if TYPE_CHECKING:
    from experiments.bench.dummy_agent import DummyAgent


@dataclass(frozen=True, kw_only=True, slots=True)
class DummyConfig:
    """Acts uniformly at random and trains one number; for measuring the data path.

    Attributes:
        unroll: Steps in a fragment.
    """

    unroll: int = 32

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.unroll < 1:
            raise ConfigError(f"unroll must be >= 1, got {self.unroll}")

    def build(self, env_spec: EnvSpec) -> DummyAgent:
        """Return the agent."""
        from experiments.bench.dummy_agent import DummyAgent

        if not isinstance(env_spec.actions, DiscreteActions):
            raise ConfigError("the dummy agent needs discrete actions")
        return DummyAgent(self.unroll, env_spec.actions.n)
