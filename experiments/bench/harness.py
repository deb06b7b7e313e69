"""How every benchmark is run: fresh process for each sample, A B A B, ratios, machine, JSON.

A sample is one call of a measuring function (:mod:`experiments.bench.measures`) in a process of its
own, with the thread count of the declared set-up, so that nothing of one side warms or slows the
other. The reported ratio is the median of the paired ratios.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rlcore.errors import RlcoreError

SAMPLE_TIMEOUT_S = 900.0
_PACKAGES = ("rlcore", "torch", "numpy", "gymnasium", "stable-baselines3", "ray", "ale-py",
             "transformers", "numba")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: Shown in the table.
        measure: Name of a function in :mod:`experiments.bench.measures`, or ``module:function``.
        arguments: Its keyword arguments, JSON-able.
        threads: Intra-op threads of its process.
    """

    name: str
    measure: str
    arguments: dict[str, Any] = field(default_factory=dict)
    threads: int = 1


@dataclass(slots=True)
class Row:
    """One line of a benchmark's result; ``ratio`` is ours over the peer's (above 1 is faster)."""

    metric: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio_median: float
    ratio_min: float
    ratio_max: float
    repeats: int
    detail: dict[str, Any] = field(default_factory=dict)


def sample(side: Side, **more: Any) -> dict[str, Any]:
    """Measure one side once in a fresh process; return what the function returned.

    Raises:
        RlcoreError: The process failed or took too long; its last lines are in the message.
    """
    env = os.environ | {
        "OMP_NUM_THREADS": str(side.threads),
        "MKL_NUM_THREADS": str(side.threads),
        "WANDB_MODE": "disabled",
        "SDL_VIDEODRIVER": "dummy",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    command = [
        sys.executable,
        "-m",
        "experiments.bench.measures",
        side.measure,
        json.dumps(side.arguments | more),
    ]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=SAMPLE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RlcoreError(f"{side.name}: no result within {SAMPLE_TIMEOUT_S:g} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RlcoreError(f"{side.name} failed (exit status {done.returncode}):\n{tail}")
    result: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return result


def compare(
    metric: str,
    unit: str,
    ours: Side,
    peer: Side,
    repeats: int,
    *,
    lower_is_better: bool = False,
    per_repeat: Sequence[dict[str, Any]] = (),
) -> Row:
    """Sample both sides in turn ``repeats`` times and return the row.

    Args:
        metric: What is compared.
        unit: Unit of the values.
        ours: Our side.
        peer: The other side.
        repeats: Pairs of samples.
        lower_is_better: The value is a time: the ratio is the peer's over ours.
        per_repeat: Further arguments (a seed, say) of each repeat, the same for both sides.
    """
    pairs = []
    for index in range(repeats):
        more = per_repeat[index] if per_repeat else {}
        pairs.append((sample(ours, **more), sample(peer, **more)))
    values = [(a["value"], b["value"]) for a, b in pairs]
    ratios = [(b / a if lower_is_better else a / b) for a, b in values]
    return Row(
        metric=metric,
        unit=unit,
        ours=statistics.median(a for a, _ in values),
        peer=statistics.median(b for _, b in values),
        peer_name=peer.name,
        ratio_median=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        repeats=repeats,
        detail={
            "ours": [a for a, _ in pairs],
            "peer": [b for _, b in pairs],
            "ours_setup": asdict(ours),
            "peer_setup": asdict(peer),
        },
    )


def against(metric: str, unit: str, ours: Side, target: float, repeats: int) -> Row:
    """Sample our side alone and return the row of its ratio to a number to be reached.

    Args:
        metric: What is measured.
        unit: Unit of the values.
        ours: Our side.
        target: What it is held against.
        repeats: Samples.
    """
    values = [sample(ours)["value"] for _ in range(repeats)]
    ratios = [value / target for value in values]
    return Row(
        metric=metric,
        unit=unit,
        ours=statistics.median(values),
        peer=target,
        peer_name="target",
        ratio_median=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        repeats=repeats,
        detail={"ours": values, "ours_setup": asdict(ours)},
    )


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    lines = [
        f"{'metric':44} {'ours':>12} {'peer':>12} {'ratio':>7} {'min':>7} {'max':>7}  n  unit, peer"
    ]
    lines += [
        f"{row.metric:44} {row.ours:12,.4g} {row.peer:12,.4g} {row.ratio_median:7.2f} "
        f"{row.ratio_min:7.2f} {row.ratio_max:7.2f} {row.repeats:2d}  {row.unit}, {row.peer_name}"
        for row in rows
    ]
    return "\n".join(lines)


def write(bench: str, rows: Sequence[Row], path: Path) -> None:
    """Write the result of a benchmark as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"bench": bench, "machine": machine(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(result, indent=1) + "\n")
