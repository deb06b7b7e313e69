"""Entries of the finray family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

ENTRIES = (
    Entry(
        "finray/lbm-v0",
        "envs.finray.lbm:FinRayLBMEnv",
        "envs.finray.lbm:FinRayLBMVectorEnv",
        max_episode_steps=200,
        cost="100ms",
        summary="a flexible fin ray in a stream: lattice Boltzmann with a chain of links",
    ),
    Entry(
        "finray/rom-v0",
        "envs.finray.rom:FinRayROMEnv",
        "envs.finray.rom:FinRayROMVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="the same ray with a load from its motion alone: a fast surrogate",
    ),
)
