"""Tests reach nothing outside this machine: the guard refuses every way out, in children too."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

# Addresses reserved for documentation: nobody answers there, should the guard fail.
FAR = ("192.0.2.1", 9)
FAR6 = ("2001:db8::1", 9)

guarded = pytest.mark.skipif(
    os.environ.get("RLCORE_OFFLINE") == "0", reason="RLCORE_OFFLINE=0 lifts the guard"
)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send the notes of intended attempts elsewhere than the session's log."""
    path = tmp_path / "offline.log"
    monkeypatch.setenv("RLCORE_OFFLINE_LOG", str(path))
    return path


@guarded
def test_a_connection_out_is_refused_and_noted(log: Path) -> None:
    with socket.socket() as sock, pytest.raises(OSError, match="tests run offline"):
        sock.connect(FAR)
    with socket.socket() as sock, pytest.raises(OSError, match="tests run offline"):
        sock.connect_ex(FAR)
    with pytest.raises(OSError, match="tests run offline"):
        socket.create_connection(FAR, timeout=1)
    assert log.read_text().count("connect to") + log.read_text().count("connect (") == 3


@guarded
def test_ipv6_datagrams_and_names_are_refused(log: Path) -> None:
    with socket.socket(socket.AF_INET6) as sock, pytest.raises(OSError, match="offline"):
        sock.connect(FAR6)
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(OSError, match="tests run offline"),
    ):
        sock.sendto(b"x", FAR)
    with pytest.raises(OSError, match="name look-up"):
        socket.getaddrinfo("example.com", 80)
    with pytest.raises(OSError, match="name look-up"):
        socket.gethostbyname("example.com")
    assert len(log.read_text().splitlines()) == 4


@guarded
def test_child_processes_are_guarded(log: Path) -> None:
    script = f"import socket; socket.create_connection({FAR!r}, timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "tests run offline" in done.stderr
    assert "192.0.2.1" in log.read_text()


def test_loopback_is_open() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"ping")
        peer, _ = server.accept()
        with peer:
            assert peer.recv(4) == b"ping"


def test_unix_sockets_are_open(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        client.connect(str(tmp_path / "socket"))


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("localhost", 1), True),
        (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True),
        ("/run/socket", True),
        (("128.0.0.1", 1), False),
        (("10.0.0.1", 1), False),
        (("1270.0.0.1.example.com", 1), False),
        (("fe80::1", 1, 0, 0), False),
    ],
)
def test_what_counts_as_local(repo_root: Path, address: object, local: bool) -> None:
    spec = importlib.util.spec_from_file_location(
        "_guard_under_test", repo_root / "tests/offline/sitecustomize.py"
    )
    guard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard)
    assert guard.is_local(address) is local
