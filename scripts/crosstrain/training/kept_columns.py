"""Columns of the input that go into the output as they are, and the places of its blank lines.

What is kept is what the rows are joined by afterwards: a text of a CSV file is not turned into a number, and a value of
a Parquet file keeps its type.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from common.request import did_you_mean
from crosstrain.command import BadInputError
from data_preparation.reading import CSV_BLOCK_BYTES, SourceFile, open_stream, read_columns

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
    file
        A CSV or Parquet file, which has the columns.
    names
        Of the columns; without any, all rows are empty.

    Attributes
    ----------
    schema : pyarrow.Schema
        The types of a Parquet file, without dictionaries; texts of a CSV file.
    """

    def __init__(self, file: SourceFile, names: Sequence[str]) -> None:
        self._file = file
        self.schema = _schema(file, names)
        self._batches = _read(file, self.schema) if names else iter(())
        self._waiting = self.schema.empty_table()

    def take(self, rows: int) -> list[pa.Array]:
        """Return the columns of the next rows.

        Raises
        ------
        BadInputError
            If they cannot be read.
        """
        with _errors(self._file):
            while self._waiting.num_rows < rows and self.schema.names:
                more = pa.Table.from_batches([next(self._batches)], self.schema)
                self._waiting = pa.concat_tables([self._waiting, more])
        taken, self._waiting = self._waiting.slice(0, rows), self._waiting.slice(rows)
        return [column.combine_chunks() for column in taken.columns]


def _schema(file: SourceFile, names: Sequence[str]) -> pa.Schema:
    if not file.name.endswith(".parquet"):
        return pa.schema([(name, pa.string()) for name in names])
    with _errors(file):
        stored = pq.read_schema(file.path)
    types = {name: stored.field(name).type for name in names}
    return pa.schema(
        [(name, each.value_type if pa.types.is_dictionary(each) else each) for name, each in types.items()]
    )


def _read(file: SourceFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    batches = _read_parquet(file, schema) if file.name.endswith(".parquet") else _read_csv(file, schema)
    for batch in batches:
        yield pa.RecordBatch.from_arrays(
            [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns],
            schema=schema,
        )


def _read_parquet(file: SourceFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file.path, page_checksum_verification=True) as parquet:
        for batch in parquet.iter_batches(columns=schema.names):
            yield batch.select(schema.names)


def _read_csv(file: SourceFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with _open_csv(file, pa.csv.ConvertOptions()) as reader:
        # In a file an empty name stays empty.
        header = dict(zip(read_columns(file), reader.schema.names, strict=True))
    columns = [header[name] for name in schema.names]
    as_it_is = pa.csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    with _open_csv(file, as_it_is) as reader:
        yield from reader


def _open_csv(file: SourceFile, convert: pa.csv.ConvertOptions) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        open_stream(file),
        read_options=pa.csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=convert,
    )


@contextmanager
def _errors(file: SourceFile) -> Iterator[None]:
    """Name the file: that it is one that can be read, its features have shown."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
        raise BadInputError(f'The columns to keep of "{file.name}" cannot be read: see that they are UTF-8.') from error


class BlankLines:
    """The blank lines of a CSV file, which pyarrow passes over: each keeps its place by a row without a value.

    Blank lines at the end of a file are none of its rows.

    Attributes
    ----------
    count : int
        How many there are.
    """

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._before, self._rows, self._is_certain = _blank_lines(file)
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
                f'"{self._file.name}" has blank lines, and quotes that leave open where: remove the blank lines.'
            )


def _blank_lines(file: SourceFile) -> tuple[npt.NDArray[np.int64], int, bool]:
    """Return how many rows come before each blank line, how many there are, and whether no line at all is empty."""
    # The header is no row.
    before, rows, is_open, is_quoted, is_certain = [], -1, False, False, True
    if not file.name.endswith(".parquet"):
        for piece in _pieces(file):
            is_certain &= piece != "\n"
            if piece == "\n" and not (is_open or is_quoted):
                before.append(rows)
                continue
            is_quoted ^= piece.count('"') % 2 == 1
            is_open = is_quoted or not piece.endswith("\n")
            rows += not is_open
        rows += is_open
    return np.array([each for each in before if 0 <= each < rows], dtype=np.int64), rows, is_certain


def _pieces(file: SourceFile) -> Iterator[str]:
    """Yield the lines of a CSV file, long ones in pieces; whatever ends a line is a line feed."""
    try:
        with _text(file) as stream:
            yield from iter(lambda: stream.readline(_PIECE), "")
    except (OSError, EOFError, zlib.error):
        # What is wrong with the file, whoever reads the rows will say.
        return


def _text(file: SourceFile) -> IO[str]:
    # Each byte is a character; those that are asked for mean the same in UTF-8.
    if file.name.endswith(".gz"):
        return gzip.open(file.path, "rt", encoding="latin-1")
    return file.path.open(encoding="latin-1")
