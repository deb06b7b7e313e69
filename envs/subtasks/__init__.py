"""Compositional subtasks, and the zero-sum game of who picks the next one."""

from envs.subtasks.adversary import AdversaryEnv, AdversaryVectorEnv
from envs.subtasks.env import SubtaskEnv, SubtaskVectorEnv
from envs.subtasks.f110 import F110Game, f110_game
from envs.subtasks.game import Subtask, SubtaskGame
from envs.subtasks.grid_rooms import GridRoomsGame
from envs.subtasks.parallel import parallel_env
from envs.subtasks.rooms import RoomsGame, rooms_game
from envs.subtasks.sources import (
    ChosenTasks,
    Exits,
    FixedTask,
    TaskSource,
    UniformTasks,
    ValueAdversary,
)

__all__ = [
    "AdversaryEnv",
    "AdversaryVectorEnv",
    "ChosenTasks",
    "Exits",
    "F110Game",
    "FixedTask",
    "GridRoomsGame",
    "RoomsGame",
    "Subtask",
    "SubtaskEnv",
    "SubtaskGame",
    "SubtaskVectorEnv",
    "TaskSource",
    "UniformTasks",
    "ValueAdversary",
    "f110_game",
    "parallel_env",
    "rooms_game",
]
