"""Small random models, and folders of them, for the tests of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlcore.nn.transformer import Transformer, TransformerConfig

SMALL: dict[str, Any] = {"vocab_size": 61, "dim": 24, "layers": 2, "heads": 4, "kv_heads": 2,
                         "hidden": 40}  # fmt: skip


def config(**changes: Any) -> TransformerConfig:
    return TransformerConfig(**(SMALL | changes))


def model(seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> Transformer:
    """A model whose weights are large enough for every part to matter."""
    torch.manual_seed(seed)
    made = Transformer(config(**changes)).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
            else:
                parameter.uniform_(0.5, 1.5)
    return made


def tokens(rows: int, length: int, vocab: int = 61, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


PEERS = ("llama", "llama-llama3", "llama-linear-tied", "qwen2", "qwen3", "qwen3_moe")


def peer(kind: str, seed: int = 0) -> Any:
    """A random model of ``transformers``, in evaluation mode."""
    import transformers as hf

    base: dict[str, Any] = {
        "vocab_size": 61, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "eos_token_id": 5, "pad_token_id": None, "bos_token_id": None,
        "attn_implementation": "sdpa", "rms_norm_eps": 3e-5,
    }  # fmt: skip
    llama3 = {
        "rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    }  # fmt: skip
    linear = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 3.0}
    moe = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
           "norm_topk_prob": True, "mlp_only_layers": [1], "head_dim": 20}  # fmt: skip
    settings, make = {
        "llama": (hf.LlamaConfig(**base), hf.LlamaForCausalLM),
        "llama-llama3": (hf.LlamaConfig(**base, rope_parameters=llama3), hf.LlamaForCausalLM),
        "llama-linear-tied": (
            hf.LlamaConfig(**base, rope_parameters=linear, tie_word_embeddings=True),
            hf.LlamaForCausalLM,
        ),
        "qwen2": (hf.Qwen2Config(**base), hf.Qwen2ForCausalLM),
        "qwen3": (hf.Qwen3Config(**base, head_dim=20), hf.Qwen3ForCausalLM),
        "qwen3_moe": (hf.Qwen3MoeConfig(**base, **moe), hf.Qwen3MoeForCausalLM),
    }[kind]
    torch.manual_seed(seed)
    made = make(settings).eval()
    if kind == "qwen3_moe":
        made.set_experts_implementation("eager")  # its grouped product has no float64
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.uniform_(0.5, 1.5) if "norm" in name else parameter.normal_(std=0.2)
    return made


def saved_peer(kind: str, folder: Path, seed: int = 0) -> Any:
    made = peer(kind, seed)
    made.save_pretrained(folder)
    return made
