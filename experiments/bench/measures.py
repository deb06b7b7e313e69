"""What benchmarks measure; each function runs in a process of its own and returns ``value``.

python -m experiments.bench.measures NAME '{"argument": 1}'
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Result = dict[str, Any]


# -- ours ---------------------------------------------------------------------------------------


def ours_throughput(config: str, overrides: list[str], seconds: float, skip: float = 3.0) -> Result:
    """Trained environment steps per second of a whole run, from its own ``metrics.jsonl``.

    Records of the first ``skip`` seconds of training are left out.
    """
    import experiments

    with tempfile.TemporaryDirectory() as folder:
        run = experiments.run(
            config,
            [
                *overrides,
                f"stop={{wall_time: {seconds + skip}}}",
                "track.tensorboard=false",
                "track.console=none",
                "eval.episodes=0",
                "checkpoint.every=",
            ],
            out=folder,
            wandb="off",
        )
        records = [r for r in run.metrics() if "perf/trained_steps_per_s" in r]
    records = [r for r in records if r["time/wall_s"] >= skip]
    first, last = records[0], records[-1]
    span = last["time/wall_s"] - first["time/wall_s"]
    trained = _trained(last) - _trained(first)
    return {
        "value": trained / span,
        "seconds": span,
        "steps": trained,
        "dropped": last.get("runtime/steps_dropped", 0.0),
        "lag_mean": last.get("lag/mean"),
        "lag_max": max(r.get("lag/max", 0.0) for r in records),
        "return": last.get("episode/return_mean"),
        "starved": last.get("runtime/learner_starved_frac"),
        "blocked": last.get("runtime/actor_blocked_frac"),
    }


def _trained(record: dict[str, float]) -> float:
    return record["step/env"] - record.get("runtime/steps_dropped", 0.0)


def ours_time_to_return(
    config: str, overrides: list[str], target: float, limit: float, seed: int
) -> Result:
    """Seconds of training until the greedy policy averages ``target`` over 100 episodes.

    Checkpoints are written every 50 ms and evaluated afterwards, oldest first, so that training is
    not paused; the answer is the training time of the first one that reaches the target.
    """
    import experiments

    with tempfile.TemporaryDirectory() as folder:
        quiet = ["track.tensorboard=false", "track.console=none", "eval.episodes=0"]
        often = ["checkpoint={every: 0.05, keep: 100000}"]
        run = experiments.run(
            config,
            [*overrides, *quiet, *often, f"seed={seed}"],
            out=folder,
            wandb="off",
        )
        for path in sorted((run.path / "checkpoints").glob("step-*")):
            score, seconds, steps = _score(run.path, path)
            if score >= target:
                return {"value": seconds, "score": score, "reached": True, "steps": steps}
    return {"value": limit, "score": score, "reached": False, "steps": steps}


def _score(run: Path, checkpoint: Path) -> tuple[float, float, int]:
    """Return the greedy policy's mean over 100 episodes, and the training it took."""
    from experiments.evaluate import evaluate_run

    result = evaluate_run(run, episodes=100, num_envs=100, selector=str(checkpoint))
    totals = json.loads((checkpoint / "state.json").read_text())["totals"]
    return float(result["eval/return_mean"]), totals["seconds"], totals["env_steps"]


