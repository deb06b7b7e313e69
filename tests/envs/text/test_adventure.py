"""Worlds of the adventure can be solved, and its commands do what they say."""

import gc
import json
import math
import random
import weakref

import numpy as np
import pytest

from envs.text import adventure
from envs.text.adventure import AdventureEnv, AdventureVectorEnv, Game
from envs.text.adventure_rules import (
    NOTHING,
    UNKNOWN,
    Progress,
    describe,
    obey,
    read,
    start_of,
    valid_actions,
)
from envs.text.adventure_world import (
    MAX_STEPS,
    Exit,
    Lock,
    World,
    _commands_in_order,
    _draw,
    make_world,
    plan,
)

# hall -east-> cellar (behind a locked door); a chest in the hall hides the door's key.
SMALL = World(
    rooms=("hall", "cellar"),
    exits=({"east": Exit(1, 1)}, {"west": Exit(0, 1)}),
    locks=(Lock("chest", "iron key", (0,), False), Lock("brass door", "brass key", (0, 1), True)),
    items={"iron key": "room:0", "brass key": "box:chest", "crown": "room:1", "lamp": "room:0"},
    treasure="crown",
    altar=0,
    start=0,
)
SOLUTION = [
    "take iron key",
    "unlock chest with iron key",
    "open chest",
    "take brass key",
    "unlock brass door with brass key",
    "open brass door",
    "go east",
    "take crown",
    "go west",
    "put crown on altar",
]


def follow(world, commands):
    progress, replies = start_of(world), []
    for command in commands:
        progress, reply = obey(world, progress, command)
        replies.append(reply)
    return progress, replies


def test_the_planner_finds_the_only_way():
    assert plan(SMALL) == SOLUTION
    progress, replies = follow(SMALL, SOLUTION)
    assert progress.scored == {0, 1, 2}
    assert replies[1] == "You unlock the chest."
    assert replies[-1] == "You put the crown on the altar."


def test_the_planner_goes_on_from_the_middle():
    progress, _ = follow(SMALL, SOLUTION[:2])
    rest = plan(SMALL, progress.room, progress.opened, progress.unlocked, dict(progress.items))
    assert rest == SOLUTION[2:]
    progress, _ = follow(SMALL, [*SOLUTION[:1], "put iron key on altar"])
    rest = plan(SMALL, progress.room, progress.opened, progress.unlocked, dict(progress.items))
    assert rest == SOLUTION
    locked_in = World(**{**{f: getattr(SMALL, f) for f in SMALL.__dataclass_fields__},
                         "items": {**SMALL.items, "iron key": "room:1"}})  # fmt: skip
    assert plan(locked_in) is None


@pytest.mark.parametrize("depth", range(2, 13))
def test_generated_worlds_are_solved_by_their_plan_and_by_nothing_shorter(depth):
    for seed in range(6):
        world, solution = make_world(np.random.default_rng(seed), depth, 3)
        assert world.depth == depth
        assert len(solution) <= MAX_STEPS
        progress, scores = start_of(world), []
        for command in solution:
            assert command in valid_actions(world, progress)
            progress, reply = obey(world, progress, command)
            assert reply != UNKNOWN
            scores.append(len(progress.scored))
        assert scores[-1] == depth
        assert scores[-2] == depth - 1
        assert scores == sorted(scores)


def exhaustive(world):
    """Return the least number of commands by searching the game itself, breadth first."""
    layer, seen, cost = [start_of(world)], {start_of(world)}, 0
    while layer:
        if any(len(progress.scored) == world.depth for progress in layer):
            return cost
        found = []
        for progress in layer:
            for command in valid_actions(world, progress):
                if command.startswith(("drop", "put")) and world.treasure not in command:
                    continue
                after, _ = obey(world, progress, command)
                ended = world.depth - 1 in after.scored and len(after.scored) < world.depth
                if after not in seen and not ended:
                    seen.add(after)
                    found.append(after)
        layer, cost = found, cost + 1
    return None


def test_plans_are_as_short_as_the_game_allows():
    assert exhaustive(SMALL) == len(SOLUTION)
    for seed in range(4):
        world, solution = make_world(np.random.default_rng(seed), 3, 0)
        assert exhaustive(world) == len(solution)


