"""Keeps secrets out of everything that is written: logs, events, environment records, W&B.

A secret is the value of an environment variable whose name speaks of one, or a netrc password.
Whatever is written passes through one :class:`Redactor`, which replaces each occurrence.
"""

from __future__ import annotations

import logging
import netrc
import os
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE", re.IGNORECASE)
_PLACE_NAME = re.compile(r"_(PATH|FILE|DIR|MODE|URL|HOST|PORT|NAME)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
SHORTEST = 6
"""Shorter values (``1``, ``true``) are no secrets, and replacing them would garble the text."""
REDACTED = "[redacted]"


def is_secret_name(name: str) -> bool:
    """Return whether a variable or setting of this name holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PLACE_NAME.search(name)


def netrc_path(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the netrc file in use: ``$NETRC``, ``~/.netrc`` or ``~/_netrc``."""
    environ = os.environ if environ is None else environ
    home = Path(environ.get("HOME") or "~").expanduser()
    named = environ.get("NETRC")
    for path in (Path(named) if named else None, home / ".netrc", home / "_netrc"):
        if path is not None and path.is_file():
            return path
    return None


def netrc_passwords(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the passwords of the netrc file by host; empty if it is missing or unreadable."""
    path = netrc_path(environ)
    if path is None:
        return {}
    try:
        hosts = netrc.netrc(str(path)).hosts
    except (OSError, netrc.NetrcParseError):
        return _loose_netrc(path)
    return {host: entry[2] for host, entry in hosts.items() if entry[2]}


def _loose_netrc(path: Path) -> dict[str, str]:
    # The strict parser refuses files with lax permissions; their passwords are secrets too.
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return {}
    found, host = {}, "default"
    for word, value in pairwise(words):
        if word == "machine":
            host = value
        elif word == "password":
            found[host] = value
    return found


class Redactor:
    """Replaces secrets in text and in nested data.

    Args:
        secrets: The values to hide; those shorter than :data:`SHORTEST` are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            for text in (secret, secret.strip(), *secret.splitlines()):
                forms |= {text, quote(text, safe=""), text.replace("\n", "\\n")}
        # Longest first, so that a secret containing another is hidden whole.
        kept = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, kept))) if kept else None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Redactor:
        """Return a redactor of the secrets in the environment and in netrc."""
        environ = os.environ if environ is None else environ
        named = [value for name, value in environ.items() if is_secret_name(name)]
        return cls([*named, *netrc_passwords(environ).values()])

    def text(self, text: str) -> str:
        """Return ``text`` with every secret, and every password in a URL, replaced."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return _URL_PASSWORD.sub(REDACTED, text)

    def data(self, value: Any) -> Any:
        """Return nested mappings, sequences and strings with secrets replaced, keys included.

        Values under a secret's name (``api_key: ...``) are replaced whatever they are.
        """
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): REDACTED
                if is_secret_name(str(key)) and isinstance(item, str) and item
                else self.data(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.data(item) for item in value]
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "replace"))
        return self.text(str(value)) if isinstance(value, (str, Path)) else value

    def holds_secret(self, text: str) -> bool:
        """Return whether ``text`` contains a secret."""
        return self.text(text) != text


class RedactingFilter(logging.Filter):
    """A logging filter that replaces secrets in messages and tracebacks."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite ``record`` in place; always keeps it."""
        record.msg, record.args = self.redactor.text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text, record.exc_info = self.redactor.text(record.exc_text), None
        if record.stack_info:
            record.stack_info = self.redactor.text(record.stack_info)
        return True


def redact_logging(redactor: Redactor, logger: logging.Logger | None = None) -> None:
    """Put a :class:`RedactingFilter` on every handler of ``logger`` (the root by default)."""
    logger = logger or logging.getLogger()
    for handler in logger.handlers:
        for old in [f for f in handler.filters if isinstance(f, RedactingFilter)]:
            handler.removeFilter(old)
        handler.addFilter(RedactingFilter(redactor))


class RedactingStream:
    """A text stream that replaces secrets, line by line, before they reach the stream below it.

    Args:
        stream: Where the text goes.
        redactor: What it passes through.
    """

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor
        self._line = ""

    def write(self, text: str) -> int:
        """Write the lines that ``text`` completes; keep the rest until its end comes."""
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._stream.write(self._redactor.text("\n".join([*lines, ""])))
        return len(text)

    def flush(self) -> None:
        """Write what is kept, although its line has not ended."""
        self._stream.write(self._redactor.text(self._line))
        self._line = ""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Hand everything else to the stream below."""
        return getattr(self._stream, name)


def redact_output(redactor: Redactor) -> None:
    """Let everything that Python prints or logs in this process pass through ``redactor``.

    What native code writes to the file descriptors does not.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, RedactingStream):
            setattr(sys, name, RedactingStream(stream, redactor))
