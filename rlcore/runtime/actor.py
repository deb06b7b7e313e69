"""The actor: pulls parameters, plays a fragment, hands it to the ring. The same in every placement.

An actor runs one or more *streams*. A stream is a set of environments that advance together, with
its own random generators and recurrent state, or a share of the rows of a data set
(:mod:`rlcore.runtime.row_player`); which actor runs it changes nothing in its data.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from rlcore.data.ring import Arrays, TrajectoryRing
from rlcore.data.seeding import derive_seed, env_seeds
from rlcore.errors import CheckpointError, NonFiniteError
from rlcore.runtime import control as ctl
from rlcore.runtime.contracts import Agent, State, Step
from rlcore.runtime.control import NO_ROUND, Control
from rlcore.runtime.env_stream import EnvStream, StepRow
from rlcore.runtime.env_tree import EnvStateUnavailable
from rlcore.runtime.param_store import ParamReader
from rlcore.runtime.schedule import Schedule

StreamState = dict[str, Any]
"""What a stream needs to go on exactly: ``{"json": ..., "arrays": {name: ndarray}}``."""

DumpFn = Callable[[int, int, StreamState], None]
"""Called as ``dump(stream, round, state)`` at the start of the round a checkpoint asks for."""

_log = logging.getLogger(__name__)


class Player(Protocol):
    """One stream, as an actor runs it.

    Attributes:
        index: Which stream.
    """

    index: int

    def play(
        self, slot: int, arrays: Arrays, version: int, round_: int, beat: Callable[[], None]
    ) -> tuple[int, int]:
        """Fill one fragment; return its valid transitions and the rows that were padded."""
        ...

    def get_state(self) -> StreamState:
        """Return everything the stream carries from one round to the next."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``get_state`` returned."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class SlotViews:
    """The arrays of one ring slot as the collecting loop wants them, made once per slot."""

    def __init__(self, arrays: Arrays, unroll: int, extras: tuple[str, ...]) -> None:
        self.arrays = arrays
        self.obs = torch.from_numpy(arrays["obs"])
        self.action = torch.from_numpy(arrays["action"])
        self.extras = [(name, torch.from_numpy(arrays[name])) for name in extras]
        self.rows = [
            StepRow(
                obs=arrays["obs"][t + 1],
                first=arrays["first"][t + 1],
                **{name: arrays[name][t] for name in _ROW_FIELDS},
            )
            for t in range(unroll)
        ]


_ROW_FIELDS = (
    "reward",
    "terminated",
    "truncated",
    "valid",
    "episode_return",
    "episode_length",
)


