"""Settings of language-model training; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from rlcore.data.tokens.spec import TokenSpec
from rlcore.errors import ConfigError
from rlcore.ops.policy_loss.limits import check_at_least, check_choice, check_share

if TYPE_CHECKING:
    from agents.lm.agent import LMAgent

Objective = Literal["causal", "diffusion"]
Precision = Literal["float32", "bfloat16"]
Normalise = Literal["batch", "response"]
HeadBackend = Literal["auto", "reference", "torch", "triton"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LMNetworkConfig:
    """The transformer; see :class:`rlcore.nn.transformer.TransformerConfig`.

    Attributes:
        dim: Width of the residual stream.
        layers: Number of blocks.
        heads: Query heads.
        kv_heads: Key and value heads; null for as many.
        hidden: SwiGLU width; null for 8/3 ``dim``, rounded up to a multiple of 64.
        experts: MLPs of each layer, of which a token uses some (a mixture); 0 for one that all use.
        experts_per_token: How many of them a token uses.
        expert_hidden: SwiGLU width of one; null for ``hidden`` divided by ``experts_per_token``.
        rope: Whether queries and keys are rotated by their position.
        rope_theta: Base of the rotary frequencies.
        qk_norm: Whether queries and keys are normed before they are rotated.
        tie_embeddings: Whether the head's matrix is that of the embeddings.
        position_tables: Learned embeddings by position: each is a table from the position to a row
            of its own embedding matrix.
        dropout: Share of embeddings and of what each mixer and MLP adds that is set to 0 in
            training.
        attention_dropout: Share of the attention's weights, likewise.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    dim: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int | None = None
    hidden: int | None = None
    experts: int = 0
    experts_per_token: int = 2
    expert_hidden: int | None = None
    rope: bool = True
    rope_theta: float = 1e4
    qk_norm: bool = False
    tie_embeddings: bool = False
    position_tables: tuple[tuple[int, ...], ...] = ()
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        check_at_least("experts", self.experts, 0)
        self.transformer(TokenSpec(vocab_size=2, length=2), causal=True)

    def transformer(self, spec: TokenSpec, *, causal: bool) -> Any:
        """Return the transformer's own configuration for a data set.

        Raises:
            ConfigError: The sizes do not fit together.
        """
        from rlcore.nn.transformer.config import MoeConfig, TransformerConfig

        names = ("dim", "layers", "heads", "kv_heads", "hidden", "rope", "rope_theta", "qk_norm",
                 "tie_embeddings", "position_tables")  # fmt: skip
        mixture: dict[str, Any] = {}
        if self.experts:
            mixture["mlp"] = MoeConfig(
                experts=self.experts, top_k=self.experts_per_token, hidden=self.expert_hidden
            )
        return TransformerConfig(
            **mixture,
            vocab_size=spec.vocab_size,
            causal=causal,
            eos_id=spec.eos_id,
            mask_id=spec.mask_id,
            **{name: getattr(self, name) for name in names},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LMConfig:
    """Language models from a data set: pretraining, and fine-tuning on prompts with responses.

    Attributes:
        objective: ``causal`` predicts the next token; ``diffusion`` the masked ones (LLaDA).
        network: The transformer, where it starts from random weights.
        pretrained: Folder of a Hugging Face layout to start from instead; null for random weights.
        precision: ``bfloat16`` computes the forward pass in it; weights, sums and the loss stay
            float32.
        compile: Compile the network with ``torch.compile``.
        head_backend: Backend of the head's log-probabilities; see :mod:`rlcore.ops.log_prob`.
        normalise: What the diffusion loss is a mean over: ``batch``, all tokens of an update;
            ``response``, each row's own tokens first, so that long and short ones count equally.
        eps: Smallest probability of a mask in the diffusion objective.
        random_length_share: Share of the updates of the diffusion objective whose rows are cut to a
            random length, so that the model meets short ones in pretraining (LLaDA: 0.01).
        balance_coef: Weight of the loss that keeps the experts of a mixture in use, in training;
            models without experts have none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    reads: ClassVar[str] = "data"
    objective: Objective = "causal"
    network: LMNetworkConfig = field(default_factory=LMNetworkConfig)
    pretrained: str | None = None
    precision: Precision = "float32"
    compile: bool = False
    head_backend: HeadBackend = "auto"
    normalise: Normalise = "batch"
    eps: float = 1e-3
    random_length_share: float = 0.0
    balance_coef: float = 1e-3

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, get_args(Objective))
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("head_backend", self.head_backend, get_args(HeadBackend))
        check_choice("normalise", self.normalise, get_args(Normalise))
        check_share("eps", self.eps)
        check_at_least("eps", self.eps, 1e-9)
        check_share("random_length_share", self.random_length_share)
        check_at_least("balance_coef", self.balance_coef, 0.0)
        if self.random_length_share and self.objective != "diffusion":
            raise ConfigError(
                "random_length_share goes with objective 'diffusion', got "
                f"{self.random_length_share} with '{self.objective}'"
            )
        if self.normalise == "response" and self.objective != "diffusion":
            raise ConfigError(
                f"normalise 'response' goes with objective 'diffusion', got '{self.objective}'"
            )

    def check(self, spec: TokenSpec) -> None:
        """Refuse a data set that the settings do not fit, before anything is built for it.

        Raises:
            ConfigError: They do not fit together, or there is no pretrained model.
        """
        if self.objective == "diffusion" and spec.mask_id is None:
            raise ConfigError(
                f"agent.objective 'diffusion' needs a mask token, which the data set "
                f"{spec.folder or 'given'} does not have: make it with --special mask"
            )
        if self.normalise == "response" and spec.packing != "single":
            raise ConfigError(
                "agent.normalise 'response' needs one document a row: set data.packing to "
                f"'single', got '{spec.packing}'"
            )
        tables = self.network.position_tables
        if any(len(table) < spec.length for table in tables):
            raise ConfigError(
                f"agent.network.position_tables must name a row for each of the {spec.length} "
                f"positions, got {min(map(len, tables))}"
            )
        if self.pretrained is not None and not (Path(self.pretrained) / "config.json").is_file():
            raise ConfigError(
                f"agent.pretrained {self.pretrained} is no model folder: it has no config.json"
            )

    def build(self, spec: TokenSpec) -> LMAgent:
        """Return the agent for a data set.

        Raises:
            ConfigError: The data set and the settings do not fit together.
        """
        from agents.lm.agent import LMAgent

        return LMAgent(self, spec)
