"""The branch engine: generates token ids for many requests at once, with forks and joins.

One engine serves plain generation, groups of samples of a prompt, conversations, and models that
decide themselves to split a generation into branches and to merge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

import torch

from rlcore.errors import ConfigError
from rlcore.inference.branches import Branch, Sample, State
from rlcore.inference.budgets import Budgets, WatchedTokens, stops, watched_ids
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.errors import BranchError, EngineError
from rlcore.inference.forks import BranchTree
from rlcore.inference.handles import RequestHandle
from rlcore.inference.history import plant
from rlcore.inference.kv_store import KVStore
from rlcore.inference.request import FinishReason, Request, check_ids
from rlcore.inference.rows import RowTable
from rlcore.inference.runner import EagerRunner, KVPool, Launch, Runner, pool_size
from rlcore.inference.scheduler import Scheduler
from rlcore.inference.sessions import Session
from rlcore.inference.step_log import StepLog
from rlcore.inference.tags import TagDriver
from rlcore.inference.trace import ParallelTrace, build_trace
from rlcore.inference.weights import WeightUpdater
from rlcore.nn.transformer.model import Transformer
from rlcore.ops.cycles import no_collection

MOST_ROW_BLOCKS = 1024


class _Running(NamedTuple):
    """Whom a sample's end is reported to, where in the traces, and the tokens it is watched for."""

    handle: RequestHandle
    place: int
    watched: set[int]


