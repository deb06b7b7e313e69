"""Learning curves of one or many runs, as a picture and a table.

Fewer than three runs of an experiment are drawn as they are. Three or more become the interquartile
mean over runs with its 95% stratified-bootstrap interval, on a common grid; a run's value between
two records is the earlier one. Nothing is smoothed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.runs import Run, resolve_run
from rlcore.errors import ConfigError, MissingDependencyError
from rlcore.tracking.statistics import bootstrap_ci, iqm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.float64]

AXES: dict[str, tuple[str, str, float]] = {
    "env_steps": ("step/env", "environment steps", 1.0),
    "frames": ("step/frames", "emulator frames", 1.0),
    "updates": ("step/update", "learner updates", 1.0),
    "wall": ("time/wall_s", "wall time (minutes)", 1 / 60),
}
LABELS = {
    "episode/return_mean": "episode return, mean of last 100",
    "eval/return_mean": "evaluation return, mean over episodes",
    "eval/loss": "held-out loss, nats a token",
    "loss/total": "training loss",
}
BAND_FROM = 3
GRID_POINTS = 200
REPETITIONS = 2000
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4C9A", "#595959")


@dataclass(slots=True)
class Curve:
    """One run's values of one metric, and its evaluations.

    Attributes:
        run: Run name.
        group: Runs of one group are seeds of one experiment.
        x: Positions, in axis units; ``y`` the values.
        evals: ``[n, 4]``: position, mean, interval's ends.
    """

    run: str
    group: str
    x: Values
    y: Values
    evals: Values = field(default_factory=lambda: np.empty((0, 4)))


def plot_runs(
    paths: Iterable[str | Path | Run],
    x: str = "env_steps",
    out: str | Path | None = None,
    *,
    metric: str | None = None,
) -> Path:
    """Draw the learning curves of runs; write ``out`` and the numbers to a CSV file beside it.

    Args:
        paths: Run folders or selectors.
        x: ``env_steps``, ``frames``, ``updates`` or ``wall``.
        out: Picture (png, svg or pdf). By default ``plots/learning_curve.png`` in the run folder,
            or ``learning_curves.png`` in the working folder for several runs.
        metric: What to draw; by default the return or, of runs on a data set, the held-out loss.

    Returns:
        The picture's path.

    Raises:
        ConfigError: Unknown axis, or no run has a value to draw.
        MissingDependencyError: matplotlib is not installed.
        RunFolderError: A selector matches no run.
    """
    runs = [path if isinstance(path, Run) else resolve_run(path) for path in paths]
    if x not in AXES:
        raise ConfigError(f"x must be one of {', '.join(AXES)}, got {x!r}")
    metric = metric or _default_metric(runs)
    curves = [curve for run in runs if (curve := read_curve(run, x, metric)) is not None]
    if not curves:
        names = ", ".join(str(run.path) for run in runs) or "no runs given"
        raise ConfigError(f"nothing to plot: no {metric} with {AXES[x][0]} in {names}")
    picture = Path(out) if out is not None else _default_out(runs)
    picture.parent.mkdir(parents=True, exist_ok=True)
    groups = {curve.group: [c for c in curves if c.group == curve.group] for curve in curves}
    bands = {name: band(members) for name, members in groups.items() if len(members) >= BAND_FROM}
    _draw(picture, groups, bands, x, metric, _title(runs))
    _write_csv(picture.with_suffix(".csv"), groups, bands, x, metric)
    return picture


def _default_metric(runs: Sequence[Run]) -> str:
    reads_data = bool(runs) and all(run.config.get("data") for run in runs)
    return "eval/loss" if reads_data else "episode/return_mean"


def read_curve(run: Run, x: str, metric: str) -> Curve | None:
    """Return one run's curve; ``None`` if it has no value to draw."""
    axis, _, scale = AXES[x]
    points, evals = [], []
    for record in run.metrics():
        position = record.get(axis)
        if position is None:
            continue
        if math.isfinite(value := record.get(metric, math.nan)):
            points.append((position * scale, value))
        if math.isfinite(mean := record.get("eval/return_mean", math.nan)):
            low, high = record.get("eval/ci_low", mean), record.get("eval/ci_high", mean)
            evals.append((position * scale, mean, low, high))
    if not points and not evals:
        return None
    data = np.array(sorted(points, key=lambda p: p[0]), dtype=float).reshape(-1, 2)
    marks = np.array(sorted(evals), dtype=float).reshape(-1, 4)
    return Curve(run.name, group_of(run), data[:, 0], data[:, 1], marks)


