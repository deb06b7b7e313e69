"""Generation in one call: prompts in, answers out, for causal and for masked-diffusion models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rlcore.data.tokenizers import Tokenizer, has_tokenizer, load_tokenizer
from rlcore.errors import CheckpointError, ConfigError, NonFiniteError
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.diffused import check_diffusion, diffuse
from rlcore.inference.engine import Engine
from rlcore.inference.errors import EngineError, RequestError, RequestTooLargeError
from rlcore.inference.generated import Generated, occurrences
from rlcore.inference.handles import RequestHandle
from rlcore.inference.progress import ProgressLine
from rlcore.inference.prompts import encode_prompt
from rlcore.inference.request import ParallelOptions, Request
from rlcore.inference.stop_watch import StopWatch
from rlcore.nn.transformer.folder import CONFIG, MAX_CONFIG_BYTES, read_json
from rlcore.nn.transformer.model import Transformer
from rlcore.nn.transformer.pretrained import from_pretrained
from rlcore.ops.cycles import no_collection

GENERATION_FILE = "generation_config.json"
_REPEAT = 0x9E3779B97F4A7C15  # odd: repeated prompts get seeds of their own


class LLM:
    """A model that answers prompts.

    Args:
        model: A folder in one of the layouts that ``from_pretrained`` reads, or a module. A
            module's parameters are shared: answers follow its training.
        tokenizer: For prompts and answers as text; by default the one in the folder, if any.
        dtype: Of a folder's parameters; by default that of its files.
        device: Of a folder's parameters; by default CUDA where there is a device, else the CPU.
        engine: Memory and batching.

    Attributes:
        model: The module.
        tokenizer: The tokenizer, or ``None``.
        stop_ids: Tokens that end an answer: those of the model, its folder and its tokenizer.

    Raises:
        CheckpointError: The folder is refused.
        ConfigError: ``dtype`` or ``device`` was given for a module that has another.
    """

    def __init__(
        self,
        model: str | Path | Transformer,
        tokenizer: Tokenizer | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        engine: EngineConfig | None = None,
    ):
        self.tokenizer = tokenizer
        stop_ids: set[int] = set()
        if isinstance(model, str | Path):
            place = device or ("cuda" if torch.cuda.is_available() else "cpu")
            self.model = from_pretrained(model, dtype=dtype, device=place)
            if tokenizer is None and has_tokenizer(model):
                self.tokenizer = load_tokenizer(model)
            for file in (CONFIG, GENERATION_FILE):
                stop_ids.update(_end_ids(Path(model) / file, self.model.config.vocab_size))
        else:
            self.model = model
            _check_same(model, dtype, device)
        own = [self.model.config.eos_id]
        own += [] if self.tokenizer is None else [self.tokenizer.specials.eos_id]
        stop_ids.update(i for i in own if i is not None and i < self.model.config.vocab_size)
        self.stop_ids = tuple(sorted(stop_ids))
        self._config = EngineConfig() if engine is None else engine
        self._engine: Engine | None = None
        self._seen: tuple[int, ...] = ()

    @property
    def engine(self) -> Engine:
        """The engine of a causal model; made when it is first asked for.

        Raises:
            ConfigError: The model is not causal.
        """
        if self._engine is None:
            training = self.model.training
            self._engine = Engine(self.model, self._config)
            self.model.train(training)
            self._seen = self._parameter_versions()
        return self._engine

    # -- generation -------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        n: int = 1,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
        max_path_tokens: int | None = None,
        parallel: ParallelOptions | None = None,
        decoding: Mapping[str, Any] | None = None,
        progress: bool = True,
    ) -> list[Generated]:
        """Answer prompts; answers stand in the order of the prompts, ``n`` of each in a row.

        An answer depends on the model, its prompt, the settings and its number among the answers to
        equal prompts; never on what else is in the list.

        Args:
            prompts: Texts, or lists of token ids. Texts never give special tokens.
            max_new_tokens: Most tokens of an answer; the length of a masked-diffusion answer.
            temperature: 0 takes the most probable token.
            top_p: Keeps the fewest most probable tokens whose mass reaches it.
            top_k: Keeps the most probable tokens; 0 keeps all.
            repetition_penalty: Makes tokens that were seen less probable; 1 for none.
            seed: Any integer.
            n: Answers to each prompt.
            stop: Texts that end an answer; they need a tokenizer.
            ignore_eos: Do not end at the model's end tokens.
            max_path_tokens: With forks: most tokens along a path.
            parallel: Lets the model fork and join branches.
            decoding: Settings of a masked-diffusion decoder, as in an experiment file.
            progress: Show how far a long job is, on standard error.

        Raises:
            NonFiniteError: The model's logits were NaN.
            RequestError: A prompt is empty, has ids outside the vocabulary, or is too long.
            ConfigError: A setting is wrong, or does not go with this kind of model.
            TokenizerError: A text cannot be spelled, or there is no tokenizer.
        """
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if stops and (self.tokenizer is None or parallel is not None or not all(stops)):
            raise ConfigError(
                "stop wants non-empty texts, a tokenizer and no forks; "
                f"got {stops!r:.80}"
            )  # fmt: skip
        ids = [encode_prompt(self.tokenizer, prompt) for prompt in prompts]
        sampling = SamplingParams(
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        if not self.model.config.causal:
            check_diffusion(parallel, max_path_tokens, ignore_eos, repetition_penalty)
            return diffuse(
                self.model,
                ids,
                max_new_tokens,
                sampling,
                n=n,
                stops=stops,
                decoding=decoding,
                max_rows=self._config.max_rows,
                tokenizer=self.tokenizer,
            )
        if decoding is not None:
            raise ConfigError("decoding is for masked-diffusion models; this model is causal")
        request = Request(
            prompt=(0,),
            max_new_tokens=max_new_tokens,
            max_path_tokens=max_path_tokens,
            sampling=sampling,
            n=n,
            stop_ids=() if ignore_eos else self.stop_ids,
            parallel=parallel,
        )
        requests = [
            replace(request, prompt=prompt, sampling=replace(sampling, seed=own))
            for prompt, own in zip(ids, _seeds(ids, seed), strict=True)
        ]
        return self._run(requests, stops, progress)

    def _run(
        self, requests: Sequence[Request], stops: tuple[str, ...], progress: bool
    ) -> list[Generated]:
        engine = self.engine
        training = self.model.training
        self.model.eval()
        self._follow_training()
        handles: list[RequestHandle] = []
        try:
            with no_collection():  # see Engine.generate
                for number, request in enumerate(requests):
                    handles.append(_submit(engine, request, number))
                    engine.feed(request)
                watches = [StopWatch(handle, self.tokenizer, stops) for handle in handles]
                _run_all(engine, handles, watches if stops else [], progress)
        finally:
            # After an error or Ctrl-C nothing may be left in the pool.
            for handle in handles:
                handle.abort()
            self.model.train(training)
        return [
            self._generated(number, sample, handle, watch)
            for number, (handle, watch) in enumerate(zip(handles, watches, strict=True))
            for sample in range(handle.request.n)
        ]

    def _generated(
        self, number: int, sample: int, handle: RequestHandle, watch: StopWatch
    ) -> Generated:
        trace = handle.traces[sample]
        if trace is None:
            raise EngineError(f"prompt {number}, sample {sample} has not ended")
        raw = trace.raw_log_probs[trace.prompt_tokens :].tolist()
        drawn = trace.log_probs[trace.prompt_tokens :].tolist()
        found = watch.texts.get(sample)
        keep = None if found is None else found.tokens
        ids = trace.new_ids.tolist()[:keep]
        self._check_finite(number, sample, ids, raw[:keep])
        return Generated(
            prompt_index=number,
            sample=sample,
            prompt_ids=trace.ids[: trace.prompt_tokens].tolist(),
            token_ids=ids,
            log_probs=(raw if handle.request.sampling.temperature == 0.0 else drawn)[:keep],
            raw_log_probs=raw[:keep],
            finish_reason=trace.finish_reason if found is None else "stop",
            text=self._text(ids) if found is None else found.text,
            trace=trace,
            passes=trace.forward_passes,
        )

    def _check_finite(
        self, number: int, sample: int, ids: Sequence[int], log_probs: Sequence[float]
    ) -> None:
        """Refuse an answer that was drawn from logits that are no numbers."""
        if not math.isnan(sum(log_probs)):  # any NaN makes it one
            return
        for place, log_prob in enumerate(log_probs):
            if math.isnan(log_prob):
                self.engine.store.forget()
                raise NonFiniteError(
                    f"prompt {number}, sample {sample}: the log-probability of new token {place} "
                    f"(id {ids[place]}) is {log_prob}: the model's logits are not finite there; "
                    "wider numbers (dtype, --dtype float32) may help"
                )

    def _text(self, ids: Sequence[int]) -> str | None:
        if self.tokenizer is None:
            return None
        return self.tokenizer.decode(ids, skip_special=True, errors="replace")

    # -- weights ----------------------------------------------------------------------------------

    def _parameter_versions(self) -> tuple[int, ...]:
        return tuple(parameter._version for parameter in self.model.parameters())

    def _follow_training(self) -> None:
        """Give up cached keys and values where the parameters were changed in place since."""
        if self._engine is not None and self._parameter_versions() != self._seen:
            self._engine.update_weights(self.model.state_dict(), self._engine.version + 1)
            self._seen = self._parameter_versions()


def _check_same(
    model: Transformer, dtype: torch.dtype | None, device: torch.device | str | None
) -> None:
    weight = next(model.parameters())
    if dtype is not None and weight.dtype != dtype:
        raise ConfigError(f"the module is {weight.dtype}, got dtype={dtype}; convert it first")
    if device is not None and weight.device.type != torch.device(device).type:
        raise ConfigError(f"the module is on {weight.device}, got device={device}; move it first")


def _end_ids(path: Path, vocab_size: int) -> set[int]:
    """Return the end tokens that a JSON file of a model's folder names; there may be several."""
    if not path.is_file():
        return set()
    found = read_json(path, MAX_CONFIG_BYTES).get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found in (None, -1) else [found]
    if not all(type(i) is int and 0 <= i < vocab_size for i in ids):
        raise CheckpointError(
            f"{path}: eos_token_id is {found!r:.80}, wanted token ids from 0 to {vocab_size - 1}"
        )
    return set(ids)


