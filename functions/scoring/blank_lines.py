"""The places of the blank lines of a text, so that each row's prediction stands in the row's own line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.errors import InvalidRowsError
from data_preparation.reading import Table
from data_preparation.text_reading import TextFile

BYTE_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "cp1252", "latin-1"})
"""The encodings in which what ends a line, a quote and a separator are bytes that are part of nothing else."""
_PIECE = 1 << 20
"""The most characters of a line that are looked at at a time."""
_ENDS = (b"\n", b"\r")
_BLANK = (b"\n\n", b"\n\r", b"\r\r")
"""Two ends of lines in a row."""


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


@dataclass(frozen=True)
class Lines:
    """What the bytes of a text tell of its lines.

    Attributes
    ----------
    count
        How many there are, a last one that nothing ends among them.
    has_blank
        Whether any may be blank.
    quotes
        How many quotes there are.
    """

    count: int
    has_blank: bool
    quotes: int


def lines_of(file: TextFile) -> Lines | None:
    """Return what the bytes of a text tell of its lines, None in an encoding where bytes are no letters."""
    if file.dialect.encoding not in BYTE_ENCODINGS:
        return None
    quote, count, quotes, has_blank, last = file.dialect.quote.encode(), 0, 0, False, b"\n"
    with closing(file.open()) as stream:
        while content := bytes(stream.read(_PIECE)):
            piece = last + content
            # A carriage return may end a line by itself, and before a line feed does not.
            count += piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n") - (last in _ENDS)
            has_blank = has_blank or any(each in piece for each in _BLANK)
            quotes += content.count(quote)
            last = content[-1:]
    return Lines(count + (last not in _ENDS), has_blank, quotes)


def _blank_lines(table: Table) -> tuple[npt.NDArray[np.int64], int, bool]:
    """Return how many rows come before each blank line, how many there are, and whether no line at all is empty."""
    before, rows, is_open, is_quoted, is_certain = list[int](), 0, False, False, True
    if isinstance(table.file, TextFile) and _may_have_blank(table.file):
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


def _may_have_blank(file: TextFile) -> bool:
    """Look for one in the bytes, which is a hundred times as fast as to look at each line."""
    try:
        lines = lines_of(file)
    except OSError:
        # What is wrong with the file, whoever reads the rows will say.
        return False
    return lines is None or lines.has_blank


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
