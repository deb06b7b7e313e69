"""What the pages on branches and on policy losses say is what the code does."""

from __future__ import annotations

import re
import typing

import torch

from experiments.bench.interval_attention_gpu import count_section
from rlcore.inference.parallel import MULTIVERSE, NPR, parser
from rlcore.ops.policy_loss import PRESETS


def example(page) -> dict[str, typing.Any]:
    """Run the page's example and return its names."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, typing.Any] = {}
    exec(compile(code, str(page), "exec"), names)
    return names


def rows(page, first: str) -> dict[str, list[str]]:
    """Return the table whose header's first cell is ``first``, by the first cell of each row."""
    lines = page.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_example_of_branches(repo_root) -> None:
    names = example(repo_root / "docs/concepts/parallel.md")
    step = [i for i, token in enumerate(names["tokens"]) if token == names["ids"]["<step>"]]
    positions = names["positions"]
    assert positions[step[0]] == positions[step[1]]
    assert not names["mask"].dense()[0, 0, step[1], step[0]]
    assert int(positions[-1]) + 1 < len(names["tokens"])


def test_the_tables_of_branches(repo_root) -> None:
    page = repo_root / "docs/concepts/parallel.md"
    kinds = set(re.findall(r"``(\w+)``", (parser.parse.__doc__ or "").split("Args:")[0]))
    assert set(rows(page, "kind")) == kinds - {"SchemaError"}
    text = page.read_text()
    for tag in (*MULTIVERSE.tags, *NPR.tags):
        assert f"`{tag}`" in text or tag in MULTIVERSE.others
    counts = count_section()
    lines = [line for line in text.splitlines() if re.match(r"\| [\d,]+ \| \d \|", line)]
    assert len(lines) == 6
    for line in lines:
        tokens, branches, causal, tiles, tested, share, pairs = (
            cell.strip().replace(",", "") for cell in line.strip("|").split("|")
        )
        found = counts[f"{tokens} tokens, {branches} branches"]
        assert (int(causal), int(tiles), int(tested)) == (
            found["causal"], found["tiles"], found["tested"],
        )  # fmt: skip
        assert abs(float(share) - found["share"]) < 6e-4
        assert abs(float(pairs) - found["pairs"]) < 6e-4


def test_the_page_of_losses(repo_root) -> None:
    page = repo_root / "docs/papers/policy-losses.md"
    names = example(page)
    assert torch.isfinite(names["loss"])
    text = page.read_text()
    settings = re.findall(r"^\| `(\w+)` \| ([^|/]+) / ([^|]+) \| ([^|]+) \| ([^|]+) \|", text, re.M)
    assert {name for name, *_ in settings} == set(PRESETS)
    words = {"the other answers": "loo"}
    for name, mean, std, ratio, clip in settings:
        preset = PRESETS[name]
        assert words.get(mean, mean) == preset.mean
        assert std.strip("* ") == preset.std
        assert ratio.startswith(preset.ratio)
        if preset.clip is None:
            assert clip == "never"
        else:
            numbers = [float(x) for x in re.findall(r"[\d.]+(?:e-\d)?", clip)]
            bounds = [preset.clip.low, preset.clip.high, preset.clip.dual]
            assert numbers == [x for x in bounds if x is not None]
