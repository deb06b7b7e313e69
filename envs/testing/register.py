"""Names the testing environments to Gymnasium."""

from __future__ import annotations

_ENTRIES = {
    "testing/counting-v0": ("envs.testing.counting:CountingEnv", "CountingVectorEnv"),
    "testing/faulty-v0": ("envs.testing.faulty:FaultyEnv", None),
    "testing/noop-image-v0": ("envs.testing.noop_image:NoopImageEnv", "NoopImageVectorEnv"),
    "testing/one-step-v0": ("envs.testing.one_step:OneStepEnv", None),
}


def register() -> None:
    """Register each testing environment that Gymnasium does not know yet."""
    import gymnasium

    for env_id, (entry, vector) in _ENTRIES.items():
        if env_id not in gymnasium.registry:
            module = entry.partition(":")[0]
            gymnasium.register(
                env_id,
                entry_point=entry,
                vector_entry_point=f"{module}:{vector}" if vector else None,
            )
