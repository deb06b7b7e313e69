"""A small data set of two kinds, and experiments on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlcore.data.tokens.dataset import DatasetIndex, split_file, write_index
from rlcore.data.tokens.file import TokenWriter

VOCAB, EOS, MASK = 12, 10, 11


def chain(rng: random.Random, length: int) -> list[int]:
    """Digits that follow from the one before, up to one bit: 0.56 nats a token are left."""
    digits = [rng.randrange(10)]
    while len(digits) < length:
        digits.append((digits[-1] * 3 + rng.choice([1, 1, 1, 2])) % 10)
    return digits


def pair(rng: random.Random) -> tuple[list[int], int]:
    """A prompt of two digits, answered by the first of them, once or twice."""
    a, b = rng.randrange(10), rng.randrange(10)
    return [a, b, *[a] * rng.choice([1, 2])], 2


def build(folder: Path, documents: Callable[[random.Random], list[tuple[list[int], int]]]) -> None:
    folder.mkdir()
    records = {}
    for split in ("train", "val"):
        with TokenWriter(split_file(folder, split), VOCAB) as writer:
            for tokens, prompt in documents(random.Random(split)):
                writer.add(tokens, prompt)
            records[split] = writer.finish()
    write_index(folder, DatasetIndex(VOCAB, records, eos_id=EOS, mask_id=MASK))


@pytest.fixture(scope="session")
def text_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One long document a split."""
    folder = tmp_path_factory.mktemp("data") / "text"
    build(folder, lambda rng: [(chain(rng, 4000), 0)])
    return folder


@pytest.fixture(scope="session")
def pair_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts with responses."""
    folder = tmp_path_factory.mktemp("data") / "pairs"
    build(folder, lambda rng: [pair(rng) for _ in range(2000)])
    return folder


@pytest.fixture
def experiment() -> Callable[..., dict[str, Any]]:
    """Return settings of a small run."""

    def make(folder: Path, /, **changes: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "name": "lm",
            "data": {"path": str(folder), "length": 16, "rows": 8},
            "agent": {"type": "lm", "network": {"dim": 16, "layers": 1, "heads": 2}},
            "learner": {"optimizer": {"type": "adamw", "lr": 0.01}, "max_grad_norm": 1.0},
            "runtime": {"placement": "inline", "schedule": "serial"},
            "stop": {"updates": 14},
            "track": {"wandb": "off", "tensorboard": False, "console": "none"},
        }
        for name, value in changes.items():
            settings[name] = (
                settings[name] | value if isinstance(value, dict) and name in settings else value
            )
        return settings

    return make
