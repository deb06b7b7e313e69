"""The errors rlcore raises: each names the value found, the value wanted and the place."""

from __future__ import annotations


class RlcoreError(Exception):
    """Base of every error that rlcore raises on purpose.

    Attributes:
        fatal: In an actor: the run ends, because a restarted actor would meet the same again.
    """

    fatal = False


class ConfigError(RlcoreError, ValueError):
    """A setting is wrong; raised before any process is started.

    Attributes:
        setting: Keys from the root of an experiment to the setting; empty where it is not known.
    """

    def __init__(self, message: str = "", *, setting: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.setting = setting


class MissingDependencyError(RlcoreError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class DataError(RlcoreError, ValueError):
    """A data set is missing, damaged, of another kind, or does not fit what reads it."""

    fatal = True


class EnvContractError(RlcoreError):
    """An environment broke the Gymnasium contract (shape, dtype, NaN, autoreset, seeding...)."""

    fatal = True


class CheckpointError(RlcoreError):
    """A checkpoint is missing, incomplete, corrupt or does not belong to this run."""


class ActorLostError(RlcoreError):
    """Actors died or hung more often than the restart budget allows."""


class RunFolderError(RlcoreError):
    """A run folder exists already, is missing, or is locked by another run."""


class RunFolderWriteError(RunFolderError):
    """A run folder cannot be written: the disk is full or read-only, a permission is missing."""


class LearnerError(RlcoreError):
    """The learner was given something it cannot train on (empty batch, no gradient, ...)."""


class NonFiniteError(LearnerError):
    """A loss, gradient, log-probability, observation or reward is NaN or infinite."""
