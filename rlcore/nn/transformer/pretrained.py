"""Models in folders of the Hugging Face form: config.json and safetensors files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlcore.errors import CheckpointError
from rlcore.nn.transformer.folder import (
    CONFIG,
    INDEX,
    MAX_CONFIG_BYTES,
    WEIGHTS,
    inside,
    open_weights,
    read_json,
)
from rlcore.nn.transformer.layouts import HEAD_NAME, PIECES, Piece
from rlcore.nn.transformer.model import Transformer
from rlcore.nn.transformer.published import choose_layout, read_config, write_config
from rlcore.tensor_file import MappedTensors, save_tensors

SHARD_BYTES = 5 << 30
_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32,
           "F64": torch.float64}  # fmt: skip
_CHUNK_ELEMENTS = 8 << 20


def from_pretrained(
    directory: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Transformer:
    """Return the model of a folder in the Llama, Qwen2, Qwen3, Qwen3-MoE or LLaDA layout.

    Everything the folder says is checked before memory is taken: names, shapes and places of all
    tensors must be exactly those of the config. Files are mapped and copied piece by piece, so that
    loading takes the model's own size; every value must be finite.

    Args:
        directory: With ``config.json`` and ``model.safetensors``, or its shards and their index.
        dtype: Of the parameters; by default that of the files.
        device: Of the parameters.

    Raises:
        CheckpointError: Something is missing, malformed or not supported; the message names the
            file and the tensor or key.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is not a folder")
    config_file = inside(folder, CONFIG)
    layout, config = read_config(read_json(config_file, MAX_CONFIG_BYTES), str(config_file))
    pieces = PIECES[layout](config)
    with open_weights(folder) as weights:
        stored = _check(pieces, weights, folder, HEAD_NAME[layout], config.tie_embeddings)
        with torch.device("meta"):
            module = Transformer(config)
        _allocate(module, dtype or stored, torch.device(device))
        for piece in pieces:
            _copy(weights[piece.name], piece.name, piece.of(module))
    return module.to(device)


def _check(
    pieces: list[Piece],
    weights: Mapping[str, MappedTensors],
    folder: Path,
    head: str,
    tied: bool,
) -> torch.dtype:
    """Refuse weights that are not exactly the pieces; return the dtype of the first."""
    wanted = {piece.name for piece in pieces}
    extra = set(weights) - wanted
    if tied and head in extra:
        _check_repeated(weights, pieces[0], head)
        extra.remove(head)
    missing = sorted(wanted - set(weights))
    if missing or extra:
        raise CheckpointError(
            f"{folder}: tensors missing: {missing!s:.300}, not wanted: {sorted(extra)!s:.300}"
        )
    for piece in pieces:
        entry, path = weights[piece.name].entries[piece.name], weights[piece.name].path
        if entry.shape != piece.shape:
            raise CheckpointError(
                f"{path}: tensor {piece.name} has shape {entry.shape!s:.80}, the config wants "
                f"{piece.shape}"
            )
        if entry.dtype not in _DTYPES:
            raise CheckpointError(
                f"{path}: tensor {piece.name} is {entry.dtype}, wanted {', '.join(_DTYPES)}"
            )
    return _DTYPES[weights[pieces[0].name].entries[pieces[0].name].dtype]


def _check_repeated(weights: Mapping[str, MappedTensors], embed: Piece, head: str) -> None:
    """Refuse a tied model's repeated head that is not the embeddings."""
    if embed.name not in weights:
        return
    first, second = weights[embed.name], weights[head]
    same = first.entries[embed.name].shape == second.entries[head].shape
    if not same or not torch.equal(first.view(embed.name), second.view(head)):
        raise CheckpointError(
            f"{second.path}: tensor {head} differs from {embed.name}, but the config ties them"
        )
    first.release(embed.name)
    second.release(head)


