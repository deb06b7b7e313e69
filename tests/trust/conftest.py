"""Makes the toy parts of ``tests/runtime`` importable here and in the child processes of runs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
