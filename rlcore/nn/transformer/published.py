"""config.json of published layouts, from and to :class:`TransformerConfig`.

A value that would change the mathematics in a way this transformer does not know is refused by
name, and so is one beyond any real model: a file may say anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rlcore.errors import CheckpointError, ConfigError
from rlcore.nn.transformer.config import DenseConfig, MoeConfig, RopeScaling, TransformerConfig
from rlcore.nn.transformer.layouts import PIECES, count_pieces
from rlcore.tensor_file import MAX_TENSORS

LIMITS = {
    "vocab_size": 1 << 22,
    "dim": 1 << 17,
    "layers": 1 << 12,
    "heads": 1 << 12,
    "kv_heads": 1 << 12,
    "head_dim": 1 << 12,
    "hidden": 1 << 20,
    "experts": 1 << 14,
    "positions": 1 << 40,
}
"""Largest size of each kind that is believed."""

_MISSING = object()


class Fields:
    """Typed access to a JSON object; every refusal names the file and the key."""

    def __init__(self, values: dict[str, Any], place: str) -> None:
        self.values, self.place = values, place

    def refuse(self, key: str, wanted: str) -> CheckpointError:
        """Return the error for a key."""
        found = self.values.get(key, "nothing")
        return CheckpointError(f"{self.place}: {key} is {found!r:.80}, wanted {wanted}")

    def size(self, key: str, kind: str, default: Any = _MISSING) -> Any:
        """Return a whole number from 1 to the limit of ``kind``, or the default for none."""
        value = self.values.get(key)
        if value is None and default is not _MISSING:
            return default
        if type(value) is not int or not 1 <= value <= LIMITS[kind]:
            raise self.refuse(key, f"a whole number from 1 to {LIMITS[kind]}")
        return value

    def number(self, key: str, default: float) -> float:
        """Return a finite positive number."""
        value = self.values.get(key, default)
        if type(value) not in (int, float) or not 0.0 < value < 1e30 or not math.isfinite(value):
            raise self.refuse(key, "a finite number > 0")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(key, default)
        if type(value) is not bool:
            raise self.refuse(key, "true or false")
        return value

    def only(self, key: str, *allowed: Any) -> None:
        """Refuse all but some values of a key; a missing one is fine."""
        value = self.values.get(key, allowed[0])
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise self.refuse(key, " or ".join(map(repr, allowed)))

    def token(self, key: str, vocab: int) -> int | None:
        """Return a token id; of several the first; ``None`` for null and -1."""
        value = self.values.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if value is None or (type(value) is int and value == -1):
            return None
        if type(value) is not int or not 0 <= value < vocab:
            raise self.refuse(key, f"a token id from 0 to {vocab - 1}")
        return value

    def layers(self, key: str, count: int) -> tuple[int, ...]:
        """Return a list of layer indices."""
        value = self.values.get(key)
        value = [] if value is None else value
        if not isinstance(value, list) or len(value) > count:
            raise self.refuse(key, f"a list of at most {count} layers")
        if not all(type(v) is int and 0 <= v < count for v in value):
            raise self.refuse(key, f"layers from 0 to {count - 1}")
        return tuple(sorted(set(value)))


def read_config(values: dict[str, Any], place: str) -> tuple[str, TransformerConfig]:
    """Return the layout and the config that a config.json describes.

    Args:
        values: The file's content.
        place: The file's name, for errors.

    Raises:
        CheckpointError: The layout is unknown, or a value is impossible or not supported.
    """
    fields = Fields(values, place)
    layout = values.get("model_type")
    if not isinstance(layout, str) or layout not in PIECES:
        raise fields.refuse("model_type", f"one of {', '.join(PIECES)}")
    try:
        config = _llada(fields) if layout == "llada" else _hugging_face(fields, layout)
    except ConfigError as error:
        raise CheckpointError(f"{place}: {error}") from None
    if count_pieces(config) > MAX_TENSORS:
        raise CheckpointError(
            f"{place}: describes up to {count_pieces(config)} tensors, wanted at most {MAX_TENSORS}"
        )
    return layout, config


def _hugging_face(fields: Fields, layout: str) -> TransformerConfig:
    fields.only("hidden_act", "silu")
    fields.only("attention_bias", False)
    fields.only("mlp_bias", False)
    fields.only("use_sliding_window", False)
    kinds = fields.values.get("layer_types") or []
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise fields.refuse("layer_types", "full_attention alone")
    vocab, layers = (
        fields.size("vocab_size", "vocab_size"),
        fields.size("num_hidden_layers", "layers"),
    )
    theta, scaling = _rope(fields)
    return TransformerConfig(
        vocab_size=vocab,
        dim=fields.size("hidden_size", "dim"),
        layers=layers,
        heads=fields.size("num_attention_heads", "heads"),
        kv_heads=fields.size("num_key_value_heads", "kv_heads", None),
        head_dim=fields.size("head_dim", "head_dim", 128 if layout == "qwen3" else None),
        hidden=fields.size("intermediate_size", "hidden"),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        qk_norm=layout in ("qwen3", "qwen3_moe"),
        qkv_bias=layout == "qwen2",
        tie_embeddings=fields.flag("tie_word_embeddings", False),
        float32_statistics=True,
        mlp=_experts(fields, layers) if layout == "qwen3_moe" else DenseConfig(),
        init_std=fields.number("initializer_range", 0.02),
        eos_id=fields.token("eos_token_id", vocab),
        pad_id=fields.token("pad_token_id", vocab),
        mask_id=fields.token("mask_token_id", vocab),
    )


def _experts(fields: Fields, layers: int) -> MoeConfig:
    step = fields.size("decoder_sparse_step", "layers", 1)
    dense = {layer for layer in range(layers) if (layer + 1) % step}
    key = "num_experts" if "num_experts" in fields.values else "num_local_experts"
    return MoeConfig(
        experts=fields.size(key, "experts"),
        top_k=fields.size("num_experts_per_tok", "experts"),
        hidden=fields.size("moe_intermediate_size", "hidden"),
        norm_topk_prob=fields.flag("norm_topk_prob", False),
        dense_layers=tuple(sorted(dense | set(fields.layers("mlp_only_layers", layers)))),
    )


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Return theta and scaling from ``rope_parameters``, or the older ``rope_scaling``."""
    key = "rope_parameters" if fields.values.get("rope_parameters") else "rope_scaling"
    values = fields.values.get(key) or {}
    if not isinstance(values, dict):
        raise fields.refuse(key, "an object or null")
    inner = Fields(values, f"{fields.place}: {key}")
    theta = inner.number("rope_theta", fields.number("rope_theta", 1e4))
    kind = values.get("rope_type", values.get("type", "default"))
    inner.only("partial_rotary_factor", 1.0, 1)
    fields.only("partial_rotary_factor", 1.0, 1)
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling(type="linear", factor=inner.number("factor", 1.0))
    if kind != "llama3":
        raise CheckpointError(
            f"{inner.place}: rope_type is {kind!r:.80}, wanted default, linear or llama3"
        )
    return theta, RopeScaling(
        type="llama3",
        factor=inner.number("factor", 8.0),
        low_freq_factor=inner.number("low_freq_factor", 1.0),
        high_freq_factor=inner.number("high_freq_factor", 4.0),
        original_positions=inner.size("original_max_position_embeddings", "positions"),
    )


