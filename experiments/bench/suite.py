"""The benchmarks by name: which sides are compared, how often, against what limit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.bench.env_rows import envs
from experiments.bench.generate_cpu import generate
from experiments.bench.harness import Row, Side, compare, machine, sample, table, write
from rlcore.errors import ConfigError, RlcoreError

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")
CARTPOLE = CONFIGS + "/impala/cartpole.yaml"
THROUGHPUT = CONFIGS + "/bench/cartpole-throughput.yaml"
PLAIN = CONFIGS + "/bench/cartpole-plain.yaml"
NOOP = CONFIGS + "/bench/noop-image.yaml"
PONG = CONFIGS + "/bench/pong-cpu.yaml"
SECONDS = 4.0

Say = Callable[[str], None]
Keep = Callable[[list[Row]], None]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _ours(config: str, overrides: list[str] | None = None, seconds: float = SECONDS) -> Side:
    arguments = {"config": config, "overrides": overrides or [], "seconds": seconds}
    return Side(f"rlcore {Path(config).stem}", "ours_throughput", arguments)


def _limit(config: str) -> Side:
    arguments = {"config": config, "overrides": [], "seconds": SECONDS, "processes": 2}
    return Side("random actions alone, 2 processes", "random_actions", arguments)


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


def core(
    repeats: int, say: Say = _say, only: str = "", keep: Keep = lambda rows: None
) -> list[Row]:
    """Compare the core with Stable-Baselines3 and RLlib, then with the physical limits."""
    rows: list[Row] = []
    ours, plain = _ours(THROUGHPUT), _ours(PLAIN)
    noop, pong = _ours(NOOP), _ours(PONG, seconds=10.0)

    def add(key: str, metric: str, side: Side, peer: Callable[[], Side]) -> None:
        if only in key:
            say(f"{key} ...")
            rows.append(compare(metric, "trained steps/s", side, peer(), repeats))
            say(table(rows[-1:]))
            keep(rows)

    add("cartpole/sb3-8", "cartpole vs SB3 A2C, 8 envs", ours, lambda: _sb3_a2c(8))
    add("plain/sb3-8", "plain gym.make vs SB3 A2C, 8 envs", plain, lambda: _sb3_a2c(8))
    if only in "time/sb3-ppo":
        rows.append(_time_to_475(repeats))
        say(table(rows[-1:]))
        keep(rows)
    add("noop/limit", "no-op 84x84 through the data path", noop, lambda: _limit(NOOP))
    add(
        "cartpole/sb3-best",
        "cartpole vs SB3 A2C, its best",
        ours,
        lambda: _best([_sb3_a2c(n) for n in (8, 16, 32, 64)], say),
    )
    add("cartpole/learner", "cartpole vs the learner alone", ours, _learner_alone)
    add(
        "cartpole/rllib",
        "cartpole vs RLlib IMPALA, its best",
        ours,
        lambda: _best(_rllib_sides(), say),
    )
    setups = ((8, 1), (8, 2), (16, 1), (16, 2))
    add(
        "pong/sb3",
        "Pong, A3C net, vs SB3 A2C subprocesses",
        pong,
        lambda: _best([_pong_peer(envs, threads) for envs, threads in setups], say),
    )
    add("cartpole/limit", "cartpole vs random actions", ours, lambda: _limit(THROUGHPUT))
    add("plain/limit", "plain gym.make vs random actions", plain, lambda: _limit(PLAIN))
    add("pong/limit", "Pong vs random actions", pong, lambda: _limit(PONG))
    return rows


def _learner_alone() -> Side:
    arguments = {"config": THROUGHPUT, "overrides": [], "seconds": SECONDS}
    return Side("our learner alone", "ours_learner_alone", arguments)


def _rllib_sides() -> list[Side]:
    setups = [(1, 16, 1000), (1, 64, 4000), (2, 32, 4000), (1, 128, 8000), (1, 256, 16000)]
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
        "seconds": 10.0,
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


def _decode(repeats: int, say: Say, only: str, keep: Keep) -> list[Row]:
    from experiments.bench.decode import decode  # loads torch

    return decode(repeats, say, only, keep)


BENCHES: dict[str, Callable[..., list[Row]]] = {
    "core": core,
    "decode": _decode,
    "envs": envs,
    "generate": generate,
}


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

    def keep(rows: list[Row]) -> None:
        """Write what is done so far: a benchmark cut short keeps its rows."""
        if json_path is not None:
            write(name, rows, json_path)

    rows = BENCHES[name](repeats, say, only, keep)
    keep(rows)
    if json_path is not None:
        say(f"wrote {json_path}")
    return rows
