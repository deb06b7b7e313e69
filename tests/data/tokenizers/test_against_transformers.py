"""The ids of transformers, where it has no reason to differ: text without marks, benign chats."""

from __future__ import annotations

import json

import pytest

from rlcore.data.tokenizers import load_tokenizer
from rlcore.data.tokenizers.chat import encode_chat

transformers = pytest.importorskip("transformers", reason="extra llm")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] | trim %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{{ system }}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ '<|im_start|>' }}"
    "{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
)
CHATS = [
    [{"role": "user", "content": "hello world"}],
    [{"role": "system", "content": " be brief "}, {"role": "user", "content": "über 語?"}],
    [{"role": "user", "content": "12 + 34"}, {"role": "assistant", "content": "46\n"},
     {"role": "user", "content": "  the cat  "}],
]  # fmt: skip


@pytest.fixture(scope="module", params=[CHATML, LLAMA], ids=["chatml", "llama"])
def both(request, bpe, tmp_path_factory):
    """Ours and theirs, read from one folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.save(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": request.param}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text", ["hello world", " two  spaces\n", "über 語🙂 naïve", "", "12+34=46"]
)
def test_texts_have_the_same_ids(both, text):
    ours, theirs = both
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
    marked = f"<|im_start|>{text}<|im_end|>"
    assert ours.encode(marked, special=True) == theirs.encode(marked, add_special_tokens=False)
    ids = ours.encode(marked, special=True)
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.decode(ids, skip_special=True) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("prompted", [True, False])
def test_conversations_have_the_same_ids(both, messages, prompted):
    ours, theirs = both
    wanted = theirs.apply_chat_template(
        messages, add_generation_prompt=prompted, tokenize=True, return_dict=False
    )
    assert encode_chat(ours, messages, add_generation_prompt=prompted) == list(wanted)


def test_special_tokens_have_the_same_ids(both):
    ours, theirs = both
    for role in ("bos", "eos", "pad", "mask", "unk"):
        assert getattr(ours.specials, f"{role}_id") == getattr(theirs, f"{role}_token_id")
