"""Stop strings: where an answer ends, and what may be shown before that is certain."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Cuts a growing text before the first stop string.

    What could still become a stop string is held back until it is certain.

    Args:
        stops: Non-empty strings; where several are found, the one that begins first counts.
    """

    def __init__(self, stops: Sequence[str]):
        if not all(stops):
            raise ValueError("a stop string must not be empty")
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Return the text that is now certain not to belong to a stop string."""
        if self.found is not None:
            return ""
        self._held += text
        places = [(self._held.find(stop), -len(stop), stop) for stop in self._stops]
        hits = [place for place in places if place[0] >= 0]
        if hits:
            place, _, self.found = min(hits)
            shown, self._held = self._held[:place], ""
            return shown
        keep = self._unsure()
        shown, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return shown

    def finish(self) -> str:
        """Return what was held back and is no stop string after all."""
        shown, self._held = self._held, ""
        return shown

    def _unsure(self) -> int:
        """Return the length of the longest end of the text that begins a stop string."""
        longest = min(max(map(len, self._stops), default=1) - 1, len(self._held))
        for length in range(longest, 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
