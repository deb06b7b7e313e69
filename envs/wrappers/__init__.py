"""The wrappers that an experiment file may name: Gymnasium's, and three of our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium.wrappers

from envs.wrappers.action_repeat import ActionRepeat
from envs.wrappers.cost import Cost, cost
from envs.wrappers.lag import Lag, lag
from rlcore.errors import ConfigError, RlcoreError

__all__ = ["WRAPPER_TYPES", "ActionRepeat", "Cost", "Lag", "build_wrapper", "cost", "lag"]

_GYMNASIUM = {
    "clip_reward": "ClipReward",
    "delay_observation": "DelayObservation",
    "flatten_observation": "FlattenObservation",
    "frame_stack": "FrameStackObservation",
    "grayscale": "GrayscaleObservation",
    "max_and_skip": "MaxAndSkipObservation",
    "rescale_action": "RescaleAction",
    "rescale_observation": "RescaleObservation",
    "reshape_observation": "ReshapeObservation",
    "resize": "ResizeObservation",
    "sticky_action": "StickyAction",
    "time_aware": "TimeAwareObservation",
    "time_limit": "TimeLimit",
}
_OURS: dict[str, Callable[..., Any]] = {"action_repeat": ActionRepeat, "cost": Cost, "lag": Lag}

WRAPPER_TYPES = tuple(sorted([*_GYMNASIUM, *_OURS]))
"""What ``type:`` of an entry under ``env.wrappers`` may be; the other keys are its arguments."""


def build_wrapper(entry: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return a function that wraps an environment as ``entry`` says.

    Raises:
        ConfigError: ``type`` is missing or unknown. Arguments that it does not take are an error
            when it is used.
    """
    kwargs = dict(entry)
    kind = kwargs.pop("type", None)
    if kind not in WRAPPER_TYPES:
        raise ConfigError(f"env.wrappers: unknown type {kind!r}; one of {', '.join(WRAPPER_TYPES)}")
    wrapper = _OURS.get(kind) or getattr(gymnasium.wrappers, _GYMNASIUM[kind])

    def wrap(env: Any) -> Any:
        try:
            return wrapper(env, **kwargs)
        except RlcoreError:
            raise
        except TypeError as error:
            raise ConfigError(f"env.wrappers: {kind} does not take {kwargs}: {error}") from error
        except ValueError as error:
            raise ConfigError(f"env.wrappers: {error}") from error
        except Exception as error:
            # Wrappers refuse their arguments in many ways; assertions without a word are one.
            what = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise ConfigError(
                f"env.wrappers: {kind} does not take {kwargs} here ({what})"
            ) from error

    return wrap
