"""Byte, character and word tokenizers: exact round trips, no special token from text, files."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.data.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    TokenizerError,
    WordTokenizer,
    load_tokenizer,
)
from rlcore.data.tokenizers.files import OWN_FILE, read_json
from rlcore.data.tokenizers.protocol import SpecialTokens, split_special

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ROLES = {"bos": "<s>", "eos": "<|im_end|>", "pad": "<pad>", "mask": "<mask>"}
WORDS = ["one", "on", "e", " ", "\n", "+", "twelve", "é"]


def tokenizers():
    return [
        ByteTokenizer(ROLES, ["<|im_start|>"]),
        CharTokenizer("<|>_ abdeiklmnoprstx\né語", ROLES, ["<|im_start|>"]),
        WordTokenizer([*WORDS, *"<|>_ims tarnpdk".replace(" ", "")], ROLES, ["<|im_start|>"]),
    ]


@given(text=TEXT)
def test_bytes_are_the_ids_and_every_text_round_trips(text):
    tokenizer = ByteTokenizer()
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_byte_vocabulary_puts_special_tokens_after_the_bytes():
    tokenizer = ByteTokenizer({"eos": "<end>", "mask": "<mask>"}, ["<tag>"])
    assert tokenizer.vocab_size == 259
    assert tokenizer.specials.ids == {"<end>": 256, "<mask>": 257, "<tag>": 258}
    assert (tokenizer.specials.eos_id, tokenizer.specials.mask_id) == (256, 257)
    assert tokenizer.specials.bos_id is None
    assert tokenizer.decode([104, 105, 256]) == "hi<end>"
    assert tokenizer.decode([104, 256, 105], skip_special=True) == "hi"
    assert tokenizer.decode([0xE4, 0x41]) == "\ufffdA"


def test_one_text_may_fill_several_roles():
    specials = ByteTokenizer({"bos": "<|end|>", "eos": "<|end|>", "pad": "<|end|>"}).specials
    assert specials.ids == {"<|end|>": 256}
    assert specials.bos_id == specials.eos_id == specials.pad_id == 256


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda t: t.kind)
@given(data=st.data())
def test_text_never_gives_a_special_token_unless_it_is_allowed(tokenizer, data):
    names = sorted(tokenizer.specials.ids)
    pieces = data.draw(st.lists(st.sampled_from([*names, "one", " ", "<", "im_end|>"]), max_size=8))
    if tokenizer.kind == "word":
        pieces = [piece for piece in pieces if "pad" not in piece]
    if tokenizer.kind == "char":
        pieces = [piece for piece in pieces if set(piece) <= set(tokenizer.alphabet)]
    text = "".join(pieces)
    ids = tokenizer.encode(text)
    assert not tokenizer.specials.control_ids & set(ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda t: t.kind)
def test_allowed_special_tokens_are_read_by_name(tokenizer):
    text = "one<|im_end|><|im_start|>"
    end, start = (tokenizer.specials.ids[t] for t in ("<|im_end|>", "<|im_start|>"))
    plain = tokenizer.encode("one")
    assert tokenizer.encode(text, special=True) == [*plain, end, start]
    only_end = tokenizer.encode(text, special=["<|im_end|>"])
    assert only_end == [*plain, end, *tokenizer.encode("<|im_start|>")]
    with pytest.raises(TokenizerError, match="'<no>' is no special token"):
        tokenizer.encode(text, special=["<no>"])


def test_the_longest_special_token_wins():
    allowed = {"<a>": 1, "<a>b": 2, "<": 3}
    assert list(split_special("x<a>b<a>c<", allowed)) == ["x", 2, 1, "c", 3]
    assert list(split_special("", allowed)) == []
    assert list(split_special("x", {})) == ["x"]


def test_chars_follow_the_alphabet():
    tokenizer = CharTokenizer("ba", {"mask": "_"})
    assert tokenizer.encode("abb") == [1, 0, 0]
    assert tokenizer.specials.mask_id == 2
    assert tokenizer.decode([1, 2]) == "a_"
    with pytest.raises(TokenizerError, match="character 'c' at 1 is not in the alphabet of 2"):
        tokenizer.encode("ac")
    assert CharTokenizer("ba", {"unk": "?"}).encode("ac") == [1, 2]
    assert CharTokenizer.from_texts(["hello", "wol"]).alphabet == "ehlow"


def test_words_are_the_longest_that_fit():
    tokenizer = WordTokenizer(WORDS, {"unk": "<unk>"})
    assert tokenizer.encode("one") == [0]
    assert tokenizer.encode("on e") == [1, 3, 2]
    assert tokenizer.encode("onone+é") == [1, 0, 5, 7]
    assert tokenizer.encode("q one") == [8, 3, 0]
    with pytest.raises(TokenizerError, match="no word begins with 'q' at 2"):
        WordTokenizer(WORDS).encode("e q")


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_words_of_texts_spell_those_texts(texts):
    if not any(texts):
        return
    tokenizer = WordTokenizer.from_texts(texts)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_of_texts_are_ranked_by_frequency_and_cut():
    tokenizer = WordTokenizer.from_texts(["b a b c", "a b"], {"unk": "?"}, max_words=3)
    assert tokenizer.words == (" ", "b", "a")
    assert tokenizer.encode("c") == [3]


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda t: t.kind)
def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = load_tokenizer(tmp_path / "new" / "folder")
    assert type(loaded) is type(tokenizer)
    assert loaded.specials == tokenizer.specials
    every = range(tokenizer.vocab_size)
    assert [loaded.token_bytes(i) for i in every] == [tokenizer.token_bytes(i) for i in every]
    assert loaded.encode("one<|im_end|>", special=True) == tokenizer.encode(
        "one<|im_end|>", special=True
    )


def test_a_chat_template_is_saved_with_the_rest(tmp_path):
    tokenizer = ByteTokenizer()
    assert tokenizer.prefix == ()
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).chat_template is None
    tokenizer.chat_template = "{{ messages[0].content }}é"
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).chat_template == tokenizer.chat_template
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(TokenizerError, match="is no UTF-8"):
        load_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(TokenizerError, match="is larger than"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda t: t.kind)
@pytest.mark.parametrize("token", [-1, 10**6])
def test_ids_outside_the_vocabulary_are_refused(tokenizer, token):
    with pytest.raises(TokenizerError, match=f"token id {token}; this vocabulary has 0 to"):
        tokenizer.decode([0, token])


@pytest.mark.parametrize("tokenizer", tokenizers()[:1], ids=lambda t: t.kind)
def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D at character 2"):
        tokenizer.encode("ab\ud83d")


@pytest.mark.parametrize(
    ("roles", "extra", "message"),
    [
        ({"end": "x"}, [], "special-token role 'end'"),
        ({"eos": ""}, [], "non-empty"),
        ({"eos": "x"}, ["x"], "different"),
        ({}, ["y", "y"], "different"),
    ],
)
def test_bad_special_tokens_are_refused(roles, extra, message):
    with pytest.raises(TokenizerError, match=message):
        SpecialTokens.number(0, roles, extra)


GOOD = {"format": 1, "type": "char", "special": {}, "extra_special": [], "alphabet": "ab"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"[1]", "holds list, wanted an object"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"format": 1, "format": 1}', "key 'format' twice"),
        (b'{"format": NaN}', "NaN is no JSON number"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (json.dumps(GOOD | {"format": 2}).encode(), "format 2; this release reads 1"),
        (json.dumps(GOOD | {"type": "os"}).encode(), "type 'os'; known: byte, char, word"),
        (json.dumps(GOOD | {"type": ["char"]}).encode(), "type"),
        (json.dumps(GOOD | {"more": 1}).encode(), "has the keys"),
        (json.dumps(GOOD | {"alphabet": 5}).encode(), "alphabet is int, wanted text"),
        (json.dumps(GOOD | {"alphabet": "aa"}).encode(), "different characters"),
        (json.dumps(GOOD | {"special": {"eos": 1}}).encode(), "special must map roles to texts"),
        (json.dumps(GOOD | {"special": [1]}).encode(), "special must map roles to texts"),
        (json.dumps(GOOD | {"special": {"x": "y"}}).encode(), "special-token role 'x'"),
        (json.dumps(GOOD | {"extra_special": "ab"}).encode(), "extra_special must be a list"),
    ],
)
def test_hostile_files_are_refused_by_name(tmp_path, content, message):
    (tmp_path / OWN_FILE).write_bytes(content)
    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert OWN_FILE in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_pipe_a_folder_and_a_huge_file_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / OWN_FILE)
    with pytest.raises(TokenizerError, match="not a regular file"):
        load_tokenizer(tmp_path)
    (tmp_path / OWN_FILE).unlink()
    with open(tmp_path / OWN_FILE, "wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(TokenizerError, match="has 8589934592 bytes, wanted at most"):
        load_tokenizer(tmp_path)
    (tmp_path / OWN_FILE).unlink()
    with pytest.raises(TokenizerError, match="holds neither"):
        load_tokenizer(tmp_path)


def test_a_file_may_have_as_many_bytes_as_are_allowed(tmp_path):
    (tmp_path / OWN_FILE).write_text('{"a": 1}')
    assert read_json(tmp_path / OWN_FILE, max_bytes=8) == {"a": 1}
    with pytest.raises(TokenizerError, match="has 8 bytes, wanted at most 7"):
        read_json(tmp_path / OWN_FILE, max_bytes=7)