def _seeds(prompts: Sequence[Sequence[int]], seed: int) -> list[int]:
    """Return the seed of each prompt: the same, but for those that stand in the list again."""
    return [seed + _REPEAT * number for number in occurrences(prompts)]


def _submit(engine: Engine, request: Request, number: int) -> RequestHandle:
    try:
        return engine.submit(request)
    except RequestTooLargeError as error:
        raise RequestTooLargeError(
            f"prompt {number} has {len(request.prompt)} tokens, its answer up to "
            f"{request.max_new_tokens}: {error}; shorten them or, if the pool is the limit, raise "
            "EngineConfig.num_blocks (--blocks)"
        ) from None
    except RequestError as error:
        raise type(error)(f"prompt {number}: {error}") from None


def _run_all(
    engine: Engine,
    handles: Sequence[RequestHandle],
    watches: Sequence[StopWatch],
    progress: bool,
) -> None:
    total = sum(handle.request.n for handle in handles)
    left, watching = list(handles), list(watches)
    open_, ended = total, -1
    _, before = engine.progress()
    with ProgressLine("answers", total, progress) as line:
        while left:
            stepped = engine.step()
            for watch in watching:
                watch.look()
            finished, tokens = engine.progress()
            if finished != ended:
                ended = finished
                left = [handle for handle in left if not handle.done]
                watching = [watch for watch in watching if not watch.handle.done]
                open_ = sum(trace is None for handle in left for trace in handle.traces)
            if left and not stepped:
                raise EngineError("nothing is left to run, and not all answers have ended")
            line.update(total - open_, tokens - before)
