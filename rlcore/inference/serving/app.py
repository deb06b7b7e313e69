"""The server: routes, keys, limits, and an end that lets running requests finish."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from rlcore.data.tokenizers import Tokenizer
from rlcore.errors import MissingDependencyError, NonFiniteError, RlcoreError
from rlcore.inference.errors import RequestError, RequestTooLargeError
from rlcore.inference.request import Request
from rlcore.inference.service import Delta, EngineService, Failure, Ticket
from rlcore.inference.serving.answers import Answers, Choice
from rlcore.inference.serving.config import ServeConfig, is_loopback
from rlcore.inference.serving.fields import read_object
from rlcore.inference.serving.gate import Gate
from rlcore.inference.serving.http import Connection, HttpError, HttpRequest
from rlcore.inference.serving.wire import Call, read_chat, read_completion

LOG = logging.getLogger("rlcore.serve")
Reader = Callable[[dict[str, Any], Any, ServeConfig], Call]
Events = asyncio.Queue[tuple[int, Delta | Failure]]


class Server:
    """Answers OpenAI's protocol from one engine.

    Args:
        service: The engine in its thread.
        tokenizer: Spells prompts and answers.
        config: Where to listen, who may call, and how much.
        stop_ids: Tokens that end every answer.
    """

    def __init__(
        self,
        service: EngineService,
        tokenizer: Tokenizer,
        config: ServeConfig,
        stop_ids: tuple[int, ...] = (),
    ):
        self._service, self._tokenizer, self._config = service, tokenizer, config
        self._stop_ids = stop_ids
        self._gate = Gate(config.max_running, config.max_queued)
        self._posts: dict[str, Reader] = {
            "/v1/completions": read_completion,
            "/v1/chat/completions": read_chat,
        }
        self._gets: dict[str, Callable[[], Any]] = {"/v1/models": self._models}
        name = config.model_name
        for spelling in (name, quote(name), quote(name, safe="")):  # clients escape or do not
            self._gets[f"/v1/models/{spelling}"] = self._model
        self._clients: dict[asyncio.Task[None], bool] = {}
        self._listener: asyncio.Server | None = None
        self._draining = False
        self._started = int(time.time())

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Begin to listen, and return the address."""
        config = self._config
        self._listener = await asyncio.start_server(
            self._client, config.host, config.port, limit=config.max_header_bytes + 4, backlog=256
        )
        host, port = self._listener.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def drain(self) -> None:
        """Let running requests end in time, cancel the rest; new ones are told to go elsewhere."""
        self._draining = True
        LOG.info("draining: %d requests run, %d wait", self._gate.running, self._gate.waiting)
        for client, busy in self._clients.items():
            if not busy:
                client.cancel()
        if self._clients:
            await asyncio.wait(set(self._clients), timeout=self._config.drain_timeout)
        await self.drop_all()

    async def drop_all(self) -> None:
        """Listen no more, cancel all requests and end all connections."""
        if self._listener is not None:
            self._listener.close()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(set(self._clients), timeout=self._config.write_timeout)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a client is served outside of a task")
        connection = Connection(reader, writer, self._config)
        self._clients[task] = False
        try:
            if len(self._clients) > self._config.max_connections:
                error = HttpError(503, "too many connections", kind="server_error")
                await connection.send_json(503, error.body(), keep_alive=False)
                return
            while await self._one(connection, task) and not self._draining:
                pass
        except (ConnectionError, asyncio.CancelledError):
            # Gone, or told to go: asyncio has no use for either.
            pass
        finally:
            with suppress(asyncio.CancelledError):
                await connection.close()
            del self._clients[task]

    async def _one(self, connection: Connection, task: asyncio.Task[None]) -> bool:
        """Serve one request; return whether the connection goes on."""
        self._clients[task] = False
        try:
            request = await connection.read()
        except HttpError as error:
            await self._refuse(connection, error, keep_alive=False)
            if error.status != 408:
                await connection.discard_input()
            return False
        if request is None:
            return False
        self._clients[task] = True
        began = time.monotonic()
        status, keep = await self._handled(connection, request)
        took = 1000 * (time.monotonic() - began)
        LOG.info("%s %.80s %d %.0f ms", request.method, ascii(request.path), status, took)
        return keep

    async def _handled(self, connection: Connection, request: HttpRequest) -> tuple[int, bool]:
        keep = request.keep_alive
        try:
            keep = await self._dispatch(connection, request)
            return connection.status, keep
        except HttpError as error:
            keep = keep and not error.close and not connection.begun
            await self._refuse(connection, error, keep_alive=keep)
            return error.status, keep
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            LOG.exception("a request failed")
            failure = HttpError(500, "the server failed", kind="server_error")
            await self._refuse(connection, failure, keep_alive=False)
            return 500, False

    async def _refuse(self, connection: Connection, error: HttpError, *, keep_alive: bool) -> None:
        if connection.begun:
            await connection.send_event(error.body())
            await connection.end_events()
            return
        await connection.send_json(
            error.status, error.body(), keep_alive=keep_alive, headers=error.headers
        )

    # -- routes -----------------------------------------------------------------------------------

    async def _dispatch(self, connection: Connection, request: HttpRequest) -> bool:
        self._check_host(request)
        if request.path == "/health":
            _check_method(request, "GET")
            status, tree = self._health()
            await connection.send_json(status, tree, keep_alive=request.keep_alive)
            return request.keep_alive
        self._check_key(request)
        if request.path in self._gets:
            _check_method(request, "GET")
            tree = self._gets[request.path]()
            await connection.send_json(200, tree, keep_alive=request.keep_alive)
            return request.keep_alive
        if request.path not in self._posts:
            raise HttpError(404, f"there is nothing at {request.path!a:.80}")
        _check_method(request, "POST")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(415, f"Content-Type must be application/json, got {kind!a:.60}")
        # Tokenizing a long prompt takes a while, and others are served meanwhile.
        call = await asyncio.to_thread(self._read, self._posts[request.path], request.body)
        return await self._while_there(connection, self._answer(connection, call, request))

    def _read(self, reader: Reader, body: bytes) -> Call:
        try:
            return reader(read_object(body), self._tokenizer, self._config)
        except MissingDependencyError as error:
            raise HttpError(501, str(error), kind="server_error") from None

    async def _while_there(self, connection: Connection, work: Awaitable[bool]) -> bool:
        """Do the work unless the client closes the connection first."""
        doing = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(connection.gone())
        try:
            await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                LOG.info("a client left before its answer was complete")
                raise ConnectionResetError("the client is gone")
            return await doing
        finally:
            for task in (doing, gone):
                task.cancel()
            await asyncio.gather(doing, gone, return_exceptions=True)

    def _check_host(self, request: HttpRequest) -> None:
        """Refuse names that a web page could have pointed at this machine (DNS rebinding)."""
        host = request.headers.get("host")
        if host is None or self._config.api_key or not is_loopback(self._config.host):
            return
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if not is_loopback(name):
            raise HttpError(403, f"the host {host!a:.80} is not this machine's own name")

    def _check_key(self, request: HttpRequest) -> None:
        if self._config.api_key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Digests have one length: the comparison tells neither the key nor how long it is.
        same = hmac.compare_digest(_digest(given.strip()), _digest(self._config.api_key))
        if scheme.lower() != "bearer" or not same:
            raise HttpError(
                401, "the API key is missing or wrong", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    def _health(self) -> tuple[int, dict[str, Any]]:
        state = "failed" if self._service.failed else "draining" if self._draining else "ok"
        counts = {"running": self._gate.running, "queued": self._gate.waiting}
        return 200 if state == "ok" else 503, {"status": state, **counts}

    def _model(self) -> dict[str, Any]:
        name, created = self._config.model_name, self._started
        return {"id": name, "object": "model", "created": created, "owned_by": "rlcore"}

    def _models(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._model()]}

    # -- generation -------------------------------------------------------------------------------

    async def _answer(self, connection: Connection, call: Call, request: HttpRequest) -> bool:
        if self._draining or self._service.failed:
            raise HttpError(503, "the server is going down", kind="server_error", close=True)
        answers = Answers(call, self._config.model_name, self._tokenizer)
        async with self._gate:
            tickets: list[Ticket] = []
            events: Events = asyncio.Queue()
            try:
                tickets += self._submit(call, events)
                if call.stream:
                    await self._stream(connection, answers, tickets, events)
                    return False
                async for _ in self._grow(answers, tickets, events):
                    pass
            finally:
                for ticket in tickets:
                    ticket.cancel()
            if call.top:
                await self._add_alternatives(answers)
        await connection.send_json(200, answers.whole(), keep_alive=request.keep_alive)
        return request.keep_alive

    def _submit(self, call: Call, events: Events) -> list[Ticket]:
        loop = asyncio.get_running_loop()

        def emit(number: int) -> Callable[[Delta | Failure], None]:
            def call_back(event: Delta | Failure) -> None:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(events.put_nowait, (number, event))

            return call_back

        requests = [
            Request(
                prompt=prompt,
                max_new_tokens=call.max_new_tokens,
                sampling=call.sampling,
                n=call.n,
                stop_ids=self._stop_ids,
            )
            for prompt in call.prompts
        ]
        return [self._service.submit(r, emit(n)) for n, r in enumerate(requests)]

    async def _grow(
        self, answers: Answers, tickets: list[Ticket], events: Events
    ) -> AsyncIterator[tuple[Choice, str, int]]:
        """Yield ``(choice, text, tokens)`` of each piece of each answer until all have ended."""
        left = len(answers.choices)
        while left:
            number, event = await events.get()
            if isinstance(event, Failure):
                raise _as_http(event.error)
            choice = answers.choices[number * answers.call.n + event.sample]
            if choice.ended():
                continue
            before = len(choice.ids)
            ids, log_probs = _without_stop(event, self._stop_ids)
            text = choice.push(ids, log_probs)
            if event.finish_reason is not None:
                text += choice.finish(event.finish_reason)
            elif choice.ended():
                tickets[number].cancel(event.sample)
            left -= choice.ended()
            yield choice, text, len(choice.ids) - before

    async def _stream(
        self, connection: Connection, answers: Answers, tickets: list[Ticket], events: Events
    ) -> None:
        begun = False
        async for choice, text, tokens in self._grow(answers, tickets, events):
            if not begun:
                begun = True
                await connection.begin_events()
                for opening in answers.first_events():
                    await connection.send_event(opening)
            tell = tokens and (answers.call.log_probs or answers.call.token_ids)
            if text or tell or choice.ended():
                await connection.send_event(answers.event(choice, text, tokens))
        if answers.call.usage_event:
            await connection.send_event(answers.usage_event())
        await connection.send_event("[DONE]")
        await connection.end_events()

    async def _add_alternatives(self, answers: Answers) -> None:
        call = answers.call
        for choice in answers.choices:
            prompt = call.prompts[choice.index // call.n]
            future = self._service.alternatives(prompt, choice.ids, call.top)
            choice.alternatives = await asyncio.wrap_future(future)


def _without_stop(event: Delta, stop_ids: tuple[int, ...]) -> tuple[list[int], list[float]]:
    """Return new tokens without the one that ended the answer: it is no part of its text."""
    ids, log_probs = list(event.ids), list(event.log_probs)
    if event.finish_reason == "stop" and ids and ids[-1] in stop_ids:
        return ids[:-1], log_probs[:-1]
    return ids, log_probs


def _as_http(error: Exception) -> HttpError:
    if isinstance(error, RequestTooLargeError):
        return HttpError(400, str(error), code="context_length_exceeded")
    if isinstance(error, RequestError):
        return HttpError(400, str(error), param="prompt")
    if isinstance(error, NonFiniteError):  # asked again, it will be the same
        return HttpError(500, str(error), kind="server_error")
    if isinstance(error, RlcoreError):
        return HttpError(503, str(error), kind="server_error")
    return HttpError(500, "the engine failed", kind="server_error")


def _check_method(request: HttpRequest, wanted: str) -> None:
    if request.method != wanted:
        raise HttpError(
            405, f"{request.path} wants {wanted}, got {request.method}", headers={"Allow": wanted},
            close=request.method == "HEAD",  # to which no body belongs
        )  # fmt: skip


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
