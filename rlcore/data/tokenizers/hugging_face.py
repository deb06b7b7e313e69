"""Any Hugging Face tokenizer directory, read through the package ``tokenizers``.

The library finds added tokens in every text. Here ordinary text goes through a copy of the
tokenizer in which the control tokens go by names that nobody can guess, in its list of added tokens
and in its model's vocabulary: ids stay what they are, and no text spells a control token. Control
tokens are all added tokens that are not white space, whether the file calls them special or not.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rlcore.data.tokenizers import files
from rlcore.data.tokenizers.byte import utf8
from rlcore.data.tokenizers.byte_decoders import byte_table, strips_first_space
from rlcore.data.tokenizers.protocol import (
    REPLACEMENT,
    ROLES,
    Allowed,
    Errors,
    SpecialTokens,
    TokenizerError,
    bytes_of_unknown,
)
from rlcore.errors import MissingDependencyError

if TYPE_CHECKING:
    import tokenizers

CONFIG_FILE = "tokenizer_config.json"
MAX_CONFIG_BYTES = 8 << 20
_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_VIEWS = 8


def library() -> Any:
    """Return the package ``tokenizers``.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        raise MissingDependencyError(
            "this tokenizer needs the package 'tokenizers': pip install 'rlcore[llm]'"
        ) from None
    return tokenizers


class HuggingFaceTokenizer:
    """A tokenizer of the Hugging Face formats.

    Args:
        tree: What ``tokenizer.json`` holds.
        config: What ``tokenizer_config.json`` holds: the roles of special tokens.
        chat_template: Jinja source that lays out a conversation, if there is one.

    Raises:
        TokenizerError: A part is missing, of the wrong type, or refused by the library.
        MissingDependencyError: The package ``tokenizers`` is not installed.
    """

    def __init__(
        self,
        tree: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
    ):
        # Truncation and padding would lose and add tokens without a word.
        self._tree = {**tree, "truncation": None, "padding": None}
        self._config = dict(config or {})
        self.chat_template = chat_template
        self._added = _added_tokens(tree)
        self._vocabulary = _vocabulary(tree)
        self._full = _build(self._tree)
        self.specials = self._special_tokens()
        self._names = self._full.get_vocab(with_added_tokens=True)
        self._text_of = {number: text for text, number in self._names.items()}
        self.vocab_size = 1 + max(self._text_of)
        self._bytes = byte_table(tree.get("decoder"), self._text_of, self._added)
        self.strips_first_space = self._bytes is not None and strips_first_space(tree["decoder"])
        self._views: dict[frozenset[str], tokenizers.Tokenizer] = {}
        self.prefix = self._prefix()

    @classmethod
    def load(cls, folder: Path) -> HuggingFaceTokenizer:
        """Read ``tokenizer.json`` and what stands beside it.

        Raises:
            TokenizerError: As for the class, naming the file.
        """
        path = folder / files.HUGGING_FACE_FILE
        tree = files.read_json(path)
        config: dict[str, Any] = {}
        if (folder / CONFIG_FILE).exists():
            config = files.read_json(folder / CONFIG_FILE, MAX_CONFIG_BYTES)
        try:
            return cls(tree, config, _template(folder, config))
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and the chat template."""
        folder = Path(folder)
        files.write_json(folder / files.HUGGING_FACE_FILE, self._tree)
        config = {k: v for k, v in self._config.items() if k != "chat_template"}
        files.write_json(folder / CONFIG_FILE, config)
        files.write_template(folder, self.chat_template)

    # -- text to ids ------------------------------------------------------------------------------

    def encode(self, text: str, *, special: Allowed = False) -> list[int]:
        """Return the ids of a text; see :class:`~rlcore.data.tokenizers.Tokenizer`."""
        utf8(text)
        view = self._view(frozenset(self.specials.allowed(special)))
        return list(_guarded(lambda: view.encode(text, add_special_tokens=False)).ids)

    def _view(self, allowed: frozenset[str]) -> tokenizers.Tokenizer:
        if allowed not in self._views:
            if len(self._views) >= _VIEWS:
                self._views.pop(next(iter(self._views)))
            hidden = set(self.specials.ids) - allowed - {self._unknown()}
            self._views[allowed] = _build(_renamed(self._tree, hidden)) if hidden else self._full
        return self._views[allowed]

    def _prefix(self) -> tuple[int, ...]:
        """Return the ids that the file's post-processor puts before a text."""
        bare, whole = (
            self._full.encode("a", add_special_tokens=wish).ids for wish in (False, True)
        )
        before = len(whole) - len(bare)
        places = [n for n in range(before + 1) if whole[n : n + len(bare)] == bare]
        return tuple(whole[: places[0]]) if bare and places else ()

    # -- ids to text ------------------------------------------------------------------------------

    @property
    def spells_bytes(self) -> bool:
        """Whether each token is a fixed string of bytes, wherever it stands."""
        return self._bytes is not None

    def token_bytes(self, token: int, errors: Errors = "strict") -> bytes:
        """Return what a token spells, where :attr:`spells_bytes`.

        Raises:
            TokenizerError: The id is not in the vocabulary, or text is not spelled by bytes here.
        """
        if self._bytes is None:
            raise TokenizerError("tokens of this tokenizer are not fixed strings of bytes")
        found = self._bytes.get(token)
        return bytes_of_unknown(token, self.vocab_size, errors) if found is None else found

    def decode(
        self, ids: Sequence[int], *, skip_special: bool = False, errors: Errors = "strict"
    ) -> str:
        """Return the text of ids; see :class:`~rlcore.data.tokenizers.Tokenizer`."""
        hidden = self.specials.hidden_ids if skip_special else frozenset()
        kept = [i for i in ids if i not in hidden]
        if self._bytes is not None:
            text = b"".join(self.token_bytes(i, errors) for i in kept).decode("utf-8", "replace")
            return text.removeprefix(" ") if self.strips_first_space else text
        # The library passes over ids it does not know: those end a stretch.
        text, start = "", 0
        for n, token in enumerate([*kept, None]):
            if token is None or token not in self._text_of:
                text += self._full.decode(kept[start:n], skip_special_tokens=False)
                start = n + 1
                if token is not None:
                    bytes_of_unknown(token, self.vocab_size, errors)
                    text += REPLACEMENT
        return text

    # -- special tokens ---------------------------------------------------------------------------

    def _unknown(self) -> str | None:
        model = self._tree["model"]
        if model["type"] == "Unigram":
            place = model.get("unk_id")
            return None if place is None else str(model["vocab"][place][0])
        found = model.get("unk_token")
        return None if found is None else str(found)

    def _special_tokens(self) -> SpecialTokens:
        added = self._added
        ids = {text: number for text, (number, _) in added.items() if not text.isspace()}
        roles: dict[str, int] = {}
        for role in ROLES:
            text = self._unknown() if role == "unk" else _content(self._config, f"{role}_token")
            if text is None:
                continue
            number = self._full.token_to_id(text)
            if number is None:
                raise TokenizerError(f"{role}_token {text!r:.80} is not in the vocabulary")
            ids[text] = roles[role] = number
        shown = frozenset(number for number, special in added.values() if not special)
        return SpecialTokens(ids, shown=shown).with_roles(roles)


