"""Settings of the server: where it listens, who may call, and how much one caller may take."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from rlcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """Limits of the server; each protects it from one kind of caller.

    Attributes:
        host: Address to listen on.
        port: Port; 0 lets the system choose.
        model_name: What clients call the model.
        api_key: Callers of ``/v1/`` must send it; null for none.
        insecure: Listen beyond this machine without a key.
        max_connections: Open connections.
        max_running: Requests that generate at once.
        max_queued: Requests that wait for that; beyond it the answer is 429.
        max_header_bytes: Size of a request's head.
        max_body_bytes: Size of its body.
        max_prompt_tokens: Tokens of a prompt.
        max_new_tokens: Tokens of an answer.
        default_new_tokens: Where the request names no limit.
        max_samples: Prompts times ``n``.
        header_timeout: Seconds for a request's head to arrive, and for a next one to begin.
        body_timeout: Seconds for its body to arrive.
        write_timeout: Seconds in which a client must take what was sent.
        drain_timeout: Seconds in which running requests may end after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model_name: str = "model"
    api_key: str | None = None
    insecure: bool = False
    max_connections: int = 512
    max_running: int = 64
    max_queued: int = 256
    max_header_bytes: int = 16 << 10
    max_body_bytes: int = 4 << 20
    max_prompt_tokens: int = 32_768
    max_new_tokens: int = 8192
    default_new_tokens: int = 256
    max_samples: int = 16
    header_timeout: float = 15.0
    body_timeout: float = 30.0
    write_timeout: float = 30.0
    drain_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            least = 0 if name in ("port", "max_queued", "drain_timeout") else 1e-3
            if isinstance(value, int | float) and not isinstance(value, bool) and value < least:
                raise ConfigError(f"serve.{name} must be at least {least:g}, got {value}")
        if self.port > 65535:
            raise ConfigError(f"serve.port must be at most 65535, got {self.port}")
        if self.api_key is not None and not _usable(self.api_key):
            raise ConfigError("the API key must be printable ASCII without spaces, and not empty")
        if not (is_loopback(self.host) or self.api_key or self.insecure):
            raise ConfigError(
                f"refusing to listen on {self.host} without an API key: anyone who reaches this "
                "machine could use the model. Set RLCORE_API_KEY or --api-key-file, or say "
                "--insecure"
            )


def _usable(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
