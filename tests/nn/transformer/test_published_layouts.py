"""Folders of published layouts: the logits and tokens of `transformers`, there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from rlcore.errors import CheckpointError
from rlcore.nn.transformer import MoeConfig, RopeScaling, Transformer
from rlcore.nn.transformer.pretrained import from_pretrained, save_pretrained
from rlcore.tensor_file import read_header
from tests.nn.transformer.models import PEERS, config, model, saved_peer, tokens

pytest.importorskip("transformers")

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}


@torch.no_grad()
def peer_logits(peer: Any, ids: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    positions = (padding.cumsum(1) - 1).clamp(min=0)
    return peer(ids, attention_mask=padding.long(), position_ids=positions, use_cache=False).logits


def ragged(lengths: tuple[int, ...], side: str) -> torch.Tensor:
    """True for real tokens: rows of these lengths, filled up on one side."""
    width = max(lengths)
    rows = torch.arange(width).expand(len(lengths), width) < torch.tensor(lengths)[:, None]
    return rows if side == "right" else rows.flip(1)


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("kind", PEERS)
def test_logits_equal_those_of_transformers(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    peer = saved_peer(kind, tmp_path).to(dtype)
    ours = from_pretrained(tmp_path, dtype=dtype)
    ids = tokens(4, 37)
    for side in ("left", "right"):
        padding = ragged((37, 5, 20, 1), side)
        with torch.no_grad():
            mine = ours(ids, padding=padding)
        theirs = peer_logits(peer, ids, padding)
        assert mine.dtype == dtype
        assert theirs[padding].abs().max() > 1.0  # a model whose logits say something
        assert (mine - theirs)[padding].abs().max() <= BOUNDS[dtype], side
    with torch.no_grad():
        plain = ours(ids)
    assert (plain - peer(ids, use_cache=False).logits).abs().max() <= BOUNDS[dtype]


@pytest.mark.parametrize("kind", PEERS)
def test_greedy_tokens_are_identical(kind: str, tmp_path: Path) -> None:
    peer = saved_peer(kind, tmp_path)
    ours = from_pretrained(tmp_path)
    prompt = tokens(3, 6, seed=3)
    mask = torch.ones_like(prompt)
    wanted = peer.generate(
        prompt, attention_mask=mask, max_new_tokens=24, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    found = prompt
    with torch.no_grad():
        for _ in range(24):
            found = torch.cat((found, ours(found)[:, -1].argmax(-1, keepdim=True)), 1)
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", PEERS)
def test_what_is_saved_loads_in_transformers_with_the_same_logits(
    kind: str, tmp_path: Path
) -> None:
    import transformers

    saved_peer(kind, tmp_path / "a")
    ours = from_pretrained(tmp_path / "a")
    layout = save_pretrained(ours, tmp_path / "b", shard_bytes=30_000)
    assert layout == kind.partition("-")[0]
    assert len(list((tmp_path / "b").glob("model-*.safetensors"))) > 3
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "b", attn_implementation="sdpa"
    )
    ids = tokens(2, 40)
    with torch.no_grad():
        assert (ours(ids) - peer(ids).logits).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", PEERS)
def test_read_write_read_is_bit_equal(kind: str, tmp_path: Path) -> None:
    saved_peer(kind, tmp_path / "a")
    first = from_pretrained(tmp_path / "a")
    save_pretrained(first, tmp_path / "b", shard_bytes=20_000)
    second = from_pretrained(tmp_path / "b")
    assert second.config == first.config
    save_pretrained(second, tmp_path / "c", shard_bytes=20_000)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name
    for path in (tmp_path / "b").iterdir():
        assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes(), path.name


# -- LLaDA, which transformers does not have: an oracle of straight lines --

LLADA = {
    "activation_type": "silu", "architectures": ["LLaDAModelLM"], "block_type": "llama",
    "d_model": 32, "embedding_size": 53, "eos_token_id": 3, "include_bias": False,
    "include_qkv_bias": False, "layer_norm_type": "rms", "layer_norm_with_affine": True,
    "mask_token_id": 52, "mlp_hidden_size": 44, "model_type": "llada", "n_heads": 4,
    "n_kv_heads": 2, "n_layers": 2, "pad_token_id": 3, "rms_norm_eps": 1e-5, "rope": True,
    "rope_full_precision": True, "rope_theta": 500.0, "vocab_size": 50, "weight_tying": False,
}  # fmt: skip


def llada_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) * 0.25

    weights = {
        "model.transformer.wte.weight": normal(53, 32),
        "model.transformer.ln_f.weight": 1 + normal(32),
        "model.transformer.ff_out.weight": normal(53, 32),
    }
    for layer in range(2):
        at = f"model.transformer.blocks.{layer}."
        weights |= {
            f"{at}attn_norm.weight": 1 + normal(32), f"{at}ff_norm.weight": 1 + normal(32),
            f"{at}q_proj.weight": normal(32, 32), f"{at}k_proj.weight": normal(16, 32),
            f"{at}v_proj.weight": normal(16, 32), f"{at}attn_out.weight": normal(32, 32),
            f"{at}ff_proj.weight": normal(44, 32), f"{at}up_proj.weight": normal(44, 32),
            f"{at}ff_out.weight": normal(32, 44),
        }  # fmt: skip
    return weights


def llada_oracle(w: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """Logits of one row, head by head and token by token; norms and angles in float32."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        x32 = x.float()
        scaled = x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + 1e-5)
        return w[name] * scaled.double()

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        out = x.clone()
        for i in range(4):
            frequency = 1.0 / (500.0 ** (torch.tensor(2.0 * i) / 8))
            angle = torch.tensor(float(position)) * frequency
            c, s = angle.cos().double(), angle.sin().double()
            out[i], out[i + 4] = x[i] * c - x[i + 4] * s, x[i + 4] * c + x[i] * s
        return out

    x = [w["model.transformer.wte.weight"][i] for i in ids]
    for layer in range(2):
        at = f"model.transformer.blocks.{layer}."
        n = [norm(t, f"{at}attn_norm.weight") for t in x]
        q = [(w[f"{at}q_proj.weight"] @ t).view(4, 8) for t in n]
        k = [(w[f"{at}k_proj.weight"] @ t).view(2, 8) for t in n]
        v = [(w[f"{at}v_proj.weight"] @ t).view(2, 8) for t in n]
        for i in range(len(x)):
            heads = []
            for h in range(4):
                mine = turned(q[i][h], i)
                scores = torch.stack(
                    [mine @ turned(k[j][h // 2], j) / 8**0.5 for j in range(len(x))]
                )
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                heads.append(sum(weights[j] * v[j][h // 2] for j in range(len(x))))
            x[i] = x[i] + w[f"{at}attn_out.weight"] @ torch.cat(heads)
        for i in range(len(x)):
            t = norm(x[i], f"{at}ff_norm.weight")
            gate = w[f"{at}ff_proj.weight"] @ t
            up = w[f"{at}up_proj.weight"] @ t
            x[i] = x[i] + w[f"{at}ff_out.weight"] @ (gate * torch.sigmoid(gate) * up)
    head = w["model.transformer.ff_out.weight"]
    return torch.stack([head @ norm(t, "model.transformer.ln_f.weight") for t in x])


def llada_folder(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    from safetensors.torch import save_file

    weights = llada_weights()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLADA | changes))
    save_file(weights, folder / "model.safetensors")
    return weights


def test_llada_equals_the_oracle_with_padding_on_either_side(tmp_path: Path) -> None:
    weights = llada_folder(tmp_path)
    ids = tokens(3, 11, vocab=53)
    for dtype, bound in BOUNDS.items():
        ours = from_pretrained(tmp_path, dtype=dtype)
        loaded = {name: value.to(dtype).double() for name, value in weights.items()}
        assert not ours.config.causal
        assert (ours.config.mask_id, ours.config.eos_id) == (52, 3)
        for side in ("left", "right"):
            padding = ragged((11, 4, 7), side)
            with torch.no_grad():
                found = ours(ids, padding=padding)
            for row in range(3):
                real = padding[row]
                wanted = llada_oracle(loaded, ids[row][real].tolist())
                assert (found[row][real] - wanted).abs().max() <= bound


def test_llada_folder_round_trip_is_bit_equal(tmp_path: Path) -> None:
    weights = llada_folder(tmp_path / "a")
    ours = from_pretrained(tmp_path / "a")
    assert {p.dtype for p in ours.parameters()} == {torch.float64}  # that of the files
    assert save_pretrained(ours, tmp_path / "b") == "llada"
    from safetensors.torch import load_file

    again = load_file(tmp_path / "b" / "model.safetensors")
    assert set(again) == set(weights)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert from_pretrained(tmp_path / "b").config == ours.config


# -- what is written --


def test_shards_hold_at_most_the_limit_and_the_index_names_all(tmp_path: Path) -> None:
    ours = model(dtype=torch.float32)
    save_pretrained(ours, tmp_path / "m", shard_bytes=10_000)
    index = json.loads((tmp_path / "m" / "model.safetensors.index.json").read_text())
    sizes = {}
    for path in (tmp_path / "m").glob("*.safetensors"):
        entries = read_header(path)
        assert {index["weight_map"][name] for name in entries} == {path.name}
        sizes[path.name] = sum(entry.nbytes for entry in entries.values())
        assert sizes[path.name] <= 10_000 or len(entries) == 1
    assert sum(sizes.values()) == index["metadata"]["total_size"]
    assert sum(sizes.values()) == 4 * sum(p.numel() for p in ours.parameters())


@pytest.mark.parametrize("shard_bytes", [10_000, 10_000_000])
def test_every_file_of_weights_says_that_it_is_of_torch(shard_bytes: int, tmp_path: Path) -> None:
    save_pretrained(model(dtype=torch.float32), tmp_path / "m", shard_bytes=shard_bytes)
    paths = sorted((tmp_path / "m").glob("*.safetensors"))
    assert (len(paths) > 1) == (shard_bytes == 10_000)
    for path in paths:
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}


def test_bfloat16_is_kept_and_converted_on_request(tmp_path: Path) -> None:
    ours = model(dtype=torch.bfloat16)
    save_pretrained(ours, tmp_path)
    assert from_pretrained(tmp_path).embed.weight.dtype == torch.bfloat16
    wide = from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(wide.embed.weight, ours.embed.weight.float())


def test_saving_again_keeps_other_files_and_drops_old_shards(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_pretrained(model(), folder, shard_bytes=10_000)
    (folder / "tokenizer.json").write_text("{}")
    second = model(seed=5)
    save_pretrained(second, folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert torch.equal(from_pretrained(folder).embed.weight, second.embed.weight)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_file_in_the_place_of_the_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(CheckpointError, match="notes: is a file, wanted a folder"):
        save_pretrained(model(), tmp_path / "notes")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_failed_save_leaves_the_old_folder_whole(tmp_path: Path, monkeypatch) -> None:
    import rlcore.nn.transformer.pretrained as module

    folder = tmp_path / "m"
    first = model()
    save_pretrained(first, folder)

    def full(*args: Any, **more: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "_write_json", full)
    with pytest.raises(OSError, match="No space"):
        save_pretrained(model(seed=5), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert torch.equal(from_pretrained(folder).embed.weight, first.embed.weight)


@pytest.mark.parametrize(
    ("changes", "layout"),
    [
        ({}, "llama"),
        ({"tie_embeddings": True, "rope_scaling": RopeScaling(type="linear", factor=2.0)}, "llama"),
        ({"qkv_bias": True}, "qwen2"),
        ({"qk_norm": True, "head_dim": 10}, "qwen3"),
        ({"qk_norm": True, "mlp": MoeConfig(experts=4, dense_layers=(1,))}, "qwen3_moe"),
        ({"causal": False, "mask_id": 60}, "llada"),
    ],
)
def test_each_model_has_its_layout_and_comes_back(
    tmp_path: Path, changes: dict[str, Any], layout: str
) -> None:
    ours = model(dtype=torch.float32, float32_statistics=True, **changes)
    assert save_pretrained(ours, tmp_path) == layout
    again = from_pretrained(tmp_path)
    ids = tokens(2, 9)
    assert torch.equal(again(ids), ours(ids))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layer"}, "norm='layer'"),
        ({"rope": False}, "rope=False"),
        ({"position_tables": ((0, 1),)}, "position_tables"),
        ({"mlp": MoeConfig()}, "qk_norm=False, qkv_bias=False, experts=True"),
        ({"causal": False, "head_dim": 10}, "llada layout"),
        ({"dim": 26, "head_dim": 6}, "multiple of heads"),
        ({"qkv_bias": True, "head_dim": 10}, "qwen2 layout"),
    ],
)
def test_a_model_that_fits_no_layout_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        save_pretrained(Transformer(config(**changes)), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_foreign_module_or_mixed_dtypes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got Linear"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path / "m")
    mixed = model(dtype=torch.float32)
    mixed.norm.double()
    with pytest.raises(CheckpointError, match="one floating-point dtype"):
        save_pretrained(mixed, tmp_path / "m")


@pytest.mark.parametrize(
    ("layout", "changes", "embed", "head"),
    [
        ("llama", {}, "model.embed_tokens.weight", "lm_head.weight"),
        ("llada", {"causal": False, "mask_id": 2}, "model.transformer.wte.weight",
         "model.transformer.ff_out.weight"),
    ],
)  # fmt: skip
def test_a_repeated_tied_head_is_accepted_only_if_equal(
    layout: str, changes: dict[str, Any], embed: str, head: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    ours = model(dtype=torch.float32, tie_embeddings=True, **changes)
    assert save_pretrained(ours, tmp_path) == layout
    weights = load_file(tmp_path / "model.safetensors")
    weights[head] = weights[embed].clone()
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(from_pretrained(tmp_path).embed.weight, ours.embed.weight)
    weights[head][3, 1] += 1
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{head} differs"):
        from_pretrained(tmp_path)
