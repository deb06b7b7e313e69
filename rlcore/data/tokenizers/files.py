"""Reading and writing tokenizer folders; nothing in a file is believed before it is checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from rlcore.data.tokenizers.byte import ByteTokenizer
from rlcore.data.tokenizers.char import CharTokenizer
from rlcore.data.tokenizers.protocol import Tokenizer, TokenizerError
from rlcore.data.tokenizers.word import WordTokenizer

OWN_FILE = "rlcore_tokenizer.json"
HUGGING_FACE_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
FORMAT = 1
MAX_TEMPLATE_BYTES = 1 << 20
MAX_BYTES = 64 << 20
MAX_TOKENS = 1 << 20
_KEYS = {"byte": frozenset[str](), "char": frozenset({"alphabet"}), "word": frozenset({"words"})}
_COMMON = frozenset({"format", "type", "special", "extra_special"})


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read the tokenizer of a folder: one of ours, or a Hugging Face ``tokenizer.json``.

    Raises:
        TokenizerError: The folder holds no tokenizer, or one that is refused.
        MissingDependencyError: The ``tokenizers`` package is needed and not installed.
    """
    path = Path(folder)
    if (path / OWN_FILE).exists():
        tokenizer = _own(path / OWN_FILE)
        tokenizer.chat_template = read_template(path)
        return tokenizer
    if (path / HUGGING_FACE_FILE).exists():
        from rlcore.data.tokenizers.hugging_face import HuggingFaceTokenizer

        return HuggingFaceTokenizer.load(path)
    raise TokenizerError(f"{path}: holds neither {OWN_FILE} nor {HUGGING_FACE_FILE}")


def has_tokenizer(folder: str | Path) -> bool:
    """Return whether a folder holds a tokenizer of a kind that :func:`load_tokenizer` reads."""
    return any((Path(folder) / name).exists() for name in (OWN_FILE, HUGGING_FACE_FILE))


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        TokenizerError: The file cannot be read, is larger than ``max_bytes``, is not UTF-8 JSON,
            names one key twice, is nested too deeply, or holds something else than an object.
    """
    try:
        # Not blocking: a pipe in the place of a file must not hang the reader.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not os.path.isfile(descriptor):
                raise TokenizerError(f"{path}: is not a regular file")
            size = os.fstat(descriptor).st_size
            if size > max_bytes:
                raise TokenizerError(f"{path}: has {size} bytes, wanted at most {max_bytes}")
            tree = json.loads(file.read(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise TokenizerError(f"{path}: is nested too deeply") from None
    except TokenizerError:
        raise
    except ValueError as error:
        raise TokenizerError(f"{path}: is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise TokenizerError(f"{path}: holds {type(tree).__name__}, wanted an object")
    return tree


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r:.80} twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def write_own(folder: str | Path, tree: Mapping[str, Any]) -> None:
    """Write the settings of one of our tokenizers."""
    write_json(Path(folder) / OWN_FILE, {"format": FORMAT, **tree})


def read_template(folder: Path) -> str | None:
    """Return the chat template of a folder, or ``None``.

    Raises:
        TokenizerError: It is too large, or no UTF-8.
    """
    path = folder / TEMPLATE_FILE
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_TEMPLATE_BYTES:
        raise TokenizerError(f"{path}: is larger than {MAX_TEMPLATE_BYTES} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: is no UTF-8 ({error.reason})") from None


def write_template(folder: str | Path, template: str | None) -> None:
    """Write the chat template of a folder, if there is one."""
    if template is not None:
        (Path(folder) / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def _own(path: Path) -> Tokenizer:
    tree = read_json(path)
    version, kind = tree.get("format"), tree.get("type")
    if version != FORMAT:
        raise TokenizerError(f"{path}: format {version!r:.40}; this release reads {FORMAT}")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise TokenizerError(f"{path}: type {kind!r:.40}; known: {', '.join(_KEYS)}")
    if set(tree) != _COMMON | _KEYS[kind]:
        wanted = ", ".join(sorted(_COMMON | _KEYS[kind]))
        raise TokenizerError(f"{path}: has the keys {sorted(tree)!s:.200}, wanted {wanted}")
    try:
        special, extra = _roles(tree["special"]), _texts(tree["extra_special"], "extra_special")
        if kind == "char":
            alphabet = tree["alphabet"]
            if not isinstance(alphabet, str):
                raise TokenizerError(f"alphabet is {type(alphabet).__name__}, wanted text")
            return CharTokenizer(alphabet, special, extra)
        if kind == "word":
            return WordTokenizer(_texts(tree["words"], "words"), special, extra)
        return ByteTokenizer(special, extra)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def _roles(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TokenizerError(f"special must map roles to texts, got {value!r:.80}")
    return cast("dict[str, str]", value)


def _texts(value: Any, name: str) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TokenizerError(f"{name} must be a list of texts, got {value!r:.80}")
    if len(value) > MAX_TOKENS:
        raise TokenizerError(f"{name} has {len(value)} entries, wanted at most {MAX_TOKENS}")
    return value
