"""The wrappers that an experiment file may name, each from Gymnasium."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlcore.errors import ConfigError

_BY_TYPE = {
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

WRAPPER_TYPES = tuple(_BY_TYPE)
"""What ``type:`` of an entry under ``env.wrappers`` may be; the other keys are its arguments."""


def build_wrapper(entry: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return a function that wraps an environment as ``entry`` says.

    Raises:
        ConfigError: ``type`` is missing or unknown. Wrong arguments are reported when it is used.
    """
    import gymnasium.wrappers

    kwargs = dict(entry)
    kind = kwargs.pop("type", None)
    if kind not in _BY_TYPE:
        raise ConfigError(f"env.wrappers: unknown type {kind!r}; one of {', '.join(_BY_TYPE)}")
    wrapper = getattr(gymnasium.wrappers, _BY_TYPE[kind])

    def wrap(env: Any) -> Any:
        try:
            return wrapper(env, **kwargs)
        except TypeError as error:
            raise ConfigError(f"env.wrappers: {kind} does not take {kwargs}: {error}") from error

    return wrap
