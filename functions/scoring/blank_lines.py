"""The places of the blank lines of a text, so that each row's prediction stands in the row's own line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.errors import InvalidRowsError
from data_preparation.reading import Table
from data_preparation.text_reading import TextFile

_PIECE = 1 << 20
"""The most characters of a line that are looked at at a time."""


class BlankLines:
    """The blank lines of a file of text, which pyarrow passes over: each keeps its place by a row without a value.

    Blank lines at the end of a file are none of its rows.

    Attributes
    ----------
    count : int
        How many there are.
    """

    def __init__(self, table: Table) -> None:
        self._name = table.file.name
        self._before, self._rows, self._is_certain = _blank_lines(table)
        self.count = len(self._before)

    def restore(self, rows: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """Return rows together with those of the blank lines that come before one of them.

        Parameters
        ----------
        rows
            Of the file, in its order.
        first
            How many came before, blank lines not counted.
        """
        places = self._before[np.searchsorted(self._before, first) : np.searchsorted(self._before, first + len(rows))]
        if not len(places):
            return rows
        indices = np.insert(np.arange(len(rows)), places - first, -1)
        return rows.take(pa.array(indices, mask=indices < 0))

    def check(self, rows: int) -> None:
        """Check that the lines were told apart as pyarrow does it.

        Raises
        ------
        InvalidRowsError
            If they were not, as by a quote in the middle of a value.
        """
        if not self._is_certain and rows != self._rows:
            raise InvalidRowsError(
                f'"{self._name}" has blank lines, and quotes that leave open where: remove the blank lines.'
            )


def _blank_lines(table: Table) -> tuple[npt.NDArray[np.int64], int, bool]:
    """Return how many rows come before each blank line, how many there are, and whether no line at all is empty."""
    before, rows, is_open, is_quoted, is_certain = list[int](), 0, False, False, True
    if isinstance(table.file, TextFile):
        for piece in _pieces(table.file):
            is_certain &= piece != "\n"
            if piece == "\n" and not (is_open or is_quoted):
                before.append(rows)
                continue
            is_quoted ^= piece.count(table.file.dialect.quote) % 2 == 1
            is_open = is_quoted or not piece.endswith("\n")
            rows += not is_open
        rows += is_open
    return np.array([each for each in before if each < rows], dtype=np.int64), rows, is_certain


def _pieces(file: TextFile) -> Iterator[str]:
    """Yield the lines below the header, long ones in pieces; whatever ends a line is a line feed."""
    skipped = 0
    try:
        with _text(file) as stream:
            for piece in iter(lambda: stream.readline(_PIECE), ""):
                if skipped >= file.dialect.skip_lines:
                    yield piece
                skipped += piece.endswith("\n")
    except (OSError, UnicodeError):
        # What is wrong with the file, whoever reads the rows will say.
        return


def _text(file: TextFile) -> IO[str]:
    # Of UTF-8 each byte is a character; those that are asked for mean the same in it.
    encoding = "latin-1" if file.dialect.encoding in ("utf-8", "utf-8-sig") else file.dialect.encoding
    return io.TextIOWrapper(io.BufferedReader(cast("Any", file.open())), encoding=encoding)
