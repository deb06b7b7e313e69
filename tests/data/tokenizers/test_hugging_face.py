"""Hugging Face tokenizers: the library's own ids, and no control token from any text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.data.tokenizers import TokenizerError, load_tokenizer
from rlcore.data.tokenizers.bpe import train_bpe
from rlcore.data.tokenizers.byte_decoders import byte_letters, byte_table
from rlcore.data.tokenizers.hugging_face import CONFIG_FILE, HuggingFaceTokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def library_ids(tokenizer, text):
    """What the package gives for a text in which every added token is read."""
    return tokenizer._full.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["hello world", "the cat sat", "  two  spaces", "12+34\n", ""])
def test_ordinary_text_has_the_ids_of_the_library(hugging_face, text):
    assert hugging_face.encode(text) == library_ids(hugging_face, text)


def test_text_that_spells_control_tokens_gives_none(hugging_face):
    control = hugging_face.specials.control_ids
    assert control
    for name in hugging_face.specials.ids:
        for text in (name, f"hello {name} world", name * 3, f"x{name}", f"{name}\n"):
            assert not control & set(hugging_face.encode(text)), text


def test_allowed_control_tokens_have_the_ids_of_the_library(hugging_face):
    for name, number in hugging_face.specials.ids.items():
        text = f"hello {name} world"
        assert hugging_face.encode(text, special=True) == library_ids(hugging_face, text)
        assert number in hugging_face.encode(text, special=[name])


@given(parts=st.lists(st.sampled_from(["<|im_end|>", "<|im_start|>", "<|", "|>", "a", " "])))
def test_only_the_named_control_tokens_are_read(bpe, parts):
    text = "".join(parts)
    end, start = (bpe.specials.ids[t] for t in ("<|im_end|>", "<|im_start|>"))
    ids = bpe.encode(text, special=["<|im_end|>"])
    assert ids.count(end) == text.count("<|im_end|>")
    assert start not in ids
    assert bpe.decode(ids) == text


@given(text=TEXT)
def test_byte_level_round_trip_is_exact_and_equals_the_library(bpe, text):
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert bpe.decode(ids) == bpe._full.decode(ids, skip_special_tokens=False)


def test_byte_level_decodes_any_ids_as_the_library_does(bpe):
    ids = [i for i in range(bpe.vocab_size) if i not in bpe.specials.control_ids]
    assert bpe.decode(ids) == bpe._full.decode(ids)
    assert len(byte_letters()) == len(set(byte_letters().values())) == 256


def test_added_tokens_of_a_byte_level_vocabulary_are_meant_literally():
    """The letter é stands for the byte E9 in a learned token, and for itself in an added one."""
    texts = {0: "Ġé", 1: "é", 2: "漢"}
    learned = byte_table({"type": "ByteLevel"}, texts, ())
    assert learned == {0: b" \xe9", 1: b"\xe9", 2: "漢".encode()}
    assert byte_table({"type": "ByteLevel"}, texts, {"é"}) == {**learned, 1: "é".encode()}
    pieces = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}]}  # fmt: skip
    texts = {0: "▁a", 1: "<0xE9>", 2: "<0x41>"}
    found = byte_table(pieces, texts, {"<0x41>"})
    assert found == {0: b" a", 1: b"\xe9", 2: b"<0x41>"}


def test_special_tokens_are_skipped_when_asked(hugging_face):
    eos = hugging_face.specials.eos_id
    ids = hugging_face.encode("hello cat")
    assert hugging_face.decode([*ids, eos], skip_special=True) == hugging_face.decode(ids)
    name = next(t for t, n in hugging_face.specials.ids.items() if n == eos)
    assert name in hugging_face.decode([*ids, eos])


def test_marks_of_thinking_are_controls_but_stay_in_the_text(bpe):
    tree = json.loads(json.dumps(bpe._tree))
    mark = {**tree["added_tokens"][0], "id": bpe.vocab_size, "content": "<think>", "special": False}
    blank = {**mark, "id": bpe.vocab_size + 1, "content": "    "}
    tree["added_tokens"] += [mark, blank]
    tokenizer = HuggingFaceTokenizer(tree, bpe._config)
    assert mark["id"] not in tokenizer.encode("a<think>b")
    assert mark["id"] in tokenizer.encode("a<think>b", special=["<think>"])
    assert blank["id"] in tokenizer.encode("a    b"), "white space is ordinary text"
    assert tokenizer.decode([mark["id"]], skip_special=True) == "<think>"
    assert tokenizer.decode([tokenizer.specials.eos_id], skip_special=True) == ""


@given(text=TEXT)
def test_byte_fallback_decodes_as_the_library_does(pieces, text):
    ids = pieces.encode(text)
    assert pieces.decode(ids) == pieces._full.decode(ids, skip_special_tokens=False)
    if pieces.specials.unk_id not in ids and "▁" not in text:
        assert pieces.decode(ids) == text


@pytest.mark.parametrize("token", [-1, 10**7])
def test_ids_without_a_token(hugging_face, token):
    with pytest.raises(TokenizerError, match=f"token id {token}; this vocabulary has"):
        hugging_face.decode([token])
    ids = hugging_face.encode("hello")
    assert hugging_face.decode([*ids, token], errors="replace") == "hello\ufffd"


def test_a_saved_tokenizer_comes_back_the_same(hugging_face, tmp_path):
    hugging_face.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.specials == hugging_face.specials
    assert loaded.vocab_size == hugging_face.vocab_size
    for text in ("hello world cat", "<|im_end|></s>[SEP]"):
        for special in (True, False):
            assert loaded.encode(text, special=special) == hugging_face.encode(
                text, special=special
            )


@pytest.mark.parametrize(
    ("single", "prefix"), [("<|begin|> $A", 1), ("<|begin|> <|begin|> $A <|im_end|>", 2), ("$A", 0)]
)
def test_the_prefix_is_what_the_file_puts_before_a_text(bpe, single, prefix):
    from tokenizers import Tokenizer, processors

    marks = [(t, bpe.specials.ids[t]) for t in ("<|begin|>", "<|im_end|>")]
    built = Tokenizer.from_str(json.dumps(bpe._tree))
    built.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    tokenizer = HuggingFaceTokenizer(json.loads(built.to_str()), bpe._config)
    assert tokenizer.prefix == (bpe.specials.bos_id,) * prefix
    assert tokenizer.encode("a") == bpe.encode("a"), "nothing is added at the ends of a text"


def test_chat_templates_are_read_from_each_place(bpe, tmp_path):
    bpe.save(tmp_path)
    assert load_tokenizer(tmp_path).chat_template is None
    for value in ("in config", [{"name": "tool", "template": "x"},
                                {"name": "default", "template": "in config"}]):  # fmt: skip
        config = {**bpe._config, "chat_template": value}
        (tmp_path / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        assert load_tokenizer(tmp_path).chat_template == "in config"
    (tmp_path / "chat_template.jinja").write_text("in a file é", encoding="utf-8")
    loaded = load_tokenizer(tmp_path)
    assert loaded.chat_template == "in a file é"
    loaded.save(tmp_path / "copy")
    assert load_tokenizer(tmp_path / "copy").chat_template == "in a file é"


def test_truncation_and_padding_of_a_file_are_not_obeyed(bpe):
    tree = {
        **bpe._tree,
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
                       "stride": 0},
        "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
    }  # fmt: skip
    text = "the cat sat on the mat"
    assert HuggingFaceTokenizer(tree, bpe._config).encode(text) == bpe.encode(text)


def test_training_counts_special_tokens_and_never_learns_them():
    pytest.importorskip("tokenizers", reason="extra llm")
    texts = ["<|end|><|end|> low lower lowest"] * 50
    tokenizer = train_bpe(texts, 280, {"eos": "<|end|>"}, ["<tag>"])
    assert tokenizer.vocab_size <= 280
    assert tokenizer.specials.ids["<|end|>"] == tokenizer.vocab_size - 2
    assert tokenizer.specials.eos_id not in tokenizer.encode("<|end|>")
    assert len(tokenizer.encode(" low")) < 4, "merges were learned"
    assert tokenizer.decode(tokenizer.encode("Ünseen 語")) == "Ünseen 語"
    assert train_bpe(["ab"], 257, {"eos": "<e>"}).vocab_size == 257
    with pytest.raises(TokenizerError, match="vocab_size 256: wanted at least 257"):
        train_bpe(texts, 256, {"eos": "<e>"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "model": None}, "model type None"),
        (lambda t: {**t, "model": {"type": "Evil"}}, "model type 'Evil'"),
        (lambda t: {**t, "model": {**t["model"], "vocab": [1, 2]}}, "vocabulary must map"),
        (lambda t: {**t, "model": {**t["model"], "vocab": {"a": -1}}}, "'a' has the id -1"),
        (lambda t: {**t, "model": {**t["model"], "vocab": {"a": 1 << 40}}}, "has the id 1099"),
        (lambda t: {**t, "model": {**t["model"], "vocab": {"a": True}}}, "has the id True"),
        (lambda t: {**t, "model": {**t["model"], "merges": [["zz", "yy"]]}}, "refused by"),
        (lambda t: {**t, "added_tokens": {}}, "refused by"),
        (lambda t: {**t, "added_tokens": "x"}, "added_tokens must be a list"),
        (lambda t: {**t, "added_tokens": [5]}, "has no content or no id"),
        (lambda t: {**t, "added_tokens": [{"content": "x", "id": -5}]}, "has the id -5"),
        (lambda t: {**t, "decoder": {"type": "Evil"}}, "refused by"),
        (lambda t: {**t, "pre_tokenizer": 7}, "refused by"),
        (lambda t: {**t, "normalizer": {"type": "Precompiled",
                                        "precompiled_charsmap": "AAAA"}}, "refused by"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_by_name(bpe, tmp_path, change, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps(change(bpe._tree)), encoding="utf-8")
    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"eos_token": 5}, "eos_token in tokenizer_config.json is 5"),
        ({"eos_token": "<none>"}, "eos_token '<none>' is not in the vocabulary"),
        ({"pad_token": {"content": ["x"]}}, "pad_token in tokenizer_config.json"),
        ({"chat_template": 5}, "chat_template is int, wanted text"),
    ],
)
def test_hostile_settings_are_refused(bpe, tmp_path, config, message):
    bpe.save(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(tmp_path)


def test_roles_may_be_objects(bpe, tmp_path):
    bpe.save(tmp_path)
    config = {"eos_token": {"content": "<|im_end|>", "lstrip": False}, "bos_token": None}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    loaded = load_tokenizer(tmp_path)
    assert loaded.specials.eos_id == bpe.specials.eos_id
    assert loaded.specials.bos_id is None
