"""Looks an environment up before anything starts; Gymnasium is imported here and not above."""

from __future__ import annotations

import importlib.util

from experiments.errors import nearest
from experiments.schema import EnvConfig
from rlcore.errors import ConfigError, MissingDependencyError


def find_environment(env: EnvConfig) -> None:
    """Check that ``env.id`` is registered, after importing ``env.module``.

    Raises:
        ConfigError: It is not, or the module cannot be imported; names the nearest id.
        MissingDependencyError: It needs a package that is not installed.
    """
    if env.id.startswith("ALE/") and importlib.util.find_spec("ale_py") is None:
        raise MissingDependencyError(
            f"{env.id} needs the package ale-py; install it with: pip install 'rlcore[atari]'"
        )
    if importlib.util.find_spec("gymnasium") is None:
        raise MissingDependencyError("environments need the package gymnasium")
    _import_what_registers(env)
    import gymnasium

    try:
        gymnasium.spec(env.id)
    except gymnasium.error.Error as error:
        hint = nearest(env.id, gymnasium.registry)
        reason = str(error).splitlines()[0] if not hint else "no such environment"
        raise ConfigError(f"{reason}, got '{env.id}'{hint}") from None


def _import_what_registers(env: EnvConfig) -> None:
    if env.id.startswith("ALE/"):
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
    if env.module is None:
        importlib.import_module("envs")
        return
    try:
        importlib.import_module(env.module)
    except ImportError as error:
        raise ConfigError(f"env.module '{env.module}' cannot be imported: {error}") from error
