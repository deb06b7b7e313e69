"""What the guessing games share: checks of their arguments and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs.core import check_choice
from envs.text.oracles import ORACLES, Oracle, Table, make_oracle


def check_oracle(env: str, name: str, table: Table, options: dict[str, Any] | None) -> Oracle:
    """Return the oracle of that name.

    Raises:
        ValueError: The name or an option is unknown; the message names the environment.
    """
    check_choice(env, "oracle", name if isinstance(name, str) else repr(name), ORACLES)
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"{env}: oracle_options must be a mapping, got {options!r}")
    try:
        return make_oracle(name, table, options or {})
    except ValueError as error:
        raise ValueError(f"{env}: oracle_options: {error}") from None


def hidden_option(env: str, options: Mapping[str, Any], spellings: Mapping[str, int]) -> int | None:
    """Return the index of ``options["hidden"]``, or None where nothing is asked for.

    Raises:
        ValueError: It is unknown, or there is another option.
    """
    for name in options:
        if name != "hidden":
            raise ValueError(f"{env}: unknown option {name}; known: hidden")
    if "hidden" not in options:
        return None
    wanted = str(options["hidden"]).lower()
    if wanted not in spellings:
        raise ValueError(f"{env}: hidden must be one of the game's words, got {wanted!r}")
    return spellings[wanted]