def ours_learner_alone(config: str, overrides: list[str], seconds: float) -> Result:
    """Trained steps per second of the learner fed with one batch from memory."""
    import numpy as np
    import torch

    from experiments.build import ExperimentParts
    from experiments.planning import streams_of
    from experiments.validate import load_config
    from rlcore.data.seeding import derive_seed
    from rlcore.runtime.memory import keep_freed_memory

    keep_freed_memory()  # as in the learner process of a run
    resolved = load_config(config, overrides)
    torch.set_num_threads(resolved.config.learner.threads)
    torch.manual_seed(derive_seed(0, "init"))
    streams = streams_of(resolved.config)
    parts = ExperimentParts(resolved.config, streams)
    agent, spec = parts.agent, parts.env_spec
    network = agent.build_network()
    learner = parts.make_learner(network)
    steps = agent.unroll
    width = parts.envs * (resolved.config.runtime.batch or streams)
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.normal(size=(steps + 1, width, *spec.obs_shape)).astype("float32"))
    if spec.obs_dtype == "uint8":
        obs = (obs.abs() * 80).clamp(0, 255).to(torch.uint8)
    shape = (steps, width)
    batch: dict[str, Any] = {
        "obs": obs,
        "first": torch.zeros((steps + 1, width), dtype=torch.bool),
        "action": torch.from_numpy(rng.integers(0, spec.actions.n, shape)),  # type: ignore[union-attr]
        "log_mu": torch.full(shape, -0.6931),
        "reward": torch.ones(shape),
        "terminated": torch.from_numpy(rng.random(shape) < 0.02),
        "truncated": torch.zeros(shape, dtype=torch.bool),
        "valid": torch.ones(shape, dtype=torch.bool),
        "version": torch.zeros(shape, dtype=torch.int64),
        "final_obs": obs[0, :0],
        "final_row": torch.empty(0, dtype=torch.int64),
        "progress": 0.0,
        "metrics": False,
    }
    for _ in range(5):
        learner.update(batch, agent.loss, want_metrics=False)
    started, updates = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        learner.update(batch, agent.loss, want_metrics=False)
        updates += 1
    return {"value": updates * steps * width / (time.perf_counter() - started), "updates": updates}


def random_actions(config: str, overrides: list[str], seconds: float, processes: int = 2) -> Result:
    """Physical limit: environment steps per second with random actions, no learning, no ring."""
    import subprocess

    command = [
        sys.executable,
        "-m",
        "experiments.bench.measures",
        "random_actions_one",
        json.dumps({"config": config, "overrides": overrides, "seconds": seconds}),
    ]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    values = []
    for process in running:
        out, _ = process.communicate()
        line = next(x for x in out.splitlines() if x.startswith("RESULT "))
        values.append(json.loads(line.removeprefix("RESULT "))["value"])
    return {"value": sum(values), "each": values}


def random_actions_one(config: str, overrides: list[str], seconds: float) -> Result:
    """One process of :func:`random_actions`."""
    import numpy as np

    from experiments.build import make_stream
    from experiments.planning import streams_of
    from experiments.validate import load_config
    from rlcore.runtime.evaluation import step_buffers

    resolved = load_config(config, overrides).config
    count = resolved.env.num_envs // streams_of(resolved)
    stream = make_stream(resolved.env, count)
    obs, row = step_buffers(stream)
    stream.reset(list(range(count)), obs, row.first)
    n = stream.spec.actions.n  # type: ignore[union-attr]
    actions = np.random.default_rng(0).integers(0, n, (256, count))
    started, steps, t = time.perf_counter(), 0, 0
    while time.perf_counter() - started < seconds:
        stream.step(actions[t % 256], row)
        steps += int(row.valid.sum())
        t += 1
    value = steps / (time.perf_counter() - started)
    stream.close()
    return {"value": value}


# -- peers --------------------------------------------------------------------------------------


def _sb3_env(env_id: str, n_envs: int, subproc: bool, seed: int = 0) -> Any:
    from stable_baselines3.common.env_util import make_atari_env, make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

    kind = SubprocVecEnv if subproc else DummyVecEnv
    if "NoFrameskip" in env_id:
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
        # Forked, so that the children know the registered environments too.
        how = {"start_method": "fork"} if subproc else {}
        made = make_atari_env(env_id, n_envs, seed, vec_env_cls=kind, vec_env_kwargs=how)
        return VecFrameStack(made, n_stack=4)
    return make_vec_env(env_id, n_envs, seed, vec_env_cls=kind)


