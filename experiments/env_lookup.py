"""Looks an environment up before anything starts; Gymnasium is imported here and not above."""

from __future__ import annotations

import importlib
import importlib.util
import traceback
import warnings

from experiments.binding import Binder
from experiments.errors import choices_text, nearest
from experiments.leaves import shown
from experiments.schema import EnvConfig
from rlcore.errors import ConfigError, MissingDependencyError


def look_up(env: EnvConfig, binder: Binder) -> None:
    """Note in ``binder`` what is wrong with an environment's module, id and wrappers.

    ``env.module`` is imported first: it registers the environment.

    Raises:
        MissingDependencyError: It needs a package that is not installed.
    """
    if importlib.util.find_spec("gymnasium") is None:
        raise MissingDependencyError(
            "environments need the package gymnasium: pip install gymnasium"
        )
    import gymnasium

    import envs  # noqa: F401 - registers the testing environments
    from envs.presets import register_atari

    if env.id.startswith("ALE/") or env.preset == "atari":
        register_atari()
    if _imported(env, binder):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gymnasium.spec(env.id)
        except gymnasium.error.Error:
            hint = nearest(env.id, gymnasium.registry)
            hint = hint or "; rlcore env list shows all, env.module names what registers more"
            binder.problem(("env", "id"), f"no such environment, got {shown(env.id)}{hint}", "env")
    _wrappers(env, binder)


def try_making(env: EnvConfig, binder: Binder) -> None:
    """Make one environment and close it again; note in ``binder`` why it cannot be made.

    Raises:
        MissingDependencyError: It needs a package that is not installed.
    """
    from envs.make import make_envs

    try:
        made = make_envs(
            env.id,
            1,
            preset=env.preset,
            kwargs=env.kwargs,
            wrappers=env.wrappers,
            vectorization=env.vectorization,
            module=env.module,
        )
    except ConfigError as error:
        binder.problem(error.setting or ("env",), str(error), "env")
        return
    for one in made if isinstance(made, list) else [made]:
        one.close()


def _imported(env: EnvConfig, binder: Binder) -> bool:
    if env.module is None:
        return True
    try:
        importlib.import_module(env.module)
    except Exception as error:
        # The module is the user's: whatever it raises is told with its place, not as a bug of ours.
        binder.problem(("env", "module"), _import_problem(env.module, error), "env")
        return False
    return True


def _import_problem(module: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"cannot be imported: {error}; its folder must be on PYTHONPATH"
    if isinstance(error, SyntaxError):
        return f"{module} cannot be read: {error.msg} ({error.filename}, line {error.lineno})"
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}"
    return f"{module} failed while it was imported: {what} ({place.filename}, line {place.lineno})"


def _wrappers(env: EnvConfig, binder: Binder) -> None:
    from envs.wrappers import WRAPPER_TYPES

    for index, wrapper in enumerate(env.wrappers):
        name = wrapper.get("type")
        if name not in WRAPPER_TYPES:
            hint = nearest(str(name), WRAPPER_TYPES)
            message = (
                f"no wrapper {shown(name)}{hint or '; there are ' + choices_text(WRAPPER_TYPES)}"
            )
            place = ("env", "wrappers", index, *(("type",) if name is not None else ()))
            binder.problem(place, message, "env")