class StreamPlayer:
    """One stream: its environments, its noise and its recurrent state."""

    def __init__(self, index: int, env: EnvStream, agent: Agent, network: nn.Module, seed: int):
        self.index = index
        self.env = env
        self.agent = agent
        self.network = network
        self.seed = seed
        self.extras = tuple(name for name, f in agent.spec().items() if f.kind == "step")
        self.generator = torch.Generator()
        self.state: State = agent.initial_state(network, env.num_envs)
        self._initial = agent.initial_state(network, env.num_envs)
        self._views: dict[int, SlotViews] = {}
        self._obs = np.zeros((env.num_envs, *env.spec.obs_shape), env.spec.obs_dtype)
        self._first = np.zeros(env.num_envs, bool)

    def reset(self, incarnation: int) -> None:
        """Start fresh episodes; ``incarnation`` counts restarts and changes the seeds."""
        seeds = env_seeds(self.seed, self.index, self.env.num_envs, incarnation)
        self.env.reset(seeds, self._obs, self._first)
        self.state = tuple(part.clone() for part in self._initial)

    def play(
        self, slot: int, arrays: Arrays, version: int, round_: int, beat: Callable[[], None]
    ) -> tuple[int, int]:
        """Fill one fragment; return its valid transitions and the rows that were padded."""
        views = self._views.get(slot)
        unroll = self.agent.unroll
        if views is None:
            views = self._views[slot] = SlotViews(arrays, unroll, self.extras)
        arrays["version"].fill(version)
        arrays["final_row"].fill(-1)
        self.env.carry_in(arrays["obs"][0], arrays["first"][0])
        for index, part in enumerate(self.state):
            arrays[f"core_{index}"][...] = part.numpy()
        self.generator.manual_seed(derive_seed(self.seed, "act", self.index, round_))
        finals, capacity = 0, len(arrays["final_row"])
        with torch.inference_mode():
            for t in range(unroll):
                if capacity and finals + self.env.num_envs > capacity:
                    _pad(arrays, t, unroll)
                    return int(arrays["valid"].sum()), unroll - t
                finals = self._step(views, t, finals)
                beat()
        return int(np.count_nonzero(arrays["valid"])), 0

    def _step(self, views: SlotViews, t: int, finals: int) -> int:
        arrays = views.arrays
        if self.state:
            self._restart_cores(arrays["first"][t])
        step: Step = self.agent.act(self.network, views.obs[t], self.state, self.generator)
        self.state = step.state
        views.action[t].copy_(step.action)
        for name, target in views.extras:
            target[t].copy_(step.extras[name])
        for env, obs in self.env.step(arrays["action"][t], views.rows[t]):
            arrays["final_obs"][finals] = obs
            arrays["final_row"][finals] = t * self.env.num_envs + env
            finals += 1
        return finals

    def _restart_cores(self, first: np.ndarray[Any, Any]) -> None:
        if first.any():
            mask = torch.from_numpy(first)
            self.state = tuple(
                torch.where(mask.view(-1, *[1] * (part.dim() - 1)), start, part)
                for part, start in zip(self.state, self._initial, strict=True)
            )

    def get_state(self) -> StreamState:
        """Return everything the stream carries from one round to the next.

        Where the environments do not give their state, ``env`` is ``None`` and ``why`` says so.
        """
        arrays = {f"core/{i}": part.numpy().copy() for i, part in enumerate(self.state)}
        try:
            env = self.env.get_state()
        except EnvStateUnavailable as error:
            return {"json": {"env": None, "why": str(error)}, "arrays": arrays}
        arrays |= {f"env/{name}": array for name, array in env["arrays"].items()}
        return {"json": {"env": env["json"]}, "arrays": arrays}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``get_state`` returned.

        A state without environments leaves the stream at the start of fresh episodes, where the
        recurrent state is the initial one.
        """
        if state["json"]["env"] is None:
            return
        arrays = state["arrays"]
        env = {name[4:]: array for name, array in arrays.items() if name.startswith("env/")}
        self.env.set_state({"json": state["json"]["env"], "arrays": env})
        count = len(self._initial)
        self.state = tuple(torch.from_numpy(np.array(arrays[f"core/{i}"])) for i in range(count))

    def close(self) -> None:
        """Close the environments."""
        self.env.close()


def _pad(arrays: Arrays, start: int, unroll: int) -> None:
    """Close a fragment early: rows from ``start`` on are no transitions."""
    for name in ("valid", "terminated", "truncated", "reward", "episode_return", "episode_length"):
        arrays[name][start:] = 0
    arrays["action"][start:] = 0
    arrays["obs"][start + 1 :] = arrays["obs"][start]
    arrays["first"][start + 1 :] = False


class Actor:
    """Runs streams against a ring and a parameter store.

    Args:
        index: Which actor this is (row of the control block).
        players: Its streams.
        ring: Where fragments go.
        reader: The network's parameters, pulled from the store.
        schedule: Which version a round acts with.
        control: The control block.
        dump: Receives stream states when a checkpoint asks for them.
    """

    def __init__(
        self,
        index: int,
        players: Sequence[Player],
        ring: TrajectoryRing,
        reader: ParamReader,
        schedule: Schedule,
        control: Control,
        dump: DumpFn | None = None,
    ) -> None:
        self.index = index
        self.players = players
        self.ring = ring
        self.reader = reader
        self.schedule = schedule
        self.control = control
        self.dump = dump
        self._row = control.actor[index]
        self._turn = 0

    def can_collect(self) -> bool:
        """Return whether any stream has a turn."""
        return any(self._has_turn(player.index) for player in self.players)

    def collect(self) -> bool:
        """Play one fragment of the next stream that has a turn; False if none has."""
        for _ in self.players:
            player = self.players[self._turn]
            self._turn = (self._turn + 1) % len(self.players)
            if self._has_turn(player.index):
                self._take_turn(player, int(self.ring.written[player.index]))
                return True
        return False

    def _has_turn(self, stream: int) -> bool:
        """Return whether a stream has a free slot and may go on, or owes its state."""
        round_, control = int(self.ring.written[stream]), self.control
        return self.ring.can_write(stream) and (
            control.may_begin(round_)
            or (self.dump is not None and control.owes_state(stream, round_))
        )

    def _take_turn(self, player: Player, round_: int) -> None:
        if self.dump is not None and self.control.owes_state(player.index, round_):
            self._dump(player, round_, self.dump)
        if self.control.may_begin(round_):
            self._collect(player, round_)

    def _collect(self, player: Player, round_: int) -> None:
        started = time.monotonic_ns()
        ring, row = self.ring, self._row
        # The slot is claimed with a lower bound of its version before the pull, so that the learner
        # never overlooks a fragment that is about to be written with old parameters.
        slot, arrays = ring.begin_write(
            player.index, self.reader.store.version, int(row[ctl.INCARNATION])
        )
        wanted = self.schedule.version_for(round_)
        version = self.reader.pull_newest() if wanted is None else self.reader.pull_exact(wanted)
        ring.set_version(slot, version)
        row[ctl.PHASE] = ctl.COLLECTING
        steps, padded = player.play(slot, arrays, version, round_, self._beat)
        _check_finite(arrays, player)
        ring.publish(slot, steps)
        row[ctl.STEPS] += steps
        row[ctl.PADDED] += padded * ring.envs
        row[ctl.COLLECT_NS] += time.monotonic_ns() - started

    def _dump(self, player: Player, round_: int, dump: DumpFn) -> None:
        cells, failed = self.control.stream[player.index], NO_ROUND
        try:
            dump(player.index, round_, player.get_state())
        except CheckpointError as error:
            # It costs a checkpoint, not the actor: the learner reads the mark and says so.
            _log.warning("%s", error)
            failed = round_
        cells[ctl.FAILED_ROUND] = failed
        cells[ctl.DUMPED_ROUND] = round_

    def _beat(self) -> None:
        self._row[ctl.BEAT] += 1


def _check_finite(arrays: Arrays, player: Player) -> None:
    log_mu = arrays.get("log_mu")
    if log_mu is not None and not np.isfinite(log_mu.sum()):
        t, env = (int(i) for i in np.argwhere(~np.isfinite(log_mu))[0])
        raise NonFiniteError(
            f"behaviour log-probability is {log_mu[t, env]} in stream {player.index}, "
            f"environment {env}, step {t} of the fragment; wanted a finite number"
        )
