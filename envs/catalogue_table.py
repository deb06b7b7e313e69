"""The table of all environments in the documentation."""

from __future__ import annotations

from envs.catalogue import FAMILIES, entries
from envs.core.entry import Entry
from envs.references import RANDOM

HEAD = (
    "| id | cost | steps | random | best | what it is |",
    "|---|---|---|---|---|---|",
)


def table() -> list[str]:
    """Return the lines of the Markdown table, testing environments last."""
    families = [name for name in FAMILIES if name != "testing"] + ["testing"]
    return [*HEAD, *(_line(entry) for family in families for entry in entries(family))]


def _line(entry: Entry) -> str:
    family = entry.id.partition("/")[0]
    name = f"`{entry.id}`" if family == "testing" else f"[`{entry.id}`]({family}.md)"
    limit = "" if entry.max_episode_steps is None else f"{entry.max_episode_steps:,}"
    random = [one.mean for one in entry.references if one.policy == RANDOM]
    others = [one.mean for one in entry.references if one.policy != RANDOM]
    cells = (
        name,
        entry.cost,
        limit,
        f"{random[0]:,.4g}" if random else "",
        f"{max(others):,.4g}" if others else "",
        entry.summary,
    )
    return "| " + " | ".join(cells) + " |"
