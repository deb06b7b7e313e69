"""Plain settings to YAML text that :mod:`experiments.yaml_reader` reads as the same settings."""

from __future__ import annotations

from typing import Any

import yaml

from experiments.scalars import plain_scalar_or_none


class _Writer(yaml.SafeDumper):
    """Quotes what a YAML 1.2 reader would not take for text; writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: _Writer, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar_or_none(text), str) else "'"
    style = style if text.isprintable() else '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _text)


def to_yaml(settings: dict[str, Any]) -> str:
    """Return settings as YAML, in their order."""
    text: str = yaml.dump(settings, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)
    return text
