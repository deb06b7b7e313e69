"""Settings of A3C; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rlcore.data.env_spec import EnvSpec
from rlcore.nn.config import NetworkConfig
from rlcore.ops.policy_loss.limits import (
    check_at_least,
    check_choice,
    check_positive,
    check_share,
)

if TYPE_CHECKING:
    from agents.a3c.agent import A3CAgent


@dataclass(frozen=True, kw_only=True, slots=True)
class A3CConfig:
    """Asynchronous advantage actor-critic (Mnih et al. 2016); defaults as in its Atari experiments.

    Attributes:
        gamma: Discount, in [0, 1].
        unroll: Steps between updates, ``t_max`` in the paper.
        entropy_coef: Weight of the entropy bonus at the start of the run.
        entropy_coef_end: Its weight at the end of the step budget, reached linearly; null keeps it
            constant.
        value_coef: Weight of the value loss ``(R - V)^2``.
        gae_lambda: Generalised advantages with this trace decay in the policy term; null for the
            paper's ``R - V``.
        reward_clip: Rewards are clipped to ``[-reward_clip, reward_clip]`` in the loss (1 in the
            Atari experiments); null leaves them as they are. Reported returns are never clipped.
        normalize_advantages: Whether advantages get mean 0 and standard deviation 1 in each batch.
        reduction: ``sum`` over the transitions of a batch, as in the paper, or ``mean``. The
            learning rate is meant for one of them.
        network: The network.
    """

    gamma: float = 0.99
    unroll: int = 5
    entropy_coef: float = 0.01
    entropy_coef_end: float | None = None
    value_coef: float = 0.5
    gae_lambda: float | None = None
    reward_clip: float | None = None
    normalize_advantages: bool = False
    reduction: Literal["sum", "mean"] = "sum"
    network: NetworkConfig = field(default_factory=NetworkConfig)

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_share("gamma", self.gamma)
        check_at_least("unroll", self.unroll, 1)
        check_at_least("entropy_coef", self.entropy_coef, 0.0)
        check_at_least("entropy_coef_end", self.entropy_coef_end, 0.0)
        check_at_least("value_coef", self.value_coef, 0.0)
        check_share("gae_lambda", self.gae_lambda)
        check_positive("reward_clip", self.reward_clip)
        check_choice("reduction", self.reduction, ("sum", "mean"))

    def build(self, env_spec: EnvSpec) -> A3CAgent:
        """Return the agent for an environment.

        Raises:
            ConfigError: The network does not fit the observations or actions.
        """
        from agents.a3c.agent import A3CAgent

        return A3CAgent(self, env_spec)
