"""Validate each experiment file on its own. Usage: validate_configs.py FILE..."""

from __future__ import annotations

import sys

from experiments.validate import load_config
from rlcore.errors import ConfigError


def main(files: list[str]) -> int:
    """Print the problems of ``files`` and return 2 if there are any."""
    status = 0
    for file in files:
        try:
            load_config(file)
        except ConfigError as error:
            print(error)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
