"""Redaction: what counts as a secret, and every form in which it could slip through."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from rlcore.redact import (
    REDACTED,
    RedactingFilter,
    RedactingStream,
    Redactor,
    is_secret_name,
    netrc_passwords,
    redact_logging,
    redact_output,
)

SECRET = "s3cr3t/with+odd=chars"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("WANDB_API_KEY", True),
        ("HF_TOKEN", True),
        ("aws_secret_access_key", True),
        ("DB_PASSWORD", True),
        ("GOOGLE_CREDENTIALS", True),
        ("SSH_PRIVATE", True),
        ("RAY_AUTH_TOKEN_PATH", False),
        ("WANDB_API_KEY_FILE", False),
        ("PATH", False),
        ("HOME", False),
    ],
)
def test_secret_names(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_values_of_secret_variables_and_netrc_are_replaced(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password fromnetrc99\n")
    environ = {"A_TOKEN": SECRET, "PLAIN": "visible-value", "HOME": str(tmp_path)}
    redactor = Redactor.from_environment(environ)
    text = f"{SECRET} visible-value fromnetrc99 user"
    assert redactor.text(text) == f"{REDACTED} visible-value {REDACTED} user"


def test_encoded_and_multi_line_forms_are_replaced() -> None:
    key = "-----BEGIN KEY-----\nabcdefgh12345\nijklmnop67890\n"
    redactor = Redactor([SECRET, key])
    for text in (
        quote(SECRET, safe=""),
        key,
        key.strip(),
        key.replace("\n", "\\n"),
        "ijklmnop67890",
    ):
        assert "s3cr3t" not in redactor.text(text)
        assert "ijkl" not in redactor.text(text)


def test_short_values_stay() -> None:
    assert Redactor(["1", "true", ""]).text("1 is true") == "1 is true"


def test_a_secret_inside_another_is_hidden_whole() -> None:
    assert Redactor(["abcdef", "abcdefghij"]).text("abcdefghij") == REDACTED


def test_passwords_in_urls_are_replaced_even_if_unknown() -> None:
    text = Redactor().text("git clone https://user:pa55@example.com/x.git at http://host:80/a@b")
    assert text == f"git clone https://{REDACTED}@example.com/x.git at http://host:80/a@b"


def test_nested_data_keys_bytes_and_paths() -> None:
    redactor = Redactor([SECRET])
    data = {
        f"x-{SECRET}": [SECRET, (SECRET, 3)],
        "b": SECRET.encode(),
        "p": Path("/tmp") / "s3cr3t" / "with+odd=chars",
        "api_key": "unknown-but-named",
        "n": 1.5,
        "key_count": 3,
    }
    clean = redactor.data(data)
    assert "s3cr3t" not in str(clean)
    assert clean["api_key"] == REDACTED
    assert (clean["n"], clean["key_count"]) == (1.5, 3)


def test_holds_secret() -> None:
    assert Redactor([SECRET]).holds_secret(f"a {SECRET} b")
    assert not Redactor([SECRET]).holds_secret("a b")


def test_netrc_is_found_and_read_loosely(tmp_path: Path) -> None:
    path = tmp_path / "other-netrc"
    path.write_text("machine a.b login u password p1p1p1\nnonsense line\n")
    assert netrc_passwords({"NETRC": str(path), "HOME": str(tmp_path)}) == {"a.b": "p1p1p1"}
    assert netrc_passwords({"HOME": str(tmp_path)}) == {}


def test_log_messages_arguments_and_tracebacks_are_redacted() -> None:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    redact_logging(Redactor([SECRET]), logger)
    redact_logging(Redactor([SECRET]), logger)
    logger.warning("plain %s and %d", SECRET, 3)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("failed with %r", {"k": SECRET}, stack_info=True)
    text = stream.getvalue()
    assert "plain [redacted] and 3" in text
    assert "ValueError: [redacted]" in text
    assert "s3cr3t" not in text
    (handler,) = logger.handlers
    assert sum(isinstance(f, RedactingFilter) for f in handler.filters) == 1


def test_a_stream_hides_secrets_in_whole_lines_and_in_flushed_parts() -> None:
    below = io.StringIO()
    stream = RedactingStream(below, Redactor(["hunter22"]))
    assert stream.write("it is hun") == 9
    assert below.getvalue() == ""
    stream.write("ter22\nnext")
    assert below.getvalue() == "it is [redacted]\n"
    stream.write(" hunter22")
    stream.flush()
    assert below.getvalue() == "it is [redacted]\nnext [redacted]"
    assert stream.isatty() is False


def test_output_of_a_process_is_redacted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    below = io.StringIO()
    monkeypatch.setattr(sys, "stdout", below)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    redact_output(Redactor(["hunter22"]))
    redact_output(Redactor(["other-secret"]))
    print("hunter22 other-secret")
    assert below.getvalue() == "[redacted] other-secret\n"
