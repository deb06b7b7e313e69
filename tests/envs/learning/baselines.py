"""Plain Stable-Baselines3 agents on the control environments, with small budgets.

    python -m tests.envs.learning.baselines --seeds 0 1 2 --out docs/results/envs/learning.json

trains each environment of :data:`LEARNERS` and writes how its agent scores between the random
policy (0) and the best scripted reference (1) of its entry in the catalogue. Runs are added to
those that the file holds already; one of the same seed replaces the old one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs
from envs.catalogue import entry
from envs.references import returns


@dataclass(frozen=True)
class Learner:
    """An agent of Stable-Baselines3 and what it must reach.

    Attributes:
        algorithm: ``ppo`` (8 environments, observations and rewards normalised) or ``sac``.
        steps: Environment steps in all.
        wanted: Share of the way from random to the best reference that every seed passes.
        frames: Observations stacked.
        kwargs: Arguments of the environment.
        measured: Whether random and reference policies are played under ``kwargs``, which change
            what can be reached; else their means are those of the catalogue.
        played: Episodes of the agent and of each measured policy; None for 20 and 60.
        side: Pixels across that pictures are averaged to; 0 for all.
        options: Further arguments of the algorithm.
    """

    algorithm: str
    steps: int
    wanted: float
    frames: int = 1
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    measured: bool = False
    played: int | None = None
    side: int = 0


LEARNERS = {
    "dynamics/vanderpol-v0": Learner("sac", 4_000, 0.8),
    "dynamics/lorenz-v0": Learner("sac", 6_000, 0.3),
    "dynamics/pendulum-v0": Learner("sac", 6_000, 0.5),
    "dynamics/cartpole-swingup-v0": Learner("sac", 25_000, 0.5),
    "dynamics/burgers-v0": Learner("sac", 2_500, 0.4),
    "dynamics/ks-v0": Learner("sac", 8_000, 0.3),
    "memory/catch-v0": Learner("ppo", 60_000, 0.6),
    "memory/stateless-cartpole-v0": Learner("ppo", 60_000, 0.3, frames=4),
    "memory/key-door-v0": Learner("ppo", 100_000, 0.3),
    "finray/rom-v0": Learner("sac", 6_000, 0.3),
    "finray/lbm-v0": Learner(  # the size of preset "tiny"
        "sac",
        8_000,
        0.2,
        kwargs={"cells_per_length": 16, "domain": (4.0, 3.0), "u_lattice": 0.025},
        measured=True,
        played=5,
    ),
    "subtasks/rooms-v0": Learner("sac", 8_000, 0.08),
    "subtasks/rooms-two-doors-v0": Learner("ppo", 50_000, 0.05),
    "subtasks/grid-rooms-v0": Learner("ppo", 50_000, 0.15),
    "subtasks/f110-turn-v0": Learner(
        "ppo", 40_000, 0.3, kwargs={"n_rays": 55, "scaled": True, "jump_obs": False}
    ),
    "memory/t-maze-v0": Learner("ppo", 30_000, 0.5),
    "memory/memory-chain-v0": Learner("ppo", 40_000, 0.5, frames=21),
    "memory/repeat-previous-v0": Learner("ppo", 40_000, 0.5, frames=5),
    "labyrinth/random-v0": Learner(
        "ppo",
        200_000,
        0.01,
        kwargs={"cells_min": 3, "cells_max": 3},
        options={
            "n_steps": 256,
            "batch_size": 512,
            "n_epochs": 4,
            "learning_rate": 7e-4,
            "ent_coef": 0.01,
            "gamma": 0.98,
            "policy_kwargs": {"net_arch": [256, 128]},
        },
        measured=True,
        side=14,
    ),
}


def score(id: str, learner: Learner, seed: int) -> dict[str, float]:
    """Train from scratch; return the greedy agent's mean return and its share of the way."""
    from stable_baselines3.common.evaluation import evaluate_policy

    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Stable-Baselines3 about network and observation
        model = _model(id, learner, seed)
        model.learn(learner.steps)
        test = _venv(id, learner, 4)
        if learner.algorithm == "ppo":
            test.training, test.norm_reward = False, False
            if test.norm_obs:
                test.obs_rms = model.env.obs_rms
        test.seed(seed + 5000)
        episodes = learner.played or 20
        mean, _ = evaluate_policy(model, test, episodes, deterministic=learner.algorithm == "sac")
    means = {reference.policy: reference.mean for reference in entry(id).references}
    if learner.measured:
        games = learner.played or 60
        means = {name: float(returns(id, name, games, **learner.kwargs).mean()) for name in means}
    low, high = means["random"], max(means.values())
    return {
        "return": float(mean),
        "random": low,
        "best": high,
        "share": (float(mean) - low) / (high - low),
        "cpu_s": round(time.process_time() - begun, 1),
    }


