"""Where an answer lies in a completion: between tags or in a box. Every scan takes linear time."""

from __future__ import annotations

OPEN, CLOSE = "<answer>", "</answer>"
BOX = "\\boxed{"
MAX_BOX = 4_096
"""Longer boxes are no answer; the bound keeps hostile braces cheap."""


def last_tagged(text: str) -> str | None:
    """Return what the last ``<answer>...</answer>`` holds, as it stands; None if there is none.

    Pairs are taken from left to right, so that an opening tag inside an answer belongs to the
    answer: what ``re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)[-1]`` finds, without its
    quadratic time on openings that never close.
    """
    if text.count(OPEN) == 1:
        start = text.find(OPEN) + len(OPEN)
        end = text.find(CLOSE, start)
        return None if end < 0 else text[start:end]
    found, place = None, 0
    while (start := text.find(OPEN, place)) >= 0:
        end = text.find(CLOSE, start + len(OPEN))
        if end < 0:
            break
        found, place = text[start + len(OPEN) : end], end + len(CLOSE)
    return found


def first_tagged(text: str) -> str | None:
    """Return what the first ``<answer>...</answer>`` holds, as it stands; None if there is none."""
    start = text.find(OPEN)
    end = text.find(CLOSE, start + len(OPEN)) if start >= 0 else -1
    return None if end < 0 else text[start + len(OPEN) : end]


def innermost(text: str) -> str | None:
    """Return what the last opening tag that is ever closed holds, stripped."""
    head, closing, _ = text.rpartition(CLOSE)
    _, opening, answer = head.rpartition(OPEN)
    return answer.partition(CLOSE)[0].strip() if closing and opening else None


def last_boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{...}`` holds, braces balanced.

    Returns:
        None if there is none, or it does not close within ``MAX_BOX`` characters.
    """
    start = text.rfind(BOX)
    if start < 0:
        return None
    start += len(BOX)
    depth, end = 1, start
    for piece in text[start : start + MAX_BOX].split("}")[:-1]:
        depth += piece.count("{") - 1
        end += len(piece)
        if depth == 0:
            return text[start:end]
        end += 1
    return None


def tagged_or_boxed(text: str) -> str | None:
    r"""Return the innermost tagged answer, unwrapped if it is a ``\boxed{}``, else the last box."""
    tagged = innermost(text)
    if tagged is None:
        boxed = last_boxed(text)
        return None if boxed is None else boxed.strip()
    if tagged.startswith(BOX) and (inner := last_boxed(tagged)) is not None:
        return inner.strip()
    return tagged
