"""How many requests may generate at once, and how many may wait for that."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from rlcore.inference.serving.http import HttpError


class Gate:
    """First come, first served; who would wait behind too many is told to come back later.

    Used as ``async with gate:`` around the work.

    Args:
        places: How many may work at once.
        queue: How many may wait.
    """

    def __init__(self, places: int, queue: int):
        self._free = places
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not future.done() for future in self._waiting)

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
        else:
            await self._wait()
        self.running += 1

    async def _wait(self) -> None:
        if self.waiting >= self._queue:
            raise HttpError(
                429, "the server is busy; try again later", kind="requests",
                code="rate_limit_exceeded", headers={"Retry-After": "1"},
            )  # fmt: skip
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The place may have been given in the same moment: it goes to the next.
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.running -= 1
        self._release()

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
