"""Check files before they are committed: size, secrets, line ends. Usage: check_files.py FILE..."""

from __future__ import annotations

import re
import sys
from pathlib import Path

MAX_BYTES = 512 * 1024
SECRETS = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "an AWS key": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{34}\b"),
    "a W&B key": re.compile(rb"WANDB_API_KEY\s*[=:]\s*['\"]?[0-9a-f]{40}\b"),
}


def problems_of(path: Path) -> list[str]:
    """Return one line for each problem of a file."""
    data = path.read_bytes()
    found = []
    if len(data) > MAX_BYTES:
        found.append(f"{path}: {len(data)} bytes, more than {MAX_BYTES}")
    found += [f"{path}: holds {name}" for name, form in SECRETS.items() if form.search(data)]
    if b"\0" in data[:8192] or not data:
        return found
    if b"\r\n" in data:
        found.append(f"{path}: Windows line ends")
    if not data.endswith(b"\n"):
        found.append(f"{path}: no newline at the end")
    return found


def main(files: list[str]) -> int:
    """Print the problems of ``files`` and return 1 if there are any."""
    found = [line for name in files for line in problems_of(Path(name))]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
