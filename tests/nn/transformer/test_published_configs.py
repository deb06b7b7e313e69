"""What config.json says and leaves out, in the words of each publisher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlcore.errors import CheckpointError
from rlcore.nn.transformer import RopeScaling, Transformer, TransformerConfig
from rlcore.nn.transformer.pretrained import from_pretrained, save_pretrained
from rlcore.nn.transformer.published import read_config
from tests.nn.transformer.test_published_layouts import LLADA


def test_configs_of_both_generations_are_read() -> None:
    old = {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
        "eos_token_id": [128001, 128008, 128009], "pad_token_id": -1,
        "rope_scaling": {
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
    }  # fmt: skip
    layout, found = read_config(old, "x")
    assert layout == "llama"
    assert found == TransformerConfig(
        vocab_size=128256, dim=4096, layers=32, heads=32, kv_heads=8, hidden=14336, norm_eps=1e-5,
        rope_theta=5e5, rope_scaling=RopeScaling(type="llama3", factor=8.0), eos_id=128001,
        float32_statistics=True,
    )  # fmt: skip
    new = {k: v for k, v in old.items() if k not in ("rope_theta", "rope_scaling")}
    new["rope_parameters"] = old["rope_scaling"] | {"rope_theta": 5e5}
    assert read_config(new, "x")[1] == found


@pytest.mark.parametrize("name", ["Qwen3Config", "Qwen3MoeConfig", "LlamaConfig", "Qwen2Config"])
def test_what_a_config_leaves_out_has_the_publishers_default(name: str) -> None:
    """Files are often shorter than the classes: only what differs from them is written."""
    transformers = pytest.importorskip("transformers", reason="the extra rlcore[llm]")
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
             "num_hidden_layers": 4, "vocab_size": 99, "intermediate_size": 48}  # fmt: skip
    kind = getattr(transformers, name)
    values = {"model_type": kind.model_type, **sizes}
    if name == "Qwen3MoeConfig":
        values |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    theirs, (_, ours) = kind(**values), read_config(values, "x")
    assert ours.head_size == (getattr(theirs, "head_dim", None) or 64 // 4)
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert ours.init_std == theirs.initializer_range
    if name == "Qwen3MoeConfig":
        assert ours.mlp.norm_topk_prob == theirs.norm_topk_prob
        assert ours.mlp.dense_layers == tuple(theirs.mlp_only_layers or ())
        steps = read_config(values | {"decoder_sparse_step": 2}, "x")[1].mlp.dense_layers
        assert steps == (0, 2)  # layer n has experts where n + 1 is a multiple


def test_a_short_llada_config_has_the_publishers_defaults() -> None:
    short = {key: LLADA[key] for key in ("model_type", "d_model", "n_heads", "n_layers")}
    _, found = read_config(short | {"vocab_size": 50}, "x")
    assert found.tie_embeddings
    assert (found.vocab_size, found.hidden, found.num_kv_heads) == (50, 4 * 32, 4)
    assert found.rope_theta == 1e4
    _, padded = read_config(LLADA, "x")  # rows of the embedding, not tokens that are in use
    assert padded.vocab_size == 53


@pytest.mark.parametrize(
    ("layout", "key", "value"),
    [
        ("qwen3", "hidden_act", "gelu"), ("qwen3", "attention_bias", True),
        ("llama", "mlp_bias", True), ("qwen3", "use_sliding_window", True),
        ("qwen3", "layer_types", ["full_attention", "sliding_attention"]),
        ("llama", "partial_rotary_factor", 0.5), ("llama", "rope_scaling", {"type": "yarn"}),
        ("llada", "activation_type", "gelu"), ("llada", "block_type", "sequential"),
        ("llada", "layer_norm_type", "default"), ("llada", "rope", False),
        ("llada", "layer_norm_with_affine", False), ("llada", "alibi", True),
        ("llada", "attention_layer_norm", True), ("llada", "bias_for_layer_norm", True),
        ("llada", "include_bias", True), ("llada", "include_qkv_bias", True),
        ("llada", "input_emb_norm", True), ("llada", "scale_logits", True),
        ("llada", "multi_query_attention", True), ("llada", "block_group_size", 2),
    ],
)  # fmt: skip
def test_what_would_change_the_mathematics_is_refused_by_name(
    layout: str, key: str, value: Any
) -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
             "vocab_size": 99, "intermediate_size": 48}  # fmt: skip
    good = dict(LLADA) if layout == "llada" else {"model_type": layout, **sizes}
    assert read_config(good, "x")[0] == layout
    with pytest.raises(CheckpointError, match="rope_type" if key == "rope_scaling" else key):
        read_config(good | {key: value}, "x")


def test_a_qwen3_folder_says_how_wide_a_head_is(tmp_path: Path) -> None:
    """Without it 128 is meant, whatever the width."""
    shape = TransformerConfig(vocab_size=20, dim=24, layers=1, heads=2, qk_norm=True)
    ours = Transformer(shape)
    assert save_pretrained(ours, tmp_path) == "qwen3"
    assert json.loads((tmp_path / "config.json").read_text())["head_dim"] == 12
    again = from_pretrained(tmp_path)
    assert torch.equal(again.blocks[0].mixer.qkv.weight, ours.blocks[0].mixer.qkv.weight)
