"""Reasoning tasks are plain programs: numpy is all they need."""

import subprocess
import sys

SCRIPT = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("gymnasium", "torch"):
            raise ModuleNotFoundError(name)


import importlib.util as util

found = util.find_spec
util.find_spec = lambda name, package=None: None if name == "gymnasium" else found(name, package)
sys.meta_path.insert(0, Absent())

import numpy as np

from envs.reasoning import ChainSumTask, SudokuTask
from envs.reasoning.chain_sum_batch import chain_sums
from envs.reasoning.sudoku_rules import symmetric_grids, valid

rng = np.random.default_rng(0)
task = ChainSumTask()
item = task.sample(rng)
assert task.reward(item, task.serial(item)).total == 1.0
assert valid(symmetric_grids(rng, 3), 3).all()
assert SudokuTask(4, backend="python").sample(rng).answer
chain_sums(rng, 4)
print("fine")
"""


def test_tasks_work_without_gymnasium(repo_root):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "fine\n", done.stderr
