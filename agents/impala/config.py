"""Settings of IMPALA; importing this module loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from rlcore.data.env_spec import EnvSpec
from rlcore.errors import ConfigError
from rlcore.nn.config import NetworkConfig
from rlcore.ops.policy_loss.limits import (
    check_at_least,
    check_choice,
    check_positive,
    check_share,
)

if TYPE_CHECKING:
    from agents.impala.agent import ImpalaAgent

Correction = Literal["vtrace", "one_step_is", "epsilon", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImpalaConfig:
    """Actor-critic with V-trace (Espeholt et al. 2018); defaults as in its Atari experiments.

    Attributes:
        gamma: Discount, in [0, 1].
        unroll: Steps in a fragment.
        entropy_coef: Weight of the entropy bonus at the start of the run.
        entropy_coef_end: Its weight at the end of the step budget, reached linearly; null keeps it
            constant.
        value_coef: Weight of the value loss ``(v - V)^2 / 2``.
        rho_bar: Truncation of the importance weight in temporal differences; decides the fixed
            point. At least ``c_bar``.
        c_bar: Truncation of the importance weight in traces; decides the speed.
        lam: Trace decay, in [0, 1].
        rho_pg_bar: Truncation of the importance weight of the policy gradient.
        correction: ``vtrace``; ``one_step_is``, plain returns with a weighted policy gradient;
            ``epsilon``, no correction but 1e-6 added inside the logarithm of the policy; ``none``.
        reward_clip: Rewards are clipped to ``[-reward_clip, reward_clip]`` in the loss (1 in the
            Atari experiments); null leaves them as they are. Reported returns are never clipped.
        normalize_advantages: Whether advantages get mean 0 and standard deviation 1 in each batch.
        reduction: ``sum`` over the transitions of a batch, as in the authors' release, or ``mean``.
            The learning rate is meant for one of them.
        network: The network.
    """

    gamma: float = 0.99
    unroll: int = 20
    entropy_coef: float = 0.01
    entropy_coef_end: float | None = None
    value_coef: float = 0.5
    rho_bar: float = 1.0
    c_bar: float = 1.0
    lam: float = 1.0
    rho_pg_bar: float = 1.0
    correction: Correction = "vtrace"
    reward_clip: float | None = None
    normalize_advantages: bool = False
    reduction: Literal["sum", "mean"] = "sum"
    network: NetworkConfig = field(default_factory=NetworkConfig)

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_share("gamma", self.gamma)
        check_share("lam", self.lam)
        check_at_least("unroll", self.unroll, 1)
        check_at_least("entropy_coef", self.entropy_coef, 0.0)
        check_at_least("entropy_coef_end", self.entropy_coef_end, 0.0)
        check_at_least("value_coef", self.value_coef, 0.0)
        check_positive("reward_clip", self.reward_clip)
        check_choice("correction", self.correction, get_args(Correction))
        check_choice("reduction", self.reduction, ("sum", "mean"))
        for name in ("rho_bar", "c_bar", "rho_pg_bar"):
            value = getattr(self, name)
            if math.isnan(value) or value < 0.0:
                raise ConfigError(f"{name} must be >= 0, got {value}")
        if self.rho_bar < self.c_bar:
            raise ConfigError(
                f"rho_bar must be >= c_bar, got rho_bar={self.rho_bar} and c_bar={self.c_bar}"
            )

    def build(self, env_spec: EnvSpec) -> ImpalaAgent:
        """Return the agent for an environment.

        Raises:
            ConfigError: The network does not fit the observations or actions.
        """
        from agents.impala.agent import ImpalaAgent

        return ImpalaAgent(self, env_spec)
