"""Which code a run ran: commit, branch, and the uncommitted changes without secrets."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlcore.redact import REDACTED

MAX_DIFF_BYTES = 1 << 20
MAX_FILES = 500
TIMEOUT_S = 10.0

_SECRET_FILE = re.compile(
    r"(^|/)(\.env[^/]*|[^/]*\.(pem|key|p12|pfx|jks|keystore|asc|gpg|kdbx)|id_(rsa|dsa|ecdsa|ed25519)"
    r"[^/]*|\.?netrc|_netrc|\.npmrc|\.pypirc|\.git-credentials|\.htpasswd|kubeconfig"
    r"|[^/]*(secret|credential|passw|api_?key|token\.|tokens\.)[^/]*)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(gh[pousr]_|github_pat_|hf_|sk-|glpat-|xox[abprs]-|AKIA|ASIA|AIza|npm_|pypi-)"
    r"[A-Za-z0-9_-]{16,}"
    r"|(?<=[\"'=:\s])[0-9a-f]{40}(?=[\"'\s])",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class GitRecord:
    """The state of a working tree.

    Attributes:
        values: What ``git.json`` holds; ``{"repository": False}`` where there is none.
        diff: The uncommitted changes to tracked files; empty if clean.
    """

    values: dict[str, Any] = field(default_factory=dict)
    diff: str = ""


def git_record(folder: str | Path = ".") -> GitRecord:
    """Return the commit and the uncommitted changes of the repository around ``folder``.

    Left out of the diff are files that git is told to ignore and files whose names speak of
    secrets; what looks like a key in the rest is replaced. Files that git does not track are named,
    not copied.
    """
    try:
        return _record(Path(folder))
    except (OSError, subprocess.SubprocessError) as error:
        return GitRecord({"repository": False, "reason": str(error)[:200]})


def _record(folder: Path) -> GitRecord:
    top = _git(folder, "rev-parse", "--show-toplevel").strip()
    if not top:
        return GitRecord({"repository": False})
    root = Path(top)
    changed = _names(_git(root, "diff", "HEAD", "--name-only", "-z", *_PLAIN))
    untracked = _names(_git(root, "ls-files", "--others", "--exclude-standard", "-z"))
    left_out = _left_out(root, changed)
    shown = [name for name in changed if name not in left_out]
    diff, cut = _diff(root, shown)
    values = {
        "repository": True,
        "commit": _git(root, "rev-parse", "--verify", "-q", "HEAD").strip() or None,
        "branch": _git(root, "symbolic-ref", "--short", "-q", "HEAD").strip() or None,
        "dirty": bool(changed or untracked),
        "changed_files": changed[:MAX_FILES],
        "untracked_files": untracked[:MAX_FILES],
        "left_out_of_diff": sorted(left_out)[:MAX_FILES],
        "diff_cut": cut,
    }
    return GitRecord(values, diff)


_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")


def _left_out(root: Path, names: list[str]) -> set[str]:
    """Return the names that look secret or that an ignore rule covers."""
    # "./" keeps a name that starts with ":" from being read as a pattern.
    listed = "".join(f"./{name}\0" for name in names)
    ignored = _git(root, "check-ignore", "--no-index", "-z", "--stdin", text=listed)
    secret = {name for name in names if _SECRET_FILE.search(name)}
    return secret | {name.removeprefix("./") for name in _names(ignored)}


def _diff(root: Path, names: list[str]) -> tuple[str, bool]:
    if not names:
        return "", False
    command = _command(
        root, "--literal-pathspecs", "diff", "HEAD", *_PLAIN, "--", *names[:MAX_FILES]
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    ) as process:
        assert process.stdout is not None
        raw = process.stdout.read(MAX_DIFF_BYTES + 1)
        process.kill()
    cut = len(raw) > MAX_DIFF_BYTES or len(names) > MAX_FILES
    text = raw[:MAX_DIFF_BYTES].decode("utf-8", errors="replace")
    return _SECRET_TEXT.sub(REDACTED, text), cut


def _names(text: str) -> list[str]:
    return [name for name in text.split("\0") if name]


def _command(root: Path, *args: str) -> list[str]:
    # Nothing that the repository's settings name is run.
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-pager")
    return ["git", "-C", str(root), *safe, *args]


def _environment() -> dict[str, str]:
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def _git(root: Path, *args: str, text: str | None = None) -> str:
    """Return what a git command prints; nothing if it fails, as outside a repository."""
    done = subprocess.run(
        _command(root, *args),
        input=text.encode("utf-8", "surrogateescape") if text is not None else b"",
        capture_output=True,
        timeout=TIMEOUT_S,
        env=_environment(),
        check=False,
    )
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""
