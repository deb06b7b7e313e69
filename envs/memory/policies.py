"""Scripted players of this family, for reference returns.

Each is called with the plain environment and returns ``policy(obs, info) -> action``; it remembers
what it has seen, and is made anew for each episode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from envs.dynamics.lqr import discrete_gain
from envs.memory import key_door, stateless_cartpole, t_maze

Policy = Callable[[np.ndarray, dict[str, Any]], int]
Env = gymnasium.Env[Any, Any]


def make_t_maze_recall(env: Env) -> Policy:
    """Return the policy that keeps the cue; it returns 1."""
    cue: list[int] = []

    def policy(obs: np.ndarray, info: dict[str, Any]) -> int:
        cue.append(int(obs.argmax()))
        return (t_maze.NORTH, t_maze.SOUTH)[cue[0]] if cue[-1] == 3 else t_maze.EAST

    return policy


def make_t_maze_memoryless(env: Env) -> Policy:
    """Return the best policy without memory: it always turns north, and returns 0.45."""
    return lambda obs, info: t_maze.NORTH if obs[3] else t_maze.EAST


def make_memory_chain_recall(env: Env) -> Policy:
    """Return the policy that keeps the bit; it returns 1."""
    seen: list[float] = []

    def policy(obs: np.ndarray, info: dict[str, Any]) -> int:
        seen.append(float(obs[0]))
        return int(seen[0] > 0)

    return policy


def make_repeat_previous_recall(env: Env) -> Policy:
    """Return the policy that keeps the last k + 1 suits; it returns 1."""
    k = env.unwrapped.model.k  # type: ignore[attr-defined]
    suits: deque[int] = deque(maxlen=k + 1)

    def policy(obs: np.ndarray, info: dict[str, Any]) -> int:
        suits.append(int(obs.argmax()))
        return suits[0]

    return policy


def make_repeat_previous_memoryless(env: Env) -> Policy:
    """Return a best policy without memory: it names the suit after the one that it sees."""
    return lambda obs, info: int((obs.argmax() + 1) % 4)


def make_cartpole_differences(env: Env) -> Policy:
    """Return the regulator of the pole that takes speeds from the last two observations."""
    gain = _cartpole_gain()
    last: list[np.ndarray] = []

    def policy(obs: np.ndarray, info: dict[str, Any]) -> int:
        now = np.asarray(obs, np.float64)
        speed = (now - last[0]) / stateless_cartpole.TAU if last else np.zeros(2)
        last[:] = [now]
        return int(gain @ (now[0], speed[0], now[1], speed[1]) < 0)

    return policy


def make_cartpole_memoryless(env: Env) -> Policy:
    """Return the policy that pushes to the side to which the pole leans."""
    return lambda obs, info: int(obs[1] > 0)


def _cartpole_gain() -> np.ndarray:
    c = stateless_cartpole
    ratio = c.HALF * (4 / 3 - c.POLE / c.MASS)
    lift, turn = c.GRAVITY / ratio, -1 / (c.MASS * ratio)
    pull = c.POLE * c.HALF / c.MASS
    a = np.eye(4) + c.TAU * np.array(
        [[0, 1, 0, 0], [0, 0, -pull * lift, 0], [0, 0, 0, 1], [0, 0, lift, 0]]
    )
    b = c.TAU * np.array([[0.0], [1 / c.MASS - pull * turn], [0.0], [turn]])
    gain: np.ndarray = discrete_gain(a, b, np.diag([1.0, 0.1, 10.0, 0.1]), np.array([[0.01]]))[0]
    return gain


def make_catch_follow(env: Env) -> Policy:
    """Return the policy that walks under the ball; it returns 1."""
    place: list[int] = []

    def policy(obs: np.ndarray, info: dict[str, Any]) -> int:
        columns = obs.shape[2]
        if not place:
            place.append(columns // 2)
        ball = int(obs[0, :-1].max(0).argmax())
        action = int(np.sign(ball - place[0])) + 1
        place[0] += action - 1
        return action

    return policy


def make_key_door_shortest(env: Env) -> Policy:
    """Return the policy that walks a shortest way, by breadth-first search in the whole view."""

    def policy(obs: np.ndarray, info: dict[str, Any]) -> int:
        agent, wall, key, door, goal = (plane > 0 for plane in obs)
        here = tuple(int(i) for i in np.argwhere(agent)[0])
        aim = key if key.any() else goal
        blocked = wall | (door if key.any() else np.zeros_like(door))
        return _first_move(blocked, here, aim)

    return policy


def _first_move(blocked: np.ndarray, here: tuple[int, ...], aim: np.ndarray) -> int:
    """Return the first action of a shortest way; ``aim`` marks one cell."""
    goal = tuple(int(i) for i in np.argwhere(aim)[0])
    distance = {goal: 0}
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for down, right in zip(key_door.DOWN, key_door.RIGHT, strict=True):
            beside = (cell[0] + int(down), cell[1] + int(right))
            if not blocked[beside] and beside not in distance:
                distance[beside] = distance[cell] + 1
                queue.append(beside)
    far = len(distance) + 1
    steps = [
        distance.get((here[0] + int(down), here[1] + int(right)), far)
        for down, right in zip(key_door.DOWN, key_door.RIGHT, strict=True)
    ]
    return int(np.argmin(steps))
