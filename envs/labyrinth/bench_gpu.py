"""Frames per second of the labyrinth on a GPU: ``python -m envs.labyrinth.bench_gpu``.

Checks first that the pictures equal those of the NumPy twin, then measures drawing alone and whole
steps (rules, autoreset, pictures), with CUDA events around many of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from envs.labyrinth.device_env import LabyrinthDeviceEnv
from envs.labyrinth.rules import ACTIONS
from envs.labyrinth.units import SIZE

WARM_UP = 5


def main() -> None:
    """Print one line a batch size and backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--backends", nargs="+", default=["triton", "torch"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    say(f"device {name}; torch {torch.__version__}; 84 x 84 x 3 pixels; random actions")
    for backend in options.backends:
        say(f"{backend}: {check(backend, options.device)} pictures equal the NumPy twin's")
    say(f"{'backend':>8} {'envs':>7} {'drawing/s':>12} {'steps/s':>12} {'reset ms':>9} {'GB/s':>7}")
    for backend in options.backends:
        for n in options.num_envs:
            report(backend, options.device, n, options.steps)


def say(text: str) -> None:
    """Write one line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def check(backend: str, device: str, n: int = 64, steps: int = 40) -> int:
    """Return how many pictures were compared.

    Raises:
        RuntimeError: A pixel differs.
    """
    from envs.labyrinth.random_maze import LabyrinthVectorEnv

    ours = LabyrinthDeviceEnv(n, device, backend)
    twin = LabyrinthVectorEnv(n, backend="numpy")
    pictures, wanted = ours.reset(seed=1)[0], twin.reset(seed=1)[0]
    rng = np.random.default_rng(0)
    for step in range(steps):
        if not np.array_equal(pictures.cpu().numpy(), wanted):
            raise RuntimeError(f"{backend} on {device}: pictures of step {step} differ")
        actions = rng.integers(0, ACTIONS, n)
        pictures, wanted = ours.step(actions)[0], twin.step(actions)[0]
    return n * steps


def report(backend: str, device: str, n: int, steps: int) -> None:
    """Measure one batch size and print its line."""
    env = LabyrinthDeviceEnv(n, device, backend)
    env.reset(seed=0)
    torch.manual_seed(0)
    choices = torch.randint(0, ACTIONS, (steps + WARM_UP, n), device=device)
    for k in range(WARM_UP):
        env.step(choices[steps + k])
    step = seconds(lambda k: env.step(choices[k]), device, steps)
    draw = seconds(lambda k: env._observe(), device, steps)
    reset = seconds(lambda k: env.reset(), device, 2)
    whole = (step * env.max_episode_steps + reset) / env.max_episode_steps
    rate = n * SIZE * SIZE * 3 / draw / 1e9
    rates = f"{n / draw:>12,.0f} {n / whole:>12,.0f}"
    say(f"{backend:>8} {n:>7} {rates} {reset * 1e3:>9.1f} {rate:>7.1f}")


def seconds(work: Callable[[int], Any], device: str, repeats: int) -> float:
    """Return the mean time of ``work(k)``."""
    if not device.startswith("cuda"):
        started = time.process_time()
        for k in range(repeats):
            work(k)
        return (time.process_time() - started) / repeats
    event: Any = torch.cuda.Event
    first, last = event(enable_timing=True), event(enable_timing=True)
    work(0)
    torch.cuda.synchronize()
    first.record()
    for k in range(repeats):
        work(k)
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / repeats / 1e3


if __name__ == "__main__":
    main()
