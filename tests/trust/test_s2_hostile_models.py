"""Promise S2: a hostile model folder is refused, by file and tensor, before memory is taken."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlcore.errors import CheckpointError
from rlcore.nn.transformer import MoeConfig, Transformer, TransformerConfig
from rlcore.nn.transformer.pretrained import from_pretrained, save_pretrained
from rlcore.tensor_file import load_tensors, save_tensors

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
QKV = "model.layers.1.self_attn.q_proj.weight"


def write_model(folder: Path, **more: Any) -> None:
    shape = {"vocab_size": 31, "dim": 16, "layers": 2, "heads": 4, "hidden": 24}
    torch.manual_seed(0)
    save_pretrained(Transformer(TransformerConfig(**shape | more)), folder)


def sharded(folder: Path) -> None:
    torch.manual_seed(0)
    config = TransformerConfig(vocab_size=31, dim=16, layers=2, heads=4, hidden=24)
    save_pretrained(Transformer(config), folder, shard_bytes=4000)


def set_config(folder: Path, **values: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def set_index(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / INDEX
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_tensors(folder / WEIGHTS)
    change(weights)
    save_tensors(folder / WEIGHTS, weights)


def test_the_folders_they_are_made_from_load(tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    sharded(tmp_path / "b")
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 2
    first, second = from_pretrained(tmp_path / "a"), from_pretrained(tmp_path / "b")
    ids = torch.arange(5)[None]
    assert torch.equal(first(ids), second(ids))


BAD_CONFIG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown layout": ({"model_type": "gpt_neox"}, "model_type is 'gpt_neox'"),
    "layout not text": ({"model_type": ["llama"]}, "model_type"),
    "huge vocabulary": ({"vocab_size": 1 << 60}, "vocab_size is 1152921504606846976"),
    "huge width": ({"hidden_size": 1 << 40}, "hidden_size"),
    "a billion layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
    "believable layers, too many tensors": ({"num_hidden_layers": 4096}, "tensors missing"),
    "no layers": ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    "negative heads": ({"num_attention_heads": -4}, "num_attention_heads is -4"),
    "heads true": ({"num_attention_heads": True}, "num_attention_heads is True"),
    "width not whole": ({"hidden_size": 16.0}, "hidden_size is 16.0"),
    "width as text": ({"hidden_size": "16"}, "hidden_size is '16'"),
    "width null": ({"hidden_size": None}, "hidden_size is None"),
    "heads do not divide": ({"num_key_value_heads": 3}, "multiple of kv_heads"),
    "infinite epsilon": ({"rms_norm_eps": 1e300}, "rms_norm_eps"),
    "negative theta": ({"rope_parameters": {"rope_theta": -1.0}}, "rope_theta is -1.0"),
    "unknown stretching": ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
    "factor below one": (
        {"rope_parameters": {"rope_type": "linear", "factor": 0.5}},
        "factor must be >= 1",
    ),
    "stretching not an object": ({"rope_parameters": [1]}, "rope_parameters"),
    "other activation": ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    "biases": ({"attention_bias": True}, "attention_bias is True"),
    "sliding windows": ({"layer_types": ["sliding_attention"] * 2}, "layer_types"),
    "layer types not a list": ({"layer_types": 7}, "layer_types is 7"),
    "token id outside": ({"eos_token_id": 31}, "eos_token_id is 31"),
    "token id huge": ({"pad_token_id": 1 << 70}, "pad_token_id"),
    "tie as text": ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
    "experts in a list": ({"model_type": "qwen3_moe", "num_experts": []}, "num_experts"),
    "too many experts": (
        {"model_type": "qwen3_moe", "num_experts": 1 << 14, "num_experts_per_tok": 1,
         "moe_intermediate_size": 8, "num_hidden_layers": 4096},
        "describes up to 201375747 tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CONFIG)
def test_absurd_config_values_are_refused_by_name(tmp_path: Path, case: str) -> None:
    values, message = BAD_CONFIG[case]
    write_model(tmp_path)
    set_config(tmp_path, **values)
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", "wanted a JSON object"),
        ('{"model_type": "llama", "model_type": "llama"}', "duplicate name 'model_type'"),
        ('{"rms_norm_eps": NaN}', "NaN is no number"),
        ('{"a":' * 100_000, "not valid JSON"),
        ('{"vocab_size": ' + "9" * 10_000 + "}", "not valid JSON"),
        ('{"a": "' + "x" * (1 << 20) + '"}', "larger than"),
        ('{"a": "\ud800"}', "not valid JSON"),
    ],
)
def test_malformed_configs_are_refused(tmp_path: Path, text: str, message: str) -> None:
    write_model(tmp_path)
    (tmp_path / CONFIG).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(tmp_path / CONFIG) in str(caught.value)


def wrong_shape(weights: dict[str, torch.Tensor]) -> None:
    weights[QKV] = torch.zeros(16, 17)


def swapped_shape(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.mlp.down_proj.weight"] = torch.zeros(24, 16)


def integers(weights: dict[str, torch.Tensor]) -> None:
    weights[QKV] = torch.zeros(16, 16, dtype=torch.int64)


BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "missing": (lambda w: w.pop(QKV), f"missing: \\['{QKV}'\\]"),
    "extra": (lambda w: w.update(evil=torch.zeros(1)), r"not wanted: \['evil'\]"),
    "wrong shape": (wrong_shape, rf"{QKV} has shape \(16, 17\), the config wants \(16, 16\)"),
    "swapped shape": (swapped_shape, r"down_proj.weight has shape \(24, 16\)"),
    "scalar": (lambda w: w.update({QKV: torch.tensor(1.0)}), r"has shape \(\)"),
    "integers": (integers, f"{QKV} is I64"),
    "a third layer": (
        lambda w: w.update({QKV.replace(".1.", ".2."): torch.zeros(16, 16)}),
        "layers.2.self_attn.q_proj",
    ),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_wrong_tensors_are_refused_by_name(tmp_path: Path, case: str) -> None:
    change, message = BAD_WEIGHTS[case]
    write_model(tmp_path)
    change_weights(tmp_path, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)


def first_shard(table: dict[str, Any]) -> str:
    return next(iter(table.values()))


BAD_INDEX: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "parent folder": (lambda t: t.update({QKV: "../model.safetensors"}), "plain name"),
    "absolute path": (lambda t: t.update({QKV: "/etc/passwd"}), "plain name"),
    "subfolder": (lambda t: t.update({QKV: "a/b.safetensors"}), "plain name"),
    "backslash": (lambda t: t.update({QKV: "..\\x.safetensors"}), "plain name"),
    "nul": (lambda t: t.update({QKV: "x\0.safetensors"}), "plain name"),
    "new line": (lambda t: t.update({QKV: "x.safetensors\n"}), "plain name"),
    "other kind of file": (lambda t: t.update({QKV: "pytorch_model.bin"}), "plain name"),
    "not text": (lambda t: t.update({QKV: 3}), "plain name"),
    "file that is missing": (
        lambda t: t.update({QKV: "model-00099-of-00099.safetensors"}),
        "model-00099-of-00099.safetensors: cannot be read",
    ),
    "tensor in another file": (
        lambda t: t.update({QKV: first_shard(t)}), "holds other tensors than",
    ),
    "tensor left out": (lambda t: t.pop(QKV), "holds other tensors than"),
    "tensor that is nowhere": (
        lambda t: t.update(evil=first_shard(t)), "missing: \\['evil'\\]",
    ),
    "empty": (lambda t: t.clear(), "weight_map of 1 to"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INDEX)
def test_hostile_indices_are_refused(tmp_path: Path, case: str) -> None:
    change, message = BAD_INDEX[case]
    sharded(tmp_path / "m")
    set_index(tmp_path / "m", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained(tmp_path / "m")
    assert str(tmp_path / "m") in str(caught.value)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path)
    table = json.loads((tmp_path / INDEX).read_text())["weight_map"]
    other = next(file for file in table.values() if file != table[QKV])
    weights = load_tensors(tmp_path / other)
    save_tensors(tmp_path / other, weights | {QKV: torch.zeros(16, 16)})
    with pytest.raises(CheckpointError, match=rf"{other}: holds other .*not wanted: \['{QKV}'\]"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, INDEX, "model-00001-of"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "m"
    if name == INDEX or name.startswith("model-"):
        sharded(folder)
        name = INDEX if name == INDEX else next(p.name for p in folder.glob(f"{name}*"))
    else:
        write_model(folder)
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match=f"{name}: is a link to .*outside the folder"):
        from_pretrained(folder)


def test_links_inside_the_folder_and_to_the_folder_are_fine(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    (tmp_path / "m" / WEIGHTS).rename(tmp_path / "m" / "blob")
    (tmp_path / "m" / WEIGHTS).symlink_to("blob")
    (tmp_path / "link").symlink_to("m")
    assert from_pretrained(tmp_path / "link").config.layers == 2


def test_loops_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        from_pretrained(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        from_pretrained(tmp_path)
    write_model(tmp_path / "m")
    (tmp_path / "m" / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="holds neither"):
        from_pretrained(tmp_path / "m")
    (tmp_path / "m" / WEIGHTS).symlink_to(WEIGHTS)
    with pytest.raises(CheckpointError, match="cannot be read"):
        from_pretrained(tmp_path / "m")
    (tmp_path / "m" / WEIGHTS).unlink()
    os.mkfifo(tmp_path / "m" / WEIGHTS)
    with pytest.raises(CheckpointError, match="is not a regular file"):
        from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float, dtype: Any) -> None:
    write_model(tmp_path)
    tensors = {name: tensor.to(dtype) for name, tensor in load_tensors(tmp_path / WEIGHTS).items()}
    tensors[QKV][3, 5] = value
    save_tensors(tmp_path / WEIGHTS, tensors)
    with pytest.raises(CheckpointError, match=rf"tensor {QKV} holds {value} at \[3, 5\], wanted"):
        from_pretrained(tmp_path)


def raw_header(entries: dict[str, Any], data: int) -> bytes:
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((1 << 62).to_bytes(8, "little") + b"{}", "truncated"),
        ((100 << 20).to_bytes(8, "little") + b" " * (101 << 20), "header of 104857600 bytes"),
        (raw_header({QKV: {"dtype": "F32", "shape": [1 << 47], "data_offsets": [0, 1 << 49]}}, 8),
         "the file holds 8"),
        (raw_header({QKV: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                     "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, 12),
         "without gap or overlap"),
        (raw_header({QKV: {"dtype": "F32", "shape": [2], "data_offsets": [80, 88]}}, 8),
         "without gap or overlap"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_model(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(tmp_path / WEIGHTS) in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    content = (tmp_path / WEIGHTS).read_bytes()
    for size in (4, len(content) // 2, len(content) - 1):
        (tmp_path / WEIGHTS).write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=WEIGHTS):
            from_pretrained(tmp_path)


# -- memory --

CHILD = """
import sys
from pathlib import Path
import torch
from rlcore.errors import CheckpointError
from rlcore.nn.transformer.pretrained import from_pretrained

