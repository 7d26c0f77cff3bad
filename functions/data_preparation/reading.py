"""Reads the files of a data set in record batches, whatever their format, with every value in one of six kinds.

The kinds are the types that a data set is thought of in: `null` (no value yet), `boolean`, `integer`, `float`,
`timestamp` and `text`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from common.errors import InvalidDatasetError, without_values
from common.reading_options import ReadOptions
from data_preparation.columns import Columns
from data_preparation.delimited import rewrite
from data_preparation.dialect import Dialect, find_dialect, not_encoded
from data_preparation.file_names import hive_columns
from data_preparation.formats import Format, open_text, readable, recognise
from data_preparation.notation import Kind, kind_of
from data_preparation.parquet_reading import ParquetTable, RowGroups, check_number, parquet_errors, typed_column
from data_preparation.text_reading import Opens, Segment, TextFile


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set: its name for people, and where it lies now.

    The name is that within the folder of the data set: other folders in it may say what columns hold (`year=2024/`).
    """

    name: str
    path: Path
    segment: Segment | RowGroups | None = None
    """Which part of the file it is, where it is not the whole one."""

    def fingerprint(self) -> dict[str, str | int]:
        """Return name, size in bytes and SHA-256 of the content."""
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"name": self.name, "bytes": self.path.stat().st_size, "sha256": digest}


@dataclass
class Table:
    """A file that is opened as a table.

    Attributes
    ----------
    file
        What is read, which may be a copy in another format.
    folders
        The columns that the names of its folders stand for.
    told
        What is told of how the file is written.
    """

    file: TextFile | ParquetTable
    folders: Mapping[str, str | None] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns that can be read."""
        inside = [name for name in self.file.columns if name not in self.unusable]
        return [*inside, *(name for name in self.folders if name not in inside)]

    @cached_property
    def all_columns(self) -> list[str]:
        """The names of all columns, of those too that cannot be read as values of one of the kinds."""
        return [*self.file.columns, *(name for name in self.folders if name not in self.file.columns)]

    @cached_property
    def unusable(self) -> dict[str, str]:
        """Why other columns cannot be read."""
        return self.file.unusable if isinstance(self.file, ParquetTable) else {}

    @property
    def rows(self) -> int | None:
        """How many rows the file says that it has; None for text, which does not say."""
        return self.file.rows if isinstance(self.file, ParquetTable) else None

    @property
    def told_of_rows(self) -> list[str]:
        """What the last reading has told of the rows."""
        return [] if isinstance(self.file, ParquetTable) else self.file.told_of_rows

    @property
    def has_numbers_in_header(self) -> bool:
        """Whether the header looks like a row."""
        return isinstance(self.file, TextFile) and self.file.dialect.has_numbers_in_header

    @property
    def dialect(self) -> str:
        """The format in words."""
        return "Parquet" if isinstance(self.file, ParquetTable) else self.file.dialect.words

    def batches(
        self, columns: Columns, wanted: Collection[str] | None = None, *, encode_texts: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows as record batches, in the types that the columns are known to have.

        Parameters
        ----------
        columns
            What the columns are; found out while they are read. A batch is of the kinds that are known when it is
            yielded: where `columns.end()` is false after the last one, the rows are to be read once more.
        wanted
            The columns to read, whatever the others hold; all, if not given.
        encode_texts
            Whether texts may come as dictionaries, each batch with its own: those of a column of few different ones,
            and those that a Parquet file holds so, which may be huge without it.

        Raises
        ------
        InvalidDatasetError
            If the file is damaged or not what its name says, or has pages or texts too large to be read.
        """
        names = [name for name in self.columns if wanted is None or name in wanted]
        added = {name: value for name, value in self.folders.items() if name in names and name not in self.file.columns}
        for batch in self.file.batches(columns, names, encode_texts=encode_texts):
            arrays = [*batch.columns, *(columns.add(name, _repeated(value, batch)) for name, value in added.items())]
            yield pa.RecordBatch.from_arrays(arrays, names=[*batch.schema.names, *added])


def _repeated(value: str | None, batch: pa.RecordBatch) -> pa.DictionaryArray:
    indices = pa.repeat(pa.scalar(0 if value is not None else None, pa.int32()), batch.num_rows)
    return pa.DictionaryArray.from_arrays(indices, pa.array([value or ""]))


