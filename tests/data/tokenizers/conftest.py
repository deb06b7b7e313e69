"""Small Hugging Face tokenizers of each kind, made here."""

from __future__ import annotations

import json

import pytest

CORPUS = ["hello world, 12 + 34 = 46", "the cat sat on the mat\n", "über naïve 語語 🙂 end"] * 5


def byte_level():
    from rlcore.data.tokenizers.bpe import train_bpe

    roles = {"bos": "<|begin|>", "eos": "<|im_end|>", "pad": "<|pad|>"}
    return train_bpe(CORPUS, 320, roles, ["<|im_start|>"])


def sentencepiece_like():
    """Byte fallback and white space as a letter, with the control tokens in the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = sorted(set("".join(CORPUS).replace(" ", "▁")))
    letters = [letter for letter in letters if letter not in "語🙂"]
    vocab = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *letters]
    vocab += ["th", "▁th", "▁the", "at", "</"]
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e"), ("a", "t"), ("<", "/")]
    vocab += ["<", "/", ">", "s", "k", "n", "u", "p", "d"]
    ids = {text: n for n, text in enumerate(dict.fromkeys(vocab))}
    built = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    built.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    built.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    built.add_special_tokens(["<unk>", "<s>", "</s>"])
    return wrap(built, bos="<s>", eos="</s>")


def unigram():
    """A model whose own vocabulary would read its end mark from any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(set("".join(CORPUS).replace(" ", "▁") + "</s>"))
    vocab = [("<unk>", 0.0), ("</s>", 0.0), *((letter, -5.0) for letter in letters), ("he", -4.0)]
    built = Tokenizer(models.Unigram(vocab, unk_id=0))
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    built.decoder = decoders.Metaspace()
    built.add_special_tokens(["<unk>", "</s>"])
    return wrap(built, eos="</s>")


def word_piece():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##s", "cat", "[", "]", "sep"]
    built = Tokenizer(models.WordPiece({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    built.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return wrap(built, bos="[CLS]", eos="[SEP]", mask="[MASK]")


def word_level():
    """A model that finds its control tokens as words of its own vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "</s>", "hello", "world", "cat"]
    built = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    built.add_special_tokens(["[UNK]", "</s>"])
    return wrap(built, eos="</s>")


def wrap(built, **roles):
    from rlcore.data.tokenizers.hugging_face import HuggingFaceTokenizer

    config = {f"{role}_token": text for role, text in roles.items()}
    return HuggingFaceTokenizer(json.loads(built.to_str()), config)


KINDS = {
    "byte_level": byte_level,
    "sentencepiece": sentencepiece_like,
    "unigram": unigram,
    "word_piece": word_piece,
    "word_level": word_level,
}


@pytest.fixture(scope="session", params=KINDS)
def hugging_face(request):
    """A tokenizer of each model type."""
    pytest.importorskip("tokenizers", reason="extra llm")
    return KINDS[request.param]()


@pytest.fixture(scope="session")
def bpe():
    """A trained byte-level encoding."""
    pytest.importorskip("tokenizers", reason="extra llm")
    return byte_level()


@pytest.fixture(scope="session")
def pieces():
    """The encoding with byte fallback."""
    pytest.importorskip("tokenizers", reason="extra llm")
    return sentencepiece_like()