@pytest.mark.parametrize("depth", range(2, 13))
def test_locks_opened_in_order_prove_a_world(depth):
    proved = 0
    for seed in range(60):
        world = _draw(random.Random(seed), depth, 3)
        count, solution = _commands_in_order(world), plan(world)
        if count < math.inf:
            proved += 1
            assert solution is not None
            assert len(solution) <= count
    assert proved
    blocked = World(**{**{f: getattr(SMALL, f) for f in SMALL.__dataclass_fields__},
                       "items": {**SMALL.items, "iron key": "room:1"}})  # fmt: skip
    assert _commands_in_order(SMALL) == len(SOLUTION)
    assert _commands_in_order(blocked) == math.inf


def test_forgetting_states_changes_nothing(monkeypatch):
    def play(kept):
        monkeypatch.setattr(adventure, "KEPT", kept)
        vector = AdventureVectorEnv(4, max_episode_steps=15)
        _, infos = vector.reset(seed=2)
        rng, found = np.random.default_rng(0), []
        for _ in range(60):
            actions = [given[int(rng.integers(len(given)))] for given in infos["valid_actions"]]
            obs, reward, *_, infos = vector.step(actions)
            found.append((obs, reward.tolist(), infos["valid_actions"].tolist()))
            for place in vector._state["progress"]:
                assert 0 < len(place.game._scenes) <= kept
                assert len(place.scene.turns) <= kept
        return found

    assert play(2) == play(256)


def test_what_is_kept_of_a_command_is_what_it_does():
    game, rng = Game(SMALL), np.random.default_rng(0)
    commands = [read(c) for c in {*SOLUTION, "go north", "drop lamp", "take lamp", "x lamp", "?"}]
    progress, again = start_of(SMALL), 0
    for _ in range(600):
        command = commands[int(rng.integers(len(commands)))]
        scene = game.scene(progress)
        again += command in scene.turns
        new, shown, gained, valid = scene.turns.get(command) or game.turn(scene, command)
        wanted, reply = obey(SMALL, progress, " ".join(command))
        assert (progress if new is None else new) == wanted
        assert shown == f"{reply}\n{describe(SMALL, wanted)}"
        assert gained == len(wanted.scored) - len(progress.scored)
        assert valid == (command != NOTHING)
        progress = start_of(SMALL) if game.scene(wanted).won else wanted
    assert again > 300


def test_a_game_is_gone_with_its_last_place():
    env = AdventureEnv()
    _, info = env.reset(seed=4)
    for action in ("look", *info["valid_actions"][:1], "look", "inventory"):
        env.step(action)
    game = weakref.ref(env._state["progress"][0].game)
    gc.disable()
    try:
        env.reset(seed=5)
        assert game() is None
    finally:
        gc.enable()


def test_worlds_differ_and_follow_from_the_seed():
    drawn = [make_world(np.random.default_rng(seed), 5, 3)[0] for seed in range(20)]
    assert len({world.rooms for world in drawn}) == 20
    assert make_world(np.random.default_rng(3), 5, 3)[0] == drawn[3]
    assert any(lock.is_door for world in drawn for lock in world.locks)
    assert any(not lock.is_door for world in drawn for lock in world.locks)
    one_way = [
        (room, exit_.to)
        for world in drawn
        for room, ways in enumerate(world.exits)
        for exit_ in ways.values()
        if room not in {back.to for back in world.exits[exit_.to].values()}
    ]
    assert one_way
    for world in drawn:  # ways in both directions make a tree
        pairs = {(room, e.to) for room, ways in enumerate(world.exits) for e in ways.values()}
        both = sum((b, a) in pairs for a, b in pairs) // 2
        assert both == len(world.rooms) - 1


