"""Time cars that stay on a device: ``python -m envs.subtasks.torch_bench --device cuda``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch

from envs.subtasks.torch_f110 import TorchF110


def car_steps_per_second(cars: TorchF110, steps: int, repeats: int = 5) -> list[float]:
    """Return car-steps per second of ``repeats`` runs of ``steps`` steps, after a warm-up."""
    cuda = cars.rules.device.type == "cuda"
    actions = torch.zeros(cars.num_envs, 1, device=cars.rules.device)
    rates = []
    cars.reset()
    for _ in range(repeats + 1):
        if cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            cars.step(actions)
        if cuda:
            torch.cuda.synchronize()
        rates.append(cars.num_envs * steps / (time.perf_counter() - started))
    return rates[1:]


def main() -> None:
    """Print one JSON object for each number of rays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cars", type=int, default=2048)
    parser.add_argument("--rays", type=int, nargs="+", default=[109, 1081])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--compile", action="store_true", help="fuse the rules by torch.compile")
    chosen = parser.parse_args()
    cuda = chosen.device.startswith("cuda")
    name = torch.cuda.get_device_name(chosen.device) if cuda else "cpu"
    for n_rays in chosen.rays:
        cars = TorchF110(chosen.cars, n_rays, device=chosen.device, compiled=chosen.compile)
        rates = car_steps_per_second(cars, chosen.steps)
        result = {
            "device": name,
            "torch": torch.__version__,
            "cars": chosen.cars,
            "rays": n_rays,
            "compile": chosen.compile,
            "car_steps_per_second": statistics.median(rates),
            "spread": [min(rates), max(rates)],
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
