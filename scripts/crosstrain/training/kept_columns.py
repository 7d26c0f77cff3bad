"""Columns of the input that go into the output as they are, and the places of its blank lines.

What is kept is what the rows are joined by afterwards: a text of a CSV file is not turned into a number, and a value of
a Parquet file keeps its type.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from common.request import did_you_mean
from crosstrain.command import BadInputError
from data_preparation.parquet_reading import ParquetTable
from data_preparation.reading import Table
from data_preparation.text_reading import TextFile

_PIECE = 1 << 20
"""The most characters of a line that are looked at at a time."""


def check_kept(names: Sequence[str], columns: Sequence[str], predictions: Sequence[str], file: str) -> None:
    """Check that a file has the columns to keep, and that none is called as one of the predictions.

    Raises
    ------
    BadInputError
        Naming each column that is not there, or is there twice.
    """
    if missing := [name for name in names if name not in columns]:
        told = " ".join(f'"{name}" is missing.{did_you_mean(name, columns)}' for name in missing)
        raise BadInputError(f'"{file}" does not have the columns to keep: {told}')
    if taken := [name for name in names if name in predictions]:
        raise BadInputError(
            f'The column "{taken[0]}" of "{file}" cannot be kept, for the predictions have a column of this name: '
            "rename it, or name the columns to keep without it."
        )


class KeptRows:
    """The columns of a file that are kept, taken by as many rows as are scored at a time.

    Parameters
    ----------
    table
        The opened file, which has the columns.
    names
        Of the columns; without any, all rows are empty.

    Attributes
    ----------
    schema : pyarrow.Schema
        The types of a Parquet file, without dictionaries; texts of any other file.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._name = table.file.name
        self.schema = _schema(table, names)
        self._batches = _read(table, self.schema) if names else iter(())
        self._waiting = self.schema.empty_table()

    def take(self, rows: int) -> list[pa.Array]:
        """Return the columns of the next rows.

        Raises
        ------
        BadInputError
            If they cannot be read.
        """
        with _errors(self._name):
            while self._waiting.num_rows < rows and self.schema.names:
                more = pa.Table.from_batches([next(self._batches)], self.schema)
                self._waiting = pa.concat_tables([self._waiting, more])
        taken, self._waiting = self._waiting.slice(0, rows), self._waiting.slice(rows)
        return [column.combine_chunks() for column in taken.columns]


def _schema(table: Table, names: Sequence[str]) -> pa.Schema:
    if not isinstance(table.file, ParquetTable):
        return pa.schema([(name, pa.string()) for name in names])
    with _errors(table.file.name):
        stored = pq.read_schema(table.file.path)
    types = {name: stored.field(name).type if name in stored.names else pa.string() for name in names}
    return pa.schema(
        [(name, each.value_type if pa.types.is_dictionary(each) else each) for name, each in types.items()]
    )


def _read(table: Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the columns as they are written; those that the file's folders stand for say the same in each row."""
    inside = [name for name in schema.names if name in table.file.columns]
    batches = _read_parquet(table.file, inside) if isinstance(table.file, ParquetTable) else table.file.texts(inside)
    for batch in batches:
        columns = {name: _decoded(batch[name]) for name in inside}
        for name in schema.names:
            if name not in columns:
                columns[name] = pa.repeat(pa.scalar(table.folders[name], pa.string()), batch.num_rows)
        yield pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _read_parquet(file: ParquetTable, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file.path, page_checksum_verification=True) as parquet:
        yield from parquet.iter_batches(columns=list(names))


@contextmanager
def _errors(file: str) -> Iterator[None]:
    """Name the file: that it is one that can be read, its features have shown."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
        raise BadInputError(f'The columns to keep of "{file}" cannot be read: see that they are UTF-8.') from error


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
        BadInputError
            If they were not, as by a quote in the middle of a value.
        """
        if not self._is_certain and rows != self._rows:
            raise BadInputError(
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
