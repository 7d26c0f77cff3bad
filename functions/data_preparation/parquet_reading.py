"""Reads Parquet files in record batches, with every value in one of six kinds."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.errors import InvalidDatasetError, without_values
from data_preparation.columns import Columns
from data_preparation.dialect import named
from data_preparation.notation import ARROW_TYPES, Kind, is_text, kind_of
from data_preparation.parquet_pages import TEXT_BYTES, Plan, UnusableFileError, plan_reading

BATCH_VALUES = 2_000_000
"""How many values a batch holds, so that memory does not grow with the number of columns."""
MAX_COLUMNS = 10_000
"""What a run bears, in a minute and a half: each step does something for each column, and each batch for each, too."""


@dataclass(frozen=True)
class RowGroups:
    """Some row groups of a file, of which nothing else is there but its footer.

    Attributes
    ----------
    numbers
        Which ones.
    is_first, is_last
        Whether the file begins or ends with them.
    opens
        Opens the file, for whoever closes it.
    """

    numbers: range
    is_first: bool
    is_last: bool
    opens: Callable[[], BinaryIO]


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file.

    Attributes
    ----------
    name
        What messages call it.
    path
        Where it lies.
    groups
        The row groups to read, where the file is not whole.
    """

    name: str
    path: Path
    groups: RowGroups | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns, those that cannot be trained on among them.

        Raises
        ------
        InvalidDatasetError
            If the file cannot be read, or has more columns than a run bears, or a name twice.
        """
        with self._errors(), self.opened() as parquet:
            return self._names(parquet)

    @property
    def unusable(self) -> dict[str, str]:
        """Why each column of a type that cannot be trained on is left out."""
        with self._errors(), self.opened() as parquet:
            return {
                field.name: f"its type is {field.type}, which no model takes"[:200]
                for field in parquet.schema_arrow
                if kind_of(field.type) is None
            }

    @property
    def rows(self) -> int:
        """How many rows the file says that it has, in the row groups to read.

        Raises
        ------
        InvalidDatasetError
            If it is no Parquet file, whatever its name says.
        """
        with self._errors(), self.opened() as parquet:
            if self.groups is None:
                return int(parquet.metadata.num_rows)
            return sum(parquet.metadata.row_group(group).num_rows for group in self.groups.numbers)

    def batches(
        self, columns: Columns, wanted: Collection[str] | None = None, *, encode_texts: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows as record batches, in the types that the columns are known to have (`reading.Table`)."""
        columns.begin()
        columns.may_end_in_totals = False
        with self._errors():
            with self._stream() as stream, self.opened() as parquet:
                metadata, schema = parquet.metadata, parquet.schema_arrow
                for name in _categories(schema):
                    columns.read_as(name, "text")
                usable = [name for name in self._names(parquet) if kind_of(schema.field(name).type) is not None]
                names = [name for name in usable if wanted is None or name in wanted]
                plans = plan_reading(stream, parquet, names, None if self.groups is None else self.groups.numbers)
            for plan in plans:
                encoded = [name for name in plan.encoded if kind_of(schema.field(name).type) == "text"]
                with self.opened(metadata=metadata, read_dictionary=encoded) as parquet:
                    rows = _batch_rows(plan, len(names))
                    for batch in _joined(parquet.iter_batches(rows, row_groups=plan.groups, columns=names), rows):
                        arrays = [typed_column(self.name, name, batch[name], columns, encode_texts) for name in names]
                        yield pa.RecordBatch.from_arrays(arrays, names=names)

    @contextmanager
    def opened(self, **options: Any) -> Iterator[pq.ParquetFile]:
        """Open it to be read page by page, with more of pyarrow's options; errors are pyarrow's own."""
        # Without pre-buffering a row group is not held whole in memory. A flipped bit is a wrong value, unless the
        # page's checksum is looked at, where the writer has made one.
        options |= {"pre_buffer": False, "buffer_size": 1 << 20, "page_checksum_verification": True}
        # pyarrow closes what it has opened, and no stream that it was given.
        with ExitStack() as stack:
            source = self.path if self.groups is None else stack.enter_context(self.groups.opens())
            yield stack.enter_context(pq.ParquetFile(source, **options))

    def _stream(self) -> BinaryIO:
        return self.path.open("rb") if self.groups is None else self.groups.opens()

    def _names(self, parquet: pq.ParquetFile) -> list[str]:
        check_number(self.name, parquet.metadata.num_columns)
        return named(self.name, parquet.schema_arrow.names)

    def _errors(self) -> AbstractContextManager[None]:
        return parquet_errors(self.name)


def check_number(name: str, columns: int) -> None:
    """Raise InvalidDatasetError for more columns than a run bears."""
    if columns > MAX_COLUMNS:
        raise InvalidDatasetError(
            f'"{name}" has more than {MAX_COLUMNS:,} columns, more than a run bears: leave out those that say '
            "least, or turn them into fewer."
        )


