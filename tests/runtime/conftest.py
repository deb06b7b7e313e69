"""Makes the toy parts importable here and in the child processes of toy runs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
