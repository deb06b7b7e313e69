"""The report of a run: one HTML file that needs no server, no network and no script.

Styles and curves are inline; a small video is embedded, a large one linked. Every text from the run
is escaped: names, settings and messages may hold anything.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.runs import Record, Run, flatten, last_values, resolve_run
from experiments.svg_chart import Series, line_chart
from rlcore.redact import Redactor
from rlcore.tracking.view import count_text, duration_text, event_line

REPORT_FILE = "report.html"
EMBED_BYTES = 4_000_000
MAX_EVENTS = 200

CHARTS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Return", (("episode/return_mean", "training, mean of last 100"),
                ("eval/return_mean", "evaluation"))),
    ("Episode length", (("episode/length_mean", "mean of last 100"),)),
    ("Throughput (steps/s)", (("perf/env_steps_per_s", "environment steps"),)),
    ("Lag (versions)", (("lag/mean", "mean"), ("lag/max", "max"))),
    ("Policy loss", (("loss/policy", "policy loss"),)),
    ("Value loss", (("loss/value", "value loss"),)),
    ("Entropy (nats)", (("policy/entropy", "policy entropy"),)),
    ("Explained variance", (("value/explained_variance", "explained variance"),)),
    ("Gradient norm", (("optim/grad_norm", "before clipping"),)),
    ("Waiting (share of time)", (("runtime/learner_starved_frac", "learner starved"),
                                 ("runtime/actor_blocked_frac", "actors blocked"))),
)  # fmt: skip

DATA_CHARTS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Loss (nats a token)", (("loss/total", "training"), ("eval/loss", "held out"))),
    ("Throughput (tokens/s)", (("perf/tokens_per_s", "tokens"),)),
)

STYLE = """
:root{--ink:#1c2530;--soft:#5c6773;--line:#dfe4ea;--back:#f6f7f9;--card:#fff;--accent:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ed;--soft:#9aa5b1;--line:#313b46;--back:#12171d;
--card:#1a2129;--accent:#56b4e9}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 20px 64px}h1{font-size:26px;margin:0 0 2px}
h2{font-size:18px;margin:36px 0 12px}h3{font-size:14px;margin:0 0 6px;font-weight:600}
.sub{color:var(--soft);margin:0 0 20px;overflow-wrap:anywhere}.cards,.charts{display:grid;gap:14px}
.cards{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}
.charts{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:21px;font-weight:650}.card span{color:var(--soft);font-size:13px}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}
svg polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}.grid{stroke:var(--line)}
.axis{stroke:var(--soft)}.legend{color:var(--soft);font-size:12px;margin-top:4px}
.legend span{margin-right:14px}.legend i{display:inline-block;width:10px;height:10px;
border-radius:2px;margin-right:5px}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere}th{color:var(--soft);font-weight:600}td.n,td.w{white-space:nowrap;
overflow-wrap:normal}td.n{text-align:right;
font-variant-numeric:tabular-nums}.scroll{overflow-x:auto}code{font-size:13px}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}
video,img{max-width:100%;border-radius:8px;display:block}pre{overflow-x:auto;margin:0}
"""


def write_report(run_dir: str | Path | Run) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Raises:
        RunFolderError: It is not a run folder, or a file in it cannot be read.
    """
    run = run_dir if isinstance(run_dir, Run) else resolve_run(run_dir)
    path = run.path / REPORT_FILE
    part = path.with_name(f".{REPORT_FILE}.part")
    part.write_text(Redactor.from_environment().text(render_report(run)), encoding="utf-8")
    os.replace(part, path)
    return path


def render_report(run: Run) -> str:
    """Return the report of a run as HTML."""
    records, events = run.metrics(), run.events()
    sections = [
        _head(run),
        _cards(run, last_values(records)),
        _charts(records),
        _evaluations(run.evaluations()),
        _videos(run),
        _events(events),
        _mapping("Configuration", flatten(run.config), fold=False),
        _mapping("Git", flatten(run.git)),
        _mapping("Environment", flatten(run.environment)),
    ]
    title = escape(run.name)
    # No script and no foreign source can run in this page, whatever a run put into it.
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data: file:; "
        "media-src 'self' data: file:"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


