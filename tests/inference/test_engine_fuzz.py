"""Random schedules of everything a caller can do, on a model that notices every wrong slot."""

from __future__ import annotations

import random

import pytest
import torch

from rlcore.inference.branches import State
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.errors import BranchError, EngineError, RequestTooLargeError
from rlcore.inference.handles import BranchHandle, RequestHandle
from rlcore.inference.request import Request
from rlcore.inference.sessions import Session
from rlcore.nn.transformer import Transformer, TransformerConfig
from tests.inference.arithmetic_model import ArithmeticRunner, check_counts, check_trace

VOCAB = 11
STOP = 3
STOPPED = (State.HELD, State.GONE)


def make_engine(blocks: int, rows: int, chunk: int, overlaps: bool, cache: bool) -> Engine:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(vocab_size=VOCAB, dim=8, layers=1, heads=1))
    config = EngineConfig(
        num_blocks=blocks, block_size=4, max_rows=rows, prefill_chunk=chunk, prefix_cache=cache
    )
    engine = Engine(model, config)
    ArithmeticRunner(engine, VOCAB, overlaps)
    return engine


class Machine:
    """Does one random thing after another."""

    def __init__(self, seed: int, engine: Engine) -> None:
        self.r = random.Random(seed)
        self.engine = engine
        self.live: list[tuple[RequestHandle, int]] = []
        self.sessions: list[tuple[Session, int]] = []
        self.mixed: set[RequestHandle] = set()
        self.refused = self.checked = self.forks = self.joins = self.aborts = 0
        self.finished = 0

    def tokens(self, most: int) -> list[int]:
        # Few beginnings, so that requests meet each other in the cache.
        shared = [[1, 2, 4, 5, 6, 7, 8, 9, 10, 0][: self.r.randint(1, 10)], [9, 9, 9]]
        return [*self.r.choice(shared), *(self.r.randrange(VOCAB) for _ in range(most))][:most]

    def act(self) -> None:
        choices = [
            (self.submit, 8), (self.step, 60), (self.fork, 14), (self.join, 14), (self.stop, 10),
            (self.drop, 2), (self.extend, 3), (self.abort, 1), (self.talk, 3), (self.close, 1),
            (self.new_weights, 0.3), (self.finish, 4), (self.peek, 2),
        ]  # fmt: skip
        act = self.r.choices([c[0] for c in choices], [c[1] for c in choices])[0]
        self.last = act.__name__
        try:
            act()
        except (BranchError, RequestTooLargeError):
            self.refused += 1
        self.collect()

    def submit(self) -> None:
        if len(self.live) > 12:
            return
        seed = self.r.randrange(1000)
        request = Request(
            prompt=self.tokens(self.r.randint(1, 20)),
            max_new_tokens=self.r.randint(1, 40),
            max_path_tokens=self.r.choice([None, self.r.randint(1, 30)]),
            n=self.r.choice([1, 1, 1, 2, 4]),
            stop_ids=self.r.choice([[], [STOP]]),
            stop_sequences=self.r.choice([[], [[5, 6], [7]]]),
            sampling=SamplingParams(seed=seed),
            keep=self.r.random() < 0.2,
        )
        self.live.append((self.engine.submit(request), seed))

    def step(self) -> None:
        if not self.engine.step():
            waiting = [branch for _, branch in self.engine.scheduler.queue]
            assert not any(branch.state is State.QUEUED for branch in waiting)

    def branches(self, *states: State) -> list[BranchHandle]:
        handles = [h for h, _ in self.live]
        return [
            BranchHandle(self.engine, branch)
            for handle in handles
            for sample in handle._samples
            for branch in sample.branches
            if branch.state in states and sample in self.engine._running
        ]

    def fork(self) -> None:
        found = self.branches(State.DECODE, State.HELD, State.QUEUED, State.PREFILL)
        if found:
            n = self.r.randint(1, 4)
            forced = [self.tokens(self.r.randint(1, 6)) for _ in range(n)]
            self.r.choice(found).fork(n, self.r.choice([None, forced]))
            self.forks += 1

    def join(self) -> None:
        found = self.branches(State.FORKED)
        ready = [b for b in found if all(c.state in STOPPED for c in b._branch.fork.children)]
        if found:
            parent = self.r.choice(ready or found)
            count = len(parent._branch.fork.children)
            order = self.r.sample(range(count), self.r.randint(0, count))
            parent.join(self.r.choice([None, order]), self.tokens(self.r.randint(1, 3)))
            self.joins += 1

    def stop(self) -> None:
        children = [b for b in self.branches(State.DECODE, State.QUEUED) if b._branch.parent]
        for branch in self.r.sample(children, min(len(children), self.r.randint(1, 4))):
            branch.stop()

    def drop(self) -> None:
        found = [b for b in self.branches(*State) if b._branch.parent]
        if found:
            dropped = self.r.choice(found)
            dropped.drop()
            with pytest.raises(BranchError, match="has ended"):
                dropped.join(forced=[1])

    def extend(self) -> None:
        found = self.branches(State.HELD)
        if found:
            self.r.choice(found).extend(self.tokens(self.r.randint(1, 5)))

    def abort(self) -> None:
        if self.live:
            self.r.choice(self.live)[0].abort()
            self.aborts += 1

    def finish(self) -> None:
        if self.live:
            try:
                self.r.choice(self.live)[0].finish()
            except EngineError:
                self.refused += 1

    def peek(self) -> None:
        if self.live:
            self.r.choice(self.live)[0].new_tokens()

    def talk(self) -> None:
        idle = [s for s in self.sessions if s[0]._handle is None or s[0]._handle.done]
        if len(self.sessions) < 3:
            seed = self.r.randrange(1000)
            params = SamplingParams(seed=seed)
            self.sessions.append((self.engine.open_session(sampling=params, stop_ids=[STOP]), seed))
        elif idle:
            session, seed = self.r.choice(idle)
            if session._handle is not None and session._handle.root._branch.state is not State.HELD:
                with pytest.raises(EngineError, match="reopened"):
                    session.send([1], 1)
                self.sessions.remove((session, seed))
                session.close()
                return
            old = {handle for handle in self.mixed if handle is session._handle}
            handle = session.send(self.tokens(self.r.randint(1, 6)), self.r.randint(1, 10))
            if old:
                self.mixed.add(handle)
            self.live.append((handle, seed))

    def close(self) -> None:
        if self.sessions:
            session = self.sessions.pop(self.r.randrange(len(self.sessions)))[0]
            session.close()

    def new_weights(self) -> None:
        mode = self.r.choice(["recompute", "keep_kv", "drain"])
        if mode == "keep_kv":
            self.mixed |= {handle for handle, _ in self.live}
            self.mixed |= {s._handle for s, _ in self.sessions if s._handle is not None}
        state = self.engine.model.state_dict()
        self.engine.update_weights(state, self.engine.version + 1, mode)

    def collect(self) -> None:
        for handle, seed in self.live:
            if handle.done:
                for trace in handle.traces:
                    assert trace.finish_reason in ("stop", "length", "aborted", "dropped")
                    new = (trace.drawn | trace.forced)[trace.turn_start :]
                    assert new.sum() <= handle.request.max_new_tokens
                    last = trace.positions[trace.turn_start :][new]
                    given = trace.positions[trace.turn_start :][~new].max(initial=-1)
                    assert last.max(initial=-1) <= given + handle.request.path_limit
                    if handle not in self.mixed:
                        self.checked += check_trace(trace, seed, VOCAB)
                    self.finished += 1
                talks = any(
                    s._handle is not None and s._handle.sample is handle.sample
                    for s, _ in self.sessions
                )
                if handle.request.keep and not talks:
                    handle.release()
        self.live = [(handle, seed) for handle, seed in self.live if not handle.done]


