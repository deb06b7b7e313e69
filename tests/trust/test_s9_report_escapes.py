"""The report escapes whatever a run holds: payloads change its text and never its structure."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from experiments.report_html import render_report
from experiments.runs import Run
from rlcore.tracking.files import JsonlSink

PAYLOADS = (
    "<script>alert(1)</script>",
    "</td></tr></table><script src=//evil.example/x.js></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "\u202e<b>\u0000\x1b[31m",
)
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "div", "b",
    "span", "i", "svg", "line", "text", "polyline", "circle", "table", "thead", "tbody", "tr", "th",
    "td", "details", "summary", "video", "img",
}  # fmt: skip


class Structure(HTMLParser):
    """Collects tags with their attribute names, addresses, and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.sources += [str(value) for name, value in attrs if name in ("src", "href", "srcdoc")]

    def handle_data(self, data: str) -> None:
        self.text += data


def make_run(folder: Path, text: str, file_part: str) -> Run:
    """Make a run folder with ``text`` in every place that may hold text."""
    sink = JsonlSink(folder)
    for step in (1, 2):
        sink.log({"step/env": step, "time/wall_s": step, "episode/return_mean": step})
    sink.event(text, {"message": text, "cause": text, "deep": {text: [text]}})
    sink.close()
    config = {"name": text, "seed": 1, "agent": {"type": text, text: text}, "env": {"id": text}}
    (folder / "config.resolved.yaml").write_text(yaml.safe_dump(config))
    (folder / "STATUS.json").write_text(json.dumps({"state": text}))
    (folder / "git.json").write_text(json.dumps({"commit": text, text: text}))
    (folder / "environment.json").write_text(json.dumps({"packages": {text: text}}))
    (folder / "eval").mkdir()
    evaluation = {"env_steps": 1, "return_mean": text, "episodes": [{"return": text, text: 1}]}
    (folder / "eval" / "1.json").write_text(json.dumps(evaluation))
    (folder / "videos").mkdir()
    (folder / "videos" / f"{file_part}.mp4").write_bytes(b"video")
    (folder / "videos" / f"{file_part}.gif").write_bytes(b"picture")
    return Run(folder)


def structure(run: Run) -> Structure:
    parsed = Structure()
    parsed.feed(render_report(run))
    parsed.close()
    return parsed


@pytest.mark.parametrize("embed", [True, False])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: str, embed: bool
) -> None:
    monkeypatch.setattr("experiments.report_html.EMBED_BYTES", 1000 if embed else 0)
    name = payload.replace("/", "_").replace("\0", "_")
    benign = structure(make_run(tmp_path / "benign", "plain", "plain"))
    hostile = structure(make_run(tmp_path / name, payload, name))
    assert hostile.tags == benign.tags
    assert {tag for tag, _ in hostile.tags} <= ALLOWED
    for source in hostile.sources:
        assert source.startswith(("data:video/mp4;base64,", "data:image/gif;base64,", "videos/"))
    attributes = {attribute for _, names in hostile.tags for attribute in names}
    assert not any(attribute.startswith("on") for attribute in attributes)
    assert hostile.text.count(payload.replace("\0", "\ufffd").strip()) >= 10 or "\0" in payload


def test_the_page_forbids_scripts_and_foreign_sources(tmp_path: Path) -> None:
    page = render_report(make_run(tmp_path / "run", "plain", "plain"))
    assert "default-src 'none'" in page
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