# -- sections -----------------------------------------------------------------------------------


def _head(run: Run) -> str:
    config = run.config
    agent = _name_of(config, "agent", "type")
    env = _name_of(config, "env", "id") or _name_of(config, "data", "path")
    parts = [agent, env, f"seed {config['seed']}" if "seed" in config else ""]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = " · ".join(part for part in (*parts, f"report made {made}") if part)
    return f'<h1>{escape(run.name)}</h1><p class="sub">{escape(text)}</p>'


def _name_of(config: Mapping[str, Any], section: str, key: str) -> str:
    part = config.get(section)
    return str(part[key]) if isinstance(part, Mapping) and key in part else ""


def _cards(run: Run, values: Record) -> str:
    cards = [("state", run.state)]
    if "eval/return_mean" in values:
        text = f"{values['eval/return_mean']:.4g}"
        if "eval/ci_low" in values and "eval/ci_high" in values:
            interval = f"95% CI {values['eval/ci_low']:.4g} to {values['eval/ci_high']:.4g}"
            cards.append((f"evaluation return, {interval}", text))
        else:
            cards.append(("evaluation return", text))
    if "eval/loss" in values:
        cards.append(("held-out loss, nats a token", f"{values['eval/loss']:.4f}"))
    if "episode/return_mean" in values:
        cards.append(("return, last 100 episodes", f"{values['episode/return_mean']:.4g}"))
    cards += _progress_cards(values)
    if values.get("fault/restarts"):
        cards.append(("actor restarts", f"{values['fault/restarts']:.0f}"))
    body = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for label, value in cards
    )
    return f'<div class="cards">{body}</div>'


def _progress_cards(values: Record) -> list[tuple[str, str]]:
    cards, reads_data = [], "step/tokens" in values
    steps, unit = ("tokens", "tokens/s") if reads_data else ("environment steps", "steps/s")
    if "step/env" in values:
        cards.append((steps, count_text(values["step/env"])))
    if "step/update" in values:
        cards.append(("updates", count_text(values["step/update"])))
    if "time/wall_s" in values:
        cards.append(("training time", duration_text(values["time/wall_s"])))
        if values["time/wall_s"] > 0 and "step/env" in values:
            cards.append((f"{unit}, mean", count_text(values["step/env"] / values["time/wall_s"])))
    return cards


def _charts(records: Sequence[Record]) -> str:
    charts = []
    reads_data = any("step/tokens" in record for record in records)
    axis = "tokens" if reads_data else "environment steps"
    for title, lines in (*DATA_CHARTS, *CHARTS) if reads_data else CHARTS:
        series = [
            Series(label, _points(records, metric), marks=metric.startswith("eval/"))
            for metric, label in lines
        ]
        svg = line_chart(series, axis)
        if svg:
            charts.append(f'<div class="card"><h3>{escape(title)}</h3>{svg}</div>')
    return f'<h2>Curves</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _points(records: Sequence[Record], metric: str) -> list[tuple[float, float]]:
    found = [(r["step/env"], r[metric]) for r in records if "step/env" in r and metric in r]
    return sorted(found, key=lambda point: point[0])


def _evaluations(evaluations: Sequence[Mapping[str, Any]]) -> str:
    if not evaluations:
        return ""
    columns = ("env_steps", "episodes", "return_mean", "ci_low", "ci_high", "return_iqm",
               "return_min", "return_max", "length_mean")  # fmt: skip
    titles = ("steps", "episodes", "mean", "CI low", "CI high", "IQM", "min", "max", "length")
    if any("eval/loss" in evaluation for evaluation in evaluations):
        columns = titles = ("tokens", "loss", "perplexity")
    rows, details = [], []
    for evaluation in evaluations:
        cells = [_number(_value_of(evaluation, column)) for column in columns]
        rows.append([str(evaluation.get("file", "")), *cells])
        details.append(_episodes(evaluation))
    table = _table(["file", *titles], rows, numeric=range(1, len(titles) + 1))
    return f'<h2>Evaluations</h2><div class="card scroll">{table}</div>{"".join(details)}'