class Engine:
    """Generates with one model on one device.

    Args:
        model: Moved to evaluation mode; its parameters are shared, not copied.
        config: Memory and batching.
        version: Version of the model's weights.

    Attributes:
        scheduler: Which branches run.
        tree: Forks and joins.
        runner: Runs the model.
    """

    def __init__(
        self, model: Transformer, config: EngineConfig | None = None, *, version: int = 0
    ) -> None:
        self.model = model.eval()
        self.config = EngineConfig() if config is None else config
        weight = model.embed.weight
        shape = model.config
        if not shape.causal:
            raise ConfigError("the engine generates from left to right: wanted a causal model")
        blocks = pool_size(self.config, shape, weight.dtype, weight.device)
        self.store = KVStore(blocks, self.config, version)
        width = min(self.config.max_row_blocks or MOST_ROW_BLOCKS, blocks)
        rows = RowTable(self.config.max_rows, width, self.config.block_size, shape.vocab_size)
        self.pool = KVPool(shape, blocks, self.config.block_size, weight.dtype, weight.device)
        self.scheduler = Scheduler(self.store, rows, StepLog(self.config.max_rows), self.config)
        self.tree = BranchTree(self.scheduler)
        self.budgets = Budgets(self.scheduler)
        self.runner = self._make_runner(weight.device)
        self.scheduler.drain, self.scheduler.budget = self.drain, self.budget
        self.scheduler.rides = self.runner.rides
        self.watched = WatchedTokens(shape.vocab_size)
        self.updater = WeightUpdater(self)
        self._running: dict[Sample, _Running] = {}
        self._ended: list[tuple[Sample, FinishReason, _Running]] = []
        self._drivers: dict[Sample, TagDriver] = {}
        self._pending: Launch | None = None
        self._arrivals = self._fed = 0
        self._counts = dict.fromkeys(("requests", "finished", "tokens", "steps", "forks"), 0)

    def _make_runner(self, device: torch.device) -> Runner:
        graphs = device.type == "cuda" and bool(self.config.cuda_graph_buckets)
        if (graphs or self.config.overlap) and self.model.embed.weight.dtype != torch.float64:
            from rlcore.inference.graph_runner import GraphRunner

            return GraphRunner(self.model, self.pool, self.scheduler.rows, self.config)
        if self.config.cascade:
            raise ConfigError(
                "engine.cascade=true wants a runner of graphs: a GPU, or engine.overlap=true, and "
                f"weights of half or single precision, got {self.model.embed.weight.dtype} on "
                f"{device}; wanted null or false"
            )
        return EagerRunner(self.model, self.pool, device, self.config.backend)

    @property
    def version(self) -> int:
        """Version of the weights that the next step uses."""
        return self.store.version

    # Requests.

    def submit(self, request: Request) -> RequestHandle:
        """Queue a request.

        Raises:
            RequestError: Token ids do not fit the vocabulary, or a tag is in the prompt.
            RequestTooLargeError: It could not run even alone.
        """
        prompt = request.checked_ids(self.model.config.vocab_size)
        driver = None
        if request.parallel is not None:
            driver = TagDriver(self, request.parallel)
            driver.check_prompt(request)
        samples = [Sample(request, i, self._arrivals) for i in range(request.n)]
        plant(samples, prompt, self.tree)
        for sample in samples:
            self.tree.check_room(sample)
        self._arrivals += 1
        handle = RequestHandle(self, request, samples)
        for sample in samples:
            if driver is not None:
                self._drivers[sample] = driver
            self._counts["requests"] += 1
            self.activate(sample, handle)
            self.scheduler.enqueue(sample.root)
        return handle

    def activate(self, sample: Sample, handle: RequestHandle) -> None:
        """Watch a sample's tokens and report its end to ``handle``."""
        watched = watched_ids(sample.request)
        driver = self._drivers.get(sample)
        if driver is not None:
            watched |= driver.watched_ids
        place = sample.index if len(handle.traces) > 1 else 0
        self._running[sample] = _Running(handle, place, watched)
        self.scheduler.samples[sample.arrival, sample.index] = sample
        self.watched.add(watched)

    def generate(self, requests: Sequence[Request]) -> list[ParallelTrace]:
        """Run requests to their end; return the traces of all samples, request by request.

        Requests are in no cycles: Python does not look for any until they have ended, which with
        hundreds of requests takes as long as ending them.
        """
        handles: list[RequestHandle] = []
        try:
            with no_collection():
                for request in requests:
                    handles.append(self.submit(request))
                    self.feed(request)
                return [trace for handle in handles for trace in handle.result()]
        except BaseException:
            for handle in handles:
                handle.abort()
            raise

    def feed(self, submitted: Request) -> None:
        """Let the device compute prompts while the host still takes requests in.

        Runs a step when a full pass of prompts was submitted since the last, where that returns
        before the device is done. Smaller passes cost the host more than they spare it.

        Args:
            submitted: What was just submitted.
        """
        self._fed += len(submitted.prompt)
        if self._fed >= self.config.prefill_chunk and self.runner.overlaps:
            self._fed = 0
            self.step()

    def open_session(
        self,
        *,
        sampling: SamplingParams | None = None,
        stop_ids: Sequence[int] = (),
        stop_sequences: Sequence[Sequence[int]] = (),
    ) -> Session:
        """Open a conversation: its keys and values stay from turn to turn."""
        return Session(self, sampling or SamplingParams(), stop_ids, stop_sequences)

    def check_ids(self, ids: Sequence[int], name: str) -> None:
        """Raise ``RequestError`` unless ``ids`` lie in the vocabulary."""
        check_ids(ids, self.model.config.vocab_size, name)

    # Steps.

    def step(self) -> bool:
        """Run one step; return whether there was anything to do.

        After an error or Ctrl-C the next steps compute what runs anew, from its tokens.
        """
        self.scheduler.admit()
        changed = self.scheduler.grow()
        # All that get their rows now may end at once, for want of a budget, and others still wait.
        changed |= bool(self.scheduler.prefilling)
        try:
            launch = self._launch()
        except BaseException:
            self._start_over()
            raise
        if launch is None:
            return self.drain() or changed
        self.scheduler.dismiss_riders()
        self.scheduler.launched += 1
        self._counts["steps"] += 1
        before, self._pending = self._pending, launch
        if before is not None:
            self._act_on(before)
        if not self.runner.overlaps:
            self.drain()
        return True

    def _launch(self) -> Launch | None:
        """Hand the next pass to the runner, if there is anything to feed."""
        prefill = self.scheduler.prefill_batch()
        rows = self.scheduler.rows.occupied()
        if prefill is None and len(rows) == 0:
            return None
        launch = Launch(rows, self.scheduler.rows.tenant[rows], self.version)
        self.runner.launch(prefill, self.scheduler.rows, launch)
        return launch

    def run_one(self, handle: RequestHandle) -> None:
        """Run one step for a handle that waits.

        Raises:
            EngineError: There is nothing to run.
        """
        if not self.step() and not handle.done:
            raise EngineError("nothing is left to run: a branch waits to be joined or extended")

    def drain(self) -> bool:
        """Read the tokens of a launched step and act on them; return whether there was one."""
        launch, self._pending = self._pending, None
        if launch is not None:
            self._act_on(launch)
        return launch is not None

    def _start_over(self) -> None:
        """Drop what was launched and not read: the next steps compute and draw the same anew.

        A step counts as computed before it is, and the next is launched before its tokens are read:
        nothing may find what an error or Ctrl-C has left of either.
        """
        self._pending = None
        self.scheduler.dismiss_riders()
        self.scheduler.launched = self.scheduler.log.step
        self.scheduler.restart()

    def _act_on(self, launch: Launch) -> None:
        try:
            drawn = self.runner.read(launch)
        except BaseException:
            self._start_over()
            raise
        table = self.scheduler.rows
        valid = table.tenant[launch.rows] == launch.tenants
        rows, tokens = launch.rows[valid], drawn.tokens[valid]
        self.scheduler.log.write(
            rows, tokens, drawn.log_probs[valid], drawn.raw_log_probs[valid], launch.version
        )
        self._counts["tokens"] += len(rows)
        table.remaining[rows] -= 1
        due = rows[self.watched.mask[tokens] | (table.remaining[rows] <= 0)]
        by_row = self.scheduler.by_row
        found = [branch for row in due.tolist() if (branch := by_row[row]) is not None]
        for branch in sorted(found, key=attrgetter("order")):
            if branch.state is State.DECODE and branch.sample in self._running:
                self._look_at(branch)
        self._hand_out()

    def _look_at(self, branch: Branch) -> None:
        """Act on a branch whose last token is watched, or whose budget may be used up."""
        self.scheduler.pull(branch)
        driver = self._drivers.get(branch.sample)
        if stops(branch):
            self.end_branch(branch, "stop")
        elif driver is not None:
            driver.on_token(branch)
        if branch.sample in self._running:
            self._hold(branch.sample)

    def budget(self, samples: Iterable[Sample]) -> None:
        """Hold samples to their limits."""
        for sample in samples:
            if sample in self._running:
                self._hold(sample)
        self._hand_out()

    def _hold(self, sample: Sample) -> None:
        seated = self.budgets.count(sample)
        if sample.generated >= sample.token_limit:
            self._end(sample, "length")
            return
        for branch in self.budgets.share(sample, seated):
            self.end_branch(branch, "length")

    def end_branch(self, branch: Branch, reason: FinishReason) -> None:
        """Stop a branch: with the root ends the sample, a child waits to be joined."""
        if branch.parent is None:
            self._end(branch.sample, reason)
            return
        self.tree.end(branch, reason)
        driver = self._drivers.get(branch.sample)
        if driver is not None:
            driver.child_ended(branch)

    def finish(self, sample: Sample, reason: FinishReason) -> None:
        """End a sample and hand out its trace; does nothing where it has ended."""
        if sample in self._running:
            self._end(sample, reason)
            self._hand_out()

    def _end(self, sample: Sample, reason: FinishReason) -> None:
        """Let a running sample be among those that :meth:`_hand_out` ends together."""
        running = self._running.pop(sample)
        self._ended.append((sample, reason, running))
        sample.finish_reason = reason
        self.watched.remove(running.watched)

    def _hand_out(self) -> None:
        """Take ended samples off their rows and hand out their traces."""
        if not self._ended:
            return
        ended, self._ended = self._ended, []
        gone: list[Sample] = []
        self.scheduler.lift([branch for sample, *_ in ended for branch in sample.branches])
        for sample, reason, running in ended:
            for branch in sample.branches:
                branch.state = State.HELD if branch.fork is None else State.FORKED
                branch.finish_reason = branch.finish_reason or reason
            self.scheduler.note_peak(sample)
            running.handle.traces[running.place] = build_trace(sample, reason)
            self._counts["finished"] += 1
            self._counts["forks"] += sample.n_forks
            if not sample.request.keep or reason in ("aborted", "dropped"):
                gone.append(sample)
        self.forget(gone)

    def forget(self, samples: Sequence[Sample]) -> None:
        """Give up what ended samples hold."""
        branches = [b for sample in samples for b in sorted(sample.branches, reverse=True)]
        self.tree.release(branches)
        for sample in samples:
            self._drivers.pop(sample, None)
            if self.scheduler.samples.pop((sample.arrival, sample.index), None) is not None:
                del sample.root  # a branch knows its sample: a cycle is left to the collector

    def check_running(self, sample: Sample) -> None:
        """Raise ``BranchError`` if a sample has ended."""
        if sample not in self._running:
            raise BranchError(f"the request of the branch has ended: {sample.finish_reason}")

    def reopen(
        self, sample: Sample, max_new_tokens: int, max_path_tokens: int | None = None
    ) -> RequestHandle:
        """Let an ended sample go on; see :meth:`RequestHandle.reopen`."""
        kept = (sample.arrival, sample.index) in self.scheduler.samples
        if sample in self._running or not kept or sample.root.state is not State.HELD:
            raise EngineError(
                "a request that has ended and was kept can be reopened; this one ended as "
                f"{sample.finish_reason} and {'was' if kept else 'was not'} kept"
            )
        request = replace(
            sample.request, max_new_tokens=max_new_tokens, max_path_tokens=max_path_tokens
        )
        before = sample.token_limit
        sample.token_limit = sample.generated + max_new_tokens
        try:
            self.tree.check_room(sample)
        except ConfigError:
            sample.token_limit = before
            raise
        sample.request, sample.finish_reason = request, None
        sample.root.finish_reason = None
        self.place_turn(sample)
        handle = RequestHandle(self, request, [sample])
        self.activate(sample, handle)
        return handle

    def place_turn(self, sample: Sample) -> None:
        """Let a sample's budgets count from its root's last token."""
        root = sample.root
        sample.turn_start = sum(len(stretch.ids) for stretch in root.stretches())
        sample.first_position = root.stretch.end
        sample.path_end = sample.first_position + sample.request.path_limit

    def pull(self, branch: Branch) -> None:
        """Append to a branch what its row has drawn and was read."""
        self.scheduler.pull(branch)

    # Weights and figures.

    def update_weights(self, state: dict[str, Any], version: int, mode: str | None = None) -> None:
        """Load new weights; see :class:`WeightUpdater`."""
        self.updater.update(state, version, mode or self.config.weight_update)

    def progress(self) -> tuple[int, int]:
        """Return how many samples have ended and how many tokens were drawn, since the start."""
        return self._counts["finished"], self._counts["tokens"]

    def stats(self) -> dict[str, int]:
        """Return counts since the start, and what is in use now."""
        cache, pool = self.store.cache, self.store.pool
        return self._counts | {
            "prefill_tokens": self.scheduler.prefill_tokens,
            "preemptions": self.scheduler.preemptions,
            "cache_hits": cache.hits,
            "cache_misses": cache.misses,
            "cache_evictions": cache.evictions,
            "cached_blocks": len(cache.blocks),
            "used_blocks": pool.used,
            "peak_blocks": pool.peak,
            "total_blocks": pool.num_blocks,
            "decoding": len(self.scheduler.rows.occupied()),
            "waiting": sum(b.state is State.QUEUED for _, b in self.scheduler.queue),
        }
