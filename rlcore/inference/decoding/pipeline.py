"""Masked-diffusion decoding as a composition of parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from rlcore.errors import ConfigError
from rlcore.inference.decoding.acceptance import Acceptance, Threshold
from rlcore.inference.decoding.caches import Cache, NoCache, check_block_planner
from rlcore.inference.decoding.confidence import Confidence
from rlcore.inference.decoding.confidence_transforms import ConfidenceTransform
from rlcore.inference.decoding.denoiser import Denoiser
from rlcore.inference.decoding.errors import InexactRollout, PromptError
from rlcore.inference.decoding.execution import (
    EagerRunner,
    GraphBank,
    GraphRunner,
    Runner,
    choose_execution,
    run_passes,
)
from rlcore.inference.decoding.logit_transforms import LogitTransform
from rlcore.inference.decoding.noise import row_keys
from rlcore.inference.decoding.planners import BlockPlanner, FullSequence
from rlcore.inference.decoding.prompts import PromptBatch
from rlcore.inference.decoding.result import DecodeResult, ResultBuffers
from rlcore.inference.decoding.reverse_step import Parts, reverse_step
from rlcore.inference.decoding.state import DecodeState
from rlcore.inference.decoding.stop import StopRule
from rlcore.inference.decoding.trajectory import Recorder, TrajectoryBatch

LONGEST = 32_767
"""Most response positions: commit steps are int16."""


class DecodingPipeline:
    """Fills masked responses, pass by pass.

    Args:
        denoiser: The model.
        planner: Which positions may be committed; None for all of them at any time.
        acceptance: Which of them are; None for those surer than 0.9.
        confidence: How sure the model is, by name or as an object.
        logit_transforms: Changes of logits before the draw, those that affect both law and
            confidence first.
        confidence_transforms: Changes of the order of positions.
        cache: Where logits come from; None for a whole pass each time.
        stop: When a row is finished.
        temperature: Of the draw; 0 takes the most likely token.
        guidance: Strength ``w`` of classifier-free guidance ``uncond + (1 + w)(cond - uncond)``.
        gen_length: Response length where :meth:`generate` is given none.
        compact_every: Passes between two looks at how many rows are finished.
        execution: ``eager``, ``graph`` (CUDA graphs) or ``auto``: graphs on CUDA.
        recorder: What is kept of the passes; None for the compact record alone.

    Raises:
        ConfigError: Parts do not fit each other.
        TrajectoryNotMonotone: A part edits committed tokens and the record is compact.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        planner: BlockPlanner | None = None,
        acceptance: Acceptance | None = None,
        *,
        confidence: str | Confidence = "prob",
        logit_transforms: Sequence[LogitTransform] = (),
        confidence_transforms: Sequence[ConfidenceTransform] = (),
        cache: Cache | None = None,
        stop: StopRule | None = None,
        temperature: float = 0.0,
        guidance: float = 0.0,
        gen_length: int | None = None,
        compact_every: int = 4,
        execution: str = "auto",
        recorder: Recorder | None = None,
    ) -> None:
        if not temperature >= 0:
            raise ConfigError(f"temperature must be >= 0, got {temperature}")
        if compact_every < 1:
            raise ConfigError(f"compact_every must be >= 1, got {compact_every}")
        if not guidance >= 0:
            raise ConfigError(f"cfg_scale must be >= 0, got {guidance}")
        choose_execution(execution, torch.device("cuda"), False)
        acceptance = acceptance or Threshold()
        eos_ids = () if denoiser.eos_id is None else (denoiser.eos_id,)
        self.parts = Parts(
            denoiser,
            planner or FullSequence(),
            acceptance,
            Confidence(confidence) if isinstance(confidence, str) else confidence,
            tuple(logit_transforms),
            tuple(rule.bound(acceptance, eos_ids) for rule in confidence_transforms),
            cache or NoCache(),
            stop or StopRule(),
            float(temperature),
            float(guidance),
        )
        self.gen_length = gen_length
        self.compact_every = compact_every
        self.execution = execution
        self.recorder = recorder or Recorder()
        self._check()
        self._graphs = GraphBank(self._step)

    def _check(self) -> None:
        parts = self.parts
        parts.acceptance.check(parts.confidence)
        check_block_planner(parts.denoiser, parts.planner)
        parts.cache.check(parts.denoiser, parts.planner, parts.guidance)
        kinds = [transform.affects for transform in parts.logit_transforms]
        if "both" in kinds[kinds.count("both") :]:
            raise ConfigError(
                f"logit transforms with affects: both come before the others, got {kinds}"
            )
        self.recorder.check([parts.planner, parts.acceptance, *parts.logit_transforms])

    @property
    def fingerprint(self) -> str:
        """Identity of every setting that decides which tokens are drawn."""
        named = [f"{name}={getattr(self.parts, name)!r}" for name in Parts.__dataclass_fields__]
        settings = "\n".join(named[1:])  # all but the denoiser, whose version travels by itself
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def generate(
        self, prompts: PromptBatch, gen_length: int | None = None, *, seed: int = 0
    ) -> DecodeResult:
        """Return a response for every prompt.

        Args:
            prompts: On the model's device.
            gen_length: Response length ``L``; None takes the pipeline's.
            seed: With the prompts' row ids it decides every random number.

        Raises:
            ConfigError: The length does not fit the planner.
            NonFiniteError: The model returned NaN or infinity.
            PromptError: The prompts do not fit the model.
            ScheduleMismatch: The schedule does not fit the length.
        """
        parts, length = self.parts, self._length(gen_length)
        prompts.check(length, parts.denoiser.mask_id, parts.denoiser.vocab_size)
        if getattr(parts.denoiser, "shift", False) and not bool(prompts.real[:, -1:].any(1).all()):
            raise PromptError("a denoiser with shifted logits wants prompts of at least one token")
        blocks = parts.planner.block_sizes(length)
        ids = prompts.row_ids
        if ids is None:
            ids = torch.arange(len(prompts), device=prompts.ids.device)
        state = DecodeState.begin(prompts, length, parts.denoiser.mask_id, row_keys(seed, ids))
        with torch.no_grad():
            parts.planner.begin(state)
            limit = parts.acceptance.begin(state, blocks)
            for transform in parts.logit_transforms:
                transform.begin(state)
            parts.cache.begin(parts.denoiser, state)
            if parts.stop.max_nfe is not None:
                limit = min(limit, parts.stop.max_nfe)
            kept = ResultBuffers(state)
            self.recorder.begin()
            run_passes(self._runner(state), kept, limit=limit, every=self.compact_every)
        return kept.result(prompts, parts.denoiser.eos_id)

    def rollout(
        self,
        prompts: PromptBatch,
        n: int = 1,
        *,
        gen_length: int | None = None,
        seed: int = 0,
        policy_version: int = 0,
        allow_inexact: bool = False,
    ) -> TrajectoryBatch:
        """Return ``n`` responses a prompt with what a learner needs to score them again.

        Args:
            prompts: See :meth:`generate`; responses of a prompt are adjacent.
            n: Responses of each prompt.
            gen_length: See :meth:`generate`.
            seed: See :meth:`generate`.
            policy_version: Version of the denoiser's weights.
            allow_inexact: Accept a cache or a changed token law for which the recorded
                log-probabilities are not those of a replay.

        Raises:
            InexactRollout: Log-probabilities would not be those of a replay.
        """
        changed = self._inexact()
        if changed and not allow_inexact:
            raise InexactRollout(
                f"{', '.join(changed)}: recorded log-probabilities would differ from a replay's; "
                "set allow_inexact_rollout: true and correct for it, or leave it out"
            )
        result = self.generate(prompts.repeat(n), gen_length, seed=seed)
        return self.trajectory(result, policy_version=policy_version)

    def trajectory(self, result: DecodeResult, *, policy_version: int = 0) -> TrajectoryBatch:
        """Return the compact record of a result.

        Raises:
            TrajectoryNotMonotone: The pipeline edits committed tokens.
        """
        if not self.recorder.compact:
            Recorder().check([self.parts.planner, self.parts.acceptance])
        return TrajectoryBatch(
            result.prompts.ids.to(torch.int32),
            result.prompts.real,
            result.tokens.to(torch.int32),
            result.commit_step,
            result.nfe.to(torch.int16),
            result.log_probs,
            self.parts.temperature,
            torch.full_like(result.nfe, policy_version, dtype=torch.int64),
            self.fingerprint,
            result.nfe,
            self.parts.denoiser.mask_id,
            self.parts.guidance,
        )

    def _inexact(self) -> list[str]:
        parts = self.parts
        found = [] if parts.cache.exact else [f"cache {type(parts.cache).__name__}"]
        laws = [t for t in parts.logit_transforms if t.affects != "confidence"]
        return found + [f"logit transform {type(t).__name__} ({t.affects})" for t in laws]

    def _length(self, gen_length: int | None) -> int:
        length = self.gen_length if gen_length is None else gen_length
        if length is None:
            raise ConfigError("generate wants gen_length, from the call or from the settings")
        if not 1 <= length <= LONGEST:
            raise ConfigError(f"gen_length must be in 1 .. {LONGEST}, got {length}")
        return length

    def _runner(self, state: DecodeState) -> Runner:
        reads_back = self.parts.cache.reads_back or self.recorder.states
        if choose_execution(self.execution, state.ids.device, reads_back) == "graph":
            return GraphRunner(self._graphs, state)
        return EagerRunner(self._step, state)

    def _step(self, state: DecodeState) -> None:
        if self.recorder.states:
            self.recorder.observe(state)
        reverse_step(self.parts, state)
