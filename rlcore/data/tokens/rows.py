"""Rows of tokens as arrays: laid out from documents, with targets, document numbers and padding.

==============  =================  ================================================================
array           shape, dtype       meaning
==============  =================  ================================================================
``tokens``      ``[R, W]`` int32   token ids; EOS or 0 on padding
``targets``     ``[R, W]`` bool    tokens to be predicted: no prompts, no padding
``documents``   ``[R, W]`` int32   number of the token's document within its row, -1 on padding;
                                   tokens attend within their document alone. Left out where each
                                   row is one document from end to end.
==============  =================  ================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlcore.data.spec import Field
from rlcore.data.tokens.file import TokenFile
from rlcore.data.tokens.order import Index, Packing, Piece, RowOrder, make_order
from rlcore.errors import DataError

Arrays = Mapping[str, NDArray[np.generic]]
PADDING = -1


@dataclass(frozen=True, slots=True)
class RowLayout:
    """How documents are laid out in rows.

    Attributes:
        width: Tokens of a row.
        packing: ``cut``, ``fit`` or ``single``.
        overlap: Tokens a ``cut`` row shares with the next one.
        response: Tokens that every response is padded to with EOS, which are targets; ``None``
            leaves responses as they are.
        eos_id: The EOS token.
        documents: Whether rows say which document a token belongs to.
    """

    width: int
    packing: Packing
    overlap: int = 0
    response: int | None = None
    eos_id: int | None = None
    documents: bool = True

    def __post_init__(self) -> None:
        if self.response is not None and self.eos_id is None:
            raise DataError("data.response pads with EOS, which the data set does not have")
        if self.response is not None and self.packing == "cut":
            raise DataError("data.response pads whole responses, which data.packing 'cut' cuts")

    def fields(self) -> dict[str, Field]:
        """Return the arrays of a fragment of rows."""
        found = {
            "tokens": Field((self.width,), "int32", "initial"),
            "targets": Field((self.width,), "bool", "initial"),
        }
        if self.documents:
            found["documents"] = Field((self.width,), "int32", "initial")
        return found

    def lengths(self, file: TokenFile) -> Index:
        """Return how many tokens of a row each document takes.

        Raises:
            DataError: A response is longer than ``response``.
        """
        if self.response is None:
            return file.lengths
        answers = file.lengths - file.prompts
        if (answers > self.response).any():
            raise DataError(
                f"{file.path}: {int((answers > self.response).sum())} of {len(file)} responses are "
                f"longer than data.response = {self.response}, the longest has "
                f"{int(answers.max())} tokens"
            )
        return file.prompts + self.response

    def write(self, file: TokenFile, pieces: list[Piece], row: int, arrays: Arrays) -> int:
        """Write one row; return how many of its tokens are not padding."""
        tokens, targets = arrays["tokens"][row], arrays["targets"][row]
        documents = arrays["documents"][row] if self.documents else None
        at = 0
        for number, piece in enumerate(pieces):
            begin, prompt = int(file.offsets[piece.document]), int(file.prompts[piece.document])
            stop = at + piece.stop - piece.start
            tokens[at:stop] = file.tokens[begin + piece.start : begin + piece.stop]
            answer = min(max(at, at + prompt - piece.start), stop)
            if self.response is not None:
                filled = at + prompt + self.response
                tokens[stop:filled] = self.eos_id
                stop = filled
            targets[at:answer] = False
            targets[answer:stop] = True
            if documents is not None:
                documents[at:stop] = number
            at = stop
        if at < self.width:
            tokens[at:] = self.eos_id or 0
            targets[at:] = False
            if documents is not None:
                documents[at:] = PADDING
        return at


def layout_of(
    file: TokenFile,
    packing: Packing,
    width: int,
    *,
    overlap: int,
    response: int | None = None,
    eos_id: int | None = None,
    partial: bool = False,
) -> RowLayout:
    """Return the layout of a split's rows, with ``documents`` only where they are needed."""
    layout = RowLayout(width, packing, overlap, response, eos_id)
    if packing == "cut":
        short = partial and (len(file.tokens) - overlap) % (width - overlap)
        whole = len(file) == 1 and not short
    else:
        whole = packing == "single" and bool((layout.lengths(file) == width).all())
    return RowLayout(width, packing, overlap, response, eos_id, documents=not whole)


class RowReader:
    """Reads the rows of one split in order.

    Args:
        file: The documents.
        layout: How a row is laid out.
        seed: Root of the order.
        shuffle: Whether epochs are shuffled.
        partial: Keep the last, shorter row of ``cut`` (evaluation).
        fingerprint: Checksum of the data set.

    Attributes:
        rows: Rows of an epoch.
    """

    def __init__(
        self,
        file: TokenFile,
        layout: RowLayout,
        *,
        seed: int,
        shuffle: bool = True,
        partial: bool = False,
        fingerprint: str = "",
    ) -> None:
        self.file = file
        self.fingerprint = fingerprint
        self.layout = layout
        self.order: RowOrder = make_order(
            file,
            layout.packing,
            layout.width,
            overlap=layout.overlap,
            seed=seed,
            shuffle=shuffle,
            partial=partial,
            lengths=layout.lengths(file),
        )
        self.rows = self.order.rows

    def fields(self) -> dict[str, Field]:
        """Return the arrays of a fragment of rows."""
        return self.layout.fields()

    def read(self, first: int, arrays: Arrays) -> int:
        """Fill ``arrays`` with the rows from number ``first`` on; return the tokens in them.

        A token that two rows share is counted once.
        """
        total = 0
        for row in range(len(arrays["tokens"])):
            used = self.layout.write(self.file, self.order.pieces(first + row), row, arrays)
            total += max(0, used - self.layout.overlap)
        return total
