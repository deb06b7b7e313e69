"""Many postfix programs at once: a stack machine whose every step is one NumPy operation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.reasoning.expressions import ADD, DIV, MUL, NEG, SUB, Program

NOP = -9


def fits(largest: int, operands: int) -> bool:
    """Return whether programs over so many numbers of at most this size stay within 64 bits.

    By induction numerator and denominator of a result of ``k`` numbers up to ``m`` in size are at
    most ``(2m)^k``.
    """
    bound: int = (2 * max(largest, 1)) ** operands
    return bound < 2**62


def run_all(programs: Sequence[Program], operands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact values of ``n`` programs as fractions.

    Args:
        programs: ``n`` of them, each over at most ``k`` operands.
        operands: Int64 ``[n, k]``; :func:`fits` must hold.

    Returns:
        Numerators and denominators, int64 ``[n]`` each and not reduced; the denominator is 0 where
        a program divides by zero somewhere.
    """
    n, k = operands.shape
    code = np.full((max(map(len, programs), default=1), n), NOP, np.int64)
    for length in {len(program) for program in programs}:
        rows = [row for row, program in enumerate(programs) if len(program) == length]
        code[:length, rows] = np.array([programs[row] for row in rows]).T
    top, bottom = np.zeros((n, k + 1), np.int64), np.ones((n, k + 1), np.int64)
    height, broken = np.zeros(n, np.int64), np.zeros(n, bool)
    for step in code:
        _push(step, operands, top, bottom, height)
        _negate(step, top, height)
        broken |= _combine(step, top, bottom, height)
    return top[:, 0], np.where(broken, 0, bottom[:, 0])


def _push(
    step: np.ndarray,
    operands: np.ndarray,
    top: np.ndarray,
    bottom: np.ndarray,
    height: np.ndarray,
) -> None:
    rows = np.flatnonzero(step >= 0)
    top[rows, height[rows]] = operands[rows, step[rows]]
    bottom[rows, height[rows]] = 1
    height[rows] += 1


def _negate(step: np.ndarray, top: np.ndarray, height: np.ndarray) -> None:
    rows = np.flatnonzero(step == NEG)
    if len(rows):
        top[rows, height[rows] - 1] *= -1


def _combine(
    step: np.ndarray, top: np.ndarray, bottom: np.ndarray, height: np.ndarray
) -> np.ndarray:
    """Replace the two upper numbers by their sum, difference, product or quotient.

    Returns:
        Bool ``[n]``: where it divided by zero. The quotient is 0 there, so that nothing overflows.
    """
    divided = np.zeros(len(step), bool)
    rows = np.flatnonzero((step <= ADD) & (step >= DIV))
    if not len(rows):
        return divided
    code, place = step[rows], height[rows] - 1
    a, b = top[rows, place - 1], bottom[rows, place - 1]
    c, d = top[rows, place], bottom[rows, place]
    sums = (code == ADD) | (code == SUB)
    signed = np.where(code == SUB, -c, c)
    zero = (code == DIV) & (c == 0)
    product = code == MUL
    upper = np.where(sums, a * d + signed * b, np.where(product, a * c, a * d))
    lower = np.where(sums | product, b * d, b * c)
    top[rows, place - 1] = np.where(zero, 0, upper)
    bottom[rows, place - 1] = np.where(zero, 1, lower)
    height[rows] = place
    divided[rows] = zero
    return divided
