"""The pages of the environments: the table of all, the example that can be copied, the pictures."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.catalogue import FAMILIES, entries
from envs.catalogue_table import table


@pytest.fixture
def page(repo_root):
    return (repo_root / "docs/environments/index.md").read_text()


def test_the_table_is_that_of_the_catalogue(page):
    shown = [line for line in page.splitlines() if line.startswith("| ")]
    assert shown == [line for line in table() if line.startswith("| ")], (
        "docs/environments/index.md: paste what envs.catalogue_table.table() returns"
    )


def test_a_line_holds_cost_limit_and_returns():
    (line,) = [line for line in table() if "lorenz" in line]
    (entry,) = [entry for entry in entries() if "lorenz" in entry.id]
    means = [reference.mean for reference in entry.references]
    assert line.startswith("| [`dynamics/lorenz-v0`](dynamics.md) | us | 200 | ")
    assert [float(cell) for cell in line.split(" | ")[3:5]] == [
        pytest.approx(means[0], rel=1e-3), pytest.approx(max(means), rel=1e-3),
    ]  # fmt: skip
    assert len(table()) == 2 + len(entries())


def test_the_example_works(page):
    code = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
            if "Drift" in block]  # fmt: skip
    assert len(code) == 2
    try:
        exec("\n".join(code), names := {})
        env = gymnasium.make("mine/drift-v0", noise=0.0)
        check_env(env.unwrapped, skip_render_check=True)
        start = float(env.reset(seed=0)[0][0])
        obs, reward, *_ = env.step(np.array([1.0], np.float32))
        assert obs[0] == pytest.approx(start + 0.1)
        assert reward == pytest.approx(-((start + 0.1) ** 2), rel=1e-5)
        vector = gymnasium.make_vec("mine/drift-v0", 3, vectorization_mode="vector_entry_point")
        obs, _ = vector.reset(seed=[0, 1, 2])
        assert obs[0, 0] == pytest.approx(start)
        assert names["DriftVectorEnv"].model_type is names["Drift"]
    finally:
        gymnasium.registry.pop("mine/drift-v0", None)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "testing"])
def test_every_family_has_a_page_with_a_picture(repo_root, family):
    page = repo_root / f"docs/environments/{family}.md"
    text = page.read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    for picture in pictures:
        assert (page.parent / picture).resolve().is_file(), picture
    for entry in entries(family):
        assert entry.id in text or entry.id.partition("/")[2] in text, entry.id
