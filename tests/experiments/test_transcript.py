"""Transcripts: what is shown where, as structure, not as text search."""

from __future__ import annotations

import base64
import hashlib
import math
from html.parser import HTMLParser

import pytest

from experiments.transcript import Answer, Branch, Fork, Token, spell
from experiments.transcript_html import BANDS, SCRIPT, _ramp, render_transcript, write_transcript
from rlcore.data.tokenizers import ByteTokenizer

VOID = {"meta", "input", "br"}


class Element:
    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children, self.text = tag, dict(attributes), [], ""

    def find(self, wanted):
        """All elements below with a class or tag, in document order."""
        found = []
        for child in self.children:
            if wanted in (child.tag, *child.attributes.get("class", "").split()):
                found.append(child)
            found += child.find(wanted)
        return found

    def words(self):
        return self.text + "".join(child.words() for child in self.children)


class Tree(HTMLParser):
    """Builds the tree, and refuses a page whose tags do not nest."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.stack = [Element("", {})]
        self.feed(page)
        self.close()
        assert len(self.stack) == 1, [element.tag for element in self.stack]
        self.root = self.stack[0]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        element = Element(tag, attrs)
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_endtag(self, tag):
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data):
        self.stack[-1].text += data


def tokens(*log_probs):
    return [Token(n, f"w{n}", log_prob=lp) for n, lp in enumerate(log_probs)]


def page_of(body, **facts):
    return Tree(render_transcript([Answer([], body, facts)])).root


def test_each_band_of_probability_has_its_colour():
    lows = [low for low, _ in BANDS]
    inside = [math.log(low) + 1e-9 if low else -20.0 for low in lows]
    root = page_of(Branch(tokens(*inside, 0.0, -1e9)))
    shown = [t.attributes["class"] for t in root.find("text")[1].find("t")]
    assert shown == ["t", "t b1", "t b2", "t b3", "t b4", "t b5", "t", "t b5"]
    just_below = math.log(0.9) - 1e-6
    assert page_of(Branch(tokens(just_below))).find("b1")[1].words() == "w0", "legend, then token"


def test_the_pointer_shows_raw_and_drawn_log_probability_and_rank():
    others = (("\\xe2", -0.5), ("\n", -1.25))
    token = Token(7, "\n", log_prob=-1.25, drawn_log_prob=-0.5, alternatives=others, rank=2)
    tip = page_of(Branch([token])).find("text")[1].find("t")[0].attributes["data-tip"]
    assert tip.split("\n") == [
        r"id 7  '\u000a'",
        "p 0.2865  log p -1.2500",
        "drawn with log p -0.5000",
        "rank 2",
        r"  0.6065  '\xe2'",
        r"  0.2865  '\u000a'",
    ]
    beyond = Token(1, "z", log_prob=-9.0, alternatives=(("a", -0.5),))
    assert (
        "rank beyond 1"
        in page_of(Branch([beyond])).find("text")[1].find("t")[0].attributes["data-tip"]
    )


def test_forks_are_columns_with_a_join_and_may_nest():
    inner = Fork([Branch(tokens(-1), "1.1:"), Branch(tokens(-1, -1), "1.2:")], joined=False)
    outer = Fork(
        [Branch([*tokens(-1), inner], "1:", "closed"), Branch([], "2:", "length"), Branch([])]
    )
    body = page_of(Branch([*tokens(-1), outer, *tokens(-2)])).find("text")[1]
    kinds = [child.attributes["class"].split()[0] for child in body.children]
    assert kinds == ["t", "fork", "join", "t"]
    columns = body.children[1].children
    heads = [column.find("h3")[0].words() for column in columns]
    assert heads == ["1: · closed", "2: · length", "branch 3"]
    nested = columns[0].find("fork")[0]
    assert [len(column.find("t")) for column in nested.children] == [1, 2]
    assert columns[0].find("open")[0].words() == "not joined"
    assert not columns[0].find("join")


def test_forced_tokens_are_marked_and_have_no_colour_of_probability():
    token = Token(1, "<fork>", log_prob=-9.0, forced=True)
    shown = page_of(Branch([token])).find("text")[1].find("t")[0]
    assert shown.attributes["class"] == "t f"
    assert "written by a rule" in shown.attributes["data-tip"]


def test_diffusion_shows_the_step_of_each_token_and_a_slider_over_all():
    body = Branch([Token(n, "x", step=step) for n, step in enumerate((3, 0, 4, 4))])
    root = page_of(body, passes=5)
    shown = root.find("text")[1].find("t")
    assert [t.attributes["data-step"] for t in shown] == ["3", "0", "4", "4"]
    assert [t.attributes["style"] for t in shown] == [
        f"background:{_ramp(step / 4)}" for step in (3, 0, 4, 4)
    ]
    slider = root.find("input")[0].attributes
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "4", "4")
    assert root.find("output")[0].words() == "4 / 4"
    assert _ramp(0.0) != _ramp(0.5) != _ramp(1.0)
    assert _ramp(-1.0) == _ramp(0.0)
    assert not page_of(Branch(tokens(-1.0))).find("play")


def test_facts_and_counts_are_shown():
    root = page_of(Branch([]), seed=3, temperature=0.123456)
    assert [f.words() for f in root.find("facts")[0].children] == ["seed: 3", "temperature: 0.1235"]
    assert root.find("sub")[0].words() == "1 answer"


def test_the_page_needs_nothing_else_and_runs_only_its_own_script():
    root = page_of(Branch(tokens(-1)))
    policy = root.find("meta")[1].attributes["content"]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'"
    ]  # fmt: skip
    scripts = root.find("script")
    assert [script.text for script in scripts] == [SCRIPT]
    every = [root]
    for element in every:
        every += element.children
    assert not [e for e in every if {"src", "href", "srcset", "action"} & set(e.attributes)]


def test_spelled_tokens_hold_whole_characters_and_all_the_text():
    tokenizer = ByteTokenizer()
    ids = [*tokenizer.encode("aé"), tokenizer.specials.eos_id, 0xE8]
    spelled = spell(tokenizer, ids, [-1.0] * 5, None, [False] * 4 + [True])
    assert [t.text for t in spelled] == ["a", "", "é", "<eos>", "\ufffd"]
    assert [t.id for t in spelled] == ids
    assert [t.forced for t in spelled] == [False] * 4 + [True]
    assert [t.text for t in spell(None, [5, 6])] == ["5 ", "6 "]
    with pytest.raises(ValueError, match="zip"):
        spell(tokenizer, ids, [-1.0])


def test_what_cannot_be_seen_is_written_out():
    text = "a\u202eb\x00\x1b[31m\u200b\tz\n"
    shown = page_of(Branch([Token(0, text)])).find("text")[1]
    assert shown.find("t")[0].text == "ab[31m\tz\n", "names stand in their own elements"
    names = [c.words() for c in shown.find("c")]
    assert names == ["\\u202e", "\\u0000", "\\u001b", "\\u200b", "↵"]


def test_a_page_is_written_whole(tmp_path):
    path = write_transcript(tmp_path / "out.html", [Answer([], Branch(tokens(-1)))], "T")
    assert path.read_text(encoding="utf-8") == render_transcript(
        [Answer([], Branch(tokens(-1)))], "T"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]
