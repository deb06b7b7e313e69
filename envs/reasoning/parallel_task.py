"""What the tasks with parallel reference traces share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from envs.core.arguments import check_choice, check_number
from envs.reasoning.answers import tagged_or_boxed
from envs.reasoning.structure import (
    NPR,
    SCHEMAS,
    Block,
    Content,
    Schema,
    StructureReport,
    verify,
    write,
)
from envs.reasoning.task import Item, RewardBreakdown, Task

NO_SCHEMA = "none"


class ParallelTask(Task):
    """A task whose parts do not depend on each other.

    Rewards 1 for the right answer. With a ``schema``, ``structure_weight`` is added for a
    completion that follows it and whose branches quote no value of a sibling.

    Args:
        schema: ``none``, ``multiverse`` or ``npr``.
        structure_weight: Weight of the structure.
        profile: ``strict``.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, schema: str = NO_SCHEMA, structure_weight: float = 0.0, profile: str = "strict"
    ) -> None:
        super().__init__(profile)
        check_choice(self.id, "schema", schema, (NO_SCHEMA, *SCHEMAS))
        self.schema: Schema | None = SCHEMAS.get(schema)
        self.structure_weight = check_number(self.id, "structure_weight", structure_weight, 0.0)
        if self.structure_weight and self.schema is None:
            raise ValueError(f"{self.id}: structure_weight needs a schema, got none")

    @abstractmethod
    def serial(self, item: Item) -> str:
        """Return a sequential reference trace with its answer."""

    @abstractmethod
    def rounds(self, item: Item, schema: Schema) -> list[str | Block]:
        """Return the texts and blocks of a parallel reference trace, without its answer."""

    def parallel(self, item: Item, schema: str = "multiverse") -> str:
        """Return a parallel reference trace with its answer, in canonical form.

        Raises:
            ValueError: There is no such schema.
        """
        chosen = SCHEMAS[check_choice(self.id, "schema", schema, SCHEMAS)]
        parts = self.rounds(item, chosen)
        told = "".join(part if isinstance(part, str) else write(chosen, part) for part in parts)
        return told + self.stated(item.answer, chosen)

    def stated(self, answer: str, schema: Schema | None) -> str:
        """Return an answer as traces state it: in a box for ``npr``, else between tags."""
        return f"\\boxed{{{answer}}}" if schema is NPR else f"<answer>{answer}</answer>"

    def read(self, completion: str) -> str | None:
        """Return the answer that a completion states."""
        return tagged_or_boxed(completion)

    def structure(self, completion: str, schema: str = "multiverse") -> StructureReport:
        """Return whether a completion follows a schema, as :func:`envs.reasoning.structure.verify`.

        Raises:
            ValueError: There is no such schema.
        """
        return verify(SCHEMAS[check_choice(self.id, "schema", schema, SCHEMAS)], completion)

    def reference(self, item: Item) -> str:
        """Return the parallel trace of the chosen schema, or the serial one."""
        return self.serial(item) if self.schema is None else self.parallel(item, self.schema.name)

    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return correctness and structure; see the class."""
        answer = self.read(completion)
        ok = answer is not None and _same(answer, item.answer)
        parts = {"correct": 1.0 if ok else 0.0}
        if self.schema is not None:
            good = self.structure_weight > 0 and verify(self.schema, completion).ok
            parts["structure"] = self.structure_weight if good else 0.0
        return RewardBreakdown(sum(parts.values()), parts, answer, ok)


def _same(given: str, wanted: str) -> bool:
    """Return whether a text states the wanted non-negative whole number, in ASCII digits."""
    return given.isascii() and given.isdigit() and len(given) < 20 and int(given) == int(wanted)


def block_of(plans: Sequence[str], bodies: Sequence[Content], join: str, prefix: str = "") -> Block:
    """Return a block whose labels count from 1 behind ``prefix``."""
    labels = [f"{prefix}{k}" for k in range(1, len(plans) + 1)]
    return Block(
        list(zip(labels, plans, strict=True)), list(zip(labels, bodies, strict=True)), join
    )


def groups_of(n: int, most: int) -> list[list[int]]:
    """Return ``0..n-1`` cut into at most ``most`` runs of nearly equal length."""
    return [part.tolist() for part in np.array_split(np.arange(n), min(n, most))]
