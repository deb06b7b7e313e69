"""A real server on loopback: a small model, its engine in a thread, the sockets in another."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from dataclasses import replace

import pytest
import torch

from rlcore.data.tokenizers import ByteTokenizer
from rlcore.inference.config import EngineConfig
from rlcore.inference.engine import Engine
from rlcore.inference.service import EngineService
from rlcore.inference.serving.app import Server
from rlcore.inference.serving.config import ServeConfig
from rlcore.nn.transformer import Transformer, TransformerConfig

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LIMITS = ServeConfig(
    port=0,
    max_body_bytes=64 << 10,
    max_header_bytes=4 << 10,
    max_prompt_tokens=2000,
    max_new_tokens=512,
    default_new_tokens=8,
    max_running=16,
    max_queued=400,
    header_timeout=1.0,
    body_timeout=1.0,
    write_timeout=1.0,
    drain_timeout=20.0,
)


def small_tokenizer():
    tokenizer = ByteTokenizer({"eos": "<|im_end|>", "pad": "<pad>"}, ["<|im_start|>"])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def small_model(seed=0):
    torch.manual_seed(seed)
    shape = TransformerConfig(vocab_size=259, dim=32, layers=2, heads=4, kv_heads=2, eos_id=256)
    return Transformer(shape)


class Running:
    """A server that runs, and ways to talk to it."""

    def __init__(self, config, model=None, stop_ids=(256,), num_blocks=1024):
        self.tokenizer, self.model = small_tokenizer(), model or small_model()
        engine = Engine(self.model, EngineConfig(num_blocks=num_blocks, max_rows=32))
        self.service = EngineService(engine)
        self.config = config
        self.server = Server(self.service, self.tokenizer, config, stop_ids)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.host, self.port = self.ask(self.server.start())

    def ask(self, coroutine, timeout=60):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def stop(self):
        self.ask(self.server.drop_all())
        self.ask(self.server.drain())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()
        self.service.close()

    # -- clients ----------------------------------------------------------------------------------

    def socket(self, timeout=20):
        return socket.create_connection((self.host, self.port), timeout)

    def raw(self, data, timeout=20):
        """Send bytes and return all that comes back until the server closes."""
        with self.socket(timeout) as client:
            client.sendall(data)
            return read_all(client)

    def request(self, method, path, body=None, headers=None, timeout=60):
        """Return status, headers and body."""
        client = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            sent = {"Content-Type": "application/json"} if body is not None else {}
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            client.request(method, path, data, {**sent, **(headers or {})})
            answer = client.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            client.close()

    def post(self, path, body, **options):
        status, _, data = self.request("POST", path, body, **options)
        return status, json.loads(data)

    def events(self, path, body):
        """Return the events of a stream, the last one being the text ``[DONE]``."""
        status, headers, data = self.request("POST", path, {**body, "stream": True})
        assert status == 200, data
        assert headers["Content-Type"] == "text/event-stream"
        parts = data.decode().split("\n\n")
        assert parts[-1] == ""
        assert all(part.startswith("data: ") for part in parts[:-1])
        texts = [part.removeprefix("data: ") for part in parts[:-1]]
        assert texts[-1] == "[DONE]"
        return [json.loads(text) for text in texts[:-1]]

    # -- the engine -------------------------------------------------------------------------------

    def stats(self):
        return self.service.call(lambda engine: engine.stats()).result(30)

    def assert_clean(self, timeout=20):
        """Wait until nothing runs; then every used block is one that the cache keeps."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            stats = self.stats()
            health = json.loads(self.request("GET", "/health")[2])
            # An answer without counts: connections of clients that left are still being closed.
            busy = (stats["decoding"], stats["waiting"], *map(health.get, ("running", "queued")))
            if busy == (0, 0, 0, 0):
                break
            time.sleep(0.02)
        assert stats["used_blocks"] == stats["cached_blocks"], stats
        assert busy == (0, 0, 0, 0)
        status, answer = self.post("/v1/completions", {"prompt": "still there?", "max_tokens": 2})
        assert status == 200, answer


def read_all(client):
    data = b""
    while True:
        try:
            more = client.recv(1 << 16)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


@pytest.fixture(scope="module")
def server():
    """A server without a key."""
    running = Running(LIMITS)
    yield running
    running.assert_clean()
    running.stop()


@pytest.fixture
def make_server():
    """Make servers with other limits."""
    made = []

    def make(model=None, stop_ids=(256,), num_blocks=1024, **limits):
        made.append(Running(replace(LIMITS, **limits), model, stop_ids, num_blocks))
        return made[-1]

    yield make
    for running in made:
        running.stop()
