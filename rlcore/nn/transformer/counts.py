"""How large a transformer is, and how much arithmetic a token takes: from the config alone."""

from __future__ import annotations

from rlcore.nn.transformer.config import MoeConfig, TransformerConfig


def parameters(config: TransformerConfig) -> int:
    """Return the number of trained numbers; a tied head counts once."""
    tables = sum(max(table) + 1 for table in config.position_tables) * config.dim
    embeddings = config.vocab_size * config.dim * (1 if config.tie_embeddings else 2)
    small = config.dim * (2 * config.layers + 1)
    if config.qk_norm:
        small += 2 * config.layers * config.head_size
    if config.qkv_bias:
        small += config.layers * _qkv_width(config)
    return embeddings + tables + small + _matrices(config, active=False)


def active_parameters(config: TransformerConfig) -> int:
    """Return how many weights one token is multiplied with: the head and the experts it uses."""
    return config.vocab_size * config.dim + _matrices(config, active=True)


def flops_per_token(config: TransformerConfig, keys: float, *, training: bool = True) -> float:
    """Return the floating-point operations of one token in matrix products.

    ``2`` for each weight it is multiplied with and ``4 * layers * heads * head_dim`` for each key
    it sees; three times that with the backward pass (Kaplan et al. 2020, section 2.1; Chowdhery et
    al. 2022, appendix B). Look-ups, norms and recomputation do not count.

    Args:
        config: The model.
        keys: Mean number of keys a token sees: ``(S + 1) / 2`` in causal rows of ``S``.
        training: Whether the backward pass counts.
    """
    forward = 2.0 * active_parameters(config)
    forward += 4.0 * config.layers * config.heads * config.head_size * keys
    return 3.0 * forward if training else forward


def _qkv_width(config: TransformerConfig) -> int:
    return (config.heads + 2 * config.num_kv_heads) * config.head_size


def _matrices(config: TransformerConfig, *, active: bool) -> int:
    mixer = config.dim * (_qkv_width(config) + config.heads * config.head_size)
    dense = 3 * config.dim * config.hidden_size
    moe = config.mlp
    if not isinstance(moe, MoeConfig):
        return config.layers * (mixer + dense)
    experts = moe.top_k if active else moe.experts
    sparse = 3 * config.dim * config.expert_size * experts + config.dim * moe.experts
    few = len(set(moe.dense_layers))
    return config.layers * mixer + few * dense + (config.layers - few) * sparse