def _allocate(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give every parameter of a module without memory its own, not yet set."""
    for name, parameter in list(module.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        empty = torch.empty(parameter.shape, dtype=dtype, device=device)
        setattr(module.get_submodule(owner), leaf, nn.Parameter(empty))


def _copy(file: MappedTensors, name: str, target: Tensor) -> None:
    """Fill ``target`` a few rows at a time, so that little of the file is in memory."""
    source = file.view(name)
    rows = max(1, _CHUNK_ELEMENTS // max(1, source[:1].numel()))
    for start in range(0, source.shape[0], rows):
        part = source[start : start + rows]
        _check_finite(part, file, name, start)
        target[start : start + rows].copy_(part)
        if source.numel() > _CHUNK_ELEMENTS:
            file.release(name)
    file.release(name)


def _check_finite(part: Tensor, file: MappedTensors, name: str, start: int) -> None:
    """Refuse NaN and infinity: a model with one of them answers nonsense without an error."""
    if not part.numel() or all(bool(end.isfinite()) for end in part.aminmax()):
        return
    place = (~part.isfinite()).nonzero()[0].tolist()
    value = part[tuple(place)].item()
    place[0] += start
    raise CheckpointError(
        f"{file.path}: tensor {name} holds {value} at {place}, wanted finite numbers alone"
    )


def save_pretrained(
    module: nn.Module,
    directory: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    positions: int = 32_768,
) -> str:
    """Write a model as a folder that ``transformers`` and :func:`from_pretrained` read.

    The folder appears whole: it is written beside its place and renamed. Other files of a folder
    that exists already (a tokenizer's, say) are kept.

    Args:
        module: A :class:`Transformer`.
        directory: The folder.
        shard_bytes: Largest sum of tensor bytes in one file; a larger tensor has its own.
        positions: Longest context to state in the config.

    Returns:
        The layout: ``llama``, ``qwen2``, ``qwen3``, ``qwen3_moe`` or ``llada``.

    Raises:
        CheckpointError: No published layout holds this model, its parameters differ in dtype, or
            a file stands in the folder's place.
    """
    if not isinstance(module, Transformer):
        raise CheckpointError(f"wanted a Transformer to save, got {type(module).__name__}")
    layout = choose_layout(module.config)
    dtypes = {parameter.dtype for parameter in module.parameters()}
    if len(dtypes) != 1 or not dtypes <= set(_DTYPES.values()):
        raise CheckpointError(f"wanted parameters of one floating-point dtype, got {dtypes}")
    dtype = str(dtypes.pop()).removeprefix("torch.")
    target = Path(directory).absolute()
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{target}: is a file, wanted a folder or a new name")
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write_weights(module, PIECES[layout](module.config), stage, shard_bytes)
        _write_json(stage / CONFIG, write_config(layout, module.config, dtype, positions))
        _publish(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return layout


def _write_weights(module: nn.Module, pieces: list[Piece], stage: Path, limit: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    filled = total = 0
    for piece in pieces:
        tensor = piece.of(module)
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > limit:
            shards.append({})
            filled = 0
        shards[-1][piece.name] = tensor
        filled, total = filled + size, total + size
    if len(shards) == 1:
        save_tensors(stage / WEIGHTS, shards[0], {"format": "pt"})
        return
    table: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_tensors(stage / name, shard, {"format": "pt"})
        table |= dict.fromkeys(shard, name)
    _write_json(stage / INDEX, {"metadata": {"total_size": total}, "weight_map": table})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _publish(stage: Path, target: Path) -> None:
    """Put the staged folder in its place, with what else the old one held."""
    stage.chmod(0o755)
    old = stage.with_name(stage.name + ".old")
    if target.is_dir():
        for path in target.iterdir():
            if not _is_model_file(path.name):
                _keep(path, stage / path.name)
    _sync(stage)
    if target.exists():
        target.rename(old)
    stage.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _is_model_file(name: str) -> bool:
    return name in (CONFIG, INDEX) or name.endswith(".safetensors")


def _keep(path: Path, copy: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, copy, symlinks=True)
    else:
        shutil.copy2(path, copy, follow_symlinks=False)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