def _model(id: str, learner: Learner, seed: int) -> Any:
    import torch
    from stable_baselines3 import PPO, SAC

    torch.set_num_threads(1)
    if learner.algorithm == "sac":
        arguments: dict[str, Any] = {
            "learning_starts": 500,
            "learning_rate": 1e-3,
            "batch_size": 128,
            "policy_kwargs": {"net_arch": [64, 64]},
        }
        made: Any = SAC
    else:
        arguments = {"n_steps": 256, "batch_size": 256, "n_epochs": 8, "learning_rate": 1e-3}
        made = PPO
    arguments |= learner.options
    venv = _venv(id, learner, 8 if learner.algorithm == "ppo" else 1)
    return made("MlpPolicy", venv, seed=seed, device="cpu", **arguments)


def _venv(id: str, learner: Learner, n: int) -> Any:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

    venv: Any = DummyVecEnv([lambda: Monitor(_env(id, learner)) for _ in range(n)])
    if learner.frames > 1:
        venv = VecFrameStack(venv, learner.frames)
    if learner.algorithm == "ppo":
        venv = VecNormalize(venv, norm_obs=venv.observation_space.dtype == np.float32)
    return venv


def _env(id: str, learner: Learner) -> gymnasium.Env[Any, Any]:
    """Return the environment with observations that a perceptron reads."""
    assert envs
    env = gymnasium.make(id, disable_env_checker=True, **learner.kwargs)
    if env.observation_space.dtype == np.uint8:  # planes of 0 and 255, as numbers of 0 and 1
        sides = (learner.side,) * 2 if learner.side else env.observation_space.shape[:2]
        size = int(np.prod((*sides, *env.observation_space.shape[2:])))
        space = gymnasium.spaces.Box(0.0, 1.0, (size,), np.float32)
        see = partial(_averaged, side=learner.side) if learner.side else _unit
        env = gymnasium.wrappers.TransformObservation(env, see, space)
    elif isinstance(env.observation_space, gymnasium.spaces.Discrete):
        env = gymnasium.wrappers.FlattenObservation(env)
    return Told(env) if id.startswith("subtasks/") else env


def _unit(obs: np.ndarray) -> np.ndarray:
    return (obs.reshape(-1) / 255).astype(np.float32)


def _averaged(obs: np.ndarray, side: int) -> np.ndarray:
    step = len(obs) // side
    blocks = obs.reshape(side, step, side, step, -1).mean((1, 3))
    return (blocks.reshape(-1) / 255).astype(np.float32)


class Told(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Appends the number of the subtask, one-hot: one policy for all of them must know it."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._n = len(env.unwrapped.model.game.names)  # type: ignore[attr-defined]
        size = int(np.prod(env.observation_space.shape)) + self._n
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def _with(self, obs: Any, info: dict[str, Any]) -> np.ndarray:
        told = np.eye(self._n, dtype=np.float32)[info["subtask"]]
        return np.concatenate([np.asarray(obs, np.float32), told])

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        obs, info = self.env.reset(**kwargs)
        return self._with(obs, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._with(obs, info), reward, terminated, truncated, info


def main() -> None:
    """Train what the command line asks for, and write what came of it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ids", nargs="+", default=list(LEARNERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kept = options.out is not None and options.out.is_file()
    results: dict[str, Any] = json.loads(options.out.read_text()) if kept else {}
    for seed in options.seeds:
        for id in options.ids:
            run = {"seed": seed, **score(id, LEARNERS[id], seed)}
            print(id, run, flush=True)
            others = [old for old in results.get(id, {"runs": []})["runs"] if old["seed"] != seed]
            runs = sorted([*others, run], key=lambda run: run["seed"])
            results[id] = {"learner": asdict(LEARNERS[id]), "runs": runs}
            if options.out is not None:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