@contextmanager
def open_table(file: SourceFile, read: ReadOptions | None = None, folder: Path | None = None) -> Iterator[Table]:
    """Find out how a file is written, and open it.

    Parameters
    ----------
    file
        The file.
    read
        What a request says of how to read it.
    folder
        Where copies may lie while it is open; the system's folder for temporary files, if not given.

    Raises
    ------
    InvalidDatasetError
        If the file is empty, damaged or no table, or has unusable column names or too many.
    """
    read = read or ReadOptions()
    folder = folder or Path(tempfile.gettempdir())
    if isinstance(file.segment, RowGroups):
        table = Table(ParquetTable(file.name, file.path, file.segment), hive_columns(file.name))
        check_number(file.name, len(table.columns))
        yield table
        return
    if file.segment is not None:
        yield _segment_table(file, file.segment, read)
        return
    with ExitStack() as stack, readable(file, folder, read.sheet) as (plain, format_):
        told = tuple(f"{sentence}." for sentence in format_.told)
        if format_.kind == "parquet":
            table = Table(ParquetTable(file.name, plain.path), hive_columns(file.name), told)
        else:
            opener = partial(open_text, plain, format_)
            with opener() as stream:
                dialect = find_dialect(file.name, stream, read)
            told = (*told, *dialect.told)
            if not dialect.is_known_to_pyarrow:
                copy = stack.enter_context(_with_commas(file.name, opener, dialect, folder))
                opener = partial(open_text, SourceFile(file.name, copy), Format("text", None))
                with opener() as stream:
                    written = read.model_copy(update={"separator": None, "encoding": "utf-8"})
                    dialect = find_dialect(file.name, stream, written)
            # Before the names are looked at: of a header that is longer than what is read of it, the last one is cut.
            check_number(file.name, len(dialect.names))
            text = TextFile(file.name, opener, dialect)
            table = Table(text, hive_columns(file.name), told)
        check_number(file.name, len(table.columns))
        yield table


def _segment_table(file: SourceFile, segment: Segment, read: ReadOptions) -> Table:
    """Return a part of a file of text as a table."""
    head = SourceFile(file.name, segment.head)
    found = recognise(head)
    if (found.kind, found.compression) != ("text", None):
        raise _cannot_be_cut(file, "is no plain text")
    with open_text(head, found) as stream:
        dialect = find_dialect(file.name, stream, read)
    # Positions in other encodings, and in a copy with other separators, are not those of the file.
    if dialect.encoding not in ("utf-8", "utf-8-sig") or not dialect.is_known_to_pyarrow:
        raise _cannot_be_cut(file, "is not in UTF-8, or separated by several characters")
    text = TextFile(file.name, partial(open_text, file, found), dialect, segment)
    table = Table(text, hive_columns(file.name), (*(f"{sentence}." for sentence in found.told), *dialect.told))
    check_number(file.name, len(table.columns))
    return table


def _cannot_be_cut(file: SourceFile, why: str) -> InvalidDatasetError:
    return InvalidDatasetError(
        f'"{file.name}" is too large for one function, and {why}, so that it cannot be cut into pieces: write it as '
        "several files, of about a GB each."
    )


@contextmanager
def _with_commas(name: str, opener: Opens, dialect: Dialect, folder: Path) -> Iterator[Path]:
    """Yield where a copy of a text lies that is separated by commas, for as long as the `with` block runs."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".csv") as copy:
        try:
            with io.TextIOWrapper(io.BufferedReader(cast("Any", opener())), dialect.encoding, newline="") as text:
                rewrite(text, dialect.separator, dialect.quote, Path(copy.name))
        except UnicodeError as error:
            raise not_encoded(name, dialect.encoding) from error
        except csv.Error as error:
            raise InvalidDatasetError(f'"{name}" is not valid CSV: {without_values(str(error))}.') from error
        yield Path(copy.name)


def read_columns(file: SourceFile, read: ReadOptions | None = None) -> list[str]:
    """Return the names of a file's columns without reading its rows; errors are those of `open_table`."""
    with open_table(file, read) as table:
        return table.columns


def typed_batch(name: str, rows: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    """Return rows that are in memory as `Table.batches` yields those of a Parquet file.

    Parameters
    ----------
    name
        What messages call the rows.
    rows
        Of any types; texts that come as dictionaries stay so.
    columns
        What the columns are.

    Raises
    ------
    InvalidDatasetError
        If a column is of a type that is none of the kinds.
    """
    with parquet_errors(name):
        for each in rows.schema:
            if kind_of(each.type) is None:
                raise InvalidDatasetError(
                    f'Column "{each.name}" of "{name}" has the type {each.type}, which cannot be trained on: '
                    "leave it out or turn it into numbers, texts or timestamps."
                )
        columns.begin()
        arrays = [typed_column(name, each, rows[each], columns, encode_texts=True) for each in rows.schema.names]
    return pa.RecordBatch.from_arrays(arrays, names=rows.schema.names)


__all__ = ["Kind", "SourceFile", "Table", "open_table", "read_columns", "typed_batch"]
