r"""The published rewards of d1 for word problems, quirk by quirk and in linear time.

Five summands: 2.0 if the text in the last answer tag equals the gold answer as a string, 0.5 if it
is digits only (no sign, no decimals), 0.5 for a strict and 0.5 for a soft format whose ``.`` does
not match a line feed, and up to 0.5 for tags on lines of their own, less 0.001 for every character
after the closing tag (of the whole completion, where the final line feed is missing).
"""

from __future__ import annotations

import re

THINK, UNTHINK = "<reasoning>", "</reasoning>"
ANSWER, END = "<answer>", "</answer>"

_STRICT = re.compile(r"<reasoning>\n.*?\n</reasoning>\n<answer>\n.*?\n</answer>\n\n?\Z")
_BETWEEN = re.compile(r"</reasoning>\s*<answer>")


def parts(completion: str, gold: str) -> dict[str, float]:
    """Return the five summands by name."""
    answer = last_answer(completion)
    return {
        "correct": 2.0 if answer == gold else 0.0,
        "integer": 0.5 if answer.isdigit() else 0.0,
        "strict_format": 0.5 if _STRICT.match(completion) else 0.0,
        "soft_format": 0.5 if soft_format(completion) else 0.0,
        "tags": tag_count(completion),
    }


def last_answer(completion: str) -> str:
    """Return what follows the last opening tag, up to a closing one, stripped."""
    return completion.rpartition(ANSWER)[2].partition(END)[0].strip()


def soft_format(completion: str) -> bool:
    r"""Return whether ``<reasoning>.*?</reasoning>\s*<answer>.*?</answer>`` matches at the start.

    Line feeds may stand only between the two pairs of tags.
    """
    if not completion.startswith(THINK):
        return False
    line_end = completion.find("\n")
    line_end = len(completion) if line_end < 0 else line_end
    last = completion.rfind(END, 0, line_end)
    for between in _BETWEEN.finditer(completion, len(THINK)):
        if between.start() + len(UNTHINK) > line_end:
            return False
        start = between.end()
        if start > line_end:
            stop = completion.find("\n", start)
            return completion.find(END, start, len(completion) if stop < 0 else stop) >= 0
        if last >= start:
            return True
    return False


def tag_count(completion: str) -> float:
    """Return the reward for tags that each stand once on a line of their own."""
    count = 0.0
    if completion.count(f"{THINK}\n") == 1:
        count += 0.125
    if completion.count(f"\n{UNTHINK}\n") == 1:
        count += 0.125
    if completion.count(f"\n{ANSWER}\n") == 1:
        count += 0.125
        count -= len(completion.rpartition(f"\n{END}\n")[2]) * 0.001
    if completion.count(f"\n{END}") == 1:
        count += 0.125
        count -= (len(completion.rpartition(f"\n{END}")[2]) - 1) * 0.001
    return count
