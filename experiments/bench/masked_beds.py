"""Two tasks on which masked-diffusion decoding is measured, each with a small form for CPUs.

*Chain sum*: ``3+5+2=``, answered with or without running sums, at random: two answer lengths, and
so a real trap of end tokens. *Sudoku*: a grid with hidden cells, the others given in place.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.reasoning.chain_sum import SYMBOLS
from envs.reasoning.chain_sum_batch import EMPTY, chain_sums
from envs.reasoning.sudoku_rules import symmetric_grids, valid
from rlcore.inference.decoding import PromptBatch
from rlcore.nn.transformer import TransformerConfig

EOS, MASK, PAD = len(SYMBOLS), len(SYMBOLS) + 1, len(SYMBOLS) + 2
HELD_OUT = 16
"""One in so many prompts is never trained on."""


@dataclass(frozen=True)
class Bed:
    """A task with a model.

    Attributes:
        name: Its name.
        model: The transformer.
        prompt_length: ``P``.
        length: ``L``.
        train: ``(rng, n) -> int8 [m, P + L]``, ``m`` about ``n``: rows to train on.
        test: ``(seed, n) -> (prompts, answers)``: prompts that are never trained on.
        judge: ``(tokens [n, L], answers) -> bool [n]``.
        steps: Updates of the standard training.
        batch: Rows of an update.
        lr: Largest learning rate.
        weight_decay: Of AdamW.
        torch_init: Whether weights begin as torch's own modules do.
    """

    name: str
    model: TransformerConfig
    prompt_length: int
    length: int
    train: Callable[[np.random.Generator, int], np.ndarray]
    test: Callable[[int, int], tuple[PromptBatch, np.ndarray]]
    judge: Callable[[Tensor, np.ndarray], np.ndarray]
    steps: int
    batch: int
    lr: float = 1e-3
    weight_decay: float = 0.01
    torch_init: bool = False


# -- chain sum ----------------------------------------------------------------------------------


def chain_sum_bed(small: bool = False) -> Bed:
    """Return 4 to 8 terms with ``P = 16, L = 64``, or 3 terms with ``P = 6, L = 32``.

    Prompts stand at the left and are filled up with a token that is seen like any other, so that
    each term has its own place, however many there are.
    """
    sizes = {"low_terms": 3, "high_terms": 3} if small else {"low_terms": 4, "high_terms": 8}
    prompt, length = (6, 32) if small else (16, 64)
    sizes |= {"prompt_length": prompt, "response_length": length}

    def train(rng: np.random.Generator, n: int) -> np.ndarray:
        made = chain_sums(rng, n, **sizes)
        rows = np.concatenate(
            [
                filled_up(made.prompts),
                np.where(made.responses == EMPTY, EOS, made.responses),
            ],
            1,
        )
        return rows[~held_out(made.prompts)].astype(np.int8)

    def test(seed: int, n: int) -> tuple[PromptBatch, np.ndarray]:
        made = chain_sums(np.random.default_rng([seed, 1]), 4 * HELD_OUT * n + 4096, **sizes)
        keep = np.flatnonzero(held_out(made.prompts))[:n]
        ids = torch.from_numpy(filled_up(made.prompts[keep])).long()
        return PromptBatch(ids, torch.ones_like(ids, dtype=torch.bool)), made.answers[keep]

    model = TransformerConfig(
        vocab_size=PAD + 1,
        dim=128 if small else 256,
        layers=4 if small else 6,
        heads=4 if small else 8,
        causal=False,
        mask_id=MASK,
        eos_id=EOS,
    )
    steps, batch = (3_000, 64) if small else (7_900, 512)
    name = "chain_sum_small" if small else "chain_sum"
    recipe: dict[str, Any] = {} if small else {"weight_decay": 0.1, "torch_init": True}
    return Bed(name, model, prompt, length, train, test, right_sums, steps, batch, **recipe)


def filled_up(prompts: np.ndarray) -> np.ndarray:
    """Return prompts ``[n, P]`` with what is ``EMPTY`` moved to the right and named ``PAD``."""
    empty = (prompts == EMPTY).sum(1, keepdims=True)
    length = prompts.shape[1]
    moved = np.take_along_axis(prompts, (np.arange(length) + empty) % length, 1)
    return np.where(moved == EMPTY, PAD, moved)


def held_out(prompts: np.ndarray) -> np.ndarray:
    """Return which prompts are kept for tests, by a hash of their characters, bool ``[n]``."""
    code = np.zeros(len(prompts), np.uint64)
    for column in prompts.T.astype(np.uint64):
        code = (code ^ column) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    return np.asarray(code % np.uint64(HELD_OUT) == 0)


def answers_of(tokens: Tensor) -> list[str]:
    """Return responses as texts, up to the first end token; ``?`` for what is no symbol."""
    symbols = [*SYMBOLS, "", "?", "?"]
    rows = tokens.tolist()
    return ["".join(symbols[t] for t in itertools.takewhile(lambda t: t != EOS, r)) for r in rows]


def right_sums(tokens: Tensor, answers: np.ndarray) -> np.ndarray:
    """Return which responses end in ``#`` and the answer, bool ``[n]``."""
    wanted = [f"#{int(answer)}" for answer in answers]
    ends = [text[text.rfind("#") :] if "#" in text else "" for text in answers_of(tokens)]
    return np.array([end == want for end, want in zip(ends, wanted, strict=True)])