def _content(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    value = value.get("content") if isinstance(value, dict) else value
    if value is not None and not isinstance(value, str):
        raise TokenizerError(f"{key} in {CONFIG_FILE} is {value!r:.80}, wanted text")
    return value or None


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the default chat template: a file of its own, or an entry of the settings."""
    found: Any = files.read_template(folder) or config.get("chat_template")
    if isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise TokenizerError(f"chat_template is {type(found).__name__}, wanted text")
    return found


# -- the file -------------------------------------------------------------------------------------


def _added_tokens(tree: Mapping[str, Any]) -> dict[str, tuple[int, bool]]:
    """Return the id of each added token, and whether the file calls it special."""
    entries = tree.get("added_tokens") or []
    if not isinstance(entries, list) or len(entries) > files.MAX_TOKENS:
        raise TokenizerError("added_tokens must be a list")
    found: dict[str, tuple[int, bool]] = {}
    for entry in entries:
        text, number = (
            (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(text, str) or not text or type(number) is not int:
            raise TokenizerError(f"added token {entry!r:.120} has no content or no id")
        if not 0 <= number < files.MAX_TOKENS:
            raise TokenizerError(f"added token {text!r:.80} has the id {number}")
        found[text] = (number, entry.get("special") is True)
    return found


def _vocabulary(tree: Mapping[str, Any]) -> dict[str, int]:
    """Return the id of each token of the model."""
    model = tree.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind not in _MODELS:
        raise TokenizerError(f"model type {kind!r:.40}; known: {', '.join(_MODELS)}")
    vocab = model.get("vocab")
    if kind == "Unigram" and isinstance(vocab, list):
        unk = model.get("unk_id")
        if unk is not None and not (type(unk) is int and 0 <= unk < len(vocab)):
            raise TokenizerError(f"unk_id {unk!r:.40} is not in the vocabulary")
        vocab = {str(pair[0]): n for n, pair in enumerate(vocab) if isinstance(pair, list) and pair}
    if not isinstance(vocab, dict) or len(vocab) > files.MAX_TOKENS:
        raise TokenizerError(f"the vocabulary must map at most {files.MAX_TOKENS} tokens to ids")
    for text, number in vocab.items():
        if type(number) is not int or not 0 <= number < files.MAX_TOKENS:
            raise TokenizerError(f"token {text!r:.80} has the id {number!r:.40}")
    return vocab


def _build(tree: Mapping[str, Any]) -> tokenizers.Tokenizer:
    package = library()
    built: tokenizers.Tokenizer = _guarded(lambda: package.Tokenizer.from_str(json.dumps(tree)))
    return built


def _guarded(call: Any) -> Any:
    """Run a call of the library; whatever it says about its input becomes our error."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        _refuse(error)


def _refuse(error: BaseException) -> NoReturn:
    raise TokenizerError(f"refused by the package 'tokenizers': {error!s:.200}") from None


def _renamed(tree: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """Return a copy in which some tokens go by random names, with the same ids."""
    new = {text: secrets.token_hex(16) for text in hidden}
    out = {**tree, "post_processor": None, "model": dict(tree["model"])}
    out["added_tokens"] = copy.deepcopy(tree.get("added_tokens") or [])
    for entry in out["added_tokens"]:
        entry["content"] = new.get(entry["content"], entry["content"])
    model = out["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = [[new.get(pair[0], pair[0]), *pair[1:]] for pair in model["vocab"]]
    else:
        model["vocab"] = {new.get(text, text): number for text, number in model["vocab"].items()}
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if not _touches(m, new)]
    return out


def _touches(merge: Any, names: Collection[str]) -> bool:
    pair = merge.split(" ", 1) if isinstance(merge, str) else list(merge)
    return "".join(pair) in names or any(part in names for part in pair)