@pytest.mark.parametrize(
    "operations",
    [2_000, pytest.param(17_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize(
    ("blocks", "rows", "chunk", "cache"),
    [(24, 5, 7, True), (40, 16, 64, True), (20, 8, 3, False)],
)
def test_random_schedules(
    overlaps: bool, blocks: int, rows: int, chunk: int, cache: bool, operations: int
) -> None:
    """Six machines: the slow form makes 102,000 operations in all."""
    engine = make_engine(blocks, rows, chunk, overlaps, cache)
    machine = run(Machine(blocks + overlaps, engine), operations)
    print(vars(machine) | engine.stats())
    assert machine.checked > operations // 4
    assert machine.joins > operations // 100
    assert (engine.runner.rode > operations // 50) == overlaps
    assert engine.stats()["preemptions"] > 0


def test_rows_that_share_the_last_token_of_a_budget_keep_to_it_when_one_is_sent_back() -> None:
    run(Machine(104, make_engine(20, 8, 3, overlaps=True, cache=False)), 1600)


def run(machine: Machine, operations: int) -> Machine:
    """Do random things, end everything, look for what is left over."""
    engine = machine.engine
    for operation in range(operations):
        machine.act()
        if operation % 5 == 0:
            check_counts(engine)
    for session, _ in machine.sessions:
        session.close()
    for handle, _ in machine.live:
        handle.abort()
    machine.collect()
    check_counts(engine)
    assert engine.store.pool.used == len(engine.store.cache.blocks)
    engine.store.cache.clear()
    assert engine.store.pool.free == engine.store.pool.num_blocks
    return machine
