"""Entries of the finray family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference

ENTRIES = (
    Entry(
        "finray/lbm-v0",
        "envs.finray.lbm:FinRayLBMEnv",
        "envs.finray.lbm:FinRayLBMVectorEnv",
        max_episode_steps=200,
        cost="100ms",
        summary="a flexible fin ray in a stream: lattice Boltzmann with a chain of links",
        references=(
            Reference("random", -34.4, 10.0, episodes=4, slow=True),
            Reference("envs.finray.policies:make_zero", -37.4, 2.0, episodes=1, slow=True),
            Reference("envs.finray.policies:make_sine", 221.0, 90.0, episodes=4, slow=True),
        ),
    ),
    Entry(
        "finray/rom-v0",
        "envs.finray.rom:FinRayROMEnv",
        "envs.finray.rom:FinRayROMVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="the same ray with a load from its motion alone: a fast surrogate",
        references=(
            Reference("random", 37.5, 12.0, episodes=20),
            Reference("envs.finray.policies:make_zero", -25.6, 1.5, episodes=20),
            Reference("envs.finray.policies:make_sine", 380.3, 4.0, episodes=20),
            Reference("envs.finray.policies:make_square", 517.8, 4.0, episodes=20),
        ),
    ),
)
