"""Entries of the reasoning family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference


def _entry(name: str, cls: str, summary: str, ceiling: float = 1.0) -> Entry:
    return Entry(
        f"reasoning/{name}-v0",
        f"envs.reasoning.env:{cls}Env",
        f"envs.reasoning.env:{cls}VectorEnv",
        max_episode_steps=None,
        cost="us",
        summary=summary,
        references=(
            Reference("random", 0.0, 0.001),
            Reference("envs.reasoning.policies:make_reference", ceiling, 1e-9),
        ),
    )


ENTRIES: tuple[Entry, ...] = (
    _entry("countdown", "Countdown", "reach a target with each of some numbers used once"),
    _entry("sudoku4", "Sudoku4", "complete a 4x4 Sudoku with one solution"),
    _entry("sudoku9", "Sudoku9", "complete a 9x9 Sudoku with one solution"),
    _entry("gsm8k", "GSM8K", "word problems of 2 to 6 operations, made up or real", 1.1),
    _entry("chain-sum", "ChainSum", "add 4 to 8 digits, with or without running sums"),
    _entry("expr-set", "ExprSet", "independent expressions, reduced and added up"),
    _entry("expr-tree", "ExprTree", "a balanced expression tree"),
    _entry("box-search", "BoxSearch", "find the box whose expression equals the target"),
)
