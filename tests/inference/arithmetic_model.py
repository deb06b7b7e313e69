"""A model whose keys are integers: every error of the engine's bookkeeping changes its tokens.

The "key" of a token is a hash of its id, its position, the weights' version, and the sum of the
keys that it saw when it was computed. The next token is a hash of the sum of all visible keys, the
branch's noise key and the position. So a slot that is missing, stale, written by another branch,
listed twice or in the wrong place changes what is drawn from then on.
"""

from __future__ import annotations

import numpy as np

from rlcore.inference.branches import Sample
from rlcore.inference.engine import Engine
from rlcore.inference.prefill import PrefillBatch
from rlcore.inference.rows import RowTable
from rlcore.inference.runner import Drawn, Launch
from rlcore.inference.trace import ParallelTrace
from rlcore.ops.sampling import branch_key

MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """A 64-bit hash of integers."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state ^= value & MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & MASK
        state ^= state >> 31
    return state


class ArithmeticRunner:
    """Runs the integer model in place of a transformer.

    Args:
        engine: Its runner is replaced by this one.
        vocab: Tokens are below it.
        overlaps: Whether tokens are read one step late; few known tokens then ride with a step.
    """

    def __init__(self, engine: Engine, vocab: int, overlaps: bool) -> None:
        self.engine, self.vocab, self.overlaps = engine, vocab, overlaps
        self.rides = engine.scheduler.rides = overlaps
        self.rode = 0
        self.block = engine.store.block_size
        self.slots = [0xDEAD] * (engine.store.pool.num_blocks * self.block)
        self.tokens = np.zeros(len(engine.scheduler.rows.active), np.int64)
        engine.runner = self

    def _seen(self, table: np.ndarray, fill: np.ndarray) -> list[int]:
        listed = zip(table.tolist(), fill.tolist(), strict=True)
        return [block * self.block + i for block, count in listed for i in range(count)]

    def launch(self, prefill: PrefillBatch | None, rows: RowTable, launch: Launch) -> None:
        if prefill is not None:
            self._prefill(prefill, launch.version)
        for row in launch.rows:
            if row in rows.seated:
                self.tokens[row] = rows.token[row]
        rows.seated.clear()
        self.rode += sum(self.engine.scheduler.by_row[row] is None for row in launch.rows)
        positions = rows.position[launch.rows].copy()
        slots = rows.advance(launch.rows)
        sees = [
            self._seen(rows.table[row, : rows.width[row]], rows.fill[row, : rows.width[row]])
            for row in launch.rows
        ]
        new = {slot: i for i, slot in enumerate(slots.tolist()) if slot >= 0}
        assert len(new) == (slots >= 0).sum(), "two tokens are written into one slot"
        done: set[int] = set()

        def write(slot: int) -> None:
            """Write a new key after the new ones that it sees, as a layer of a model does."""
            if slot in done or slot not in new:
                return
            done.add(slot)
            i = new[slot]
            assert sees[i][-1] == slot, "the new token is not the last one listed"
            for seen in sees[i][:-1]:
                write(seen)
            before = sum(self.slots[k] for k in sees[i][:-1]) & MASK
            token = int(self.tokens[launch.rows[i]])
            self.slots[slot] = mix(token, int(positions[i]), launch.version, before)

        for slot in new:
            write(slot)
        drawn = []
        for row, position, seen in zip(launch.rows, positions, sees, strict=True):
            total = sum(self.slots[i] for i in seen) & MASK
            drawn.append(self.draw(total, int(rows.key[row]), int(position) + 1))
        self.tokens[launch.rows] = drawn
        count = len(launch.rows)
        launch.result = Drawn(np.asarray(drawn, np.int64), np.zeros(count), np.zeros(count))

    def draw(self, total: int, key: int, position: int) -> int:
        """The token at a position, from the sum of the visible keys and the branch's key."""
        return mix(total, key, position) % self.vocab

    def _prefill(self, prefill: PrefillBatch, version: int) -> None:
        for row in range(len(prefill.table)):
            first, last = prefill.starts[row], prefill.starts[row + 1]
            seen = self._seen(prefill.table[row], prefill.fill[row])
            own = prefill.slots[first:last].tolist()
            assert seen[len(seen) - len(own) :] == own, "new tokens are not the last ones listed"
            before = sum(self.slots[i] for i in seen[: len(seen) - len(own)]) & MASK
            for i, slot in zip(range(first, last), own, strict=True):
                key = mix(int(prefill.ids[i]), int(prefill.positions[i]), version, before)
                self.slots[slot] = key
                before = (before + key) & MASK

    def read(self, launch: Launch) -> Drawn:
        return launch.result

    def synchronize(self) -> None:
        pass


