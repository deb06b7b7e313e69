"""Presets: environment families with the preprocessing that the literature uses.

``atari`` follows Mnih et al. 2015 and Machado et al. 2018: one decision every 4 frames, the
maximum of the last two frames, grayscale, resized to 84x84 by area averaging, 4 frames stacked,
fewer than 30 no-ops at the start, raw rewards. Its two forms, the emulator's own vector environment
and Gymnasium's wrappers, give the same frames for the same actions; the number of no-ops at the
start comes from different generators, so that episodes of equal seeds differ.

``classic`` and ``mujoco`` are in :mod:`envs.control_presets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from envs.control_presets import ClassicPreset, MujocoPreset
from envs.preset_options import check_chance, check_flag, check_whole
from rlcore.errors import ConfigError, MissingDependencyError


def register_atari() -> None:
    """Register the Atari environments with Gymnasium, without the emulator's banner.

    Raises:
        MissingDependencyError: ``ale-py`` is not installed.
    """
    try:
        import ale_py
    except ImportError as error:
        raise MissingDependencyError(
            "Atari environments need ale-py and OpenCV; install the extra: pip install "
            '"rlcore[atari]"'
        ) from error
    import gymnasium

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    if "ALE/Pong-v5" not in gymnasium.registry:
        gymnasium.register_envs(ale_py)


@dataclass(frozen=True, kw_only=True, slots=True)
class AtariOptions:
    """Options of the ``atari`` preset: the keys of ``env.kwargs``.

    Attributes:
        frame_skip: Frames an action is held for.
        repeat_action_probability: Chance that the emulator repeats the last action instead
            ("sticky actions"); none takes what the id is registered with (0.25 for ``-v5``).
        noop_max: Frames without action at the start of an episode are drawn from 0 to
            ``noop_max - 1``, FIRE among them.
        stack: Frames in an observation.
        size: Height and width of a frame.
        terminal_on_life_loss: End the episode, and start a new game, when a life is lost. Never
            in evaluation.
        fire_reset: Press FIRE at the start of an episode in games that have it.
        full_action_space: Offer all 18 actions instead of those that the game uses.
        max_frames: Frames after which an episode is truncated (30 minutes of play).
        num_threads: Threads of the vector form.
    """

    frame_skip: int = 4
    repeat_action_probability: float | None = None
    noop_max: int = 30
    stack: int = 4
    size: int = 84
    terminal_on_life_loss: bool = False
    fire_reset: bool = False
    full_action_space: bool = False
    max_frames: int = 108_000
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name, high in _LARGEST.items():
            check_whole(name, getattr(self, name), high)
        for name in ("terminal_on_life_loss", "fire_reset", "full_action_space"):
            check_flag(name, getattr(self, name))
        if self.repeat_action_probability is not None:
            check_chance("repeat_action_probability", self.repeat_action_probability)


_LARGEST = {
    "frame_skip": 1000,
    "noop_max": 100_000,
    "stack": 256,
    "size": 1024,
    "max_frames": 2**31 - 1,
    "num_threads": 1024,
}


class AtariPreset:
    """Atari: skip 4, maximum of 2 frames, 84 x 84 grey, stack of 4, up to 29 no-ops at the start.

    Args:
        spec: Gymnasium's entry of the environment.
        options: The keys of :class:`AtariOptions`.
        evaluation: Play whole games.
    """

    def __init__(self, spec: Any, options: Mapping[str, Any], *, evaluation: bool = False) -> None:
        known = [field.name for field in fields(AtariOptions)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ConfigError(
                f"env.kwargs: preset atari has no option {', '.join(unknown)}; "
                f"it has {', '.join(known)}",
                setting=("env", "kwargs", unknown[0]),
            )
        self.spec = spec
        self.options = AtariOptions(**options)
        self.game = spec.kwargs.get("game") or _snake_case(spec.id)
        self.life_ends = self.options.terminal_on_life_loss and not evaluation
        sticky = self.options.repeat_action_probability
        registered = float(spec.kwargs.get("repeat_action_probability", 0.25))
        self.sticky = registered if sticky is None else sticky

    has_native = True

    def native(self, num_envs: int) -> Any:
        """Return the emulator's vector environment (``NEXT_STEP`` autoreset)."""
        from envs.atari import AtariVector

        options = self.options
        return AtariVector(
            self.game,
            num_envs,
            num_threads=min(options.num_threads, num_envs),
            max_num_frames_per_episode=options.max_frames,
            repeat_action_probability=self.sticky,
            full_action_space=options.full_action_space,
            img_height=options.size,
            img_width=options.size,
            stack_num=options.stack,
            frameskip=options.frame_skip,
            noop_max=options.noop_max,
            episodic_life=self.life_ends,
            reward_clipping=False,
            use_fire_reset=options.fire_reset,
        )

    def plain(self, render_mode: str | None = None) -> Any:
        """Return one environment in Gymnasium's wrappers."""
        import gymnasium
        from gymnasium.wrappers import FrameStackObservation

        from envs.atari import AtariFrames

        options = self.options
        env = gymnasium.make(
            self.spec.id,
            disable_env_checker=True,
            render_mode=render_mode,
            frameskip=1,
            repeat_action_probability=self.sticky,
            full_action_space=options.full_action_space,
            max_num_frames_per_episode=options.max_frames,
        )
        env = AtariFrames(
            env,
            noop_max=options.noop_max,
            frame_skip=options.frame_skip,
            screen_size=options.size,
            terminal_on_life_loss=self.life_ends,
            fire_reset=options.fire_reset,
        )
        env = FrameStackObservation(env, options.stack, padding_type="zero")
        env.metadata = {**env.metadata, "frames_per_step": options.frame_skip}
        return env


PRESETS: dict[str, Callable[..., Any]] = {
    "atari": AtariPreset,
    "classic": ClassicPreset,
    "mujoco": MujocoPreset,
}
"""What ``env.preset`` may be."""


def _snake_case(id: str) -> str:
    """Return the ROM name of an id that names none: ``ALE/MsPacman-v5`` is ``ms_pacman``."""
    name = re.sub(r"^(ALE/)?(.*?)(NoFrameskip|Deterministic)?-v\d+$", r"\2", id)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
