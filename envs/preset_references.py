"""What random and hand-written policies score under the presets, and what trained ones have."""

from __future__ import annotations

from dataclasses import dataclass

from envs.core.entry import Reference


@dataclass(frozen=True, slots=True)
class PresetReference:
    """One environment of a preset with its returns.

    Attributes:
        preset: Name of the preset.
        id: Gymnasium id.
        random: What random actions score, measured.
        scripted: What a policy of :mod:`envs.control_policies` scores, measured; None for none.
        trained: What trained agents score in public tables (RL Baselines3 Zoo, CleanRL).
    """

    preset: str
    id: str
    random: Reference
    scripted: Reference | None = None
    trained: str = ""


def _random(mean: float, tolerance: float, episodes: int, slow: bool = False) -> Reference:
    return Reference("random", mean, tolerance, episodes, slow)


def _scripted(name: str, mean: float, tolerance: float, episodes: int) -> Reference:
    return Reference(f"envs.control_policies:make_{name}", mean, tolerance, episodes)


PRESET_REFERENCES = (
    PresetReference(
        "classic", "CartPole-v1", _random(23.7, 3.5, 300), _scripted("cartpole", 500, 0.5, 30),
        "500",
    ),
    PresetReference(
        "classic", "Acrobot-v1", _random(-500, 1, 20), _scripted("acrobot", -85.6, 10, 100),
        "-74 to -91",
    ),
    PresetReference(
        "classic", "MountainCar-v0", _random(-200, 0.5, 30),
        _scripted("mountain_car", -119.9, 1.5, 100),
    ),
    PresetReference(
        "classic", "MountainCarContinuous-v0", _random(-33.2, 0.8, 20),
        _scripted("mountain_car_continuous", 95.8, 0.5, 50), "94",
    ),
    PresetReference(
        "classic", "Pendulum-v1", _random(-1237, 120, 100), _scripted("pendulum", -152, 40, 100),
        "-152 to -172",
    ),
    PresetReference(
        "mujoco", "InvertedPendulum-v5", _random(5.0, 1, 200),
        _scripted("inverted_pendulum", 1000, 0.5, 3),
    ),
    PresetReference("mujoco", "InvertedDoublePendulum-v5", _random(46, 6, 150)),
    PresetReference("mujoco", "Reacher-v5", _random(-42.4, 2, 80)),
    PresetReference("mujoco", "Pusher-v5", _random(-149.4, 5, 30)),
    PresetReference(
        "mujoco", "Hopper-v5", _random(16.6, 5, 200),
        trained="SAC 2,310 to 2,325, TD3 3,135 to 3,606",
    ),
    PresetReference("mujoco", "Walker2d-v5", _random(1.4, 2, 200)),
    PresetReference("mujoco", "Swimmer-v5", _random(-1.1, 9, 12, slow=True)),
    PresetReference(
        "mujoco", "HalfCheetah-v5", _random(-277, 100, 12, slow=True),
        trained="SAC 9,535 to 9,635, PPO 5,819",
    ),
    PresetReference("mujoco", "Ant-v5", _random(-63, 60, 40, slow=True)),
    PresetReference("mujoco", "Humanoid-v5", _random(110, 15, 60, slow=True)),
    PresetReference("atari", "ALE/Pong-v5", _random(-20.5, 0.8, 10, slow=True), trained="20 to 21"),
    PresetReference(
        "atari", "ALE/Breakout-v5", _random(0.6, 0.8, 20, slow=True),
        trained="PPO 398 to 415 (10M frames)",
    ),
)  # fmt: skip
"""In the order of the table in the documentation."""


def table() -> list[str]:
    """Return the lines of the Markdown table of these references."""
    lines = [
        "| preset | id | random | hand-written | trained, published |",
        "|---|---|---|---|---|",
    ]
    for one in PRESET_REFERENCES:
        scripted = "" if one.scripted is None else _shown(one.scripted)
        cells = (one.preset, f"`{one.id}`", _shown(one.random), scripted, one.trained)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _shown(reference: Reference) -> str:
    return f"{reference.mean:,g} (within {reference.tolerance:g}, n = {reference.episodes})"