class ScriptedRunner(ArithmeticRunner):
    """Draws what a script says; still checks that every slot is where it belongs.

    Args:
        engine: Its runner is replaced.
        vocab: Tokens are below it.
        scripts: For the path of a branch, its tokens from its start on, forced ones included; a
            root's script continues behind joins.
        overlaps: Whether tokens are read one step late.
    """

    def __init__(
        self, engine: Engine, vocab: int, scripts: dict, overlaps: bool = False, seed: int = 0
    ) -> None:
        super().__init__(engine, vocab, overlaps)
        self.scripts = {branch_key(seed, *path): script for path, script in scripts.items()}

    def draw(self, total: int, key: int, position: int) -> int:
        return self.scripts.get(key, {}).get(position, 0)  # riders have no script


def visible(trace: ParallelTrace, q: int) -> list[int]:
    """The canonical indices that token ``q`` sees, itself included."""
    hidden = [(int(g), int(p)) for g, p in zip(trace.gs[:, q], trace.ps[:, q], strict=True)]
    return [k for k in range(q + 1) if not any(g <= k < p for g, p in hidden)]


def branch_of(trace: ParallelTrace, q: int) -> tuple[int, ...]:
    """The path of the branch that token ``q`` belongs to: the innermost span that holds it."""
    spans = [span for span in trace.tree.walk() if span.start <= q < span.stop]
    return max(spans, key=lambda span: len(span.path)).path


def check_trace(trace: ParallelTrace, seed: int, vocab: int) -> int:
    """Compare every drawn token with the definition; return how many there were.

    All keys that a token saw must have been computed with the version that drew it.
    """
    sees = [visible(trace, q) for q in range(len(trace))]
    checked = 0
    for version in set(trace.versions[trace.drawn].tolist()):
        keys: list[int] = []
        for q in range(len(trace)):
            before = sum(keys[k] for k in sees[q][:-1]) & MASK
            keys.append(mix(int(trace.ids[q]), int(trace.positions[q]), version, before))
        for q in np.flatnonzero(trace.drawn & (trace.versions == version)):
            total = sum(keys[k] for k in sees[q][:-1]) & MASK
            noise = branch_key(seed, *branch_of(trace, q))
            wanted = mix(total, noise, int(trace.positions[q])) % vocab
            assert trace.ids[q] == wanted, (q, int(trace.ids[q]), wanted, trace)
            checked += 1
    return checked


def check_counts(engine: Engine) -> None:
    """Compare the pool's reference counts with what stretches and cache entries list."""
    wanted = np.zeros(engine.store.pool.num_blocks, np.int64)
    scheduler = engine.scheduler
    seated = {b.stretch: b for b in scheduler.by_row if b is not None and b.state.name == "DECODE"}
    assert scheduler.rows.taken == len(seated) + len(scheduler.prefilling)
    samples: set[Sample] = set(scheduler.samples.values())
    for stretch in {s for sample in samples for s in sample.stretches()}:
        blocks = stretch.blocks
        assert stretch.computed == sum(stretch.fills)
        if stretch in seated:
            branch = seated[stretch]
            own = slice(branch.base, scheduler.rows.width[branch.row])
            blocks = scheduler.rows.table[branch.row, own].tolist()
        np.add.at(wanted, np.asarray(blocks, np.int64), 1)
        holds = sum(
            other is stretch
            for sample in samples
            for branch in sample.branches
            for other in branch.stretches()
        )
        assert holds == stretch.holders, (stretch.index, holds, stretch.holders)
    wanted += engine.store.cache._entries
    wrong = np.flatnonzero(wanted != engine.store.pool.refcount)
    assert not len(wrong), (wrong, wanted[wrong], engine.store.pool.refcount[wrong])
    engine.store.pool.check()
