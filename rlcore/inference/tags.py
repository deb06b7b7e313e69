"""Forks and joins decided by the model: reads its tags and edits the tree of branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlcore.inference.branches import Branch
from rlcore.inference.request import ParallelOptions, Request

if TYPE_CHECKING:
    from rlcore.inference.engine import Engine


class TagDriver:
    """Acts on the tags of one schema."""

    def __init__(self, engine: Engine, options: ParallelOptions) -> None:
        self.engine = engine
        self.options = options
        self.watched_ids: set[int] = set()

    def check_prompt(self, request: Request) -> None:
        """Raise ``RequestError`` if the prompt holds a tag."""

    def on_token(self, branch: Branch) -> None:
        """Act on a branch's last token."""

    def child_ended(self, branch: Branch) -> None:
        """Join the siblings of a branch when all have ended."""
