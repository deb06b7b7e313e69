"""From the ``env`` section of an experiment to environments."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envs.presets import PRESETS, register_atari
from envs.wrappers import build_wrapper
from rlcore.errors import ConfigError, MissingDependencyError, RlcoreError

if TYPE_CHECKING:
    from gymnasium import Env
    from gymnasium.vector import VectorEnv

VECTORIZATIONS = ("auto", "native", "sync")


def make_envs(
    id: str,
    num_envs: int,
    *,
    preset: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any] | Callable[[Any], Any]] = (),
    vectorization: str = "auto",
    module: str | None = None,
    render_mode: str | None = None,
    evaluation: bool = False,
) -> VectorEnv[Any, Any, Any] | list[Env[Any, Any]]:
    """Make environments that are to advance together.

    Args:
        id: Gymnasium id.
        num_envs: How many.
        preset: A name of :data:`envs.presets.PRESETS` for the usual preprocessing, or none.
        kwargs: Passed to the environment, or options of the preset.
        wrappers: ``{"type": ..., **arguments}`` each, innermost first, or callables.
        vectorization: ``native`` asks for the environment's own vector form, ``sync`` for plain
            environments, ``auto`` for the first where it exists and nothing forbids it.
        module: Imported first, so that it can register the environment.
        render_mode: Asks for plain environments.
        evaluation: Leave out what only helps training.

    Returns:
        A vector environment, or a list of plain ones.

    Raises:
        ConfigError: The id, the preset, a wrapper or an option is wrong; ``setting`` says which.
        MissingDependencyError: A package is needed; the message names the extra.
    """
    import envs  # noqa: F401 - registers the testing environments

    if vectorization not in VECTORIZATIONS:
        raise ConfigError(f"env.vectorization is {vectorization!r}; one of {VECTORIZATIONS}")
    if num_envs < 1:
        raise ConfigError(f"env.num_envs is {num_envs}, wanted at least 1")
    if module is not None:
        _import(module)
    if id.startswith("ALE/") or preset == "atari":
        register_atari()
    options = dict(kwargs or {})
    wrap = [entry if callable(entry) else build_wrapper(entry) for entry in wrappers]
    native = _native_allowed(vectorization, wrap, render_mode)
    if preset is not None:
        build = _preset(id, preset, options, evaluation)
        if native and build.has_native:
            with _translated(id, options):
                return build.native(num_envs)
        if vectorization == "native":
            raise ConfigError(
                f"{id} has no vector form in preset {preset}; set env.vectorization: sync or auto",
                setting=("env", "vectorization"),
            )
        return _list_of(id, num_envs, lambda: build.plain(render_mode), wrap, options)
    spec = _find(id)
    if native and spec.vector_entry_point is not None and not spec.additional_wrappers:
        return _make_native(id, num_envs, options)
    if vectorization == "native":
        raise ConfigError(
            f"{id} has no vector form; set env.vectorization: sync or auto",
            setting=("env", "vectorization"),
        )
    return _make_list(id, num_envs, options, wrap, render_mode)


def _native_allowed(vectorization: str, wrap: Sequence[Any], render_mode: str | None) -> bool:
    if vectorization == "native" and (wrap or render_mode):
        what = "env.wrappers" if wrap else f"render mode {render_mode}"
        raise ConfigError(
            f"env.vectorization: native cannot take {what}; set it to sync or auto",
            setting=("env", "vectorization"),
        )
    return vectorization != "sync" and not wrap and render_mode is None


def _import(module: str) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise ConfigError(f"env.module is {module!r}, wanted a dotted module name")
    try:
        importlib.import_module(module)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            raise ConfigError(f"env.module: {error}; is its folder on PYTHONPATH?") from error
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"env.module: {module} was found, but importing it failed at {place.filename}, line "
            f"{place.lineno} ({place.line}): {error}"
        ) from error


def _find(id: str) -> Any:
    import gymnasium
    from gymnasium.error import Error

    try:
        return gymnasium.spec(id)
    except (Error, ModuleNotFoundError) as error:
        raise ConfigError(f"env.id is {id!r}: {error}", setting=("env", "id")) from error


def _make_native(id: str, num_envs: int, options: Mapping[str, Any]) -> Any:
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    with _translated(id, options):
        entry: Any = gymnasium.spec(id).vector_entry_point
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
        # Before there is half an environment, whose end Python would complain about.
        inspect.signature(creator).bind_partial(**options)
        return gymnasium.make_vec(
            id, num_envs=num_envs, vectorization_mode="vector_entry_point", **options
        )


def _make_list(
    id: str,
    num_envs: int,
    options: Mapping[str, Any],
    wrap: Sequence[Callable[[Any], Any]],
    render_mode: str | None,
) -> list[Any]:
    import gymnasium

    # An environment need not have the argument to be made without it.
    drawn = {} if render_mode is None else {"render_mode": render_mode}

    def plain() -> Any:
        # The stream has checks of its own at the same place, at a fraction of the cost.
        return gymnasium.make(id, disable_env_checker=True, **drawn, **options)

    return _list_of(id, num_envs, plain, wrap, options)


def _list_of(
    id: str,
    num_envs: int,
    plain: Callable[[], Any],
    wrap: Sequence[Callable[[Any], Any]],
    options: Mapping[str, Any],
) -> list[Any]:
    made = []
    for _ in range(num_envs):
        with _translated(id, options):
            env = plain()
        for index, wrapper in enumerate(wrap):
            env = _wrapped(env, wrapper, index)
        made.append(env)
    return made


def _wrapped(env: Any, wrapper: Callable[[Any], Any], index: int) -> Any:
    try:
        return wrapper(env)
    except ConfigError as error:
        raise ConfigError(str(error), setting=("env", "wrappers", index)) from error


def _preset(id: str, preset: str, options: Mapping[str, Any], evaluation: bool) -> Any:
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError(f"env.preset is {preset!r}; one of {known}", setting=("env", "preset"))
    return PRESETS[preset](_find(id), options, evaluation=evaluation)


@contextlib.contextmanager
def _translated(id: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what is raised while an environment is made into the project's errors."""
    from gymnasium.error import DependencyNotInstalled

    try:
        yield
    except RlcoreError:
        raise
    except (DependencyNotInstalled, ImportError) as error:
        raise MissingDependencyError(f"{id} needs a package: {error}") from error
    except Exception as error:
        # The constructor is not ours: whatever it raises is told with its place, and blamed on the
        # argument that its message names.
        setting = _blamed(options, str(error))
        raise ConfigError(_why_not(id, options, error), setting=setting) from error


def _why_not(id: str, options: Mapping[str, Any], error: Exception) -> str:
    """Say why an environment was not made."""
    from gymnasium.error import Error

    if isinstance(error, ValueError) and str(error).startswith(f"{id}: "):
        return f"env.kwargs: {error}"  # one of ours, which name themselves
    if isinstance(error, TypeError) and any(words in str(error) for words in _SIGNATURE):
        return f"env.kwargs of {id}: {error}"
    if isinstance(error, Error) and not options:
        return f"env.id {id!r}: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {_first_line(error)}".removesuffix(": ")
    given = f"env.kwargs {dict(options)} of {id}" if options else f"env.id {id!r}"
    return f"{given}: it cannot be made: {what} ({place.filename}, line {place.lineno})"


_SIGNATURE = ("unexpected keyword", "takes no arguments", "required positional argument")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _blamed(options: Mapping[str, Any], message: str) -> tuple[str | int, ...]:
    """Return the setting that a message is about: the one option in it, or all of them."""
    named = [name for name in options if re.search(rf"\b{re.escape(str(name))}\b", message)]
    if len(named) == 1:
        return ("env", "kwargs", named[0])
    return ("env", "kwargs") if options else ("env", "id")
