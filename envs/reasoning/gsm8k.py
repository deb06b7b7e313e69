"""Word problems in the style of GSM8K, made up here or read from the real files."""

from __future__ import annotations

import gzip
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from envs.core.arguments import check_choice, check_integer, check_number
from envs.reasoning import gsm8k_d1
from envs.reasoning.answers import tagged_or_boxed
from envs.reasoning.numerals import number_of
from envs.reasoning.splits import SPLITS
from envs.reasoning.task import Item, RewardBreakdown, Task, check_flag
from envs.reasoning.word_problems import make

FORMATS = ("tags", "hashes", "flexible")

_HASHES = re.compile(r"#### (-?[0-9.,]+)")
_SHAPE = re.compile(r"\s*<reasoning>(.+)</reasoning>\s*<answer>(.+)</answer>\s*\Z", re.DOTALL)


def _last_number(text: str) -> str | None:
    """Return the last match of ``-?[0-9][0-9.,]*`` without dots and commas at its end."""
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    if end == 0:
        return None
    start = len(text[:end].rstrip("0123456789.,"))
    number = text[start:end].lstrip(".,")
    signed = start + len(number) == end and text[start - 1 : start] == "-"
    return f"-{number}" if signed else number


class GSM8KTask(Task):
    """Word problems with one number as the answer.

    Problems come from a grammar (:mod:`envs.reasoning.word_problems`) or, if files are given, from
    the published data: JSON lines with ``question`` and ``answer``, gold after ``####``, gzipped or
    not. The items of ``train_file`` are split by hash into train and valid, those of ``test_file``
    are test; whichever is missing has no items.

    Profile ``strict``: 1 if the answer's number equals the gold number, plus ``format_weight`` if
    the completion is ``<reasoning>..</reasoning> <answer>..</answer>`` and nothing else. Profile
    ``d1``: see :mod:`envs.reasoning.gsm8k_d1`.

    Args:
        steps_low: Fewest operations of a made-up problem.
        steps_high: Most operations.
        distractors: Whether made-up problems may mention things that do not matter.
        answer_format: Where ``strict`` reads the answer: ``tags`` (or a box), ``hashes`` (after
            ``####``) or ``flexible`` (the last number anywhere).
        format_weight: Weight of the format.
        train_file: Real training items.
        test_file: Real test items.
        profile: ``strict`` or ``d1``.

    Raises:
        ValueError: An argument is out of range, or a file is not there or not of this form.
    """

    id = "reasoning/gsm8k-v0"
    profiles: ClassVar[tuple[str, ...]] = ("strict", "d1")

    def __init__(
        self,
        steps_low: int = 2,
        steps_high: int = 6,
        distractors: bool = True,
        answer_format: str = "tags",
        format_weight: float = 0.1,
        train_file: str | None = None,
        test_file: str | None = None,
        profile: str = "strict",
    ) -> None:
        super().__init__(profile)
        self.steps_low = check_integer(self.id, "steps_low", steps_low, 2, 6)
        self.steps_high = check_integer(self.id, "steps_high", steps_high, self.steps_low, 6)
        self.distractors = check_flag(self.id, "distractors", distractors)
        self.answer_format = check_choice(self.id, "answer_format", answer_format, FORMATS)
        self.format_weight = check_number(self.id, "format_weight", format_weight, 0.0)
        self._real = train_file is not None or test_file is not None
        self._pools = self._read(train_file, test_file)

    def _read(self, train_file: str | None, test_file: str | None) -> dict[str, list[Item]]:
        pools: dict[str, list[Item]] = {split: [] for split in SPLITS}
        if test_file is not None:
            pools["test"] = _items(self.id, "test_file", test_file)
        known = {item.prompt for item in pools["test"]}
        for item in [] if train_file is None else _items(self.id, "train_file", train_file):
            if item.prompt not in known:
                pools["valid" if self.split(item) == "valid" else "train"].append(item)
        return pools

    @property
    def prompts(self) -> list[str]:
        """All prompts of real items, for the characters in them."""
        return [item.prompt for pool in self._pools.values() for item in pool]

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a problem of any split."""
        if self._real:
            pool = [item for items in self._pools.values() for item in items]
            return pool[int(rng.integers(len(pool)))]
        steps = int(rng.integers(self.steps_low, self.steps_high + 1))
        problem = make(rng, steps, self.distractors)
        meta = {"question": problem.text, "program": list(problem.program), "steps": steps}
        return Item(_prompt(problem.text), str(problem.answer), meta)

    def sample(self, rng: np.random.Generator, split: str = "train") -> Item:
        """Return a problem of one split; see :meth:`Task.sample`.

        Raises:
            ValueError: The files hold no item of this split.
        """
        check_choice(self.id, "split", split, SPLITS)
        if not self._real:
            return super().sample(rng, split)
        pool = self._pools[split]
        if not pool:
            raise ValueError(f"{self.id}: split {split} has no items; name its file")
        return pool[int(rng.integers(len(pool)))]

    def item(self, question: str, gold: str) -> Item:
        """Return the item of a given question and gold answer."""
        return Item(_prompt(question), gold, {"question": question, "program": [], "steps": 0})

    def canonical(self, item: Item) -> str:
        """Return the question."""
        return f"word problem {item.meta['question']}"

    def reference(self, item: Item) -> str:
        """Return the program as reasoning, and the answer in the chosen format."""
        reasoning = "\n".join(item.meta["program"]) or "By arithmetic."
        text = f"<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{item.answer}\n</answer>\n"
        return f"#### {item.answer}" if self.answer_format == "hashes" else text

    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return correctness and format; see the class."""
        if self.profile == "d1":
            parts = gsm8k_d1.parts(completion, item.answer)
            answer = gsm8k_d1.last_answer(completion)
            return RewardBreakdown(sum(parts.values()), parts, answer, parts["correct"] > 0)
        found = self._answer(completion)
        value = None if found is None else number_of(found)
        ok = value is not None and value == number_of(item.answer)
        parts = {
            "correct": 1.0 if ok else 0.0,
            "format": self.format_weight if self._formatted(completion) else 0.0,
        }
        return RewardBreakdown(parts["correct"] + parts["format"], parts, _plain(value), ok)

    def _answer(self, completion: str) -> str | None:
        if self.answer_format == "tags":
            return tagged_or_boxed(completion)
        if self.answer_format == "hashes":
            hashes = _HASHES.search(completion)
            return hashes[1] if hashes else None
        return _last_number(completion)

    def _formatted(self, completion: str) -> bool:
        if self.answer_format != "tags":
            return bool(_HASHES.search(completion))
        tags = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
        once = all(completion.count(tag) == 1 for tag in tags)  # keeps the match linear, too
        return once and _SHAPE.match(completion) is not None


def _prompt(question: str) -> str:
    return (
        f"{question}\nReason between <reasoning> and </reasoning>, then put the number alone "
        "between <answer> and </answer>."
    )


def _plain(value: Fraction | None) -> str | None:
    return None if value is None else str(value)


def _items(id: str, name: str, path: str) -> list[Item]:
    """Return the items of a file of JSON lines, given as the argument ``name``."""
    if not isinstance(path, str) or "\0" in path or not Path(path).is_file():
        raise ValueError(f"{id}: {name} must be the path of a file, got {path!r:.200}")
    file = Path(path)
    open_text: Any = gzip.open if file.suffix == ".gz" else open
    items = []
    with open_text(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                question, (_, marks, gold) = row["question"], row["answer"].rpartition("####")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{id}: {path} line {number} is no problem: {error}") from None
            gold = gold.strip().replace(",", "")
            if not marks or number_of(gold) is None:
                raise ValueError(f"{id}: {path} line {number} has no gold number after ####")
            meta = {"question": question, "program": [], "steps": row["answer"].count("<<")}
            items.append(Item(_prompt(question), gold, meta))
    return items