# -- sudoku -------------------------------------------------------------------------------------


def sudoku_bed(box: int = 3, hidden: int | None = None) -> Bed:
    """Return Sudoku 9x9 with 55 hidden cells (``box=3``), or 4x4 with 10 (``box=2``)."""
    size = box * box
    cells = size * size
    blank = {2: 10, 3: 55}[box] if hidden is None else hidden
    row, column = np.divmod(np.arange(cells), size)
    tables = tuple(
        tuple(int(x) for x in table) for table in (row, column, row // box * box + column // box)
    )
    model = TransformerConfig(
        vocab_size=size + 1,
        dim=256 if box == 3 else 128,
        layers=8 if box == 3 else 4,
        heads=8 if box == 3 else 4,
        rope=False,
        position_tables=tables,
        causal=False,
        mask_id=size,
    )

    def test(seed: int, n: int) -> tuple[PromptBatch, np.ndarray]:
        rng = np.random.default_rng([seed, 1])
        grids = _grids(rng, n, box, tests=True)
        order = rng.permuted(np.tile(np.arange(cells), (len(grids), 1)), axis=1)
        given = np.where(order < blank, -1, grids.astype(np.int64) - 1)
        none = torch.empty(len(grids), 0, dtype=torch.int64)
        return PromptBatch(none, none.bool(), torch.from_numpy(given)), grids

    def judge(tokens: Tensor, answers: np.ndarray) -> np.ndarray:
        return valid(tokens.numpy() + 1, box)

    steps, batch = (5_200, 512) if box == 3 else (2_000, 128)
    recipe: dict[str, Any] = {}
    if box == 3:
        recipe = {"lr": 4e-4, "weight_decay": 0.1, "torch_init": True}
    return Bed(
        f"sudoku{size}",
        model,
        0,
        cells,
        lambda rng, n: _grids(rng, n, box, tests=False).astype(np.int8) - np.int8(1),
        test,
        judge,
        steps,
        batch,
        **recipe,
    )


def _grids(rng: np.random.Generator, n: int, box: int, *, tests: bool) -> np.ndarray:
    """Return full grids; 9x9 are too many to meet twice, of the 288 of 4x4 48 are held out."""
    if box == 3:
        return symmetric_grids(rng, n, box)
    every = all_small_grids()
    keep = np.arange(len(every)) % 6 == 0
    return np.asarray(rng.choice(every[keep if tests else ~keep], n))


@functools.cache
def all_small_grids() -> np.ndarray:
    """Return the 288 grids of Sudoku 4x4, uint8 ``[288, 16]``, in a fixed random order."""
    rows = list(itertools.permutations(range(1, 5)))
    grids = [
        np.concatenate(four)
        for pair in itertools.permutations(rows, 2)
        if all(len({*pair[0][k : k + 2], *pair[1][k : k + 2]}) == 4 for k in (0, 2))
        for four in ((*pair, *rest) for rest in itertools.permutations(rows, 2))
    ]
    kept = np.array(grids, np.uint8)
    kept = kept[valid(kept, 2)]
    return np.asarray(kept[np.random.default_rng(0).permutation(len(kept))])


BEDS: dict[str, Callable[[], Bed]] = {
    "chain_sum": chain_sum_bed,
    "chain_sum_small": lambda: chain_sum_bed(small=True),
    "sudoku9": sudoku_bed,
    "sudoku4": lambda: sudoku_bed(box=2),
}
