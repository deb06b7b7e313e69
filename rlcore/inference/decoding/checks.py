"""Checks of settings, with one wording."""

from __future__ import annotations

from rlcore.errors import ConfigError
from rlcore.inference.config import is_count


def check_count(place: str, name: str, value: object) -> None:
    """Refuse what is no integer of at least 1.

    Raises:
        ConfigError: It is none.
    """
    if not is_count(value):
        raise ConfigError(f"{place}: {name} must be an integer >= 1, got {value!r}")


def check_number(place: str, name: str, value: object) -> None:
    """Refuse what is no number, and NaN.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value != value:
        raise ConfigError(f"{place}: {name} must be a number, got {value!r}")