def _llada(fields: Fields) -> TransformerConfig:
    fields.only("activation_type", "silu")
    fields.only("block_type", "llama")
    fields.only("layer_norm_type", "rms")
    fields.only("rope", True)
    fields.only("layer_norm_with_affine", True)
    off = ("alibi", "attention_layer_norm", "bias_for_layer_norm", "include_bias",
           "include_qkv_bias", "input_emb_norm", "scale_logits")  # fmt: skip
    for key in off:
        fields.only(key, False, None)
    fields.only("multi_query_attention", None, False)
    fields.only("block_group_size", 1)
    vocab = fields.size("embedding_size", "vocab_size", None)
    vocab = fields.size("vocab_size", "vocab_size") if vocab is None else vocab
    dim = fields.size("d_model", "dim")
    ratio = fields.size("mlp_ratio", "hidden", 4)
    return TransformerConfig(
        vocab_size=vocab,
        dim=dim,
        layers=fields.size("n_layers", "layers"),
        heads=fields.size("n_heads", "heads"),
        kv_heads=fields.size("n_kv_heads", "kv_heads", None),
        hidden=fields.size("mlp_hidden_size", "hidden", ratio * dim),
        norm_eps=fields.number("rms_norm_eps", 1e-5),
        rope_theta=fields.number("rope_theta", 1e4),
        tie_embeddings=fields.flag("weight_tying", True),
        causal=False,
        float32_statistics=True,
        init_std=fields.number("init_std", 0.02),
        mask_id=fields.token("mask_token_id", vocab),
        eos_id=fields.token("eos_token_id", vocab),
        pad_id=fields.token("pad_token_id", vocab),
    )


