"""Texts that a model in training writes, kept as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from rlcore.data.tokens.rows import RowReader
from rlcore.nn.transformer import Transformer

if TYPE_CHECKING:
    from rlcore.data.tokenizers import Tokenizer

PROMPT_TOKENS = 16
"""Tokens of a document without a prompt that are given as one."""
KV_SHARE = 0.05
"""Share of free memory for the keys and values of samples."""


class SampleWriter:
    """Continues the first held-out documents and appends the texts to a file.

    The seed is the number of updates: samples are the same in a resumed run, and none disturbs the
    random numbers of training.

    Args:
        path: The file.
        reader: Held-out rows.
        count: Documents to continue.
        tokens: Longest answer.
        tokenizer: Turns tokens into text; without one they are written as ids.
    """

    def __init__(
        self,
        path: str | Path,
        reader: RowReader,
        *,
        count: int,
        tokens: int,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.path = Path(path)
        self.prompts = [_prompt(reader, row) for row in range(min(count, reader.rows))]
        # Prompt and answer together are no longer than the rows of training.
        room = reader.layout.width - max(map(len, self.prompts))
        self.tokens = tokens if reader.layout.response is not None else max(1, min(tokens, room))
        self.tokenizer = tokenizer
        self._llm: Any = None

    def __call__(self, network: nn.Module, update: int) -> None:
        """Write one line a document."""
        answers = self._model(network).generate(
            self.prompts, max_new_tokens=self.tokens, seed=update, progress=False
        )
        lines = [
            {
                "update": update,
                "prompt": self._text(answer.prompt_ids),
                "text": answer.text if answer.text is not None else answer.token_ids,
                "finish_reason": answer.finish_reason,
            }
            for answer in answers
        ]
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def _model(self, network: nn.Module) -> Any:
        from rlcore.inference.config import EngineConfig
        from rlcore.inference.llm import LLM

        if self._llm is None or self._llm.model is not network:
            engine = EngineConfig(kv_fraction=KV_SHARE, cuda_graph_buckets=(), prefix_cache=False)
            self._llm = LLM(cast(Transformer, network), self.tokenizer, engine=engine)
        return self._llm

    def _text(self, ids: list[int]) -> str | list[int]:
        return ids if self.tokenizer is None else self.tokenizer.decode(ids, errors="replace")


def _prompt(reader: RowReader, row: int) -> list[int]:
    """Return the prompt of the document that a row begins with, or its first tokens."""
    piece = reader.order.pieces(row)[0]
    file = reader.file
    length = int(file.prompts[piece.document])
    if length and piece.start == 0:
        return [int(token) for token in file.document(piece.document)[:length]]
    length = min(PROMPT_TOKENS, max(1, (piece.stop - piece.start) // 4))
    first = int(file.offsets[piece.document]) + piece.start
    return [int(token) for token in file.tokens[first : first + length]]
