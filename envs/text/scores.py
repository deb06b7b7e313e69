"""What perfect play scores, and scores between random and near-optimal play."""

from __future__ import annotations

from typing import Any

import numpy as np

ANCHORS: dict[str, tuple[float, float]] = {
    "text/twenty-questions-v0": (-19.18, -6.90),
    "text/guess-my-city-v0": (-19.40, -1.0),
    "text/wordle-v0": (-5.997, -2.37),
    "text/adventure-v0": (0.33, 4.0),
    "text/shop-v0": (0.021, 1.0),
    "text/maze-v0": (-80.9, -6.64),
}
"""Mean returns of ``make_random`` and ``make_expert`` with default arguments, by id."""


def optimal_return(id: str, **kwargs: Any) -> float:
    """Return the mean return of the best play that can be computed.

    Twenty Questions, Guess My City and Wordle: of greedy information gain (exactly, over every
    hidden word; the true optimum is not tractable). Maze: of shortest paths. Adventure and shop:
    the greatest return.

    Args:
        id: Gymnasium id.
        **kwargs: Arguments of the game that matter: ``subset``, ``depth``, ``start``.

    Raises:
        ValueError: It cannot be computed for that id or these arguments.
    """
    if id == "text/twenty-questions-v0":
        from envs.text.objects_table import subset_of
        from envs.text.policies import objects_play
        from envs.text.twenty_questions import TwentyQuestions

        objects = tuple(subset_of(kwargs.pop("subset", "all")).tolist())
        _only(id, kwargs)
        return -objects_play(objects, TwentyQuestions).cost(np.arange(len(objects)))
    if id == "text/guess-my-city-v0":
        from envs.text.policies import cities_play

        _only(id, kwargs)
        return -cities_play(True)[0].cost(np.arange(100))
    if id == "text/wordle-v0":
        from envs.text.wordle_play import exact_score

        _only(id, kwargs)
        return exact_score()[1]
    if id == "text/adventure-v0":
        depth = kwargs.pop("depth", 4)
        _only(id, kwargs)
        return float(depth)
    if id == "text/maze-v0":
        from envs.text.maze import START, distances

        fixed = kwargs.pop("start", "random") == "fixed"
        _only(id, kwargs)
        far = distances()
        return 1.0 - float(far[START] if fixed else far[far > 0].mean())
    if id == "text/shop-v0":
        _only(id, {k: v for k, v in kwargs.items() if k not in ("items", "catalogue_seed")})
        return 1.0
    raise ValueError(f"no optimal return of {id}")


def _only(id: str, kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise ValueError(f"{id}: no optimal return with {sorted(kwargs)}")


def normalised_score(id: str, value: float) -> float:
    """Return a return of the default game as 0 at random play and 1 at near-optimal play.

    Raises:
        ValueError: The id is not a text game.
    """
    if id not in ANCHORS:
        raise ValueError(f"{id} is not one of {', '.join(ANCHORS)}")
    low, high = ANCHORS[id]
    return (value - low) / (high - low)
