"""Argument checks of the return estimators, made before anything is computed."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from rlcore.errors import ConfigError, LearnerError, NonFiniteError


def check_number(name: str, value: object) -> None:
    """Raise ``TypeError`` unless ``value`` is a number; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_steps(name: str, value: object) -> None:
    """Raise unless ``value`` is a whole number from 1 on or ``None``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number or None, got {value!r}")
    if value < 1:
        raise ConfigError(f"{name} must be >= 1 or None, got {value}")


def check_unit_interval(name: str, value: float) -> None:
    """Raise ``ConfigError`` unless ``0 <= value <= 1`` (NaN is refused)."""
    check_number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} must be in [0, 1], got {value}")


def check_truncation(rho_bar: float, c_bar: float, rho_pg_bar: float) -> None:
    """Raise ``ConfigError`` unless the truncation levels make V-trace a contraction.

    ``rho_bar >= c_bar`` is the assumption of theorem 1 of Espeholt et al. (2018).
    """
    for name, value in (("rho_bar", rho_bar), ("c_bar", c_bar), ("rho_pg_bar", rho_pg_bar)):
        check_number(name, value)
        if math.isnan(value) or value < 0.0:
            raise ConfigError(f"{name} must be >= 0, got {value}")
    if rho_bar < c_bar:
        raise ConfigError(f"rho_bar must be >= c_bar, got rho_bar={rho_bar} and c_bar={c_bar}")


def check_arrays(floats: dict[str, Tensor], flags: dict[str, Tensor]) -> None:
    """Raise ``LearnerError`` unless all arrays are ``[T, B]`` alike, of the right dtypes.

    What is no tensor at all is a ``TypeError``.
    """
    for other, tensor in (*floats.items(), *flags.items()):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{other} must be a torch.Tensor, got {type(tensor).__name__}")
    name, like = next(iter(floats.items()))
    if like.dim() != 2 or like.shape[0] < 1:
        raise LearnerError(f"{name} must be [T, B] with T >= 1, got shape {tuple(like.shape)}")
    for other, tensor in (*floats.items(), *flags.items()):
        if tensor.shape != like.shape:
            raise LearnerError(
                f"{other} must have the shape of {name}, {tuple(like.shape)}, "
                f"got {tuple(tensor.shape)}"
            )
        if tensor.device != like.device:
            raise LearnerError(f"{other} must be on {like.device}, got {tensor.device}")
    for other, tensor in floats.items():
        if tensor.dtype != like.dtype or not tensor.dtype.is_floating_point:
            raise LearnerError(
                f"{other} must be floating point of the dtype of {name}, {like.dtype}, "
                f"got {tensor.dtype}"
            )
    for other, tensor in flags.items():
        if tensor.dtype != torch.bool:
            raise LearnerError(f"{other} must be bool, got {tensor.dtype}")


def check_log_rhos(log_rhos: Tensor) -> None:
    """Raise ``NonFiniteError`` for NaN or +inf; -inf is a masked row (weight zero).

    One pass over memory on the CPU. On other devices the check would wait for the device, so it is
    left out there: NaN runs through to the loss, where the learner's non-finite policy counts it.
    """
    if log_rhos.device.type != "cpu" or log_rhos.numel() == 0:
        return
    worst = float(log_rhos.detach().max())  # max() propagates NaN
    if not worst < math.inf:
        bad = ~(log_rhos.detach() < math.inf)
        t, b = (int(i) for i in bad.nonzero()[0])
        raise NonFiniteError(
            f"log_rhos[{t}, {b}] is {float(log_rhos[t, b])}; wanted a finite number, "
            "or -inf for a masked row"
        )
