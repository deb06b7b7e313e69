"""What a validation case returns, and how it is kept."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Check:
    """One number against its band.

    Attributes:
        name: What it is.
        value: As computed.
        low: Lower end of the band.
        high: Upper end.
        source: Where the band comes from.
    """

    name: str
    value: float
    low: float
    high: float
    source: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value lies in its band."""
        return bool(self.low <= self.value <= self.high)


@dataclass(slots=True)
class Result:
    """What a case gives.

    Attributes:
        case: Its name.
        setting: What was simulated, numbers by name.
        checks: The numbers that must lie in bands.
        values: Further numbers, for the record.
        plot: Draws the figure on a matplotlib ``Figure``.
    """

    case: str
    setting: dict[str, Any]
    checks: list[Check]
    values: dict[str, Any] = field(default_factory=dict)
    plot: Callable[[Any], None] | None = None

    def failures(self) -> list[str]:
        """Return a line for each number outside its band."""
        return [
            f"{self.case}: {c.name} is {c.value:.5g}, wanted {c.low:.5g} to {c.high:.5g}"
            for c in self.checks
            if not c.passed
        ]


def save(result: Result, folder: Path, seconds: float) -> Path:
    """Write ``CASE.json`` and, where there is a plot, ``CASE.png``; return the first.

    Raises:
        ImportError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "case": result.case,
        "command": f"python -m envs.finray.validation {result.case} --out {folder}",
        "setting": result.setting,
        "checks": [
            {
                "name": check.name,
                "value": _rounded(check.value),
                "band": [_rounded(check.low), _rounded(check.high)],
                "passed": check.passed,
                "source": check.source,
            }
            for check in result.checks
        ],
        "values": {name: _rounded(value) for name, value in result.values.items()},
        "cpu_seconds": round(seconds, 1),
        "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}",
    }
    path = folder / f"{result.case}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    if result.plot is not None:
        _draw(result.plot, folder / f"{result.case}.png")
    return path


def _draw(plot: Callable[[Any], None], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'rlcore[plot]'") from error
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    plot(figure)
    figure.savefig(path, dpi=110)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    if isinstance(value, (str, bool)) or value is None:
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return float(f"{number:.6g}")
