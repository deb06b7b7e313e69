"""What every reasoning task is: a generator of items and a verifier of completions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from envs.core.arguments import check_choice
from envs.reasoning.splits import SPLITS, split_of

MAX_COMPLETION = 65_536
"""Completions with more characters score nothing, whatever they say."""

MAX_DRAWS = 20_000
"""Items drawn in search of one of the wanted split before the generator gives up."""

PROFILES = ("strict", "d1")


@dataclass(frozen=True, slots=True)
class Item:
    """One problem.

    Attributes:
        prompt: What the solver reads.
        answer: Reference answer as text.
        meta: What the verifier needs, JSON-able; its keys are fixed for a task.
    """

    prompt: str
    answer: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """A reward and what it is made of.

    Attributes:
        total: The reward.
        parts: Its summands by name.
        parsed: What the verifier read as the answer; None if it found none.
        ok: Whether the answer is right.
    """

    total: float
    parts: Mapping[str, float]
    parsed: Any
    ok: bool


def check_flag(task: str, name: str, value: Any) -> bool:
    """Return ``value``, True or False.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{task}: {name} must be True or False, got {value!r:.60}")
    return bool(value)


class Task(ABC):
    """A family of problems with an exact verifier.

    Rewards are pure functions of item and completion: they print nothing, draw nothing and
    evaluate no code of the completion in this process.

    Attributes:
        id: Gymnasium id of the environment, for messages.
        profiles: Reward profiles that the task knows. ``strict`` is ours; ``d1`` follows the
            published training rewards of d1 (Zhao et al. 2025), quirks included, within bounds of
            time and memory; a task says where it departs from them.
        profile: The one in use.
    """

    id: str
    profiles: ClassVar[tuple[str, ...]] = ("strict",)

    def __init__(self, profile: str = "strict") -> None:
        self.profile = check_choice(self.id, "profile", profile, self.profiles)

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Item:
        """Return one item of any split."""

    @abstractmethod
    def canonical(self, item: Item) -> str:
        """Return the text whose hash names the item's split; equal problems have equal texts."""

    @abstractmethod
    def reference(self, item: Item) -> str:
        """Return a completion that earns the full reward of profile ``strict``."""

    @abstractmethod
    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return the reward of a completion of at most ``MAX_COMPLETION`` characters."""

    def sample(self, rng: np.random.Generator, split: str = "train") -> Item:
        """Return one item of a split.

        Raises:
            ValueError: There is no such split.
            RuntimeError: The settings leave no item, or hardly any, in this split.
        """
        check_choice(self.id, "split", split, SPLITS)
        for _ in range(MAX_DRAWS):
            item = self.draw(rng)
            if self.split(item) == split:
                return item
        raise RuntimeError(f"{self.id}: no item of split {split} in {MAX_DRAWS} draws")

    def split(self, item: Item) -> str:
        """Return the split an item belongs to."""
        return split_of(self.canonical(item))

    def reward(self, item: Item, completion: str) -> RewardBreakdown:
        """Return the reward of one completion.

        Raises:
            TypeError: The completion is not a string.
        """
        if not isinstance(completion, str):
            raise TypeError(f"{self.id}: a completion is a string, got {completion!r:.60}")
        if len(completion) > MAX_COMPLETION:
            return RewardBreakdown(0.0, {"overlong": 0.0}, None, False)
        return self.score(item, completion)

    def rewards(self, batch: Sequence[tuple[Item, str]]) -> np.ndarray:
        """Return the total rewards of ``(item, completion)`` pairs as float64 ``[len(batch)]``."""
        return self.judge(batch)[0]

    def judge(self, batch: Sequence[tuple[Item, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return total rewards and whether the answers are right, float64 and bool ``[n]``."""
        found = [self.reward(item, text) for item, text in batch]
        totals = np.array([one.total for one in found], np.float64)
        return totals, np.array([one.ok for one in found], bool)