def _a3c_features() -> Any:
    """Return SB3 policy arguments with the A3C convolutional network."""
    import torch
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from torch import nn

    class A3CFeatures(BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space, 256)
            channels = space.shape[0]
            self.layers = nn.Sequential(
                nn.Conv2d(channels, 16, 8, 4),
                nn.ReLU(),
                nn.Conv2d(16, 32, 4, 2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(2592, 256),
                nn.ReLU(),
            )

        def forward(self, obs: torch.Tensor) -> torch.Tensor:
            return self.layers(obs)

    return {"features_extractor_class": A3CFeatures, "net_arch": []}


def sb3_a2c(
    env: str, n_envs: int, seconds: float, subproc: bool = False, pixels: bool = False
) -> Result:
    """Trained steps per second of Stable-Baselines3 A2C (same network as ours)."""
    import torch
    from stable_baselines3 import A2C
    from stable_baselines3.common.callbacks import BaseCallback

    class Clock(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.start = self.start_steps = 0.0
            self.until = time.perf_counter() + 2.0 + seconds

        def _on_step(self) -> bool:
            now = time.perf_counter()
            if not self.start and now > self.until - seconds:
                self.start, self.start_steps = now, self.num_timesteps
            return now < self.until

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    policy = _a3c_features() if pixels else {"net_arch": [64, 64]}
    model = A2C(
        "CnnPolicy" if pixels else "MlpPolicy",
        _sb3_env(env, n_envs, subproc),
        policy_kwargs=policy,
        device="cpu",
    )
    clock = Clock()
    model.learn(10**9, callback=clock)
    span = time.perf_counter() - clock.start
    steps = model.num_timesteps - clock.start_steps
    model.get_env().close()
    return {"value": steps / span, "n_envs": n_envs}


def sb3_ppo_time_to_return(target: float, limit: float, seed: int) -> Result:
    """Seconds until SB3 PPO with RL-Zoo's CartPole settings averages ``target`` over 100 episodes.

    The greedy policy is evaluated after each rollout once training episodes suggest it may be
    there; evaluation time is not counted.
    """
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    steps = 1e5

    def falling(start: float) -> Any:
        return lambda left: left * start

    model = PPO(
        "MlpPolicy",
        _sb3_env("CartPole-v1", 8, False, seed),
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate=falling(1e-3),
        clip_range=falling(0.2),
        seed=seed,
        device="cpu",
    )
    test = _sb3_env("CartPole-v1", 10, False, seed + 1000)

    class Check(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.paused, self.score, self.seconds, self.last = 0.0, 0.0, limit, 0

        def _on_training_start(self) -> None:
            self.begin = time.perf_counter()

        def _on_step(self) -> bool:
            return time.perf_counter() - self.begin - self.paused < limit

        def _on_rollout_end(self) -> None:
            recent = [e["r"] for e in list(self.model.ep_info_buffer)[-20:]]
            if len(recent) < 10 or sum(recent) / len(recent) < 0.6 * target:
                return
            if self.num_timesteps - self.last < 1024 or self.score >= target:
                return
            self.last = self.num_timesteps
            now = time.perf_counter()
            self.score, _ = evaluate_policy(self.model, test, 100, warn=False)
            if self.score >= target:
                self.seconds = now - self.begin - self.paused
            self.paused += time.perf_counter() - now

    check = Check()
    model.learn(int(steps), callback=check)
    reached = bool(check.score >= target)
    return {"value": check.seconds, "score": float(check.score), "reached": reached}


def rllib_impala(
    seconds: float, runners: int = 1, envs_per_runner: int = 8, batch: int = 500
) -> Result:
    """Trained steps per second of RLlib IMPALA on CartPole (same network as ours)."""
    import logging

    import ray
    from ray.rllib.algorithms.impala import IMPALAConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    ray.init(num_cpus=max(2, runners + 1), include_dashboard=False, logging_level=logging.ERROR)
    config = (
        IMPALAConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=envs_per_runner)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=batch)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], vf_share_layers=True))
    )
    algorithm = config.build_algo()
    key = "num_env_steps_trained_lifetime"

    def trained(result: dict[str, Any]) -> float:
        return float(result["learners"]["__all_modules__"].get(key, 0.0))

    result = algorithm.train()
    until = time.perf_counter() + 4.0
    while time.perf_counter() < until or not result.get("learners"):
        result = algorithm.train()
    start, first = time.perf_counter(), trained(result)
    while time.perf_counter() - start < seconds:
        result = algorithm.train()
    value = (trained(result) - first) / (time.perf_counter() - start)
    algorithm.stop()
    ray.shutdown()
    return {"value": value, "runners": runners, "envs_per_runner": envs_per_runner, "batch": batch}


def main(argv: list[str]) -> int:
    """Run one measuring function, here or ``module:function``, and print its result as JSON."""
    module, _, name = argv[0].rpartition(":")
    found = vars(importlib.import_module(module)) if module else globals()
    value = found[name](**json.loads(argv[1]))
    sys.stdout.write("RESULT " + json.dumps(value) + "\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))
