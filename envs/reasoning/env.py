"""Reasoning tasks as environments of one step: read a prompt, write a completion."""

from __future__ import annotations

import inspect
import string
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_choice
from envs.core.arguments import check_names
from envs.reasoning.box_search import BoxSearchTask
from envs.reasoning.chain_sum import ChainSumTask
from envs.reasoning.countdown import CountdownTask
from envs.reasoning.expr_set import ExprSetTask
from envs.reasoning.expr_tree import ExprTreeTask
from envs.reasoning.gsm8k import GSM8KTask
from envs.reasoning.picture import picture, screen
from envs.reasoning.splits import SPLITS
from envs.reasoning.sudoku import SudokuTask
from envs.reasoning.task import MAX_COMPLETION, Item, Task

CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " \n\t"
"""Characters of prompts and of sampled completions: printable ASCII and layout."""
MAX_PROMPT = 16_384
MAX_SAMPLED = 256
"""Longest completion that the action space samples; it contains much longer ones."""


class CompletionSpace(spaces.Text):
    """Completions of up to 65,536 printable ASCII characters, of which it samples short ones."""

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(MAX_COMPLETION, min_length=0, charset=CHARACTERS, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return up to 256 random characters; a mask or probabilities are Gymnasium's affair."""
        if mask is not None or probability is not None:
            return super().sample(mask, probability)
        letters = np.frombuffer(CHARACTERS.encode("ascii"), np.uint8)
        length = int(self.np_random.integers(MAX_SAMPLED + 1))
        chosen = letters[self.np_random.integers(len(letters), size=length)]
        return chosen.tobytes().decode("ascii")


class TaskModel(Model):
    """Draws an item, shows its prompt, scores one completion.

    A completion may hold any characters, also such that the action space would not sample; what is
    longer than 65,536 of them scores nothing. The episode ends with it.

    Attributes:
        task_type: The task.
        fixed: Arguments of the task that the id stands for.
    """

    task_type: ClassVar[type[Task]]
    fixed: ClassVar[dict[str, Any]] = {}
    render_fps = 1
    draws_in_step = False

    def __init_subclass__(cls) -> None:
        """Take the arguments of the task, and ``split``."""
        own = inspect.signature(cls.task_type).parameters.values()
        free = [parameter for parameter in own if parameter.name not in cls.fixed]
        split = inspect.Parameter("split", inspect.Parameter.KEYWORD_ONLY, default="train")
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in free]
        cls.__signature__ = inspect.Signature([*keyword, split])  # type: ignore[attr-defined]

    def __init__(self, split: str = "train", **arguments: Any) -> None:
        check_names(self.id, type(self), arguments)
        self.split = check_choice(self.id, "split", split, SPLITS)
        self.task = self.task_type(**self.fixed, **arguments)
        letters = CHARACTERS
        if isinstance(self.task, GSM8KTask):
            letters = "".join(sorted(set(letters).union(*self.task.prompts)))
        self.observation_space = spaces.Text(MAX_PROMPT, min_length=1, charset=letters)
        self.action_space = CompletionSpace()

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw an item for each row; ``options["split"]`` takes the place of the argument.

        Raises:
            ValueError: An option is unknown.
        """
        unknown = sorted(set(options) - {"split"})
        if unknown:
            raise ValueError(f"{self.id}: unknown reset option {unknown[0]}; known: split")
        split = options.get("split", self.split)
        items = [self.task.sample(rng, split) for rng in rngs]
        return {
            "item": _objects([[item.prompt, item.answer, dict(item.meta)] for item in items]),
            "completion": _objects([""] * len(rngs)),
            "reward": np.zeros(len(rngs)),
            "answered": np.zeros(len(rngs), bool),
        }

    def observe(self, state: State) -> np.ndarray:
        """Return the prompts."""
        return _objects([item.prompt for item in items_of(state)])

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return ``segments``: the list of ``(role, text)`` so far."""
        return {"segments": _segments(state)}

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Score the completions.

        ``info`` has ``segments``, ``correct`` and ``answer``, the reference.
        """
        items = items_of(state)
        totals, right = self.task.judge(list(zip(items, actions.tolist(), strict=True)))
        after: State = {
            "item": state["item"],
            "completion": actions.copy(),
            "reward": totals,
            "answered": np.ones(len(items), bool),
        }
        info = {
            "segments": _segments(after),
            "correct": right,
            "answer": _objects([item.answer for item in items]),
        }
        return Outcome(after, totals, np.ones(len(items), bool), info)

    def render(self, state: State) -> np.ndarray:
        """Return the prompt, the completion and what it earned; a Sudoku as a grid."""
        return picture(*_row(state))

    def text(self, state: State) -> str:
        """Return the same as text with colours of a terminal."""
        return screen(*_row(state))


def _row(state: State) -> tuple[Item, str | None, float]:
    completion = state["completion"][0] if state["answered"][0] else None
    return items_of(state)[0], completion, float(state["reward"][0])


def items_of(state: State) -> list[Item]:
    """Return the items of a state, which keeps them as lists that JSON can hold."""
    return [Item(*parts) for parts in state["item"]]


def _objects(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    for k, value in enumerate(values):
        array[k] = value
    return array


def _segments(state: State) -> np.ndarray:
    rows = zip(items_of(state), state["completion"], state["answered"], strict=True)
    return _objects(
        [
            [("user", item.prompt), ("assistant", text)] if answered else [("user", item.prompt)]
            for item, text, answered in rows
        ]
    )


class TaskEnv(ModelEnv):
    """A plain environment that can also be rendered as text."""

    model: TaskModel
    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 1,
    }

    def render(self) -> Any:
        """Return the picture, the text for ``ansi``, or None where no render mode was asked for."""
        if self.render_mode == "ansi" and self._state is not None:
            return self.model.text(self._state)
        return super().render()


class Countdown(TaskModel):
    """``reasoning/countdown-v0``."""

    id = "reasoning/countdown-v0"
    task_type = CountdownTask


class Sudoku4(TaskModel):
    """``reasoning/sudoku4-v0``."""

    id = "reasoning/sudoku4-v0"
    task_type = SudokuTask
    fixed: ClassVar[dict[str, Any]] = {"size": 4}


class Sudoku9(TaskModel):
    """``reasoning/sudoku9-v0``."""

    id = "reasoning/sudoku9-v0"
    task_type = SudokuTask
    fixed: ClassVar[dict[str, Any]] = {"size": 9}


class GSM8K(TaskModel):
    """``reasoning/gsm8k-v0``."""

    id = "reasoning/gsm8k-v0"
    task_type = GSM8KTask


class ChainSum(TaskModel):
    """``reasoning/chain-sum-v0``."""

    id = "reasoning/chain-sum-v0"
    task_type = ChainSumTask


class ExprSet(TaskModel):
    """``reasoning/expr-set-v0``."""

    id = "reasoning/expr-set-v0"
    task_type = ExprSetTask


class ExprTree(TaskModel):
    """``reasoning/expr-tree-v0``."""

    id = "reasoning/expr-tree-v0"
    task_type = ExprTreeTask


class BoxSearch(TaskModel):
    """``reasoning/box-search-v0``."""

    id = "reasoning/box-search-v0"
    task_type = BoxSearchTask


class CountdownEnv(TaskEnv):
    """Plain form of :class:`Countdown`."""

    model_type = Countdown


class CountdownVectorEnv(ModelVectorEnv):
    """Vector form of :class:`Countdown`."""

    model_type = Countdown


class Sudoku4Env(TaskEnv):
    """Plain form of :class:`Sudoku4`."""

    model_type = Sudoku4


class Sudoku4VectorEnv(ModelVectorEnv):
    """Vector form of :class:`Sudoku4`."""

    model_type = Sudoku4


class Sudoku9Env(TaskEnv):
    """Plain form of :class:`Sudoku9`."""

    model_type = Sudoku9


class Sudoku9VectorEnv(ModelVectorEnv):
    """Vector form of :class:`Sudoku9`."""

    model_type = Sudoku9


class GSM8KEnv(TaskEnv):
    """Plain form of :class:`GSM8K`."""

    model_type = GSM8K


class GSM8KVectorEnv(ModelVectorEnv):
    """Vector form of :class:`GSM8K`."""

    model_type = GSM8K


class ChainSumEnv(TaskEnv):
    """Plain form of :class:`ChainSum`."""

    model_type = ChainSum


class ChainSumVectorEnv(ModelVectorEnv):
    """Vector form of :class:`ChainSum`."""

    model_type = ChainSum


class ExprSetEnv(TaskEnv):
    """Plain form of :class:`ExprSet`."""

    model_type = ExprSet


class ExprSetVectorEnv(ModelVectorEnv):
    """Vector form of :class:`ExprSet`."""

    model_type = ExprSet


class ExprTreeEnv(TaskEnv):
    """Plain form of :class:`ExprTree`."""

    model_type = ExprTree


class ExprTreeVectorEnv(ModelVectorEnv):
    """Vector form of :class:`ExprTree`."""

    model_type = ExprTree


class BoxSearchEnv(TaskEnv):
    """Plain form of :class:`BoxSearch`."""

    model_type = BoxSearch


class BoxSearchVectorEnv(ModelVectorEnv):
    """Vector form of :class:`BoxSearch`."""

    model_type = BoxSearch
