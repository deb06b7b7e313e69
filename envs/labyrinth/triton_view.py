"""The raycaster on a GPU, for ``backend="triton"``."""

from __future__ import annotations

import os
from typing import Any

import torch

from envs.labyrinth.arrays import TorchArrays
from envs.labyrinth.textures import Paint
from envs.labyrinth.units import OBJECTS, SIZE, RayTables

try:
    from envs.labyrinth.triton_kernels import cast_kernel, pixel_kernel
except ImportError as error:
    raise ImportError(f"backend='triton' needs triton: {error}; or take 'torch'") from error


class TritonView:
    """Draws what players see; the GPU twin of :class:`envs.labyrinth.view.View`.

    Args:
        id: Gymnasium id, for messages.
        there: Torch on a CUDA device; the processor serves under Triton's interpreter only
            (``TRITON_INTERPRET=1``).
        rays: Constants of the camera.
        paint: Textures and colours.
        block: Pixels that a program paints.
        warps: Warps of such a program.

    Raises:
        ValueError: The device is not a CUDA device.
    """

    def __init__(
        self,
        id: str,
        there: TorchArrays,
        rays: RayTables,
        paint: Paint,
        block: int = 1024,
        warps: int = 8,
    ) -> None:
        if there.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(f"{id}: backend triton needs device cuda, got {str(there.device)!r}")
        self._block, self._warps, self._device = block, warps, there.device
        names = ("forward", "camera", "ray_x", "ray_y", "cross_x", "cross_y")
        self._rays = [there.array(getattr(rays, name), "int32").contiguous() for name in names]
        self._floor_depth = there.array(rays.floor_depth, "int32")
        texels = [there.array(part, "uint8") for part in (paint.walls, paint.things, paint.floor)]
        inks = (paint.colours, paint.sky, paint.floor_light)
        self._paint = [*texels, *(there.array(part, "int32") for part in inks)]

    def draw(self, blocks: Any, x: Any, y: Any, heading: Any) -> Any:
        """Return pictures, a uint8 tensor ``[n, 84, 84, 3]``.

        At most 65,535 players are drawn in one launch; more take several.
        """
        pictures = torch.empty((len(x), SIZE, SIZE, 3), dtype=torch.uint8, device=self._device)
        most = 65_535
        for low in range(0, len(x), most):
            part = slice(low, low + most)
            self._launch(blocks[part], x[part], y[part], heading[part], pictures[part])
        return pictures

    def _launch(self, blocks: Any, x: Any, y: Any, heading: Any, pictures: Any) -> None:
        n = len(x)
        rays = n * SIZE
        columns = torch.empty((2, rays), dtype=torch.int32, device=self._device)
        things = torch.empty((2 * OBJECTS, rays), dtype=torch.int32, device=self._device)
        forward, camera, *lines = self._rays
        players = x.contiguous(), y.contiguous(), heading.contiguous()
        cast_kernel[(-(-rays // 128),)](
            blocks.contiguous(), *players, forward, camera, *lines, columns, things, rays,
            BLOCK=128, num_warps=4,
        )  # fmt: skip
        pixel_kernel[(-(-SIZE * SIZE // self._block), n)](
            *players, *lines[:2], self._floor_depth, *self._paint, columns, things, pictures,
            rays, BLOCK=self._block, num_warps=self._warps,
        )  # fmt: skip
