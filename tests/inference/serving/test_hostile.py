"""Callers who send nonsense, too much, too slowly, or leave: the server and its pool stay whole."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.inference.serving.conftest import read_all, small_model

LONG = {"prompt": "a", "max_tokens": 400, "temperature": 1.0, "seed": 1}
JSON = "Content-Type: application/json\r\n"


def http(method, path, body=b"", extra="", host="localhost"):
    length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}{length}Connection: close\r\n\r\n"
    return head.encode("latin-1") + body


def status_of(answer):
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer.split(b" ", 2)[1])


def error_of(answer):
    """The error of an answer, which must have OpenAI's form."""
    tree = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(tree) == {"error"}
    assert set(tree["error"]) == {"message", "type", "param", "code"}
    return tree["error"]


# -- bodies ---------------------------------------------------------------------------------------

BODIES = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'"x"', "must be a JSON object"),
    (b"\xff\xfe", "not valid JSON"),
    (b'{"prompt": NaN}', "NaN is no JSON number"),
    (b'{"prompt": "a", "prompt": "b"}', "key 'prompt' twice"),
    (b'{"prompt": ' + b"[" * 20_000, "nested too deeply"),
    (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", "not valid JSON"),
    (b'{"prompt": "\\ud83d"}', "lone surrogate"),
    (b'{"prompt": "a", "temperature": 1e400}', "temperature must be a number"),
]


@pytest.mark.parametrize(("body", "message"), BODIES, ids=[message for _, message in BODIES])
def test_bodies_that_are_no_request_are_refused(server, body, message):
    answer = server.raw(http("POST", "/v1/completions", body, JSON))
    assert status_of(answer) == 400
    assert message in error_of(answer)["message"]


