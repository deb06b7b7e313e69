"""``subtasks/f110-turn-v0``: the agent's view of the racing car."""

from __future__ import annotations

import numpy as np

from envs.core import ModelEnv, ModelVectorEnv, State, check_choice, check_integer
from envs.subtasks.env import SubtaskModel, check_flag, task_source
from envs.subtasks.f110 import F110Game


class F110Turn(SubtaskModel):
    """Drive pieces of track; the only control is the steering, the only sense a LiDAR.

    Args:
        k: Pieces of track in a task.
        limit: Steps allowed on a piece.
        bonus: Added to the reward of the step that crosses a goal line.
        task: ``uniform``, or a list of ``straight``, ``square-right``, ``square-left``,
            ``sharp-right``, ``sharp-left``.
        n_rays: Rays of the LiDAR.
        scaled: Divide its distances by its range of 5 m.
        reference_limits: Allow ``limit + 1`` steps, as the published code does.
        jump_obs: Give ``info["jump_obs"]``; five scans more for each finished piece.
        backend: ``numpy``, ``numba`` for compiled loops, or ``torch``.
        device: Of the torch backend, as ``cuda``. Arrays still go in and out; cars that stay on
            the device are :class:`envs.subtasks.torch_f110.TorchF110`.
    """

    id = "subtasks/f110-turn-v0"
    render_fps = 10

    def __init__(
        self,
        k: int = 25,
        limit: int = 50,
        bonus: float = 100.0,
        task: str | list[str] = "uniform",
        n_rays: int = 1081,
        scaled: bool = False,
        reference_limits: bool = False,
        jump_obs: bool = True,
        backend: str = "numpy",
        device: str = "cpu",
    ) -> None:
        n_rays = check_integer(self.id, "n_rays", n_rays, 3, 10_000)
        check_flag(self.id, "scaled", scaled)
        check_choice(self.id, "backend", backend, ["numpy", "numba", "torch"])
        game = F110Game(n_rays, scaled, backend, self._checked_device(device, backend))
        source = task_source(self.id, game, task)
        super().__init__(game, k, limit, bonus, source, False, reference_limits, jump_obs)

    def _checked_device(self, device: str, backend: str) -> str:
        if not isinstance(device, str) or not device:
            raise ValueError(f"{self.id}: device must be a torch device, got {device!r:.60}")
        if backend != "torch":
            if device != "cpu":
                raise ValueError(f"{self.id}: device {device!r:.60} needs backend torch")
            return device
        from envs.subtasks.torch_f110 import device_fault

        fault = device_fault(device)
        if fault is not None:
            raise ValueError(f"{self.id}: device {device!r:.60} cannot be used: {fault}")
        return device

    def render(self, state: State) -> np.ndarray:
        """Draw the track from above, the car, its path and its rays."""
        from envs.subtasks.pictures import f110_picture

        return f110_picture(self, state)


class F110TurnEnv(ModelEnv):
    """See :class:`F110Turn`."""

    model_type = F110Turn


class F110TurnVectorEnv(ModelVectorEnv):
    """See :class:`F110Turn`."""

    model_type = F110Turn
