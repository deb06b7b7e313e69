"""The transcript escapes what a model wrote: payloads change its text and never its structure."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from experiments.transcript import Answer, Branch, Fork, Token
from experiments.transcript_html import SCRIPT, render_transcript

PAYLOADS = (
    "<script>alert(1)</script>",
    "</span></div></article><script src=//evil.example/x.js></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" onmouseover="alert(1)',
    "<svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<base href=//evil.example/>",
    '<meta http-equiv="refresh" content="0;url=//evil.example">',
    "{{7*7}}${7*7}<%= 7*7 %>",
    "\u202e<b>\u0000\x1b[31m\r\n",
    "\ud83d",
)


class Structure(HTMLParser):
    """Collects tags with their attribute names, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.tips = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tips += named.get("data-tip") or ""
        # The names of unseen letters are the only elements that depend on the text.
        if named.get("class") != "c":
            self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(text: str) -> str:
    """Return a page with ``text`` in every place that may hold text."""
    token = Token(1, text, log_prob=-1.0, drawn_log_prob=-2.0, alternatives=((text, -1.0),))
    committed = Token(1, text, step=3, forced=True)
    fork = Fork([Branch([token], text, text), Branch([committed])], joined=False)
    answer = Answer([token], Branch([token, fork, committed], text, text), {text: text})
    return render_transcript([answer], text)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_text_and_nothing_else(payload: str) -> None:
    page = page_of(payload)
    plain, attacked = Structure(page_of("plain")), Structure(page)
    assert attacked.tags == plain.tags
    assert page.count("<script") == 1
    assert page.encode("utf-8", "strict"), "half a surrogate pair is written out"
    if payload.isprintable():
        assert attacked.text.count(payload) == plain.text.count("plain")
        assert SCRIPT in attacked.text
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in page)
    assert "\u202e" not in page
