"""Readable twins of the return estimators, in the order of the papers' formulas."""

from __future__ import annotations

import torch
from torch import Tensor


def vtrace_reference(
    log_rhos: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
    rho_bar: float,
    c_bar: float,
    rho_pg_bar: float,
) -> tuple[Tensor, Tensor]:
    """Return ``(vs, pg_advantages)`` by remark 1 of Espeholt et al. (2018)."""
    ratio = log_rhos.exp()
    masked = ratio == 0
    rho, c = ratio.clamp(max=rho_bar), lam * ratio.clamp(max=c_bar)
    cut = (~(terminated | truncated)).to(values.dtype)
    next_values = torch.where(terminated, torch.zeros_like(next_values), next_values)
    delta = (rho * (rewards + gamma * next_values - values)).masked_fill(masked, 0.0)

    vs, targets = torch.empty_like(values), torch.empty_like(values)
    excess = torch.zeros_like(values[0])  # v_{t+1} - V(x_{t+1}); zero at the fragment's end
    for t in reversed(range(len(values))):
        if t + 1 < len(values):
            targets[t] = torch.where(cut[t] > 0, vs[t + 1], next_values[t])
        else:
            targets[t] = next_values[t]
        excess = delta[t] + gamma * cut[t] * c[t] * excess
        vs[t] = values[t] + excess
    q = rewards + gamma * targets
    return vs, (ratio.clamp(max=rho_pg_bar) * (q - values)).masked_fill(masked, 0.0)


def vtrace_double_sum(
    log_rhos: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
    rho_bar: float,
    c_bar: float,
) -> Tensor:
    """Return ``vs`` by the definition, equation 1 of Espeholt et al. (2018), in O(T^2).

    ``v_s = V(x_s) + sum_{t >= s} gamma^{t-s} (prod_{i=s}^{t-1} c_i) delta_t``, where the sum ends
    with the episode.
    """
    steps, width = values.shape
    vs = values.clone()
    for b in range(width):
        for s in range(steps):
            trace = 1.0
            for t in range(s, steps):
                after = 0.0 if terminated[t, b] else float(next_values[t, b])
                ratio = float(log_rhos[t, b].exp())
                error = float(rewards[t, b]) + gamma * after - float(values[t, b])
                vs[s, b] += gamma ** (t - s) * trace * min(rho_bar, ratio) * error
                if terminated[t, b] or truncated[t, b]:
                    break
                trace *= lam * min(c_bar, ratio)
    return vs


def gae_reference(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Return the advantages of equation 16 of Schulman et al. (2016)."""
    cut = (~(terminated | truncated)).to(values.dtype)
    next_values = torch.where(terminated, torch.zeros_like(next_values), next_values)
    advantages = torch.empty_like(values)
    after = torch.zeros_like(values[0])
    for t in reversed(range(len(values))):
        delta = rewards[t] + gamma * next_values[t] - values[t]
        after = delta + gamma * lam * cut[t] * after
        advantages[t] = after
    return advantages


def n_step_reference(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    n: int,
) -> Tensor:
    """Return ``R_t = sum_{k < m} gamma^k r_{t+k} + gamma^m V`` with ``m`` up to ``n`` steps."""
    steps, width = rewards.shape
    returns = torch.zeros_like(rewards)
    for b in range(width):
        for s in range(steps):
            for t in range(s, min(s + n, steps)):
                returns[s, b] += gamma ** (t - s) * rewards[t, b]
                done = bool(terminated[t, b] or truncated[t, b])
                if done or t + 1 == min(s + n, steps):
                    if not terminated[t, b]:
                        returns[s, b] += gamma ** (t - s + 1) * next_values[t, b]
                    break
    return returns