def high_water():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

before, refused = high_water(), 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        model = from_pretrained(path)
        print("loaded", sum(p.numel() * p.element_size() for p in model.parameters()) >> 20)
    except CheckpointError as error:
        refused += 1
print("refused", refused, "took", high_water() - before)
"""


def run_child(folder: Path, root: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        cwd=root, capture_output=True, text=True, timeout=100, check=True,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )  # fmt: skip
    return done.stdout.split()


def test_refusing_takes_little_memory(tmp_path: Path, repo_root: Path) -> None:
    for number, (values, _) in enumerate(BAD_CONFIG.values()):
        write_model(tmp_path / f"config{number:02d}")
        set_config(tmp_path / f"config{number:02d}", **values)
    for name, shape in {"wide": [1 << 47], "deep": [1 << 20, 1 << 20]}.items():
        write_model(tmp_path / name)
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * (shape[0] * shape[-1])]}
        (tmp_path / name / WEIGHTS).write_bytes(raw_header({QKV: entry}, 64))
    # Sizes that agree with each other and with a file that takes no disk, but not with the config.
    write_model(tmp_path / "sparse")
    nbytes = 16 << 30
    entry = {"dtype": "F32", "shape": [1 << 16, 1 << 16], "data_offsets": [0, nbytes]}
    with (tmp_path / "sparse" / WEIGHTS).open("wb") as file:
        file.write(raw_header({QKV: entry}, 0))
        file.truncate(file.tell() + nbytes)
    folders = len(list(tmp_path.iterdir()))
    refused, taken = run_child(tmp_path, repo_root)[1::2]
    assert int(refused) == folders
    assert int(taken) < 96


def test_loading_takes_about_the_models_own_size(tmp_path: Path, repo_root: Path) -> None:
    config = TransformerConfig(
        vocab_size=40_000, dim=768, layers=4, heads=12, qk_norm=True,
        mlp=MoeConfig(experts=8, hidden=512, dense_layers=(0,)),
    )  # fmt: skip
    module = Transformer(config)
    size = sum(p.numel() * p.element_size() for p in module.parameters()) >> 20
    save_pretrained(module, tmp_path / "m", shard_bytes=100 << 20)
    del module
    _, loaded, _, refused, _, taken = run_child(tmp_path, repo_root)
    assert (int(loaded), refused) == (size, "0")
    assert size > 300
    assert int(taken) < 1.15 * size + 64