def group_of(run: Run) -> str:
    """Return the name of the experiment that a run is one seed of."""
    config = run.config
    name = config.get("name")
    if isinstance(name, str) and name:
        return name
    agent, env = config.get("agent"), config.get("env")
    parts = [
        part.get(key) if isinstance(part, dict) else None
        for part, key in ((agent, "type"), (env, "id"))
    ]
    return " ".join(str(part) for part in parts if part) or run.name


def band(curves: Sequence[Curve]) -> Values:
    """Return ``[points, 4]``: position, IQM over runs, 95% interval; where all runs reach."""
    curves = [curve for curve in curves if len(curve.x)]
    if not curves:
        return np.empty((0, 4))
    start = max(curve.x[0] for curve in curves)
    end = min(curve.x[-1] for curve in curves)
    grid = np.linspace(start, max(start, end), GRID_POINTS if end > start else 1)
    scores = np.stack([at_steps(curve, grid) for curve in curves])
    rows = []
    for index, position in enumerate(grid):
        column = scores[:, index]
        low, high = bootstrap_ci(column, iqm, repetitions=REPETITIONS)
        rows.append((position, iqm(column), low, high))
    return np.array(rows)


def at_steps(curve: Curve, grid: Values) -> Values:
    """Return the curve's newest value at each grid position."""
    index = np.searchsorted(curve.x, grid, side="right") - 1
    return curve.y[np.clip(index, 0, len(curve.y) - 1)]


# -- drawing ------------------------------------------------------------------------------------


def _draw(
    path: Path,
    groups: dict[str, list[Curve]],
    bands: dict[str, Values],
    x: str,
    metric: str,
    title: str,
) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'rlcore[plot]'") from error
    figure = Figure(figsize=(7.2, 4.3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _style(axes, x, metric, title)
    for colour, (name, curves) in zip(_colours(len(groups)), groups.items(), strict=True):
        if name in bands:
            _draw_band(axes, bands[name], f"{name}: IQM of {len(curves)} runs, 95% CI", colour)
        else:
            for number, curve in enumerate(curves):
                label = name if len(groups) > 1 or len(curves) > 1 else "training episodes"
                _draw_run(axes, curve, label if number == 0 else None, colour, len(groups) == 1)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="best", fontsize=9)
    figure.savefig(path)


def _draw_run(axes: Axes, curve: Curve, label: str | None, colour: str, marks: bool) -> None:
    axes.plot(curve.x, curve.y, color=colour, linewidth=1.6, label=label)
    evals = curve.evals
    if marks and len(evals):
        error = np.clip([evals[:, 1] - evals[:, 2], evals[:, 3] - evals[:, 1]], 0, None)
        axes.errorbar(
            evals[:, 0],
            evals[:, 1],
            error if error.any() else None,
            fmt="o",
            color=COLOURS[1],
            markersize=4.5,
            capsize=3,
            linewidth=1.2,
            label="evaluation, mean with 95% CI" if label else None,
        )


def _draw_band(axes: Axes, rows: Values, label: str, colour: str) -> None:
    axes.plot(rows[:, 0], rows[:, 1], color=colour, linewidth=1.8, label=label)
    axes.fill_between(rows[:, 0], rows[:, 2], rows[:, 3], color=colour, alpha=0.18, linewidth=0)


def _style(axes: Axes, x: str, metric: str, title: str) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel(AXES[x][1])
    axes.set_ylabel(LABELS.get(metric, metric))
    if x != "wall":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y", color="#d9d9d9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#8c8c8c")
    axes.tick_params(colors="#404040", labelsize=9)


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _title(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        config: dict[str, Any] = runs[0].config
        env = config.get("env")
        env_id = env.get("id") if isinstance(env, dict) else None
        return f"{group_of(runs[0])}, {env_id}" if env_id else group_of(runs[0])
    envs = {str((run.config.get("env") or {}).get("id", "")) for run in runs}
    return envs.pop() if len(envs) == 1 else "Learning curves"


def _default_out(runs: Sequence[Run]) -> Path:
    if len(runs) == 1:
        return runs[0].path / "plots" / "learning_curve.png"
    return Path("learning_curves.png")


def _write_csv(
    path: Path, groups: dict[str, list[Curve]], bands: dict[str, Values], x: str, metric: str
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "run", "series", x, "value", "ci_low", "ci_high"])
        for name, curves in groups.items():
            for curve in curves:
                for position, value in zip(curve.x, curve.y, strict=True):
                    writer.writerow([name, curve.run, metric, repr(float(position)), value, "", ""])
                for row in curve.evals:
                    writer.writerow([name, curve.run, "eval/return_mean", *map(float, row)])
            for row in bands.get(name, ()):
                writer.writerow([name, "", f"iqm {metric}", *map(float, row)])
