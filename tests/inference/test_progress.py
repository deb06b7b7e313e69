"""The line that says how far a long job is."""

from __future__ import annotations

import pytest

from rlcore.inference.progress import ProgressLine


class Screen:
    def __init__(self, terminal):
        self.text, self.terminal = "", terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_long_jobs_alone(monkeypatch, terminal):
    now = [100.0]
    monkeypatch.setattr("rlcore.inference.progress.time.monotonic", lambda: now[0])
    screen = Screen(terminal)
    with ProgressLine("answers", 2000, stream=screen) as line:
        line.update(0, 0)
        assert screen.text == ""
        now[0] += 11.0
        line.update(1000, 5500)
        line.update(1001, 5501)
    shown = "1,000 of 2,000 answers, 5,500 tokens, 500/s"
    assert screen.text == (f"\r\033[K{shown}\r\033[K" if terminal else f"{shown}\n")
    hidden = Screen(terminal)
    with ProgressLine("answers", 1, shown=False, stream=hidden) as line:
        now[0] += 100.0
        line.update(1, 1)
    assert hidden.text == ""


@pytest.mark.parametrize(("terminal", "wait"), [(True, 0.25), (False, 10.0)])
def test_a_line_is_written_again_after_a_while(monkeypatch, terminal, wait):
    now = [100.0]
    monkeypatch.setattr("rlcore.inference.progress.time.monotonic", lambda: now[0])
    screen = Screen(terminal)
    line = ProgressLine("answers", 2000, stream=screen)
    for later in (16.0, wait * 0.75, wait * 0.5, wait * 0.5):
        now[0] += later
        line.update(5, 5)
    assert screen.text.count("5 of 2,000 answers") == 2
