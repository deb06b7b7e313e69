"""What the generation engine refuses, by name."""

from __future__ import annotations

from rlcore.errors import ConfigError, RlcoreError


class EngineError(RlcoreError):
    """The engine was asked for something that its state does not allow."""


class BlockPoolError(EngineError):
    """A block was released more often than it was held, or is not of this pool."""


class OutOfBlocksError(EngineError):
    """More blocks were asked for than are free; the scheduler never lets this reach a user."""


class RequestError(ConfigError):
    """A request is malformed: no prompt, ids outside the vocabulary, a budget below one..."""


class RequestTooLargeError(RequestError):
    """A request cannot fit into the pool, or into a row, even alone; raised when submitted."""


class BranchError(EngineError):
    """A branch is in a state in which it cannot be forked, joined, extended or dropped."""


class BudgetError(BranchError):
    """Forced tokens would exceed the budget of the request."""


class WeightUpdateError(EngineError):
    """New weights do not fit the module, or their version is not newer."""
