"""From a run on a data set to a model folder that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from experiments.evaluate import load_policy
from rlcore.data.tokenizers import load_tokenizer
from rlcore.data.tokens.dataset import read_index
from rlcore.errors import ConfigError

Dtype = Literal["float32", "bfloat16", "float16"]


def export_run(
    run: str | Path, out: str | Path, *, selector: str = "latest", dtype: Dtype = "float32"
) -> Path:
    """Write a checkpoint's network as a Hugging Face folder, with the tokenizer of its data set.

    Args:
        run: Run folder or selector.
        out: The folder, made if it is missing.
        selector: ``latest``, ``best`` or ``step=N``.
        dtype: Of the stored weights.

    Returns:
        The folder.

    Raises:
        ConfigError: The run is not one on a data set, the folder holds a model already, or the
            network has no such layout.
        CheckpointError: No usable checkpoint fits.
        DataError: The tokenizer of the data set is missing or damaged.
    """
    from rlcore.nn.transformer import save_pretrained

    config, _, network, _ = load_policy(run, selector)
    if config.data is None:
        raise ConfigError(f"{run} is not a run on a data set: only language models are exported")
    folder = Path(out)
    if (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds a model already; remove it or choose another folder")
    save_pretrained(network.to(getattr(torch, dtype)), folder)
    tokenizer = read_index(config.data.path).tokenizer
    if tokenizer is not None:
        load_tokenizer(Path(config.data.path) / tokenizer).save(folder)
    return folder
