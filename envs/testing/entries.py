"""Entries of the testing environments in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

ENTRIES = (
    Entry(
        "testing/counting-v0",
        "envs.testing.counting:CountingEnv",
        "envs.testing.counting:CountingVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="counts; every observation and episode end is known in advance",
    ),
    Entry(
        "testing/faulty-v0",
        "envs.testing.faulty:FaultyEnv",
        None,
        max_episode_steps=None,
        cost="us",
        summary="fails in the way and at the step that it is told to",
    ),
    Entry(
        "testing/noop-image-v0",
        "envs.testing.noop_image:NoopImageEnv",
        "envs.testing.noop_image:NoopImageVectorEnv",
        max_episode_steps=None,
        cost="us",
        summary="images that cost nothing to make",
    ),
    Entry(
        "testing/one-step-v0",
        "envs.testing.one_step:OneStepEnv",
        None,
        max_episode_steps=None,
        cost="us",
        summary="episodes of one step",
    ),
)
