"""A text adventure: fetch keys, open locks, bring the treasure to the altar."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from envs.core import State, check_integer
from envs.text.adventure_rules import (
    NOTHING,
    UNKNOWN,
    Command,
    Progress,
    act,
    describe,
    read,
    start_of,
    valid_actions,
)
from envs.text.adventure_world import ALTAR, World, draw_world
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.model import TextModel, Turn, objects

KEPT = 256
"""Commands whose effect is kept for a state, and states that are kept for a world."""


class Adventure(TextModel):
    """A world of rooms, locked doors and boxes, drawn for each episode and proved solvable.

    Opening each lock of the quest scores 1 and putting the treasure on the altar scores 1 and ends
    the game; the greatest return is ``depth``. Verbs: go, take, drop, open, unlock (with), put (in,
    on), examine, inventory, look. Time limit 60.

    Args:
        depth: Goals of the quest, 2-12.
        distractors: Things of no use, 0-10.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "text/adventure-v0"
    max_action = 80
    max_reply = 3000

    def __init__(self, depth: int = 4, distractors: int = 3) -> None:
        super().__init__()
        self.depth = check_integer(self.id, "depth", depth, 2, 12)
        self.distractors = check_integer(self.id, "distractors", distractors, 0, 10)

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a world for each game."""
        if options:
            raise ValueError(f"{self.id}: there are no options, got {sorted(options)}")
        seeds = np.array([int(rng.integers(1 << 31)) for rng in rngs], np.int64)
        places = [
            Place.of(Game(world), start_of(world)) for world in map(self.world, seeds.tolist())
        ]
        return {"world": seeds, "progress": objects(places)}

    def world(self, seed: int) -> World:
        """Return the world of ``state["world"]``; it follows from the number."""
        return _world(seed, self.depth, self.distractors)

    def _places(self, state: State) -> list[Place]:
        cells = state["progress"].tolist()
        if set(map(type, cells)) != {Place}:  # plain data, from a saved state
            pairs = zip(state["world"].tolist(), cells, strict=True)
            cells = [
                cell if type(cell) is Place else Place.of(Game(self.world(seed)), Progress.of(cell))
                for seed, cell in pairs
            ]
        return cells

    def prompts(self, state: State) -> list[str]:
        """Return the quest and the first room."""
        return [
            f"Find the {world.treasure} and put it on the {ALTAR} in the "
            f"{world.rooms[world.altar]}.\n{place.scene.text}"
            for place in self._places(state)
            for world in (place.game.world,)
        ]

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the commands that can be obeyed and the score."""
        return _told([place.scene for place in self._places(state)])

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Obey one command in each game."""
        limit, before = self.max_action, self._places(state)
        commands = [read(text) if len(text) <= limit else NOTHING for text in texts]
        turns = [
            place.scene.turns.get(command) or place.game.turn(place.scene, command)
            for place, command in zip(before, commands, strict=True)
        ]
        progress, shown, reward, valid = zip(*turns, strict=True)
        after = [
            place if new is None else Place.of(place.game, new)
            for place, new in zip(before, progress, strict=True)
        ]
        scenes = [place.scene for place in after]
        won = np.array([scene.won for scene in scenes])
        state["progress"], state["won"] = objects(after), won
        gained, known = np.array(reward, np.float64), np.array(valid)
        return Turn(objects(shown), gained, won, known, info=_told(scenes))


@functools.lru_cache(256)
def _world(seed: int, depth: int, distractors: int) -> World:
    return draw_world(random.Random(seed), depth, distractors)


Obeyed = tuple["Progress | None", str, float, bool]
"""The progress after a command or None if it is the same, what is shown, the reward, and whether
the command was understood."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What a player is told of a state of a game.

    It keeps what commands did, as most are given more than once: to try doors, to go back.

    Attributes:
        progress: The state.
        text: Room, things, inventory and commands.
        actions: The commands that can be obeyed.
        score: Goals that have been scored.
        won: Whether the treasure is on the altar.
        turns: What :meth:`Game.turn` returned, by command.
    """

    progress: Progress
    text: str
    actions: tuple[str, ...]
    score: int
    won: bool
    turns: dict[Command, Obeyed] = field(default_factory=dict)


class Game:
    """A world with the scenes that were seen in it.

    Nothing in a scene leads back to its game, so that a game is gone when its last place is:
    waiting for the collector of cycles would take as long as playing.

    Args:
        world: The world.
    """

    __slots__ = ("__weakref__", "_scenes", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self._scenes: dict[Progress, Scene] = {}

    def scene(self, progress: Progress) -> Scene:
        """Return what is told of a state."""
        scene = self._scenes.get(progress)
        if scene is None:
            actions, scored = valid_actions(self.world, progress), progress.scored
            text, won = describe(self.world, progress, actions), self.world.depth - 1 in scored
            scene = Scene(progress, text, tuple(actions), len(scored), won)
            _keep(self._scenes, progress, scene)
        return scene

    def turn(self, scene: Scene, command: Command) -> Obeyed:
        """Return what a command does."""
        progress, reply = act(self.world, scene.progress, command)
        after = self.scene(progress)
        gained = float(after.score - scene.score)
        new = None if progress is scene.progress else progress
        obeyed = new, f"{reply}\n{after.text}", gained, reply is not UNKNOWN
        _keep(scene.turns, command, obeyed)
        return obeyed


class Place(NamedTuple):
    """Where a player is in a game; a deep copy is plain data.

    Attributes:
        game: The game.
        scene: What the player is told.
    """

    game: Game
    scene: Scene

    @classmethod
    def of(cls, game: Game, progress: Progress) -> Place:
        """Return the place of a state."""
        return cls(game, game.scene(progress))

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[Any, ...]:
        """Return the progress as it is saved."""
        return self.scene.progress.plain()


def _keep(table: dict[Any, Any], key: Any, value: Any) -> None:
    if len(table) >= KEPT:
        table.clear()
    table[key] = value


def _told(scenes: list[Scene]) -> dict[str, np.ndarray]:
    return {
        "valid_actions": objects([scene.actions for scene in scenes]),
        "score": np.array([scene.score for scene in scenes], np.int64),
    }


class AdventureEnv(TextEnv):
    """:class:`Adventure` as a ``gymnasium.Env``."""

    model_type = Adventure


class AdventureVectorEnv(TextVectorEnv):
    """:class:`Adventure` as a ``gymnasium.vector.VectorEnv``."""

    model_type = Adventure
