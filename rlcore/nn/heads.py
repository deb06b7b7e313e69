"""Action heads: a linear layer whose outputs are the parameters of a distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.nn.config import NetworkConfig
from rlcore.nn.init import initialize
from rlcore.ops.distributions import categorical, gaussian

POLICY_GAIN = 0.01
MIN_VARIANCE = 1e-6


class CategoricalHead(nn.Module):
    """A choice among ``num_actions``; the outputs are logits.

    Args:
        inputs: Width of the features.
        num_actions: Number of actions ``A``.
        init: See :func:`rlcore.nn.init.initialize`.
    """

    def __init__(self, inputs: int, num_actions: int, init: str) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, num_actions)
        initialize(self.linear, init, POLICY_GAIN)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``(action, log_prob)`` for outputs ``[..., A]``."""
        return categorical.sample(outputs, generator)

    def mode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most probable action and its log-probability."""
        return categorical.mode(outputs)

    def log_prob_and_entropy(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``log pi(action)`` and the entropy in nats."""
        return categorical.log_prob_and_entropy(outputs, action)


class GaussianHead(nn.Module):
    """A real vector from a Gaussian; the mean is linear in the features.

    Args:
        inputs: Width of the features.
        size: Dimensions ``A`` of the action.
        std: ``"parameter"``: a learned log standard deviation for each dimension, from 0;
            ``"softplus"``: one variance for all, softplus of a linear output (Mnih et al. 2016,
            section 9).
        init: See :func:`rlcore.nn.init.initialize`.
    """

    def __init__(self, inputs: int, size: int, std: str, init: str) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(inputs, size + (std == "softplus"))
        initialize(self.linear, init, POLICY_GAIN)
        self.log_std = nn.Parameter(torch.zeros(size)) if std == "parameter" else None

    def mean_and_log_std(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distribution's mean ``[..., A]`` and log standard deviation."""
        mean = outputs[..., : self.size]
        if self.log_std is not None:
            return mean, self.log_std
        variance = F.softplus(outputs[..., self.size :]) + MIN_VARIANCE
        return mean, (0.5 * variance.log()).expand_as(mean)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``(action, log_prob)``: ``[..., A]`` and the joint log-density ``[...]``."""
        return gaussian.sample(*self.mean_and_log_std(outputs), generator)

    def mode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and its log-density."""
        return gaussian.mode(*self.mean_and_log_std(outputs))

    def log_prob_and_entropy(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joint log-density of ``action`` and the differential entropy in nats."""
        mean, log_std = self.mean_and_log_std(outputs)
        return gaussian.log_prob(mean, log_std, action), gaussian.entropy(mean, log_std)


def build_head(
    config: NetworkConfig, inputs: int, num_actions: int | None, action_shape: tuple[int, ...]
) -> CategoricalHead | GaussianHead:
    """Return the head for ``num_actions`` discrete actions, or for real vectors where ``None``.

    Raises:
        ConfigError: There are no actions, or an action is not a vector.
    """
    if num_actions is not None:
        if num_actions < 1:
            raise ConfigError(f"a discrete action set wants n >= 1 actions, got {num_actions}")
        return CategoricalHead(inputs, num_actions, config.init)
    if len(action_shape) != 1 or action_shape[0] < 1:
        raise ConfigError(f"continuous actions must be vectors [A], got shape {action_shape}")
    return GaussianHead(inputs, action_shape[0], config.std, config.init)
