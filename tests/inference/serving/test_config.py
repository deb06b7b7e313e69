"""Settings of the server: what is refused before anything listens."""

from __future__ import annotations

import asyncio

import pytest

from rlcore.errors import ConfigError
from rlcore.inference.serving.config import ServeConfig, is_loopback
from rlcore.inference.serving.gate import Gate
from rlcore.inference.serving.http import HttpError


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    assert ServeConfig(host=host).host == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "example.com", "localhost.evil", "127.1", "", "0"]
)
def test_elsewhere_a_key_is_wanted(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="without an API key"):
        ServeConfig(host=host)
    assert ServeConfig(host=host, api_key="k").api_key == "k"
    assert ServeConfig(host=host, insecure=True).insecure


@pytest.mark.parametrize("key", ["", " ", "a b", "a\nb", "é", "\x7f"])
def test_keys_that_no_header_can_carry_are_refused(key):
    with pytest.raises(ConfigError, match="printable ASCII"):
        ServeConfig(api_key=key)


@pytest.mark.parametrize(
    "name",
    ["max_connections", "max_running", "max_header_bytes", "max_body_bytes", "max_prompt_tokens",
     "max_new_tokens", "default_new_tokens", "max_samples", "header_timeout", "body_timeout",
     "write_timeout"],
)  # fmt: skip
def test_limits_must_be_positive(name):
    with pytest.raises(ConfigError, match=rf"serve\.{name} must be at least"):
        ServeConfig(**{name: 0})


def test_limits_that_may_be_zero():
    assert ServeConfig(max_queued=0, drain_timeout=0.0, port=0).max_queued == 0
    for name in ("max_queued", "drain_timeout", "port"):
        with pytest.raises(ConfigError, match=rf"serve\.{name} must be at least 0"):
            ServeConfig(**{name: -1})
    with pytest.raises(ConfigError, match="at most 65535"):
        ServeConfig(port=65536)


async def enter(gate, log, name, release):
    async with gate:
        log.append(name)
        await release.wait()


def test_the_gate_lets_in_by_order_and_forgets_who_left():
    async def story():
        gate, log, release = Gate(1, 2), [], asyncio.Event()
        first = asyncio.create_task(enter(gate, log, "first", release))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(enter(gate, log, n, release)) for n in ("left", "last")]
        await asyncio.sleep(0)
        assert (gate.running, gate.waiting) == (1, 2)
        with pytest.raises(HttpError, match="busy") as caught:
            async with gate:
                raise AssertionError("it was let in")
        assert caught.value.status == 429
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        assert gate.waiting == 1
        release.set()
        await asyncio.gather(first, waiting[1])
        assert log == ["first", "last"]
        assert (gate.running, gate.waiting) == (0, 0)
        async with gate:
            assert gate.running == 1

    asyncio.run(story())


def test_a_place_given_to_one_who_is_cancelled_goes_on_to_the_next():
    async def story():
        gate, log, release = Gate(1, 2), [], asyncio.Event()
        first = asyncio.create_task(enter(gate, log, "first", release))
        await asyncio.sleep(0)
        second = asyncio.create_task(enter(gate, log, "second", release))
        third = asyncio.create_task(enter(gate, log, "third", release))
        await asyncio.sleep(0)
        # The first leaves and hands its place to the second, which is cancelled before it runs.
        first.cancel()
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await asyncio.sleep(0)
        release.set()
        await asyncio.wait_for(third, 5)
        assert log == ["first", "third"]
        assert gate.running == 0
        async with gate:
            pass

    asyncio.run(story())
