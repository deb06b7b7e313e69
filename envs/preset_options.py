"""Checks of the options of presets; each error names the option, its value and what is wanted."""

from __future__ import annotations

from typing import Any

from rlcore.errors import ConfigError


def check_whole(name: str, value: Any, high: int) -> None:
    """Check a whole number from 1 to ``high``.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise _wrong(name, value, f"a whole number, at least 1 and at most {high}")


def check_flag(name: str, value: Any) -> None:
    """Check a truth value.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")


def check_chance(name: str, value: Any) -> None:
    """Check a probability below 1.

    Raises:
        ConfigError: It is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 <= value < 1.0:
        raise _wrong(name, value, "a number in [0, 1)")


def _wrong(name: str, value: Any, wanted: str) -> ConfigError:
    setting = ("env", "kwargs", name)
    return ConfigError(f"{'.'.join(setting)} is {value!r}, wanted {wanted}", setting=setting)