def choose_layout(config: TransformerConfig) -> str:
    """Return the published layout that a model fits.

    Raises:
        CheckpointError: None does; the message says why.
    """
    wanted = {
        "norm": ("rms", config.norm),
        "rope": (True, config.rope),
        "position_tables": ((), config.position_tables),
    }
    for name, (value, found) in wanted.items():
        if found != value:
            raise CheckpointError(f"no published layout has {name}={found!r:.80}, only {value!r}")
    kind = (config.causal, config.qk_norm, config.qkv_bias, isinstance(config.mlp, MoeConfig))
    layouts = {
        (True, False, False, False): "llama",
        (True, False, True, False): "qwen2",
        (True, True, False, False): "qwen3",
        (True, True, False, True): "qwen3_moe",
        (False, False, False, False): "llada",
    }
    if kind not in layouts:
        raise CheckpointError(
            "no published layout has causal={}, qk_norm={}, qkv_bias={}, experts={}".format(*kind)
        )
    layout = layouts[kind]
    square = config.head_size * config.heads == config.dim
    if layout == "llada" and (not square or config.rope_scaling is not None):
        raise CheckpointError("the llada layout wants head_dim = dim / heads and no rope_scaling")
    if layout in ("llama", "qwen2") and config.dim % config.heads:
        raise CheckpointError(f"the {layout} layout wants dim to be a multiple of heads")
    if layout == "qwen2" and not square:
        raise CheckpointError("the qwen2 layout wants head_dim = dim / heads")
    return layout


_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "llada": "LLaDAModelLM",
}


def write_config(
    layout: str, config: TransformerConfig, dtype: str, positions: int
) -> dict[str, Any]:
    """Return the content of a config.json.

    Args:
        layout: From :func:`choose_layout`.
        config: The model.
        dtype: Of the weights, as ``"float32"``.
        positions: The longest context to state.
    """
    values = {"architectures": [_ARCHITECTURES[layout]], "model_type": layout, "dtype": dtype}
    more: Callable[[TransformerConfig, int], dict[str, Any]] = (
        _llada_values if layout == "llada" else _hugging_face_values
    )
    values |= more(config, positions)
    ids = {"eos_token_id": config.eos_id, "pad_token_id": config.pad_id, "bos_token_id": None}
    if config.mask_id is not None:
        ids["mask_token_id"] = config.mask_id
    return values | ids


def _hugging_face_values(config: TransformerConfig, positions: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "intermediate_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.num_kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": positions,
        "initializer_range": config.init_std,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_theta": config.rope_theta,
        "rope_parameters": _rope_values(config),
    }
    # A config without it means dim / heads in some layouts and 128 in others.
    if config.head_dim is not None or config.qk_norm:
        values["head_dim"] = config.head_size
    moe = config.mlp
    if isinstance(moe, MoeConfig):
        values |= {
            "num_experts": moe.experts,
            "num_experts_per_tok": moe.top_k,
            "moe_intermediate_size": config.expert_size,
            "norm_topk_prob": moe.norm_topk_prob,
            "decoder_sparse_step": 1,
            "mlp_only_layers": list(moe.dense_layers),
        }
    return values


def _rope_values(config: TransformerConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling is None:
        return {"rope_type": "default", "rope_theta": config.rope_theta}
    values = {"rope_type": scaling.type, "rope_theta": config.rope_theta, "factor": scaling.factor}
    if scaling.type == "llama3":
        values |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_positions,
        }
    return values


def _llada_values(config: TransformerConfig, positions: int) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "embedding_size": config.vocab_size,
        "d_model": config.dim,
        "n_layers": config.layers,
        "n_heads": config.heads,
        "n_kv_heads": config.num_kv_heads,
        "mlp_hidden_size": config.hidden_size,
        "max_sequence_length": positions,
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "rms_norm_eps": config.norm_eps,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": config.rope_theta,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_std": config.init_std,
        "weight_tying": config.tie_embeddings,
    }
