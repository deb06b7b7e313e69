"""What was said in a game, so that saying more does not copy what was said before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

AGENT, ENVIRONMENT = "agent", "environment"
Segment = tuple[str, str]
"""Who spoke (:data:`AGENT` or :data:`ENVIRONMENT`) and what."""


class Conversation:
    """The segments of a game so far; never changes.

    A conversation and those that it grows into share one list, of which each sees its own
    beginning. A deep copy is the tuple of the segments, which is plain data.

    Args:
        segments: What was said first; taken over, not copied.
    """

    __slots__ = ("_count", "_segments")

    def __init__(self, segments: list[Segment]) -> None:
        self._segments, self._count = segments, len(segments)

    def then(self, action: Segment, reply: Segment) -> Conversation:
        """Return the conversation that goes on with the agent's words and the environment's."""
        segments = self._segments
        if len(segments) != self._count:  # it went on in another way already
            segments = segments[: self._count]
        segments += (action, reply)
        return Conversation(segments)

    def listed(self) -> list[Segment]:
        """Return the segments as a list of the caller's own."""
        return self._segments[: self._count]

    def __iter__(self) -> Iterator[Segment]:
        """Iterate over the segments."""
        return iter(self.listed())

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[Segment, ...]:
        """Return the segments as plain data."""
        return tuple(self)
