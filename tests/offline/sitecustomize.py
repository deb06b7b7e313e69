"""Keep tests off the network: loaded by every Python child process through ``PYTHONPATH``.

An audit hook sees each connection before it is made, whatever library makes it, and refuses those
that leave this machine. Attempts are noted in the file ``RLCORE_OFFLINE_LOG``.
"""

from __future__ import annotations

import errno
import os
import sys


class OfflineError(OSError):
    """A test tried to reach the network."""


def is_local(address: object) -> bool:
    """Say whether a socket address stays on this machine."""
    if isinstance(address, (str, bytes)):
        return True  # AF_UNIX
    if not isinstance(address, tuple) or not address:
        return True  # AF_NETLINK and the like
    host = address[0]
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    return not isinstance(host, str) or _is_local_host(host)


def _is_local_host(host: str) -> bool:
    if host in ("", "localhost", "::", "::1", "0.0.0.0", os.uname().nodename):
        return True
    return host.startswith(("127.", "::ffff:127."))


def _refuse(what: str, target: object) -> None:
    log = os.environ.get("RLCORE_OFFLINE_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {what} {target!r}\n")
    raise OfflineError(
        errno.ENETUNREACH,
        f"tests run offline: {what} to {target!r} refused (RLCORE_OFFLINE=0 lifts this)",
    )


def _is_datagram(sock: object) -> bool:
    # Connecting a datagram socket sends nothing: it is how programs ask for their own address.
    return getattr(sock, "type", None) == 2


def _guard(event: str, args: tuple[object, ...]) -> None:
    if not event.startswith("socket."):
        return
    if os.environ.get("RLCORE_OFFLINE", "1") == "0":
        return
    if event == "socket.connect" and not is_local(args[1]) and not _is_datagram(args[0]):
        _refuse("connect", args[1])
    elif event in ("socket.sendto", "socket.sendmsg") and not is_local(args[1]):
        _refuse("send", args[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0].decode("ascii", "replace") if isinstance(args[0], bytes) else args[0]
        if isinstance(host, str) and not _is_local_host(host) and not _is_address(host):
            _refuse("name look-up", host)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


if os.environ.get("RLCORE_OFFLINE", "1") != "0" and "_rlcore_offline" not in sys.modules:
    sys.modules["_rlcore_offline"] = sys.modules[__name__]
    sys.addaudithook(_guard)
