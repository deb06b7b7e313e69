"""Runs a server until it is told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from rlcore.inference.serving.app import Server


async def run_server(server: Server, ready: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let requests finish; a second signal ends at once.

    Args:
        server: Not yet started.
        ready: Called with host and port once connections are accepted.

    Raises:
        OSError: The address is taken or not ours.
    """
    loop = asyncio.get_running_loop()
    told, again = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (again if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        ready(*await server.start())
        await told.wait()
        draining = asyncio.ensure_future(server.drain())
        hurry = asyncio.ensure_future(again.wait())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            await server.drop_all()
        hurry.cancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