def _value_of(evaluation: Mapping[str, Any], name: str) -> Any:
    spots = (evaluation, evaluation.get("summary"), evaluation.get("metrics"))
    for spot in spots:
        for key in (name, f"eval/{name}", f"step/{name.removesuffix('_steps')}"):
            if isinstance(spot, Mapping) and key in spot:
                value = spot[key]
                return len(value) if isinstance(value, (list, tuple)) else value
    return None


def _episodes(evaluation: Mapping[str, Any]) -> str:
    episodes = evaluation.get("episodes")
    if not isinstance(episodes, list) or not all(isinstance(e, Mapping) for e in episodes):
        return ""
    columns = list(dict.fromkeys(str(key) for episode in episodes for key in episode))
    rows = [
        [str(number), *(_cell(column, episode.get(column)) for column in columns)]
        for number, episode in enumerate(episodes)
    ]
    table = _table(["episode", *columns], rows, numeric=range(len(columns) + 1))
    file = escape(str(evaluation.get("file", "")))
    return (
        f"<details><summary>each of the {len(episodes)} episodes of {file}</summary>"
        f'<div class="card scroll">{table}</div></details>'
    )


def _videos(run: Run) -> str:
    parts = []
    for path in run.videos():
        source = _source(path, run.path)
        name = escape(path.name)
        if path.suffix == ".gif":
            shown = f'<img src="{source}" alt="{name}">'
        else:
            shown = f'<video controls muted preload="metadata" src="{source}"></video>'
        parts.append(f'<div class="card"><h3>{name}</h3>{shown}</div>')
    return f'<h2>Videos</h2><div class="charts">{"".join(parts)}</div>' if parts else ""


def _source(path: Path, run_dir: Path) -> str:
    if path.stat().st_size > EMBED_BYTES:
        return escape(quote(path.relative_to(run_dir).as_posix()), quote=True)
    kind = "image/gif" if path.suffix == ".gif" else "video/mp4"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _events(events: Sequence[Mapping[str, Any]]) -> str:
    if not events:
        return ""
    shown = events[-MAX_EVENTS:]
    rows = []
    for event in shown:
        step = _number(event.get("step/env"))
        kind = str(event.get("kind", ""))
        at = str(event.get("time", "")).partition(".")[0].replace("T", " ")
        rows.append([at, step, kind, _said(kind, event)])
    cut = f" (the last {MAX_EVENTS} of {len(events)})" if len(events) > MAX_EVENTS else ""
    table = _table(["time (UTC)", "steps", "event", "what"], rows, numeric=(1,), whole=(0, 2))
    return f'<h2>Events and faults{cut}</h2><div class="card scroll">{table}</div>'


def _said(kind: str, event: Mapping[str, Any]) -> str:
    """Return what an event says: its message and where it is from, or its fields as a sentence."""
    fields = {k: v for k, v in event.items() if k not in ("time", "kind", "step/env")}
    text = fields.pop("message", None)
    if text is None:
        return event_line(kind, flatten(fields)).partition(": ")[2]
    extra = ", ".join(f"{name}: {value}" for name, value in flatten(fields).items())
    return "; ".join(str(part) for part in (text, extra) if part)


def _mapping(title: str, values: Mapping[str, Any], fold: bool = True) -> str:
    if not values:
        return ""
    table = _table(["setting", "value"], [[key, _plain(v)] for key, v in values.items()])
    card = f'<div class="card scroll">{table}</div>'
    if fold:
        card = f"<details><summary>{len(values)} values</summary>{card}</details>"
    return f"<h2>{escape(title)}</h2>{card}"


# -- text ---------------------------------------------------------------------------------------


def _table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[int] | range = (),
    whole: Sequence[int] = (),
) -> str:
    """Return a table; cells of the ``whole`` columns and numbers are not broken into lines."""
    kinds = dict.fromkeys(whole, " class=w") | dict.fromkeys(numeric, " class=n")
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{kinds.get(index, '')}>{escape(cell)}</td>" for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _cell(column: str, value: Any) -> str:
    return _plain(value) if column == "seed" else _number(value)


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
