"""From the ``env`` section of an experiment to environments."""

from __future__ import annotations

import contextlib
import importlib
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envs.presets import PRESETS, register_atari
from envs.wrappers import build_wrapper
from rlcore.errors import ConfigError, MissingDependencyError

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
        ConfigError: The id, the preset or an option is unknown.
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
            with _translated(id):
                return build.native(num_envs)
        if vectorization == "native":
            raise ConfigError(
                f"{id} has no vector form in preset {preset}; set env.vectorization: sync or auto"
            )
        return _list_of(id, num_envs, lambda: build.plain(render_mode), wrap)
    spec = _find(id)
    if native and spec.vector_entry_point is not None and not spec.additional_wrappers:
        return _make_native(id, num_envs, options)
    if vectorization == "native":
        raise ConfigError(f"{id} has no vector form; set env.vectorization: sync or auto")
    return _make_list(id, num_envs, options, wrap, render_mode)


def _native_allowed(vectorization: str, wrap: Sequence[Any], render_mode: str | None) -> bool:
    if vectorization == "native" and (wrap or render_mode):
        what = "env.wrappers" if wrap else f"render mode {render_mode}"
        raise ConfigError(f"env.vectorization: native cannot take {what}; set it to sync or auto")
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
        raise ConfigError(f"env.id is {id!r}: {error}") from error


def _make_native(id: str, num_envs: int, options: Mapping[str, Any]) -> Any:
    import gymnasium

    with _translated(id):
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

    return _list_of(id, num_envs, plain, wrap)


def _list_of(
    id: str, num_envs: int, plain: Callable[[], Any], wrap: Sequence[Callable[[Any], Any]]
) -> list[Any]:
    made = []
    for _ in range(num_envs):
        with _translated(id):
            env = plain()
        for wrapper in wrap:
            env = wrapper(env)
        made.append(env)
    return made


def _preset(id: str, preset: str, options: Mapping[str, Any], evaluation: bool) -> Any:
    if preset not in PRESETS:
        raise ConfigError(f"env.preset is {preset!r}; one of {', '.join(PRESETS)}")
    return PRESETS[preset](_find(id), options, evaluation=evaluation)


@contextlib.contextmanager
def _translated(id: str) -> Iterator[None]:
    """Turn what Gymnasium raises while making an environment into the project's errors."""
    from gymnasium.error import DependencyNotInstalled, Error

    try:
        yield
    except DependencyNotInstalled as error:
        raise MissingDependencyError(f"{id} needs a package: {error}") from error
    except TypeError as error:
        if not any(words in str(error) for words in ("unexpected keyword", "takes no arguments")):
            raise
        raise ConfigError(f"env.kwargs of {id}: {error}") from error
    except ValueError as error:
        if not str(error).startswith(f"{id}: "):  # not one of ours, which name themselves
            raise
        raise ConfigError(f"env.kwargs: {error}") from error
    except Error as error:
        raise ConfigError(f"env.id {id!r}: {error}") from error
