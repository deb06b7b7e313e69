"""Where each published layout keeps the weights of the transformer, tensor by tensor.

Our matrices are fused; theirs are slices of ours: a :class:`Piece` says which, for reading and for
writing alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from rlcore.nn.transformer.config import MoeConfig, TransformerConfig


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor of a layout: rows of one of our parameters.

    Attributes:
        name: In the layout.
        parameter: Ours.
        shape: Of the piece.
        expert: Index into the first axis of our parameter, or ``None``.
        start: First row, after ``expert``.
    """

    name: str
    parameter: str
    shape: tuple[int, ...]
    expert: int | None = None
    start: int = 0

    def of(self, module: nn.Module) -> Tensor:
        """Return the piece of a transformer's parameter, as a view."""
        value = module.get_parameter(self.parameter).detach()
        if self.expert is not None:
            value = value[self.expert]
        return value[self.start : self.start + self.shape[0]]


@dataclass(frozen=True, slots=True)
class Names:
    """How a layout names the parts of a model; those of a layer follow ``layer`` and its number."""

    layer: str
    embed: str
    norm: str
    head: str
    mixer_norm: str
    mlp_norm: str
    qkv: tuple[str, str, str]
    out: str
    gate: str
    up: str
    down: str


_HUGGING_FACE = Names(
    layer="model.layers.",
    embed="model.embed_tokens",
    norm="model.norm",
    head="lm_head",
    mixer_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    out="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
)
_LLADA = Names(
    layer="model.transformer.blocks.",
    embed="model.transformer.wte",
    norm="model.transformer.ln_f",
    head="model.transformer.ff_out",
    mixer_norm="attn_norm",
    mlp_norm="ff_norm",
    qkv=("q_proj", "k_proj", "v_proj"),
    out="attn_out",
    gate="ff_proj",
    up="up_proj",
    down="ff_out",
)


def _named(names: Names, config: TransformerConfig) -> Iterator[Piece]:
    table = (config.vocab_size, config.dim)
    yield Piece(f"{names.embed}.weight", "embed.weight", table)
    for layer in range(config.layers):
        yield from _layer(names, config, layer)
    yield Piece(f"{names.norm}.weight", "norm.weight", (config.dim,))
    if not config.tie_embeddings:
        yield Piece(f"{names.head}.weight", "lm_head.weight", table)


def _layer(names: Names, config: TransformerConfig, layer: int) -> Iterator[Piece]:
    theirs, ours, dim = f"{names.layer}{layer}.", f"blocks.{layer}.", config.dim
    yield Piece(f"{theirs}{names.mixer_norm}.weight", f"{ours}mixer_norm.weight", (dim,))
    start, size = 0, config.head_size
    for name, heads in zip(
        names.qkv, (config.heads, config.num_kv_heads, config.num_kv_heads), strict=True
    ):
        rows = heads * size
        yield Piece(f"{theirs}{name}.weight", f"{ours}mixer.qkv.weight", (rows, dim), start=start)
        if config.qkv_bias:
            yield Piece(f"{theirs}{name}.bias", f"{ours}mixer.qkv.bias", (rows,), start=start)
        start += rows
    if config.qk_norm:
        for name in ("q_norm", "k_norm"):
            yield Piece(f"{theirs}self_attn.{name}.weight", f"{ours}mixer.{name}.weight", (size,))
    out = (dim, config.heads * size)
    yield Piece(f"{theirs}{names.out}.weight", f"{ours}mixer.out.weight", out)
    yield Piece(f"{theirs}{names.mlp_norm}.weight", f"{ours}mlp_norm.weight", (dim,))
    moe = config.mlp
    if isinstance(moe, MoeConfig) and layer not in moe.dense_layers:
        yield from _experts(theirs, ours, config, moe)
        return
    hidden = config.hidden_size
    fused = f"{ours}mlp.gate_up.weight"
    yield Piece(f"{theirs}{names.gate}.weight", fused, (hidden, dim))
    yield Piece(f"{theirs}{names.up}.weight", fused, (hidden, dim), start=hidden)
    yield Piece(f"{theirs}{names.down}.weight", f"{ours}mlp.down.weight", (dim, hidden))


def _experts(theirs: str, ours: str, config: TransformerConfig, moe: MoeConfig) -> Iterator[Piece]:
    dim, hidden = config.dim, config.expert_size
    yield Piece(f"{theirs}mlp.gate.weight", f"{ours}mlp.router.weight", (moe.experts, dim))
    for expert in range(moe.experts):
        name, fused = f"{theirs}mlp.experts.{expert}.", f"{ours}mlp.gate_up"
        yield Piece(f"{name}gate_proj.weight", fused, (hidden, dim), expert)
        yield Piece(f"{name}up_proj.weight", fused, (hidden, dim), expert, hidden)
        yield Piece(f"{name}down_proj.weight", f"{ours}mlp.down", (dim, hidden), expert)


def _hugging_face(config: TransformerConfig) -> list[Piece]:
    return list(_named(_HUGGING_FACE, config))


def _llada(config: TransformerConfig) -> list[Piece]:
    return list(_named(_LLADA, config))


PIECES: dict[str, Callable[[TransformerConfig], list[Piece]]] = {
    "llama": _hugging_face,
    "qwen2": _hugging_face,
    "qwen3": _hugging_face,
    "qwen3_moe": _hugging_face,
    "llada": _llada,
}
"""The pieces of a model in each layout, by ``model_type``."""

HEAD_NAME = {layout: "lm_head.weight" for layout in PIECES} | {
    "llada": "model.transformer.ff_out.weight"
}
"""Where each layout keeps the head; a tied model may repeat it there."""


def count_pieces(config: TransformerConfig) -> int:
    """Return an upper bound of the number of pieces, without listing them."""
    experts = config.mlp.experts if isinstance(config.mlp, MoeConfig) else 1
    return 3 + config.layers * (12 + 3 * experts)
