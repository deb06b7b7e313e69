"""Engines advance fluid and ray through one control interval; all do the same arithmetic.

``reference`` (NumPy, float64 matrices, slow) is the readable twin; ``numba`` is for the CPU;
``torch`` is the reference on tensors of any device; ``triton`` is for NVIDIA GPUs. The caller
names one: none is ever taken in another's place.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from envs.finray.chain import Chain
from envs.finray.fluid import Fluid

BACKENDS = ("numba", "reference", "torch", "triton")
HARD_MACH_LIMIT = 0.4
"""Largest speed, cells per step, beyond which the lattice is no model of a fluid: runs stop."""


@dataclass(slots=True)
class Interval:
    """What a control interval gave, arrays with a leading axis ``[n]``, lattice units.

    Attributes:
        f: Populations after it, ``[n, 9, ny, nx]`` (may be the array passed in).
        theta: Angles ``[n, links]``.
        omega: Rates ``[n, links]``.
        a: Actuation at its end ``[n, actions]``.
        steps: Steps done; fewer than asked for where the run diverged.
        force_x: Mean force of the ray on the fluid along x.
        force_y: The same along y.
        power: Mean power of the actuation.
        power_positive: Mean of its positive part.
        fluid_power: Mean power given to the fluid.
        moment: Mean bending moment at the base.
        max_speed: Largest speed met in the fluid.
        tip: Largest distance of the tip from the axis, cells.
        diverged: Whether the speed passed the hard limit or stopped being a number.
    """

    f: Any
    theta: np.ndarray
    omega: np.ndarray
    a: np.ndarray
    steps: np.ndarray
    force_x: np.ndarray
    force_y: np.ndarray
    power: np.ndarray
    power_positive: np.ndarray
    fluid_power: np.ndarray
    moment: np.ndarray
    max_speed: np.ndarray
    tip: np.ndarray
    diverged: np.ndarray


SUMS = ("force_x", "force_y", "power", "power_positive", "fluid_power", "moment")
"""Names of the means in :class:`Interval`, in the order in which engines sum them up."""


class Engine(Protocol):
    """Advances ``n`` rays, each in its own domain."""

    def uniform(self, n: int) -> Any:
        """Return the populations of an undisturbed stream, ``[n, 9, ny, nx]``."""

    def advance(
        self,
        f: Any,
        theta: np.ndarray,
        omega: np.ndarray,
        a0: np.ndarray,
        a1: np.ndarray,
        steps: int,
    ) -> Interval:
        """Advance by ``steps`` steps while the actuation goes linearly from ``a0`` to ``a1``.

        Args:
            f: Populations ``[n, 9, ny, nx]``; may be written to.
            theta: Angles ``[n, links]``.
            omega: Rates ``[n, links]``.
            a0: Actuation at the beginning ``[n, actions]``.
            a1: Actuation at the end.
            steps: How many steps.
        """

    def repeat(self, f: np.ndarray, n: int) -> Any:
        """Return ``n`` copies of one row of populations, where this engine keeps them."""

    def sample(self, f: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the populations of some cells, ``[n, 9, cells]``."""


def make_engine(
    backend: str,
    fluid: Fluid,
    chain: Chain,
    dtype: str = "float64",
    device: str = "cpu",
    **options: Any,
) -> Engine:
    """Return the engine of that name.

    Raises:
        ImportError: A package that it needs is missing; the message says which.
        ValueError: The device is not there.
    """
    module, name, needs = {
        "numba": ("envs.finray.numba_engine", "NumbaEngine", "numba: pip install 'rlcore[fast]'"),
        "reference": ("envs.finray.reference", "ReferenceEngine", "numpy"),
        "torch": ("envs.finray.torch_engine", "TorchEngine", "torch"),
        "triton": ("envs.finray.triton_engine", "TritonEngine", "torch with triton"),
    }[backend]
    try:
        kind = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"backend {backend!r} needs {needs} ({error})") from error
    engine: Engine = kind(fluid, chain, dtype, device, **options)
    return engine
