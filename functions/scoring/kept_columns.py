"""Columns of the input that go into the output as they are.

What is kept is what the rows are joined by afterwards: a text of a CSV file is not turned into a number, and a value of
a Parquet file keeps its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from common.errors import InvalidRowsError
from common.validation import did_you_mean
from data_preparation.parquet_reading import ParquetTable
from data_preparation.reading import Table


def check_kept(names: Sequence[str], columns: Sequence[str], predictions: Sequence[str], file: str) -> None:
    """Check that a file has the columns to keep, and that none is called as one of the predictions.

    Raises
    ------
    InvalidRowsError
        Naming each column that is not there, or is there twice.
    """
    if missing := [name for name in names if name not in columns]:
        told = " ".join(f'"{name}" is missing.{did_you_mean(name, columns)}' for name in missing)
        raise InvalidRowsError(f'"{file}" does not have the columns to keep: {told}')
    if taken := [name for name in names if name in predictions]:
        raise InvalidRowsError(
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
    table : Table
        The file.
    schema : pyarrow.Schema
        The types of a Parquet file, without dictionaries; texts of any other file.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self.table = table
        self.schema = _schema(table, names)
        self._batches = _read(table, self.schema) if names else iter(())
        self._waiting = self.schema.empty_table()

    def take(self, rows: int) -> list[pa.Array]:
        """Return the columns of the next rows.

        Raises
        ------
        InvalidRowsError
            If they cannot be read.
        """
        with _errors(self.table.file.name):
            while self._waiting.num_rows < rows and self.schema.names:
                more = pa.Table.from_batches([next(self._batches)], self.schema)
                self._waiting = pa.concat_tables([self._waiting, more])
        taken, self._waiting = self._waiting.slice(0, rows), self._waiting.slice(rows)
        return [column.combine_chunks() for column in taken.columns]


def _schema(table: Table, names: Sequence[str]) -> pa.Schema:
    if not isinstance(table.file, ParquetTable):
        return pa.schema([(name, pa.string()) for name in names])
    with _errors(table.file.name), table.file.opened() as parquet:
        stored = parquet.schema_arrow
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
    groups = None if file.groups is None else list(file.groups.numbers)
    with file.opened() as parquet:
        yield from parquet.iter_batches(row_groups=groups, columns=list(names))


@contextmanager
def _errors(file: str) -> Iterator[None]:
    """Name the file: that it is one that can be read, its features have shown."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
        raise InvalidRowsError(f'The columns to keep of "{file}" cannot be read: see that they are UTF-8.') from error
