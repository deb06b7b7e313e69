"""The shape of a transformer; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from rlcore.errors import ConfigError

MixerType = Literal["attention"]
NormType = Literal["rms", "layer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched for contexts longer than those trained on.

    Attributes:
        type: ``linear`` divides every frequency by ``factor``; ``llama3`` only the slow ones, with
            a ramp between ``high_freq_factor`` and ``low_freq_factor`` turns within
            ``original_positions``.
        factor: By how much.
        low_freq_factor: Frequencies with fewer turns than this are divided.
        high_freq_factor: Frequencies with more turns than this stay.
        original_positions: Length of the context before stretching.
    """

    type: Literal["linear", "llama3"] = "linear"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.type not in ("linear", "llama3"):
            raise ConfigError(f"rope_scaling.type must be linear or llama3, got {self.type!r}")
        if not self.factor >= 1.0:
            raise ConfigError(f"rope_scaling.factor must be >= 1, got {self.factor}")
        if not 0.0 < self.low_freq_factor < self.high_freq_factor:
            raise ConfigError(
                "rope_scaling wants 0 < low_freq_factor < high_freq_factor, got "
                f"{self.low_freq_factor} and {self.high_freq_factor}"
            )
        if self.original_positions < 1:
            raise ConfigError(
                f"rope_scaling.original_positions must be >= 1, got {self.original_positions}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MixerConfig:
    """How tokens exchange information.

    Attributes:
        type: ``attention``: softmax attention with grouped key and value heads.
    """

    type: MixerType = "attention"

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseConfig:
    """A SwiGLU in every layer, of width ``TransformerConfig.hidden``.

    Attributes:
        type: ``dense``.
    """

    type: Literal["dense"] = "dense"

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class MoeConfig:
    """A mixture of SwiGLU experts, of which each token uses ``top_k``.

    Attributes:
        type: ``moe``.
        experts: Number of experts ``E``.
        top_k: Experts a token uses.
        hidden: SwiGLU width of one expert; null for the dense width divided by ``top_k``.
        norm_topk_prob: Whether the weights of the chosen experts are scaled to sum to one.
        dense_layers: Indices of layers that keep a dense SwiGLU.
    """

    type: Literal["moe"] = "moe"
    experts: int = 8
    top_k: int = 2
    hidden: int | None = None
    norm_topk_prob: bool = True
    dense_layers: tuple[int, ...] = ()

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        object.__setattr__(self, "dense_layers", tuple(self.dense_layers))
        if not 1 <= self.top_k <= self.experts:
            raise ConfigError(
                f"moe wants 1 <= top_k <= experts, got top_k={self.top_k}, experts={self.experts}"
            )
        if self.hidden is not None and self.hidden < 1:
            raise ConfigError(f"moe.hidden must be >= 1 or null, got {self.hidden}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """One transformer: what every model of the platform is an instance of.

    Attributes:
        vocab_size: Number of token ids ``V``.
        dim: Width ``D`` of the residual stream.
        layers: Number of blocks.
        heads: Query heads ``H``.
        kv_heads: Key and value heads; null for ``heads``.
        head_dim: Width of a head; null for ``dim // heads``.
        hidden: SwiGLU width; null for 8/3 ``dim``, rounded up to a multiple of 64.
        norm: ``rms`` or ``layer``.
        norm_eps: Added to the variance in every norm.
        rope: Whether queries and keys are rotated by their position.
        rope_theta: Base of the rotary frequencies.
        rope_scaling: Stretches them; null for none.
        qk_norm: Whether queries and keys are normed, head by head, before they are rotated.
        qkv_bias: Whether queries, keys and values have a bias.
        tie_embeddings: Whether the head's matrix is that of the embeddings.
        causal: The mask where none is given: causal, or full (bidirectional).
        float32_statistics: Whether norms, rotary angles and routing probabilities are computed in
            float32 even in a float64 model, as published checkpoints want.
        position_tables: Learned embeddings added to those of the tokens: each is a table from the
            position to a row of its own embedding matrix.
        mixer: How tokens exchange information.
        mlp: ``dense`` or ``moe``.
        init_std: Standard deviation of initial weights; see :mod:`rlcore.nn.transformer.init`.
        mask_id: Id of MASK, for masked diffusion.
        eos_id: Id that ends a text.
        pad_id: Id that fills up rows.
    """

    vocab_size: int
    dim: int = 512
    layers: int = 12
    heads: int = 8
    kv_heads: int | None = None
    head_dim: int | None = None
    hidden: int | None = None
    norm: NormType = "rms"
    norm_eps: float = 1e-6
    rope: bool = True
    rope_theta: float = 1e4
    rope_scaling: RopeScaling | None = None
    qk_norm: bool = False
    qkv_bias: bool = False
    tie_embeddings: bool = False
    causal: bool = True
    float32_statistics: bool = False
    position_tables: tuple[tuple[int, ...], ...] = ()
    mixer: MixerConfig = field(default_factory=MixerConfig)
    mlp: DenseConfig | MoeConfig = field(default_factory=DenseConfig)
    init_std: float = 0.02
    mask_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        tables = tuple(tuple(table) for table in self.position_tables)
        object.__setattr__(self, "position_tables", tables)
        for name in ("vocab_size", "dim", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("kv_heads", "head_dim", "hidden"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be >= 1 or null, got {value}")
        for name in ("norm_eps", "rope_theta", "init_std"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        self._check_heads()
        self._check_names()
        self._check_ids()

    def _check_heads(self) -> None:
        if self.head_dim is None and self.dim % self.heads:
            raise ConfigError(
                f"dim must be a multiple of heads, got dim={self.dim}, heads={self.heads}; "
                "or set head_dim"
            )
        if self.heads % self.num_kv_heads:
            raise ConfigError(
                f"heads must be a multiple of kv_heads, got {self.heads} and {self.num_kv_heads}"
            )
        if self.rope and self.head_size % 2:
            raise ConfigError(f"rope wants an even head width, got {self.head_size}")

    def _check_names(self) -> None:
        if self.norm not in ("rms", "layer"):
            raise ConfigError(f"norm must be rms or layer, got {self.norm!r}")
        if self.mixer.type != "attention":
            raise ConfigError(f"mixer.type must be attention, got {self.mixer.type!r}")
        if isinstance(self.mlp, MoeConfig):
            wrong = [layer for layer in self.mlp.dense_layers if not 0 <= layer < self.layers]
            if wrong:
                raise ConfigError(f"moe.dense_layers must lie in 0..{self.layers - 1}, got {wrong}")

    def _check_ids(self) -> None:
        for name in ("mask_id", "eos_id", "pad_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ConfigError(f"{name} must lie in 0..{self.vocab_size - 1}, got {value}")
        for table in self.position_tables:
            if not table or min(table) < 0:
                raise ConfigError("a position table wants at least one row index, all >= 0")

    @property
    def num_kv_heads(self) -> int:
        """Key and value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.dim // self.heads if self.head_dim is None else self.head_dim

    @property
    def hidden_size(self) -> int:
        """Width of the dense SwiGLU."""
        return -(-8 * self.dim // 192) * 64 if self.hidden is None else self.hidden

    @property
    def expert_size(self) -> int:
        """SwiGLU width of one expert; 0 in a model without."""
        if not isinstance(self.mlp, MoeConfig):
            return 0
        if self.mlp.hidden is not None:
            return self.mlp.hidden
        return max(1, self.hidden_size // self.mlp.top_k)