def test_locks_are_out_of_reach_from_other_rooms():
    inside, _ = follow(SMALL, SOLUTION[:7])
    assert inside.room == 1
    for command in ("open chest", "unlock chest with iron key", "put iron key in chest"):
        assert obey(SMALL, inside, command) == (inside, "You see no such thing.")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("go north", "You cannot go that way."),
        ("north", "You cannot go that way."),
        ("e", "The brass door is closed."),
        ("take crown", "You see no such thing."),
        ("take brass key", "You see no such thing."),
        ("drop lamp", "You do not have that."),
        ("open chest", "The chest is locked."),
        ("unlock chest with iron key", "You need a key that you carry."),
        ("unlock chest", "You need a key that you carry."),
        ("open window", "You see no such thing."),
        ("put lamp on altar", "You do not have that."),
        ("examine chest", "The chest is closed. It takes the iron key."),
        ("x the lamp", "It is a lamp."),
        ("examine altar", "The crown belongs here."),
        ("l", "You look around."),
        ("dance", UNKNOWN),
        ("", UNKNOWN),
        ("t\u0430ke lamp", UNKNOWN),
    ],
)
def test_replies_that_change_nothing(command, reply):
    start = start_of(SMALL)
    assert obey(SMALL, start, command) == (start, reply)


def test_other_replies():
    _, replies = follow(SMALL, [
        "get the lamp", "take lamp", "take iron key", "unlock brass door with iron key",
        "unlock chest with iron key", "unlock chest with iron key", "open chest", "open chest",
        "put lamp in chest", "put iron key in brass door", "drop iron key", "put lamp in chest",
    ])  # fmt: skip
    assert replies == [
        "You take the lamp.", "You have it already.", "You take the iron key.", "It does not fit.",
        "You unlock the chest.", "It is unlocked already.", "You open the chest.",
        "It is open already.", "You put the lamp in the chest.", "You see no such thing.",
        "You drop the iron key.", "You do not have that.",
    ]  # fmt: skip
    progress, _ = follow(SMALL, SOLUTION[:3])
    assert describe(SMALL, progress).split("\n") == [
        "You are in the hall.",
        "Exits: east (brass door, closed).",
        "You see a lamp, an altar, a chest (with brass key).",
        "You carry iron key.",
        "You can: take brass key; take lamp; put iron key in chest; put iron key on altar; "
        "drop iron key.",
    ]


def test_progress_survives_as_plain_data():
    progress, _ = follow(SMALL, SOLUTION[:7])
    assert Progress.of(progress.plain()) == progress
    assert Progress.of([list(part) if isinstance(part, tuple) else part
                        for part in progress.plain()]) == progress  # fmt: skip


def test_rewards_of_the_environment():
    env = AdventureEnv(depth=3, distractors=0)
    _, info = env.reset(seed=4)
    state = env.get_state()["model"]
    world = env.model.world(int(state["world"][0]))
    total = []
    for command in plan(world):
        assert command in info["valid_actions"]
        _, reward, terminated, truncated, info = env.step(command)
        total.append(reward)
        assert not truncated
    assert terminated
    assert info["won"]
    assert info["score"] == 3
    assert sum(total) == 3
    assert set(total) == {0.0, 1.0}


def test_hostile_commands_cost_nothing_and_never_raise():
    env = AdventureEnv()
    env.reset(seed=0)
    for text in ("take " * 3000, "\x00", "unlock with with with", "put on on", "go \u0435ast",
                 ";drop",
                 "take crown; put crown on altar", "\ud83d\ude00", "put  in altar"):  # fmt: skip
        _, reward, terminated, truncated, info = env.step(text)
        assert (reward, terminated, truncated, info["score"]) == (0.0, False, False, 0)


def test_arguments():
    for wrong in (1, 13, 2.5):
        with pytest.raises(ValueError, match="text/adventure-v0: depth must be an integer in"):
            AdventureEnv(depth=wrong)
    with pytest.raises(ValueError, match="distractors must be"):
        AdventureEnv(distractors=11)


def test_a_state_whose_tuples_came_back_as_lists_goes_on_the_same():
    ours, other = (AdventureEnv() for _ in range(2))
    other.reset(seed=1)
    _, info = ours.reset(seed=3)
    for k in range(12):
        state = ours.get_state()
        for cells in (c for c in state["model"].values() if isinstance(c, dict)):
            cells["objects"] = json.loads(json.dumps(cells["objects"]))
        other.set_state(state)
        action = "dance" if k % 3 == 0 else info["valid_actions"][k % len(info["valid_actions"])]
        seen, *_, info = ours.step(action)
        again, *_, told = other.step(action)
        assert (seen, info["valid_actions"]) == (again, told["valid_actions"])
        assert other.get_state()["model"]["progress"] == ours.get_state()["model"]["progress"]
