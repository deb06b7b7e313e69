"""The structure verifier: the grammar of both schemas, labels, isolation."""

import pytest

from envs.reasoning.structure import MULTIVERSE, NPR, Block, parse, verify, write

GOOD = (
    "So:<Parallel><Goal><Outline>1: 3+4</Outline><Outline>2: 5*6</Outline></Goal>"
    "<Path>1: 3+4=7</Path><Path>2: 5*6=30</Path><Conclusion>7+30=37</Conclusion></Parallel>end"
)
STEP = (
    "<guideline><plan>1: 3+4</plan><plan>2: 5*6</plan></guideline>"
    "<step>1: 3+4=7</step><step>2: 5*6=30</step><takeaway>37</takeaway>"
)


def test_good_texts():
    report = verify(MULTIVERSE, GOOD)
    assert (report.ok, report.blocks, report.branches, report.depth) == (True, 1, 2, 1)
    report = verify(NPR, STEP + "and" + STEP + "\\boxed{37}")
    assert (report.ok, report.blocks, report.branches, report.depth) == (True, 2, 4, 1)
    spaced = GOOD.replace("><", ">\n <")
    assert verify(MULTIVERSE, spaced).ok


def test_parsing_and_writing_are_inverse():
    before, block, after = parse(MULTIVERSE, GOOD)
    assert (before, after) == ("So:", "end")
    assert block.plans == [("1", "3+4"), ("2", "5*6")]
    assert block.branches == [("1", ["3+4=7"]), ("2", ["5*6=30"])]
    assert block.join == "7+30=37"
    assert before + write(MULTIVERSE, block) + after == GOOD
    inner = Block([("1.1", "a")], [("1.1", ["b"])], "c")
    outer = Block([("1", "x")], [("1", ["y", inner, "z"])], "j")
    assert parse(MULTIVERSE, write(MULTIVERSE, outer)) == [outer]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("<Goal>", "", "wanted <Goal>"),
        ("</Goal>", "", "wanted </Goal>"),
        ("<Conclusion>7+30=37</Conclusion>", "", "wanted <Conclusion>"),
        ("</Parallel>", "", "loose text before </Parallel>"),
        ("<Parallel>", "", "<Goal> where no block is open"),
        ("<Outline>2: 5*6</Outline>", "", "1 plans but 2 branches"),
        ("<Path>2: 5*6=30</Path>", "", "2 plans but 1 branches"),
        ("<Path>2:", "<Path>3:", "wanted label 2:"),
        ("<Path>2:", "<Path>", "wanted label 2:"),
        ("<Outline>1:", "<Outline>1.1:", "wanted label 1:"),
        ("</Path><Path>", "</Path> next <Path>", "wanted <Conclusion>|loose text"),
        ("</Goal><Path>", "</Goal>go<Path>", "loose text"),
        ("<Path>2: 5*6=30</Path>", "<Path>2: 5*6=30", "</Path>"),
        ("end", "</Path>", "where no block is open"),
        ("3+4=7", "<Goal>3+4=7", "</Path>"),
        ("7+30=37", "<Path>7", "<Conclusion> holds <Path>"),
        ("<Outline>1: 3+4</Outline><Outline>2: 5*6</Outline>", "", "wanted label|0 plans"),
    ],
)
def test_broken_grammar_is_told(old, new, error):
    assert old in GOOD
    report = verify(MULTIVERSE, GOOD.replace(old, new, 1))
    assert not report.ok
    assert len(report.errors) == 1
    assert any(part in report.errors[0] for part in error.split("|")), report.errors


def test_no_block_is_no_structure():
    assert verify(MULTIVERSE, "just text").errors == ("no block",)
    assert verify(MULTIVERSE, "").errors == ("no block",)
    assert verify(NPR, GOOD).errors == ("no block",)


def nested(depth, prefix=""):
    label = f"{prefix}1"
    body = nested(depth - 1, label + ".") if depth > 1 else "x"
    return (
        f"<Parallel><Goal><Outline>{label}: x</Outline></Goal><Path>{label}: {body}</Path>"
        "<Conclusion>x</Conclusion></Parallel>"
    )


def test_depth_is_limited():
    assert verify(MULTIVERSE, nested(4)).depth == 4
    assert "nested deeper than 4" in verify(MULTIVERSE, nested(5)).errors[0]
    assert not verify(MULTIVERSE, "<Parallel>" * 5000).ok
    inside = STEP.replace("3+4=7", STEP)
    assert "nested deeper than 1" in verify(NPR, inside).errors[0]


def test_branches_are_limited():
    def wide(n):
        plans = "".join(f"<plan>{k}: x</plan>" for k in range(1, n + 1))
        steps = "".join(f"<step>{k}: x</step>" for k in range(1, n + 1))
        return f"<guideline>{plans}</guideline>{steps}<takeaway>y</takeaway>"

    assert verify(NPR, wide(6)).ok
    assert "7 plans" in verify(NPR, wide(7)).errors[0]
    assert "0 plans" in verify(NPR, wide(0)).errors[0]


def test_a_branch_that_quotes_its_sibling_leaks():
    leaky = GOOD.replace("5*6=30", "5*6=30;30+7=37")
    report = verify(MULTIVERSE, leaky)
    assert report.leaks == (("2", 7),)
    assert report.errors == ("branch 2 quotes 7 of a sibling",)
    assert not report.ok
    forward = GOOD.replace("3+4=7", "3+30=33")
    assert verify(MULTIVERSE, forward).leaks == (("1", 30),)


def test_numbers_of_its_own_are_no_leak():
    own = GOOD.replace("2: 5*6", "2: 5*6-7").replace("5*6=30", "5*6=30;30-7=23")
    assert verify(MULTIVERSE, own).ok  # 7 stands in its own plan
    made = GOOD.replace("5*6=30", "1+6=7;7*5=35")
    assert verify(MULTIVERSE, made).ok  # it made 7 itself, before it used it
    late = GOOD.replace("5*6=30", "7*5=35;1+6=7")
    assert verify(MULTIVERSE, late).leaks == (("2", 7),)


def test_leaks_are_found_in_nested_blocks():
    inner = GOOD[3:-3].replace("1: ", "1.1: ").replace("2: ", "1.2: ").replace("5*6=30", "7*6=42")
    outer = (
        f"<Parallel><Goal><Outline>1: 3+4 5*6</Outline></Goal><Path>1: {inner}</Path>"
        "<Conclusion>x</Conclusion></Parallel>"
    )
    assert verify(MULTIVERSE, outer).leaks == (("1.2", 7),)
