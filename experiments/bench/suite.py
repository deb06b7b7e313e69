"""The benchmarks by name: which sides are compared, how often, against what limit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.bench.harness import Row, Side, compare, machine, sample, table, write
from rlcore.errors import ConfigError, RlcoreError

CARTPOLE = "experiments/configs/impala/cartpole.yaml"
THROUGHPUT = "experiments/configs/bench/cartpole-throughput.yaml"
PLAIN = "experiments/configs/bench/cartpole-plain.yaml"
NOOP = "experiments/configs/bench/noop-image.yaml"
PONG = "experiments/configs/bench/pong-cpu.yaml"
SECONDS = 8.0

Say = Callable[[str], None]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _ours(config: str, overrides: list[str] | None = None, seconds: float = SECONDS) -> Side:
    arguments = {"config": config, "overrides": overrides or [], "seconds": seconds}
    return Side(f"rlcore {Path(config).stem}", "ours_throughput", arguments)


def _limit(config: str, name: str) -> Side:
    return Side(
        name,
        "random_actions",
        {"config": config, "overrides": [], "seconds": SECONDS, "processes": 2},
    )


def _sb3_a2c(n_envs: int, **more: Any) -> Side:
    arguments = {"env": "CartPole-v1", "n_envs": n_envs, "seconds": SECONDS, **more}
    return Side(f"SB3 A2C, {n_envs} envs", "sb3_a2c", arguments)


def _best(sides: list[Side], say: Say) -> Side:
    """Return the fastest side, by one sample of each; sides that fail are named and left out."""
    found: list[tuple[float, Side]] = []
    for side in sides:
        try:
            found.append((sample(side)["value"], side))
            say(f"  {side.name}: {found[-1][0]:,.0f}/s")
        except RlcoreError as error:
            say(f"  {side.name}: left out ({error})")
    if not found:
        raise RlcoreError("none of the peer's set-ups could be measured")
    return max(found, key=lambda pair: pair[0])[1]


def core(repeats: int, say: Say = _say, only: str = "") -> list[Row]:
    """Compare the core with Stable-Baselines3 and RLlib, and with its own limits."""
    rows: list[Row] = []
    unit = "trained steps/s"

    def add(key: str, make: Callable[[], Row]) -> None:
        if only in key:
            say(f"{key} ...")
            rows.append(make())
            say(table(rows[-1:]))

    ours = _ours(THROUGHPUT)
    add(
        "cartpole/sb3-8",
        lambda: compare("cartpole vs SB3 A2C, 8 envs", unit, ours, _sb3_a2c(8), repeats),
    )
    add(
        "cartpole/sb3-best",
        lambda: compare(
            "cartpole vs SB3 A2C, its best",
            unit,
            ours,
            _best([_sb3_a2c(n) for n in (8, 16, 32, 64)], say),
            repeats,
        ),
    )
    add(
        "cartpole/rllib",
        lambda: compare(
            "cartpole vs RLlib IMPALA, its best", unit, ours, _best(_rllib_sides(), say), repeats
        ),
    )
    learner = Side(
        "our learner alone",
        "ours_learner_alone",
        {"config": THROUGHPUT, "overrides": [], "seconds": SECONDS},
    )
    add(
        "cartpole/learner",
        lambda: compare("cartpole vs the learner alone", unit, ours, learner, repeats),
    )
    add(
        "cartpole/limit",
        lambda: compare(
            "cartpole vs random actions, no learning",
            unit,
            ours,
            _limit(THROUGHPUT, "random actions, 2 processes"),
            repeats,
        ),
    )
    plain = _ours(PLAIN)
    add(
        "plain/sb3-8",
        lambda: compare("plain gym.make vs SB3 A2C, 8 envs", unit, plain, _sb3_a2c(8), repeats),
    )
    add(
        "plain/limit",
        lambda: compare(
            "plain gym.make vs random actions",
            unit,
            plain,
            _limit(PLAIN, "random actions, 2 processes"),
            repeats,
        ),
    )
    add("time/sb3-ppo", lambda: _time_to_475(repeats))
    noop = _ours(NOOP)
    add(
        "noop/limit",
        lambda: compare(
            "no-op 84x84 through actor, ring, learner",
            unit,
            noop,
            _limit(NOOP, "no-op steps, 2 processes"),
            repeats,
        ),
    )
    pong = _ours(PONG, seconds=15.0)
    add(
        "pong/sb3",
        lambda: compare(
            "Pong, A3C net, vs SB3 A2C (SubprocVecEnv)",
            unit,
            pong,
            _best([_pong_peer(n, t) for n in (8, 16, 32) for t in (1, 2)], say),
            repeats,
        ),
    )
    add(
        "pong/limit",
        lambda: compare(
            "Pong vs random actions",
            unit,
            pong,
            _limit(PONG, "random actions, 2 processes"),
            repeats,
        ),
    )
    return rows


def _rllib_sides() -> list[Side]:
    setups = [(1, 8, 500), (1, 32, 2000), (2, 16, 1000), (1, 64, 4000)]
    return [
        Side(
            f"RLlib IMPALA, {runners} x {envs} envs, batch {batch}",
            "rllib_impala",
            {"seconds": SECONDS, "runners": runners, "envs_per_runner": envs, "batch": batch},
        )
        for runners, envs, batch in setups
    ]


def _pong_peer(n_envs: int, threads: int) -> Side:
    arguments = {
        "env": "PongNoFrameskip-v4",  # SB3's wrapper skips the frames itself
        "n_envs": n_envs,
        "seconds": 15.0,
        "subproc": True,
        "pixels": True,
    }
    name = f"SB3 A2C SubprocVecEnv, {n_envs} envs, {threads} threads"
    return Side(name, "sb3_a2c", arguments, threads)


def _time_to_475(repeats: int) -> Row:
    seeds = [{"seed": seed} for seed in range(repeats)]
    ours = Side(
        "rlcore impala",
        "ours_time_to_return",
        {"config": CARTPOLE, "overrides": [], "target": 475.0, "limit": 120.0},
    )
    peer = Side(
        "SB3 PPO, RL-Zoo settings", "sb3_ppo_time_to_return", {"target": 475.0, "limit": 300.0}
    )
    return compare(
        "wall time to 475 over 100 episodes",
        "s",
        ours,
        peer,
        repeats,
        lower_is_better=True,
        per_repeat=seeds,
    )


BENCHES: dict[str, Callable[..., list[Row]]] = {"core": core}


def run_bench(
    name: str, *, json_path: Path | None = None, repeats: int = 5, only: str = "", say: Say = _say
) -> list[Row]:
    """Run benchmark ``name``, print its table and write its JSON.

    Args:
        name: One of ``BENCHES``.
        json_path: Where the result goes, if anywhere.
        repeats: Pairs of samples a row.
        only: Rows whose key holds this text, for example ``plain``.
        say: Receives progress lines.

    Raises:
        ConfigError: There is no such benchmark or ``repeats`` is not positive.
    """
    if name not in BENCHES:
        raise ConfigError(f"no benchmark {name!r}; there are: {', '.join(sorted(BENCHES))}")
    if repeats < 1:
        raise ConfigError(f"repeats must be >= 1, got {repeats}")
    say(f"machine: {machine()['cpu']}, {machine()['cores']} cores")
    rows = BENCHES[name](repeats, say, only)
    if json_path is not None:
        write(name, rows, json_path)
        say(f"wrote {json_path}")
    return rows
