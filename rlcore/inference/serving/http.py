"""As much of HTTP/1.1 as an API needs, under limits of size and time (RFC 9112).

A request is read whole or refused; there are no compressed or chunked request bodies, no upgrades
and no files. Answers are JSON, or server-sent events in chunks.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rlcore.inference.serving.config import ServeConfig

REASONS = {
    100: "Continue", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 411: "Length Required",
    413: "Content Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip
MAX_HEADERS = 100
_DISCARDED_BODIES = 4
_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) (HTTP/\d\.\d)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*")


class HttpError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        message: What the client is told.
        kind: OpenAI's ``type`` of the error.
        code: OpenAI's ``code``.
        param: The field that is wrong.
        headers: Further headers of the answer.
        close: Whether the connection cannot go on.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ):
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.code, self.param, self.close = code, param, close
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON that describes the error."""
        fields = {"message": self.message, "type": self.kind, "param": self.param}
        return {"error": {**fields, "code": self.code}}


@dataclass(frozen=True)
class HttpRequest:
    """A request as it arrived.

    Attributes:
        method: Verb.
        path: Path without query.
        headers: By lower-case name.
        body: What followed.
        keep_alive: Whether the client may send another request on this connection.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True


class Connection:
    """One client: reads its requests, writes answers.

    Time is limited with ``asyncio.timeout``: ``wait_for`` can lose a cancellation that comes in the
    same moment as its result (Python 3.11).

    Args:
        reader: What the client sends; its buffer must hold ``max_header_bytes``.
        writer: What it is sent.
        limits: Sizes and times.

    Attributes:
        status: Of the last answer.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: ServeConfig
    ):
        self._reader, self._writer, self._limits = reader, writer, limits
        self._begun = False
        self._early = b""
        self.status = 0
        writer.transport.set_write_buffer_limits(high=64 << 10)

    # -- reading ----------------------------------------------------------------------------------

    async def read(self) -> HttpRequest | None:
        """Return the next request; ``None`` when the client is gone or sent nothing in time.

        Raises:
            HttpError: It is malformed, too large, or took too long.
        """
        self._begun = False
        head = await self._head()
        if head is None:
            return None
        request = _parse_head(head)
        length = _body_length(request)
        if length > self._limits.max_body_bytes:
            raise HttpError(
                413, f"the body has {length} bytes; the limit is {self._limits.max_body_bytes}",
                close=True,
            )  # fmt: skip
        if not length:
            return request
        if request.headers.get("expect", "").lower() == "100-continue":
            await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                body = await self._exactly(length)
        except TimeoutError:
            raise HttpError(408, "the body did not arrive in time", close=True) from None
        except asyncio.IncompleteReadError:
            return None
        return HttpRequest(request.method, request.path, request.headers, body, request.keep_alive)

    async def _exactly(self, length: int) -> bytes:
        early, self._early = self._early[:length], self._early[length:]
        return early + await self._reader.readexactly(length - len(early))

    async def _head(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._limits.header_timeout):
                return await self._until_blank_line()
        except TimeoutError:
            if not self._early:
                return None
            raise HttpError(408, "the request did not arrive in time", close=True) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _until_blank_line(self) -> bytes:
        limit = self._limits.max_header_bytes
        while b"\r\n\r\n" not in self._early:
            if len(self._early) > limit:
                raise HttpError(
                    431, f"the head of the request is larger than {limit} bytes", close=True
                )
            more = await self._reader.read(limit)
            if not more:
                raise asyncio.IncompleteReadError(self._early, None)
            self._early += more
        head, _, self._early = self._early.partition(b"\r\n\r\n")
        if len(head) > limit:
            raise HttpError(
                431, f"the head of the request is larger than {limit} bytes", close=True
            )
        return head

    async def gone(self) -> None:
        """Return when the client closes the connection; what it sends meanwhile is kept."""
        while more := await self._reader.read(1 << 12):
            self._early += more
            if len(self._early) > self._limits.max_header_bytes:
                return

    async def discard_input(self) -> None:
        """Take what a refused client still sends, so that it comes to read the answer.

        Closed with bytes unread, a connection is reset, and the answer is lost with it. Size and
        time are limited.
        """
        self._early = b""
        left = _DISCARDED_BODIES * self._limits.max_body_bytes
        with suppress(TimeoutError, ConnectionError):
            self._writer.write_eof()
            async with asyncio.timeout(self._limits.header_timeout):
                while left > 0 and (more := await self._reader.read(1 << 16)):
                    left -= len(more)

    # -- writing ----------------------------------------------------------------------------------

    async def send_json(
        self, status: int, tree: Any, *, keep_alive: bool, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer.

        Raises:
            ConnectionError: The client is gone, or takes nothing.
        """
        self.status = status
        body = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
        data = body.encode("utf-8", "replace")
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        await self._write(_head_of(status, {**fields, **(headers or {})}, keep_alive) + data)

    async def begin_events(self) -> None:
        """Begin an answer of server-sent events; the connection ends with it.

        Raises:
            ConnectionError: The client is gone.
        """
        self._begun, self.status = True, 200
        fields = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        head = _head_of(200, {**fields, "Transfer-Encoding": "chunked"}, keep_alive=False)
        await self._write(head)

    async def send_event(self, tree: Any) -> None:
        """Send one event.

        Raises:
            ConnectionError: The client is gone, or takes nothing.
        """
        text = tree if isinstance(tree, str) else json.dumps(tree, separators=(",", ":"))
        data = f"data: {text}\n\n".encode("utf-8", "replace")
        await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_events(self) -> None:
        """End the events."""
        await self._write(b"0\r\n\r\n")

    @property
    def begun(self) -> bool:
        """Whether an answer of events has begun, so that no other status can be sent."""
        return self._begun

    async def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the client is gone")
        self._writer.write(data)
        try:
            async with asyncio.timeout(self._limits.write_timeout):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionAbortedError("the client takes nothing") from None

    async def close(self) -> None:
        """End the connection, with what was sent delivered if the client takes it in time."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.write_timeout):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self._writer.transport.abort()


def _head_of(status: int, fields: Mapping[str, str], keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    lines += ["X-Content-Type-Options: nosniff"]
    lines += [f"Connection: {'keep-alive' if keep_alive else 'close'}", "", ""]
    return "\r\n".join(lines).encode("ascii")


def _parse_head(head: bytes) -> HttpRequest:
    first, *rest = head.split(b"\r\n")
    match = _REQUEST.fullmatch(first)
    if match is None:
        raise HttpError(400, "the request line is malformed", close=True)
    if match[3] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise HttpError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here", close=True)
    if len(rest) > MAX_HEADERS:
        raise HttpError(431, f"more than {MAX_HEADERS} header fields", close=True)
    headers: dict[str, str] = {}
    for line in rest:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise HttpError(400, "a header field is malformed", close=True)
        name = found[1].decode().lower()
        if name in headers and name in ("content-length", "host", "authorization"):
            raise HttpError(400, f"the header field {name} stands twice", close=True)
        headers[name] = found[2].decode("latin-1")
    wish = headers.get("connection", "").lower()
    keep = wish != "close" if match[3] == b"HTTP/1.1" else wish == "keep-alive"
    path = match[2].decode().partition("?")[0]
    return HttpRequest(match[1].decode(), path, headers, keep_alive=keep)


def _body_length(request: HttpRequest) -> int:
    if "transfer-encoding" in request.headers:
        raise HttpError(501, "request bodies in chunks are not read here", close=True)
    text = request.headers.get("content-length")
    if text is None:
        if request.method in ("POST", "PUT", "PATCH"):
            raise HttpError(411, "a body wants the header field Content-Length", close=True)
        return 0
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise HttpError(400, "Content-Length is malformed", close=True)
    return int(text)
