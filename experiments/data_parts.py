"""From an experiment's ``data`` section to the agent, the rows it reads and what is held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.schema import DataConfig, ExperimentConfig
from rlcore.data.seeding import derive_seed
from rlcore.data.tokens.dataset import HELD_OUT, TRAIN, TokenDataset
from rlcore.data.tokens.rows import RowReader, layout_of
from rlcore.data.tokens.spec import TokenSpec
from rlcore.errors import ConfigError

SAMPLES_FILE = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class DataParts:
    """What an experiment with a data set is made of.

    Attributes:
        agent: The algorithm.
        rows: The training rows.
        validation: Measures the held-out split; ``None`` where there is none.
    """

    agent: Any
    rows: RowReader
    validation: Any


def token_spec(data: DataConfig, dataset: TokenDataset) -> TokenSpec:
    """Return the data set as the agent sees it."""
    index = dataset.index
    return TokenSpec(
        vocab_size=index.vocab_size,
        length=data.length,
        eos_id=index.eos_id,
        mask_id=index.mask_id,
        packing=data.packing,
        folder=data.path,
    )


def open_data(
    config: ExperimentConfig, *, verify: bool, run_dir: str | Path | None = None
) -> DataParts:
    """Open the data set and build what reads it.

    Raises:
        DataError: The data set is missing or damaged, or does not fit into the rows.
        ConfigError: The agent does not fit the data set.
    """
    data = config.data
    if data is None:
        raise ConfigError("the experiment has no data set")
    dataset = TokenDataset.open(data.path, verify=verify and data.checksum)
    agent = config.agent.build(token_spec(data, dataset))
    rows = read_rows(data, dataset, agent.width, agent.overlap, TRAIN, config.seed)
    return DataParts(agent, rows, make_validation(config, dataset, agent, run_dir))


def read_rows(
    data: DataConfig, dataset: TokenDataset, width: int, overlap: int, split: str, seed: int
) -> RowReader:
    """Return the rows of a split: shuffled for training, every token once for evaluation."""
    file, training = dataset.split(split), split == TRAIN
    layout = layout_of(
        file,
        data.packing,
        width,
        overlap=overlap if data.packing == "cut" else 0,
        response=data.response,
        eos_id=dataset.index.eos_id,
        partial=not training,
    )
    return RowReader(
        file,
        layout,
        seed=derive_seed(seed, "shuffle"),
        shuffle=training and data.shuffle,
        partial=not training,
        fingerprint=dataset.index.fingerprint,
    )


def make_validation(
    config: ExperimentConfig, dataset: TokenDataset, agent: Any, run_dir: str | Path | None
) -> Any:
    """Return what measures the held-out split every ``eval.every`` updates, if it is wanted.

    Raises:
        ConfigError: It is wanted and the data set has no held-out split.
    """
    data, settings = config.data, config.eval
    if data is None or settings.every is None:
        return None
    if HELD_OUT not in dataset.index.splits:
        raise ConfigError(
            f"eval.every measures the split {HELD_OUT!r}, which {data.path} does not have: set it "
            "to null, or make the data set with --held-out"
        )
    return agent.validation(
        read_rows(data, dataset, agent.width, agent.overlap, HELD_OUT, config.seed),
        every=settings.every,
        batch=max(1, data.rows // config.learner.accumulate),
        limit=settings.rows,
        samples=_samples(config, dataset, run_dir),
    )


def _samples(
    config: ExperimentConfig, dataset: TokenDataset, run_dir: str | Path | None
) -> dict[str, Any] | None:
    """Return what the texts at evaluations are made with, if there are to be any."""
    from rlcore.data.tokenizers import load_tokenizer

    if not config.eval.samples or run_dir is None or config.data is None:
        return None
    folder, longest = dataset.index.tokenizer, config.data.response or config.data.length
    return {
        "path": Path(run_dir) / SAMPLES_FILE,
        "count": config.eval.samples,
        "tokens": min(config.eval.sample_tokens, longest),
        "tokenizer": None if folder is None else load_tokenizer(dataset.folder / folder),
    }
