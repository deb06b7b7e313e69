"""Which letters texts may have, and how a text is read.

Everything but printable ASCII and line feeds is refused, so that look-alike letters, combining
marks, zero-width and control characters can neither hide a name nor imitate one. Typographic quotes
and dashes, which editors and language models put in by themselves, are read as their plain forms.
"""

from __future__ import annotations

import functools
import re

CHARSET = "\n" + "".join(map(chr, range(32, 127)))
"""Characters of every observation and of sampled actions."""

_TYPED = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{NO-BREAK SPACE}": " ",
        "\t": " ",
        "\r": " ",
    }
)
_FOREIGN = re.compile(r"[^\n -~]")
_SPACES = re.compile(r"\s+")


def plain(text: str, limit: int) -> str | None:
    """Return ``text`` in lower case with single spaces, or None if it cannot be read.

    Args:
        text: What an agent wrote.
        limit: Longest text that is read, in characters.
    """
    return None if len(text) > limit else _plain(text)


@functools.lru_cache(4096)
def _plain(text: str) -> str | None:
    """Return what :func:`plain` does; the same texts are said in many games."""
    text = text.translate(_TYPED)
    if _FOREIGN.search(text):
        return None
    return _SPACES.sub(" ", text).strip().lower()


def shown(text: str) -> str:
    """Return ``text`` with every character outside :data:`CHARSET` as a question mark."""
    return _FOREIGN.sub("?", text.translate(_TYPED))