FIELDS = [
    ({}, "prompt", "must be a string"),
    ({"prompt": None}, "prompt", "must be a string"),
    ({"prompt": ""}, None, None),
    ({"prompt": []}, "prompt", "non-empty list"),
    ({"prompt": 5}, "prompt", "must be a string"),
    ({"prompt": {}}, "prompt", "must be a string"),
    ({"prompt": [1, "a"]}, "prompt", "must be a string or a non-empty list of token ids"),
    ({"prompt": [[1], []]}, "prompt", "non-empty list of token ids"),
    ({"prompt": [True]}, "prompt", "must be a string"),
    ({"prompt": [1.0]}, "prompt", "must be a string"),
    ({"prompt": [-1]}, "prompt", "wanted a token id in 0..258"),
    ({"prompt": [259]}, "prompt", "wanted a token id in 0..258"),
    ({"prompt": [10**30]}, "prompt", "wanted a token id in 0..258"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens", "an integer from 1 to 512"),
    ({"prompt": "a", "max_tokens": -1}, "max_tokens", "an integer from 1 to 512"),
    ({"prompt": "a", "max_tokens": 513}, "max_tokens", "an integer from 1 to 512"),
    ({"prompt": "a", "max_tokens": 2.0}, "max_tokens", "an integer"),
    ({"prompt": "a", "max_tokens": "9"}, "max_tokens", "an integer"),
    ({"prompt": "a", "max_tokens": True}, "max_tokens", "an integer"),
    ({"prompt": "a", "temperature": -0.1}, "temperature", "a number from 0 to 100"),
    ({"prompt": "a", "temperature": 10**400}, "temperature", "a number from 0 to 100"),
    ({"prompt": "a", "temperature": 1e-40}, "temperature", "0, or a number from 1e-06"),
    ({"prompt": "a", "top_p": 10**400}, "top_p", "a number"),
    ({"prompt": "a", "top_k": 1 << 31}, "top_k", "an integer from 0 to 2147483647"),
    ({"prompt": "a", "temperature": "hot"}, "temperature", "a number"),
    ({"prompt": "a", "top_p": 0}, "top_p", "a number"),
    ({"prompt": "a", "top_p": 1.1}, "top_p", "a number"),
    ({"prompt": "a", "top_k": -1}, "top_k", "an integer"),
    ({"prompt": "a", "repetition_penalty": 0}, "repetition_penalty", "a number"),
    ({"prompt": "a", "n": 0}, "n", "an integer from 1 to 16"),
    ({"prompt": "a", "n": 17}, "n", "an integer from 1 to 16"),
    ({"prompt": ["a"] * 9, "n": 2}, "n", "9 prompts times n=2"),
    ({"prompt": "a", "seed": 1.5}, "seed", "an integer"),
    ({"prompt": "a", "seed": 1 << 63}, "seed", "an integer"),
    ({"prompt": "a", "stop": 5}, "stop", "a string or a list"),
    ({"prompt": "a", "stop": [""]}, "stop", "strings of 1 to 256"),
    ({"prompt": "a", "stop": ["a"] * 5}, "stop", "at most 4"),
    ({"prompt": "a", "stop": ["a" * 257]}, "stop", "strings of 1 to 256"),
    ({"prompt": "a", "stream": "yes"}, "stream", "a boolean"),
    ({"prompt": "a", "stream_options": {}}, "stream_options", "only with stream"),
    ({"prompt": "a", "stream": True, "stream_options": {"x": 1}}, "x", "unknown field"),
    ({"prompt": "a", "logprobs": 21}, "logprobs", "an integer from 0 to 20"),
    ({"prompt": "a", "logprobs": True}, "logprobs", "an integer"),
    ({"prompt": "a", "logprobs": 2, "stream": True}, "logprobs", "whole answers only"),
    ({"prompt": "a", "echo": True}, "echo", "echo is not supported"),
    ({"prompt": "a", "best_of": 2}, "best_of", "not supported"),
    ({"prompt": "a", "suffix": "x"}, "suffix", "not supported"),
    ({"prompt": "a", "logit_bias": {"1": 5}}, "logit_bias", "not supported"),
    ({"prompt": "a", "presence_penalty": 0.5}, "presence_penalty", "not supported"),
    ({"prompt": "a", "frequency_penalty": False}, "frequency_penalty", "not supported"),
    ({"prompt": "a", "model": "other"}, "model", "there is no model 'other'"),
    ({"prompt": "a", "model": 5}, "model", "a string"),
    ({"prompt": "a", "<script>": 5}, "<script>", "unknown field"),
]


@pytest.mark.parametrize(
    ("body", "param", "message"), FIELDS, ids=[str(b)[:60] for b, *_ in FIELDS]
)
def test_wrong_fields_are_refused_by_name(server, body, param, message):
    status, tree = server.post("/v1/completions", body)
    if message is None:
        assert status == 200
        return
    assert status == (404 if "no model" in message else 400), tree
    assert tree["error"]["param"] == param
    assert tree["error"]["code"] != "context_length_exceeded"
    assert message in tree["error"]["message"]
    assert len(tree["error"]["message"]) < 400


def user(content):
    return {"role": "user", "content": content}


CHATS = [
    ({}, "messages", "a list of 1 to"),
    ({"messages": []}, "messages", "a list of 1 to"),
    ({"messages": "hi"}, "messages", "a list of 1 to"),
    ({"messages": ["hi"]}, "messages[0]", "an object"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "one of system"),
    ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role", "one of system"),
    ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role", "one of system"),
    ({"messages": [user(5)]}, "messages[0].content", "a string or a list of text parts"),
    ({"messages": [user(None)]}, "messages[0].content", "a string or"),
    ({"messages": [user([{"type": "image_url"}])]}, "messages[0].content[0]", "the type text"),
    ({"messages": [user([{"type": "text"}])]}, "messages[0].content[0].text", "a string"),
    ({"messages": [user("x")], "tools": {}}, "tools", "a list of objects"),
    ({"messages": [user("x")], "tool_choice": "required"}, "tool_choice", "not supported"),
    ({"messages": [user("x")], "response_format": {"type": "json_object"}}, "response_format",
     "not supported"),
    ({"messages": [user("x")], "top_logprobs": 2}, "top_logprobs", "wants logprobs"),
    ({"messages": [user("x")], "logprobs": 1}, "logprobs", "a boolean"),
    ({"messages": [user("x")], "prompt": "x"}, "prompt", "unknown field"),
    ({"messages": [user("\ud83d")]}, "messages", "lone surrogate"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param", "message"), CHATS, ids=[str(b)[:70] for b, *_ in CHATS])
def test_wrong_chats_are_refused_by_name(server, body, param, message):
    status, tree = server.post("/v1/chat/completions", body)
    assert status == 400, tree
    assert tree["error"]["param"] == param
    assert message in tree["error"]["message"]


def test_a_prompt_or_body_that_is_too_long_is_refused(server):
    status, tree = server.post("/v1/completions", {"prompt": "a" * 2001})
    assert status == 400
    assert tree["error"]["code"] == "context_length_exceeded"
    assert "2001 tokens; the limit is 2000" in tree["error"]["message"]
    status, tree = server.post("/v1/completions", {"prompt": ["a", "a" * 2001]})
    assert (status, tree["error"]["code"]) == (400, "context_length_exceeded")
    for length in (9999999999, 65537):
        head = f"POST /v1/completions HTTP/1.1\r\n{JSON}Content-Length: {length}\r\n\r\n"
        answer = server.raw(head.encode())
        assert status_of(answer) == 413
        assert "the limit is 65536" in error_of(answer)["message"]
    just = json.dumps({"prompt": "a"}).encode().ljust(65536)
    assert status_of(server.raw(http("POST", "/v1/completions", just, JSON))) == 200
    server.assert_clean()


def test_a_request_that_can_never_fit_into_the_pool_is_refused(make_server):
    running = make_server(num_blocks=8)
    status, tree = running.post("/v1/completions", {"prompt": "a" * 100, "max_tokens": 100})
    assert status == 400
    assert tree["error"]["code"] == "context_length_exceeded"
    running.assert_clean()


def test_a_client_that_is_still_sending_gets_to_read_why_it_is_refused(server):
    size = 2 * server.config.max_body_bytes
    head = f"POST /v1/completions HTTP/1.1\r\n{JSON}Content-Length: {size}\r\n\r\n"
    with server.socket() as client:
        client.sendall(head.encode())
        for _ in range(16):
            client.sendall(b"x" * (size // 16))
            time.sleep(0.01)
        answer = read_all(client)
    assert status_of(answer) == 413
    server.assert_clean()


# -- lines and heads ------------------------------------------------------------------------------

HEADS = [
    (b"GARBAGE\r\n\r\n", 400),
    (b"GET\r\n\r\n", 400),
    (b"get / HTTP/1.1\r\n\r\n", 400),
    (b"GET  /health HTTP/1.1\r\n\r\n", 400),
    (b"GET health HTTP/1.1\r\n\r\n", 400),
    (b"GET http://evil/ HTTP/1.1\r\n\r\n", 400),
    (b"GET /health HTTP/2.0\r\n\r\n", 505),
    (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\n folded: x\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nA: b\x00c\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
    (b"GET /health HTTP/1.1\r\nA: " + b"b" * 5000 + b"\r\n\r\n", 431),
    (b"GET /health HTTP/1.1\r\nA: " + b"b" * 100_000, 431),
    (b"POST /v1/completions HTTP/1.1\r\n\r\n", 411),
    (b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
    (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", 501),
    (b"PUT /v1/completions HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405),
    (b"GET /v1/completions HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
    (b"POST /health HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405),
]


@pytest.mark.parametrize(("data", "status"), HEADS, ids=[repr(d[:48]) for d, _ in HEADS])
def test_malformed_requests_are_refused_and_the_connection_ends(server, data, status):
    answer = server.raw(data)
    assert status_of(answer) == status
    error_of(answer)
    assert server.request("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/v1/../../etc/passwd", "/v1/models/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd",
        "/v1/models/other", "/", "/health/", "/v1/completions/", "/index.html", "/v1/files",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(server, path):
    answer = server.raw(http("GET", path))
    assert status_of(answer) == 404
    assert b"root:" not in answer


def test_other_content_types_are_refused(server):
    body = json.dumps({"prompt": "a"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        extra = f"Content-Type: {kind}\r\n" if kind else ""
        assert status_of(server.raw(http("POST", "/v1/completions", body, extra))) == 415
    kind = "Content-Type: application/JSON; charset=utf-8\r\n"
    assert status_of(server.raw(http("POST", "/v1/completions", body, kind))) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_names_that_were_pointed_at_this_machine_are_refused(server, host):
    for method, path in (("GET", "/health"), ("GET", "/v1/models"), ("POST", "/v1/completions")):
        assert status_of(server.raw(http(method, path, b"", JSON, host=host))) == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:80", "[::1]:80", "[::1]"])
def test_this_machines_own_names_pass(server, host):
    assert status_of(server.raw(http("GET", "/health", host=host))) == 200


# -- keys -----------------------------------------------------------------------------------------

KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "},
        {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": "Bearer é"}, {"X-Api-Key": KEY},
    ],
)  # fmt: skip
def test_without_the_key_nothing_is_answered(make_server, caplog, headers):
    running = make_server(api_key=KEY)
    with caplog.at_level("DEBUG"):
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"),
                             ("GET", "/v1/nothing")):  # fmt: skip
            body = {"prompt": "a"} if method == "POST" else None
            encoded = {name: value.encode().decode("latin-1") for name, value in headers.items()}
            status, found, data = running.request(method, path, body, encoded)
            assert status == 401
            assert found["WWW-Authenticate"] == "Bearer"
            assert json.loads(data)["error"]["code"] == "invalid_api_key"
        assert running.request("GET", "/health")[0] == 200
        right = {"Authorization": f"Bearer {KEY}"}
        assert running.post("/v1/completions", {"prompt": "a"}, headers=right)[0] == 200
        right = {"Authorization": f"bearer  {KEY}"}
        assert running.request("GET", "/v1/models", headers=right)[0] == 200
    assert KEY not in caplog.text


# -- time -----------------------------------------------------------------------------------------


def test_a_head_that_drips_is_cut_off(server):
    began = time.monotonic()
    with server.socket() as client:
        client.sendall(b"GET /health HTTP/1.1\r\n")
        answer = b""
        for letter in b"Host: localhost" * 10:
            try:
                client.sendall(bytes([letter]))
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(0.05)
        answer = read_all(client)
    assert time.monotonic() - began < 12
    assert answer == b"" or status_of(answer) == 408
    server.assert_clean()


def test_a_silent_connection_is_closed_without_an_answer(server):
    assert server.raw(b"") == b""


def test_a_body_that_does_not_come_is_cut_off(server):
    answer = server.raw(
        f"POST /v1/completions HTTP/1.1\r\n{JSON}Content-Length: 9\r\n\r\n{{".encode()
    )
    assert status_of(answer) == 408


def test_many_slow_connections_do_not_stop_others(make_server):
    running = make_server(max_connections=40, header_timeout=5.0)
    slow = [running.socket() for _ in range(30)]
    try:
        for client in slow:
            client.sendall(b"POST /v1/completions HTTP/1.1\r\n")
        assert running.post("/v1/completions", {"prompt": "a"})[0] == 200
    finally:
        for client in slow:
            client.close()
    running.assert_clean()


def test_beyond_the_limit_of_connections_the_answer_is_503(make_server):
    running = make_server(max_connections=2, header_timeout=5.0)
    held = [running.socket() for _ in range(2)]
    try:
        time.sleep(0.3)
        assert status_of(running.raw(http("GET", "/health"))) == 503
    finally:
        for client in held:
            client.close()
    running.assert_clean()


# -- clients that leave ---------------------------------------------------------------------------


def begin(running, body, stream=True):
    data = json.dumps({**LONG, **body, "stream": stream}).encode()
    client = running.socket()
    client.sendall(http("POST", "/v1/completions", data, JSON))
    return client


def wait_for(condition, timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_request(make_server, stream, reset):
    running = make_server(stop_ids=())  # nothing but its length ends an answer
    status, whole = running.post("/v1/completions", {**LONG, "n": 4})
    assert (status, whole["usage"]["completion_tokens"]) == (200, 4 * 400)
    before = running.stats()["tokens"]
    client = begin(running, {"n": 4}, stream)
    wait_for(lambda: running.stats()["decoding"] == 4)
    if stream:
        assert client.recv(64)
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_for(lambda: running.stats()["decoding"] == 0)
    assert running.stats()["tokens"] - before < 4 * 400, "it was not generated to its end"
    running.assert_clean()


def test_a_client_that_leaves_while_it_waits_is_forgotten(make_server):
    running = make_server(max_running=1, max_queued=4)
    first = begin(running, {"max_tokens": 512})
    wait_for(lambda: running.stats()["decoding"] == 1)
    waiting = begin(running, {}, stream=False)
    wait_for(lambda: json.loads(running.request("GET", "/health")[2])["queued"] == 1)
    waiting.close()
    wait_for(lambda: json.loads(running.request("GET", "/health")[2])["queued"] == 0)
    first.close()
    running.assert_clean()
    assert running.stats()["requests"] == 2, "the one that left was never started"


def test_a_client_that_never_reads_is_cut_off(make_server):
    running = make_server(write_timeout=0.5)
    body = {"n": 16, "max_tokens": 512, "logprobs": 0, "return_token_ids": True}
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((running.host, running.port))
    data = json.dumps({**LONG, **body, "stream": True}).encode()
    client.sendall(http("POST", "/v1/completions", data, JSON))
    wait_for(lambda: running.stats()["decoding"] > 0)
    wait_for(lambda: json.loads(running.request("GET", "/health")[2])["running"] == 0, timeout=60)
    running.assert_clean()
    client.close()


# -- floods ---------------------------------------------------------------------------------------


def test_two_hundred_at_once_are_all_answered(server):
    def ask(number):
        body = {"prompt": f"question {number % 7}", "max_tokens": 4, "seed": number}
        return server.post("/v1/completions", body, timeout=110)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, range(200)))
    assert [status for status, _ in answers] == [200] * 200
    assert all(tree["usage"]["completion_tokens"] <= 4 for _, tree in answers)
    server.assert_clean()


def test_a_full_queue_answers_429_and_recovers(make_server):
    running = make_server(max_running=2, max_queued=3)

    def ask(number):
        return running.request("POST", "/v1/completions", {**LONG, "max_tokens": 64}, timeout=110)

    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(ask, range(60)))
    statuses = [status for status, *_ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 5
    for status, headers, data in answers:
        if status == 429:
            assert headers["Retry-After"] == "1"
            assert json.loads(data)["error"]["code"] == "rate_limit_exceeded"
    running.assert_clean()


def test_answers_do_not_depend_on_the_crowd(make_server):
    running = make_server()
    body = {"prompt": "alone?", "max_tokens": 24, "seed": 11, "return_token_ids": True}
    alone = running.post("/v1/completions", body)[1]["choices"][0]["token_ids"]
    crowd = [threading.Thread(target=begin(running, {"max_tokens": 64}).close) for _ in range(6)]
    found = running.post("/v1/completions", body)[1]["choices"][0]["token_ids"]
    for thread in crowd:
        thread.start()
        thread.join()
    assert found == alone
    running.assert_clean()


# -- the end --------------------------------------------------------------------------------------


def test_running_requests_may_finish_and_new_ones_are_refused(make_server, caplog):
    running = make_server()
    client = begin(running, {"max_tokens": 512, "n": 8}, stream=False)
    idle = running.socket()
    wait_for(lambda: running.stats()["decoding"] > 0)
    draining = asyncio.run_coroutine_threadsafe(running.server.drain(), running.loop)
    assert read_all(idle) == b"", "connections without a request are closed at once"
    with caplog.at_level("INFO"):
        status, _, data = running.request("GET", "/health")
        assert (status, json.loads(data)["status"]) == (503, "draining")
        status, tree = running.post("/v1/completions", {"prompt": "late"})
        assert (status, tree["error"]["message"]) == (503, "the server is going down")
        assert not draining.done(), "the request had ended before it was asked about"
        wait_for(lambda: "GET '/health' 503" in caplog.text)  # written when the answer has left
    draining.result(30)
    answer = read_all(client)
    assert status_of(answer) == 200
    tree = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert tree["choices"][0]["finish_reason"] in ("length", "stop")
    with pytest.raises(ConnectionError):
        running.socket()
    stats = running.stats()
    assert stats["used_blocks"] == stats["cached_blocks"]


def test_what_does_not_finish_in_time_is_cancelled(make_server):
    running = make_server(drain_timeout=0.0)
    client = begin(running, {"max_tokens": 512, "n": 8}, stream=True)
    wait_for(lambda: running.stats()["decoding"] > 0)
    began = time.monotonic()
    running.ask(running.server.drain())
    assert time.monotonic() - began < 5
    assert b"[DONE]" not in read_all(client)
    wait_for(lambda: running.stats()["decoding"] == 0)
    stats = running.stats()
    assert stats["used_blocks"] == stats["cached_blocks"]


@pytest.mark.parametrize("stream", [False, True])
def test_logits_that_are_no_numbers_end_their_request_alone(make_server, stream):
    model = small_model()
    with torch.no_grad():
        model.embed.weight[7] = float("nan")
    running = make_server(model=model)
    body = {"prompt": [7], "max_tokens": 8, "stream": stream}
    status, tree = running.post("/v1/completions", body)
    assert (status, tree["error"]["message"]) == (500, "the model's logits are not finite")
    shared = list(range(20, 60))
    broken = {**body, "prompt": [*shared, 7, *shared]}
    assert running.post("/v1/completions", broken)[0] == 500
    status, tree = running.post("/v1/completions", {"prompt": [*shared, 9], "max_tokens": 1})
    assert status == 200
    running.assert_clean()

    def mend(engine):
        with torch.no_grad():
            model.embed.weight[7] = 0.0

    running.service.call(mend).result(10)
    status, _ = running.post("/v1/completions", {**broken, "stream": False})
    assert status == 200, "what a broken request computed is found by one that begins like it"


def test_an_engine_that_fails_is_said_and_does_not_hang(make_server):
    running = make_server()

    def fail(engine):
        def step():
            raise RuntimeError("device lost")

        engine.step = step

    running.service.call(fail).result(10)
    status, tree = running.post("/v1/completions", {"prompt": "a"})
    assert status == 503
    assert "the engine ended: device lost" in tree["error"]["message"]
    status, _, data = running.request("GET", "/health")
    assert (status, json.loads(data)["status"]) == (503, "failed")
    assert running.post("/v1/completions", {"prompt": "a"})[0] == 503


def test_a_failure_within_a_stream_is_told_in_the_stream(make_server):
    running = make_server()
    client = begin(running, {"max_tokens": 512})
    wait_for(lambda: running.stats()["tokens"] > 3)

    def fail(engine):
        def step():
            raise RuntimeError("device lost")

        engine.step = step

    running.service.call(fail).result(10)
    data = read_all(client)
    assert b'{"error":' in data
    assert b"[DONE]" not in data
