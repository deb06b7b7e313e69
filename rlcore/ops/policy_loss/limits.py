"""Checks of settings that policy-gradient agents share; importing this module loads no torch."""

from __future__ import annotations

import math

from rlcore.errors import ConfigError


def check_at_least(name: str, value: float | None, least: float) -> None:
    """Raise ``ConfigError`` unless ``value`` is finite and ``>= least``; ``None`` passes."""
    if value is not None and not (math.isfinite(value) and value >= least):
        raise ConfigError(f"{name} must be >= {least}, got {value}")


def check_positive(name: str, value: float | None) -> None:
    """Raise ``ConfigError`` unless ``value`` is finite and ``> 0``; ``None`` passes."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be > 0, got {value}")


def check_share(name: str, value: float | None) -> None:
    """Raise ``ConfigError`` unless ``0 <= value <= 1``; ``None`` passes."""
    if value is not None and not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} must be in [0, 1], got {value}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {allowed}, got {value!r}")
