"""Plays whole tasks with a batched controller and counts."""

from types import SimpleNamespace

import numpy as np


def play_tasks(vector_type, controller, n, k, steps, width, seed=0, **kwargs):
    """Return how ``n`` tasks went: success, completed, returns of the subtasks, unsafe ends."""
    vector = vector_type(num_envs=n, k=k, bonus=0.0, **kwargs)
    obs, info = vector.reset(seed=seed)
    rng = np.random.default_rng(seed)
    subtask, alive = info["subtask"].copy(), np.ones(n, bool)
    completed, total, unsafe, returns = np.zeros(n), np.zeros(n), 0, []
    by_subtask = {}
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (n, width)).astype(np.float32)
        if controller is not None:
            actions = controller(subtask, obs)
        obs, reward, terminated, truncated, info = vector.step(actions)
        total[alive] += reward[alive]
        over = (terminated | truncated) & alive
        for row in np.flatnonzero((info["exit"] | over) & alive):
            returns.append(total[row])
            by_subtask.setdefault(int(subtask[row]), []).append(total[row])
            total[row] = 0
        completed[over] = info["completed"][over]
        unsafe += int((info["unsafe"] & alive).sum())
        alive &= ~over
        subtask = info["subtask"].copy()
        if not alive.any():
            break
    assert not alive.any()
    return SimpleNamespace(
        success=(completed >= k).mean(), completed=completed.mean(), returns=returns,
        unsafe=unsafe, by_subtask=by_subtask,
    )  # fmt: skip
