"""Material that the tests of the reasoning tasks share."""

import gzip
import json

import pytest


@pytest.fixture(scope="session")
def d1_folder(repo_root):
    """The folder of published completions and test items."""
    return repo_root / "tests" / "data" / "d1"


@pytest.fixture(scope="session")
def generations(d1_folder):
    """Read one file of published completions."""

    def read(name):
        with gzip.open(d1_folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]

    return read
