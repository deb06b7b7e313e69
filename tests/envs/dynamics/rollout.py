"""Play a model of this family without Gymnasium around it."""

import numpy as np


def rollout(model, state, policy, steps):
    """Return the sums of rewards ``[n]``, the last state and the infos of all steps.

    ``policy(state)`` gives actions ``[n, ...]``.
    """
    total, infos = 0.0, []
    for _ in range(steps):
        actions = np.asarray(policy(state), np.float32)
        outcome = model.step(state, actions, [])
        state, total = outcome.state, total + outcome.reward
        infos.append(outcome.info)
    return total, state, infos


def starts(model, n, seed=0):
    """Return the starts of ``n`` episodes."""
    return model.start([np.random.default_rng([seed, k]) for k in range(n)], {})
