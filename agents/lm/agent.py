"""Language-model training as an agent: it never acts, it minimises a loss of rows of tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from agents.lm.config import LMConfig
from agents.lm.dropout import add_dropout
from agents.lm.losses import (
    causal_lm_loss,
    exact_count_loss,
    mask_exactly,
    mask_probability,
    mask_tokens,
    masked_diffusion_loss,
    random_length,
    stratified_times,
    uniform_counts,
)
from agents.lm.samples import SampleWriter
from agents.lm.validation import HeldOut
from rlcore.data.spec import ArraySpec
from rlcore.data.tokens.rows import RowReader
from rlcore.data.tokens.spec import TokenSpec
from rlcore.errors import ConfigError
from rlcore.learners.base import Batch, LossOutput
from rlcore.nn.transformer import AttentionMask, Transformer
from rlcore.nn.transformer.moe import Routing, moe_layers
from rlcore.ops.log_prob import linear_log_probs

Features = Callable[..., Tensor]
_IGNORED = -100


class LMAgent:
    """Causal or masked-diffusion language modelling.

    A batch holds ``tokens`` and ``targets`` ``[B, W]``, ``noise`` ``[B]`` and, where rows are not
    one document from end to end, ``documents`` ``[B, W]`` (:mod:`rlcore.data.tokens.rows`).

    Args:
        config: Settings.
        spec: The data set.

    Raises:
        ConfigError: The data set and the settings do not fit together.
    """

    unroll = 1
    reduction = "mean"

    def __init__(self, config: LMConfig, spec: TokenSpec) -> None:
        self.config = config
        self.token_spec = spec
        self.causal = config.objective == "causal"
        self.overlap = 1 if self.causal else 0
        self._features: dict[int, Features] = {}
        config.check(spec)
        if config.pretrained is None:
            with torch.device("meta"):
                self.build_network()  # raises now, before any process starts

    @property
    def width(self) -> int:
        """Tokens of a row: a causal model's last one is predicted and never read."""
        return self.token_spec.length + self.overlap

    def spec(self) -> ArraySpec:
        """Return no arrays beyond the rows' own."""
        return {}

    def build_network(self) -> Transformer:
        """Return the network: fresh, from torch's global generator, or the pretrained one.

        Raises:
            ConfigError: The pretrained one does not fit the data set.
        """
        config = self.config
        if config.pretrained is None:
            network = Transformer(config.network.transformer(self.token_spec, causal=self.causal))
        else:
            network = self._pretrained(config.pretrained)
        if config.network.dropout:
            add_dropout(network, config.network.dropout)
        network.attention_dropout = config.network.attention_dropout
        return network

    def _pretrained(self, folder: str) -> Transformer:
        from rlcore.nn.transformer import from_pretrained

        network = cast(Transformer, from_pretrained(folder, dtype=torch.float32))
        found, wanted = network.config.vocab_size, self.token_spec.vocab_size
        if found < wanted:
            raise ConfigError(
                f"agent.pretrained {folder} has {found} tokens; the data set has {wanted}"
            )
        return network

    # -- losses ---------------------------------------------------------------------------------

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Return the objective of a batch; its random numbers follow from ``batch["noise"]``."""
        network = cast(Transformer, network)
        balanced = self.config.balance_coef > 0.0 and bool(moe_layers(network.config))
        routing = Routing() if balanced else None
        with self._randomness(network, batch):
            output = self._loss(network, batch, exact=False, routing=routing)
        if routing is None:
            return output
        documents = batch.get("documents")
        seen = next(iter(routing.experts.values())).shape[1]
        valid = None if documents is None else documents[:, :seen] >= 0
        balance = routing.balance_loss(valid)
        metrics = output.metrics | {"loss/balance": balance.detach()}
        return replace(
            output, loss=output.loss + self.config.balance_coef * balance, metrics=metrics
        )

    def held_out_loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Return the loss for evaluation: the same, in diffusion the exact-count estimate."""
        return self._loss(cast(Transformer, network), batch, exact=True)

    def _loss(
        self, network: Transformer, batch: Batch, *, exact: bool, routing: Routing | None = None
    ) -> LossOutput:
        tokens, targets = batch["tokens"].long(), batch["targets"]
        documents = batch.get("documents")
        if self.causal:
            wanted = next_token_targets(targets, documents)
            seen = None if documents is None else documents[:, :-1]
            log_probs = self._log_probs(
                network, tokens[:, :-1], tokens[:, 1:], wanted, seen, routing
            )
            return causal_lm_loss(log_probs, wanted)
        generator = torch.Generator(tokens.device).manual_seed(int(batch["noise"][0]))
        share = self.config.random_length_share
        if share and not exact:
            length = random_length(torch.rand(2, generator=generator, device=tokens.device), share,
                                   tokens.shape[1])  # fmt: skip
            tokens, targets = tokens[:, :length], targets[:, :length]
            documents = None if documents is None else documents[:, :length]
        uniforms = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        rows, normalise = len(tokens), self.config.normalise
        if exact:
            u = torch.rand(rows, generator=generator, device=tokens.device)
            counts = uniform_counts(u, targets)
            masked = mask_exactly(uniforms, counts, targets)
        else:
            u = torch.rand((), generator=generator, device=tokens.device)
            p = mask_probability(stratified_times(rows, u), self.config.eps)
            masked = mask_tokens(uniforms, p, targets)
        seen = tokens.masked_fill(masked, cast(int, self.token_spec.mask_id))
        log_probs = self._log_probs(network, seen, tokens, masked, documents, routing)
        if exact:
            return exact_count_loss(log_probs, masked, counts, targets, normalise=normalise)
        return masked_diffusion_loss(log_probs, masked, p, targets, normalise=normalise)

    def _log_probs(
        self,
        network: Transformer,
        seen: Tensor,
        truth: Tensor,
        wanted: Tensor,
        documents: Tensor | None,
        routing: Routing | None,
    ) -> Tensor:
        """Return float32 ``[B, S]``: the log-probability of ``truth`` given ``seen``.

        It is 0 where it is not ``wanted``.
        """
        weight = network.embed.weight if network.lm_head is None else network.lm_head.weight
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(seen.device.type, torch.bfloat16, enabled=bfloat16):
            hidden = self._network(network)(seen, documents, routing)
        if bfloat16:
            hidden, weight = hidden.bfloat16(), weight.bfloat16()
        chosen = truth.masked_fill(~wanted, _IGNORED)
        return linear_log_probs(
            hidden,
            weight,
            chosen,
            ignore_index=_IGNORED,
            backend=self.config.head_backend,
        ).log_probs

    def _network(self, network: Transformer) -> Features:
        """Return ``(ids, documents, routing) -> hidden``, compiled once where asked for."""
        causal = self.causal

        def features(ids: Tensor, documents: Tensor | None, routing: Routing | None) -> Tensor:
            mask = AttentionMask(causal=causal, documents=documents)
            return network.hidden(ids, mask=mask, routing=routing)

        if not self.config.compile:
            return features
        key = id(network)
        if key not in self._features:
            self._features[key] = torch.compile(features)
        return self._features[key]

    @contextlib.contextmanager
    def _randomness(self, network: nn.Module, batch: Batch) -> Iterator[None]:
        """Draw dropout from the batch's own seed and leave the global generators as they were."""
        chosen = self.config.network
        if not (network.training and (chosen.dropout or chosen.attention_dropout)):
            yield
            return
        device = batch["tokens"].device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(batch["noise"][0]))
            yield

    def validation(
        self, rows: RowReader, *, samples: Mapping[str, Any] | None = None, **settings: Any
    ) -> HeldOut:
        """Return what measures the network on held-out rows.

        Args:
            rows: The held-out rows.
            samples: Arguments of :class:`SampleWriter`; ``None`` for no texts.
            **settings: Arguments of :class:`HeldOut`.
        """
        writer = None if samples is None else SampleWriter(reader=rows, **samples)
        return HeldOut(self, rows, after=writer, **settings)


def next_token_targets(targets: Tensor, documents: Tensor | None) -> Tensor:
    """Return which positions of a row predict the next token, ``[B, W - 1]`` for ``[B, W]``.

    The next token must be a target and belong to the same document.
    """
    wanted = targets[:, 1:]
    if documents is not None:
        wanted = wanted & (documents[:, 1:] == documents[:, :-1])
    return wanted