def _joined(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches of about so many rows: with dictionaries, one ends with its row group, which may be small."""
    pending, pending_rows, pending_bytes = list[pa.RecordBatch](), 0, 0
    for batch in batches:
        pending.append(batch)
        pending_rows += batch.num_rows
        pending_bytes += batch.nbytes
        if pending_rows >= rows or pending_bytes >= 8 * BATCH_VALUES:
            yield _as_one(pending)
            pending, pending_rows, pending_bytes = [], 0, 0
    if pending:
        yield _as_one(pending)


def _as_one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    (batch,) = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()
    return batch


def _batch_rows(plan: Plan, columns: int) -> int:
    rows = max(1024, BATCH_VALUES // max(1, columns))
    return min(rows, max(1, int(TEXT_BYTES / plan.text_bytes))) if plan.text_bytes else rows


@contextmanager
def parquet_errors(name: str) -> Iterator[None]:
    """Say in one sentence what is wrong with a file that cannot be read as Parquet."""
    try:
        yield
    except UnusableFileError as error:
        raise InvalidDatasetError(f'"{name}" cannot be read as Parquet: {error}.') from error
    except InvalidDatasetError:
        raise
    # What Arrow cannot open, a size that no machine has, or a name that is no UTF-8.
    except (pa.ArrowException, OSError, MemoryError, ValueError, TypeError, KeyError) as error:
        message = without_values(str(error)).rstrip(".")
        raise InvalidDatasetError(f'"{name}" cannot be read as Parquet: {message}.') from error


def typed_column(file: str, name: str, column: pa.Array, columns: Columns, encode_texts: bool) -> pa.Array:
    """Return a column that has a type as the kind that it is of, or is to be.

    Parameters
    ----------
    file, name
        What messages call the file and the column.
    column
        Of a type that has a kind.
    columns
        Where it is noted what it is, or said otherwise.
    encode_texts
        Whether texts may stay a dictionary.
    """
    kind = kind_of(column.type) or "null"
    if kind == "text" and pa.types.is_dictionary(column.type) and not is_text(column.type.value_type):
        # A category of numbers is told apart by them, not measured.
        column.validate(full=True)
        column = pa.DictionaryArray.from_arrays(column.indices, pc.cast(column.dictionary, pa.string()))
        columns.read_as(name, "text")
    if kind == "text":
        texts = _text(file, name, column, encode_texts)
        return texts if columns.is_fixed(name, "text") else columns.add(name, texts, is_typed=True)
    values = _converted(column, kind)
    if columns.is_fixed(name, "text"):
        return pc.cast(values, pa.string()).dictionary_encode()
    if (asked := columns[name].asked.kind) is not None and not _is(kind, asked):
        return columns.add(name, pc.cast(values, pa.string()))
    columns.read_as(name, kind)
    return columns.without_missing_numbers(values)


def _categories(schema: pa.Schema) -> list[str]:
    """Return the columns that were categories in pandas, of which Parquet itself keeps the values alone."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["columns"]
        names = [each["name"] for each in described if each["pandas_type"] == "categorical"]
    except (ValueError, KeyError, TypeError):
        return []
    return [name for name in names if name in schema.names and kind_of(schema.field(name).type) in ("integer", "float")]


def _is(kind: Kind, asked: str) -> bool:
    """Return whether a column of a kind is what a request says that it is."""
    fitting = {"number": ("integer", "float"), "boolean": ("boolean",), "date": ("timestamp",)}
    return kind == "null" or asked in ("identifier", "ignore") or kind in fitting.get(asked, ("text",))


def _converted(column: pa.Array, kind: Kind) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    if pa.types.is_time(column.type) or pa.types.is_duration(column.type):
        per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
        whole = pc.cast(pc.cast(column, pa.int32()) if column.type.bit_width == 32 else column, pa.int64())
        return pc.divide(pc.cast(whole, pa.float64(), safe=False), per_second)
    if pa.types.is_decimal(column.type):
        # By way of text, for the cast of decimals is off by a bit now and then.
        column = pc.cast(column, pa.string())
    # Nanoseconds are cut to microseconds (a timestamp with a zone is stored as UTC, and stays so); the nearest float
    # stands for a whole number or a decimal that has more digits than a float.
    return pc.cast(column, ARROW_TYPES[kind], safe=kind not in ("timestamp", "float"))


def _text(file: str, name: str, column: pa.Array, encode_texts: bool) -> pa.Array:
    """Return texts that are UTF-8 and not too long; a dictionary holds no more texts than there are rows."""
    try:
        # Neither texts nor places in a dictionary have been looked at so far, and whoever reads them relies on both.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InvalidDatasetError(f'Column "{name}" of "{file}" holds texts that are not UTF-8.') from error
    indices, texts = None, column
    if pa.types.is_dictionary(column.type):
        indices, texts = column.indices, column.dictionary
        if len(texts) > len(column):
            used = indices.dictionary_encode()
            indices, texts = used.indices, texts.take(used.dictionary)
    texts = pc.cast(texts, pa.string())
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > TEXT_BYTES:
        raise InvalidDatasetError(
            f'Column "{name}" of "{file}" holds a text of {longest >> 20:,} MB, and {TEXT_BYTES >> 20} MB is the '
            "most that one may have: leave the column out or cut its texts."
        )
    if indices is None:
        return texts
    encoded = pa.DictionaryArray.from_arrays(pc.cast(indices, pa.int32()), texts)
    return encoded if encode_texts else encoded.dictionary_decode()
