"""The cells that a ray can reach: where a GPU keeps its forces."""

from __future__ import annotations

import numpy as np

from envs.finray.chain import Chain
from envs.finray.fluid import Fluid


def patch_box(fluid: Fluid, chain: Chain) -> tuple[int, int, int, int]:
    """Return the first column, first row, width and height of the cells that the ray can reach.

    Raises:
        ValueError: The ray could reach across the side of the domain.
    """
    reach = int(np.ceil(chain.length)) + 3
    left, low = int(chain.base[0]) - reach, int(chain.base[1]) - reach
    width, height = 2 * reach + 1, 2 * reach + 1
    left, right = max(left, 1), min(left + width, fluid.nx - 1)
    if low < 0 or low + height > fluid.ny:
        raise ValueError(
            f"backend triton: a ray of {chain.length:.0f} cells reaches across the sides of "
            f"{fluid.ny} rows; make the domain higher"
        )
    return left, low, right - left, height
