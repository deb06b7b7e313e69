"""Settings of the engine and of sampling."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

from rlcore.errors import ConfigError

WeightUpdateMode = Literal["drain", "recompute", "keep_kv"]
InvalidFork = Literal["continue", "stop"]

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6
MIN_PENALTY, MAX_PENALTY = 1e-3, 1e3
MAX_TOP_K = (1 << 31) - 1
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)


def is_count(value: object) -> bool:
    """Return whether a setting is an integer of at least 1; ``True`` is none."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How much memory the engine takes and how it batches.

    Attributes:
        block_size: Slots of a block of the KV pool.
        num_blocks: Blocks of the pool; null: as many as ``kv_fraction`` allows.
        kv_fraction: Share of the free memory that the pool takes: on CUDA of the device, else of
            4 GiB.
        max_rows: Branches that decode at once.
        max_row_blocks: Longest block list of a branch; null for 1024, or the pool if smaller.
        prefill_chunk: Most prompt tokens of one step.
        cuda_graph_buckets: Row counts for which a CUDA graph is captured; empty for none.
        cascade: Whether leading blocks that rows share are read once a decode step for all of them;
            null for where a fused kernel does it. Others take the hint and read them row by row.
        overlap: Whether step ``t + 1`` is launched before the tokens of step ``t`` are read; null
            for on CUDA alone.
        backend: Kernels on a CPU: ``numba`` or ``torch``; ``auto`` is ``numba`` where that package
            is installed and can run the model.
        prefix_cache: Whether computed blocks are kept for later requests with the same beginning.
        cache_generated: Whether blocks of generated tokens are kept too.
        weight_update: The mode of :meth:`Engine.update_weights` where none is given.
    """

    block_size: int = 16
    num_blocks: int | None = None
    kv_fraction: float = 0.5
    max_rows: int = 512
    max_row_blocks: int | None = None
    prefill_chunk: int = 8192
    cuda_graph_buckets: tuple[int, ...] = ROW_BUCKETS
    cascade: bool | None = None
    overlap: bool | None = None
    backend: Literal["auto", "numba", "torch"] = "auto"
    prefix_cache: bool = True
    cache_generated: bool = True
    weight_update: WeightUpdateMode = "recompute"

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        object.__setattr__(self, "cuda_graph_buckets", tuple(sorted(self.cuda_graph_buckets)))
        for name in ("block_size", "max_rows", "prefill_chunk"):
            value = getattr(self, name)
            if not is_count(value):
                raise ConfigError(f"engine.{name} must be an integer >= 1, got {value!r:.40}")
        for name in ("num_blocks", "max_row_blocks"):
            value = getattr(self, name)
            if value is not None and not is_count(value):
                raise ConfigError(
                    f"engine.{name} must be an integer >= 1 or null, got {value!r:.40}"
                )
        if not 0.0 < self.kv_fraction < 1.0:
            raise ConfigError(f"engine.kv_fraction must lie in (0, 1), got {self.kv_fraction}")
        if any(bucket < 1 for bucket in self.cuda_graph_buckets):
            raise ConfigError(
                f"engine.cuda_graph_buckets must be >= 1, got {self.cuda_graph_buckets}"
            )
        if self.backend not in ("auto", "numba", "torch"):
            raise ConfigError(f"engine.backend must be auto, numba or torch, got {self.backend!r}")
        if self.weight_update not in ("drain", "recompute", "keep_kv"):
            raise ConfigError(
                "engine.weight_update must be drain, recompute or keep_kv, got "
                f"{self.weight_update!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How the next token is drawn from the logits.

    The order is: repetition penalty, temperature, top-k, top-p. Drawn tokens are a function of
    (``seed``, sample, branch, position) and the logits alone.

    Attributes:
        temperature: 0 takes the most probable token; others lie in [1e-6, 1e6], where float32
            logits divided by it stay finite.
        top_k: Keeps the ``k`` most probable tokens; 0 keeps all.
        top_p: Keeps the fewest most probable tokens whose mass reaches it.
        repetition_penalty: Divides positive and multiplies negative logits of tokens that the
            branch sees (Keskar et al. 2019), in [1e-3, 1e3]; 1 for none.
        seed: Any integer.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name, kind, wanted in (
            ("temperature", Real, "a number"),
            ("top_p", Real, "a number"),
            ("repetition_penalty", Real, "a number"),
            ("top_k", Integral, "an integer"),
            ("seed", Integral, "an integer"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind):
                raise ConfigError(f"sampling.{name} must be {wanted}, got {value!r:.40}")
        greedy = self.temperature == 0.0
        if not (greedy or MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE):
            raise ConfigError(
                "sampling.temperature must be 0 (the most probable token) or from "
                f"{MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}, got {self.temperature}"
            )
        if not 0 <= self.top_k <= MAX_TOP_K:
            raise ConfigError(
                f"sampling.top_k must be from 0 (keeps all) to {MAX_TOP_K}, got {self.top_k}"
            )
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"sampling.top_p must lie in (0, 1], got {self.top_p}")
        if not MIN_PENALTY <= self.repetition_penalty <= MAX_PENALTY:
            raise ConfigError(
                f"sampling.repetition_penalty must be from {MIN_PENALTY:g} to {MAX_PENALTY:g}, "
                f"got {self.repetition_penalty}"
            )
