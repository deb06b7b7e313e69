"""What every environment of this package shares: one batched model, two Gymnasium forms of it."""

from envs.core.arguments import check_choice, check_integer, check_number
from envs.core.entry import Entry, Reference
from envs.core.errors import InvalidActionError, ResetNeeded
from envs.core.model import Model, Outcome, State
from envs.core.scalar import ModelEnv
from envs.core.vector import ModelVectorEnv

__all__ = [
    "Entry",
    "InvalidActionError",
    "Model",
    "ModelEnv",
    "ModelVectorEnv",
    "Outcome",
    "Reference",
    "ResetNeeded",
    "State",
    "check_choice",
    "check_integer",
    "check_number",
]
