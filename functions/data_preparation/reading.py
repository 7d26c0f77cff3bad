"""Reads CSV and Parquet files in record batches, with every value in one of six kinds.

The kinds are the types that a data set is thought of in, whatever its file format says: `null` (no value yet),
`boolean`, `integer`, `float`, `timestamp` and `text`. Each column of a CSV file is given the narrowest kind that holds
all its values, so that a column is never misjudged by its first rows: the first rows are read as strings and tell what
to ask pyarrow's fast converters for; where one of them meets a value that it does not take, the rest is read as
strings.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from common.conversion import OFFSET, timestamps
from common.errors import InvalidDatasetError, first_few, without_values
from data_preparation.parquet_pages import TEXT_BYTES, Plan, UnusableFileError, plan_reading

Kind = Literal["null", "boolean", "integer", "float", "timestamp", "text"]

ARROW_TYPES: Mapping[Kind, pa.DataType] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "timestamp": pa.timestamp("us"),
    "text": pa.string(),
}
# What a CSV column may still turn out to be when a value does not fit the kind found so far, narrowest first.
WIDER: Mapping[Kind, tuple[Kind, ...]] = {
    "null": ("integer", "float", "boolean", "timestamp", "text"),
    "integer": ("float", "text"),
    "float": ("text",),
    "boolean": ("text",),
    "timestamp": ("text",),
    "text": (),
}
# What pandas.read_csv takes for missing, so that a file means here what it means in a notebook.
NULL_VALUES = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
CSV_BLOCK_BYTES = 4 << 20
"""How much of a CSV file one batch holds; pyarrow reads a few of them ahead."""
CSV_SAMPLE_BYTES = 1 << 18
"""How much of a CSV file is looked at to tell the kinds that its columns probably are of."""
ENCODED_SHARE = 0.5
"""The largest share of different texts, in the sample, for which a column is worth a dictionary."""
BATCH_VALUES = 2_000_000
"""How many values a batch of a Parquet file holds, so that memory does not grow with the number of columns."""
MAX_COLUMNS = 10_000
"""What a run bears, in a minute and a half: each step does something for each column, and each batch for each, too."""
SUFFIXES = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set: its name for people, and where it lies now."""

    name: str
    path: Path

    def fingerprint(self) -> dict[str, str | int]:
        """Return name, size in bytes and SHA-256 of the content."""
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"name": self.name, "bytes": self.path.stat().st_size, "sha256": digest}


def read_columns(file: SourceFile) -> list[str]:
    """Return the names of the file's columns without reading its rows.

    Raises
    ------
    InvalidDatasetError
        If the file is empty, damaged or not what its name says, or has unusable column names.
    """
    if file.name.endswith(".parquet"):
        with _parquet_errors(file), pq.ParquetFile(file.path) as parquet:
            return _parquet_names(file, parquet)
    return _checked_names(file, _csv_header(file))


def declared_rows(file: SourceFile) -> int | None:
    """Return how many rows the file says that it has; None for CSV, which does not say.

    Raises
    ------
    InvalidDatasetError
        If it is no Parquet file, whatever its name says.
    """
    if not file.name.endswith(".parquet"):
        return None
    with _parquet_errors(file), pq.ParquetFile(file.path) as parquet:
        return int(parquet.metadata.num_rows)


def read_batches(
    file: SourceFile, kinds: dict[str, Kind], columns: Collection[str] | None = None, *, encode_texts: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the file's rows as record batches whose columns are of the kinds' Arrow types.

    Parameters
    ----------
    file
        A file whose name ends in one of `SUFFIXES`.
    kinds
        The kind of each column; filled and widened in place as values are met. A batch is of the kinds that stand when
        it is yielded: where they have changed in the end, the batches before the change are of narrower ones.
    columns
        The columns to read, whatever the others hold; all, if not given.
    encode_texts
        Whether texts may come as dictionaries, each batch with its own: those of a CSV column of few different ones,
        and those that a Parquet file holds so, which may be huge without it.

    Raises
    ------
    InvalidDatasetError
        If the file is empty, damaged or not what its name says, has unusable column names, more columns than
        `MAX_COLUMNS`, or pages or texts too large to be read.
    """
    reader = _parquet_batches if file.name.endswith(".parquet") else _csv_batches
    yield from reader(file, kinds, columns, encode_texts)


def typed_batch(name: str, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[str, Kind]]:
    """Return rows that are in memory as `read_batches` yields those of a Parquet file, and the kinds of the columns.

    Parameters
    ----------
    name
        What messages call the rows.
    rows
        Of any types; texts that come as dictionaries stay so.

    Raises
    ------
    InvalidDatasetError
        If a column is of a type that is none of the kinds.
    """
    file = SourceFile(name, Path())
    kinds = {field.name: _parquet_kind(file, field) for field in rows.schema}
    with _parquet_errors(file):
        arrays = [_from_parquet(file, each, rows[each], kinds[each], encode_texts=True) for each in kinds]
    return pa.RecordBatch.from_arrays(arrays, names=list(kinds)), kinds


def _csv_batches(
    file: SourceFile, kinds: dict[str, Kind], columns: Collection[str] | None, encode_texts: bool
) -> Iterator[pa.RecordBatch]:
    header = _csv_header(file)
    names = _checked_names(file, header)
    # In a file an empty name stays empty.
    wanted = {name: column for name, column in zip(names, header, strict=True) if columns is None or name in columns}
    for name in wanted:
        kinds.setdefault(name, "null")
    types = _converted_types(file, wanted, kinds, encode_texts)
    rows = 0
    with suppress(pa.ArrowInvalid, OSError):
        for batch in _read_ahead(_open_csv(file, types)):
            yield _typed(batch, wanted, kinds)
            rows += batch.num_rows
        return
    # A value that a converter does not take, or a damaged file: read as strings, it turns out which.
    with _csv_errors(file):
        for batch in _read_ahead(_open_csv(file, dict.fromkeys(wanted.values(), pa.string()))):
            new = batch.slice(min(rows, batch.num_rows))
            rows -= batch.num_rows - new.num_rows
            if new.num_rows:
                yield _typed(new, wanted, kinds)


def _converted_types(
    file: SourceFile, wanted: Mapping[str, str], kinds: dict[str, Kind], encode_texts: bool
) -> dict[str, pa.DataType]:
    """Return the type to read each column of a CSV file in, by its first rows; strings are given a kind afterwards."""
    types = dict.fromkeys(wanted.values(), pa.string())
    with _csv_errors(file):
        sample = next(iter(_open_sample(file, types)), None)
    if sample is None:
        return types
    for (name, column), text in zip(wanted.items(), sample.columns, strict=True):
        kinds[name], _ = _narrowest(text, kinds[name])
        if kinds[name] == "timestamp":
            types[column] = _timestamp_type(text)
        elif kinds[name] == "text":
            few = len(text.unique()) <= ENCODED_SHARE * len(text)
            types[column] = pa.dictionary(pa.int32(), pa.string()) if encode_texts and few else pa.string()
        elif kinds[name] != "null":
            types[column] = ARROW_TYPES[kinds[name]]
    return types


def _timestamp_type(text: pa.StringArray) -> pa.DataType:
    """Return the type that takes all times of a sample: with an offset each, without one, or a string for both."""
    zoned = pc.match_substring_regex(text, OFFSET)
    if pc.all(zoned).as_py():
        return pa.timestamp("us", "UTC")
    return pa.string() if pc.any(zoned).as_py() else ARROW_TYPES["timestamp"]


def _typed(batch: pa.RecordBatch, wanted: Mapping[str, str], kinds: dict[str, Kind]) -> pa.RecordBatch:
    """Return what was read with every column in its kind, which is widened where strings do not fit."""
    arrays = []
    for name, column in zip(wanted, batch.columns, strict=True):
        if pa.types.is_string(column.type):
            kinds[name], array = _narrowest(column, kinds[name])
        else:
            array = pc.cast(column, ARROW_TYPES["timestamp"]) if pa.types.is_timestamp(column.type) else column
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=list(wanted))


def _narrowest(text: pa.StringArray, kind: Kind) -> tuple[Kind, pa.Array]:
    """Return the narrowest kind, from `kind` on, that holds all values of a column, and the column in it."""
    for candidate in (kind, *WIDER[kind]):
        array = _as_kind(text, candidate)
        if array is not None:
            return candidate, array
    raise AssertionError("text holds every value")


def _as_kind(text: pa.StringArray, kind: Kind) -> pa.Array | None:
    """Return CSV text as an array of the kind, or None where a value does not fit."""
    if kind == "text":
        return text
    if kind == "null":
        return pa.nulls(len(text)) if text.null_count == len(text) else None
    convert = _CONVERSIONS.get(kind, lambda values: pc.cast(values, ARROW_TYPES[kind]))
    for trim in (False, True):
        try:
            return convert(pc.utf8_trim_whitespace(text) if trim else text)
        except pa.ArrowInvalid:
            continue
    return None


def _to_boolean(text: pa.StringArray) -> pa.Array:
    """Take true and false in any case; 0 and 1 are numbers, wherever in the file they stand."""
    lower = pc.utf8_lower(text)
    if pc.all(pc.is_in(lower, value_set=pa.array(["true", "false", None], pa.string()))).as_py() is False:
        raise pa.ArrowInvalid("a text that is neither true nor false")
    return pc.equal(lower, "true")


_CONVERSIONS: Mapping[Kind, Callable[[pa.StringArray], pa.Array]] = {"boolean": _to_boolean, "timestamp": timestamps}


def _csv_header(file: SourceFile) -> list[str]:
    with _csv_errors(file):
        _check_number(file, _count_columns(file))
        return list(_open_sample(file, {}).schema.names)


def _count_columns(file: SourceFile) -> int:
    """Return the number of columns, or some number beyond `MAX_COLUMNS`: pyarrow takes ten kilobytes for each."""
    with open_stream(file) as stream:
        content = b""
        while len(content) < CSV_BLOCK_BYTES and (read := stream.read(CSV_SAMPLE_BYTES)):
            content += read
            # A comma or a new line in quotes is none; a quote in quotes is two, and looks like two texts.
            bare = re.sub(rb'"[^"]*"?', b"", content).lstrip(b"\r\n")
            line = re.split(rb"[\r\n]", bare, maxsplit=1)
            columns = line[0].count(b",") + 1
            if len(line) > 1 or columns > MAX_COLUMNS:
                return columns
    return 0


def open_stream(file: SourceFile) -> pa.NativeFile:
    """Open a CSV file, whether it is compressed or not."""
    return pa.input_stream(str(file.path), compression="gzip" if file.name.endswith(".gz") else None)


def _open_sample(file: SourceFile, types: Mapping[str, pa.DataType]) -> pa.csv.CSVStreamingReader:
    """Open a file for its first rows; where a row is longer than a sample, the sample is a whole block."""
    if CSV_SAMPLE_BYTES < CSV_BLOCK_BYTES:
        with suppress(pa.ArrowInvalid, OSError):
            return _open_csv(file, types, block=CSV_SAMPLE_BYTES)
    return _open_csv(file, types)


def _open_csv(
    file: SourceFile, types: Mapping[str, pa.DataType], *, block: int | None = None, threads: bool = True
) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        open_stream(file),
        read_options=pa.csv.ReadOptions(block_size=block or CSV_BLOCK_BYTES, use_threads=threads and block is None),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=NULL_VALUES,
            strings_can_be_null=True,
            true_values=("true", "True", "TRUE"),
            false_values=("false", "False", "FALSE"),
        ),
    )


def _read_ahead(reader: pa.csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
    """Yield all batches; pyarrow reads each on one core, which need not wait while the caller works on another."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, reader, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, reader, None)
            yield batch


@contextmanager
def _csv_errors(file: SourceFile) -> Iterator[None]:
    """Say in one sentence what is wrong with the file when pyarrow cannot read it as CSV."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _not_utf8(file) from error
    except (pa.ArrowInvalid, OSError) as error:
        message = str(error)
        if "UTF8" in message or _starts_as_utf16(file):
            raise _not_utf8(file) from error
        if "Empty CSV" in message:
            raise InvalidDatasetError(f'"{file.name}" is empty: it needs a header line and rows.') from error
        if isinstance(error, OSError) or "zlib" in message or "inflate" in message:
            raise InvalidDatasetError(f'"{file.name}" cannot be decompressed: {_one_line(message)}.') from error
        raise InvalidDatasetError(
            f'"{file.name}" is not valid CSV: {_one_line(_numbered_csv_error(file) or message)}. '
            "Every row needs as many values as the header has names; quote values that hold commas."
        ) from error


def _numbered_csv_error(file: SourceFile) -> str | None:
    """Read the file again without threads, because only then does pyarrow number the rows (the header is row 1)."""
    try:
        for _ in _open_csv(file, {}, threads=False):
            pass
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("CSV parse error: ")
    return None


def _not_utf8(file: SourceFile) -> InvalidDatasetError:
    return InvalidDatasetError(f'"{file.name}" is not UTF-8 text: save it with the encoding UTF-8.')


def _starts_as_utf16(file: SourceFile) -> bool:
    with file.path.open("rb") as stream:
        return stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _one_line(message: str) -> str:
    """Return what pyarrow says of a file without the row that it shows, which is data."""
    text = without_values(message)
    shown = re.search(r"got \d+", text)
    return (text[: shown.end()] if shown else text).rstrip(".")


def _checked_names(file: SourceFile, header: Sequence[str]) -> list[str]:
    """Return the column names; an empty one is named as pandas does (`Unnamed: 0`)."""
    _check_number(file, len(header))
    names = [name or f"Unnamed: {index}" for index, name in enumerate(header)]
    if any("\0" in name for name in names):
        raise _not_utf8(file)
    twice = sorted(f'"{name}"' for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InvalidDatasetError(
            f'"{file.name}" has more than one column named {first_few(twice)}: give each its own name.'
        )
    return names


def _check_number(file: SourceFile, columns: int) -> None:
    if columns > MAX_COLUMNS:
        raise InvalidDatasetError(
            f'"{file.name}" has more than {MAX_COLUMNS:,} columns, more than a run bears: leave out those that say '
            "least, or turn them into fewer."
        )


def _parquet_names(file: SourceFile, parquet: pq.ParquetFile) -> list[str]:
    _check_number(file, parquet.metadata.num_columns)
    return _checked_names(file, parquet.schema_arrow.names)


def _parquet_batches(
    file: SourceFile, kinds: dict[str, Kind], columns: Collection[str] | None, encode_texts: bool
) -> Iterator[pa.RecordBatch]:
    # Without pre-buffering a row group is read page by page, not held whole in memory.
    # A flipped bit is a wrong value, unless the page's checksum is looked at, where the writer has made one.
    options: dict[str, Any] = {"pre_buffer": False, "buffer_size": 1 << 20, "page_checksum_verification": True}
    with _parquet_errors(file):
        with file.path.open("rb") as stream, pq.ParquetFile(file.path, **options) as parquet:
            metadata, schema = parquet.metadata, parquet.schema_arrow
            wanted = [name for name in _parquet_names(file, parquet) if columns is None or name in columns]
            kinds.update({name: _parquet_kind(file, schema.field(name)) for name in wanted})
            plan = plan_reading(stream, parquet, wanted)
        encoded = [name for name in plan.encoded if kinds[name] == "text"]
        with pq.ParquetFile(file.path, metadata=metadata, read_dictionary=encoded, **options) as parquet:
            rows = _batch_rows(plan, len(wanted))
            for batch in _joined(parquet.iter_batches(rows, columns=wanted), rows):
                arrays = [_from_parquet(file, name, batch[name], kinds[name], encode_texts) for name in wanted]
                yield pa.RecordBatch.from_arrays(arrays, names=wanted)


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
def _parquet_errors(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except UnusableFileError as error:
        raise InvalidDatasetError(f'"{file.name}" cannot be read as Parquet: {error}.') from error
    except InvalidDatasetError:
        raise
    # What Arrow cannot open, a size that no machine has, or a name that is no UTF-8.
    except (pa.ArrowException, OSError, MemoryError, ValueError, TypeError, KeyError) as error:
        raise InvalidDatasetError(f'"{file.name}" cannot be read as Parquet: {_one_line(str(error))}.') from error


def _parquet_kind(file: SourceFile, field: pa.Field) -> Kind:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    tests: Mapping[Kind, Sequence[Callable[[pa.DataType], bool]]] = {
        "null": (pa.types.is_null,),
        "boolean": (pa.types.is_boolean,),
        # The upper half of uint64 does not fit int64.
        "float": (pa.types.is_floating, pa.types.is_decimal, pa.types.is_uint64),
        "integer": (pa.types.is_integer,),
        "timestamp": (pa.types.is_timestamp, pa.types.is_date),
        "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    }
    for kind, checks in tests.items():
        if any(check(type_) for check in checks):
            return kind
    raise InvalidDatasetError(
        f'Column "{field.name}" of "{file.name}" has the type {field.type}, which cannot be trained on: '
        "leave it out or turn it into numbers, texts or timestamps."
    )


def _from_parquet(file: SourceFile, name: str, column: pa.Array, kind: Kind, encode_texts: bool) -> pa.Array:
    if kind == "text":
        return _parquet_text(file, name, column, encode_texts)
    if pa.types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    # Nanoseconds are cut to microseconds (a timestamp with a zone is stored as UTC, and stays so); the nearest float
    # stands for a whole number or a decimal that has more digits than a float.
    return pc.cast(column, ARROW_TYPES[kind], safe=kind not in ("timestamp", "float"))


def _parquet_text(file: SourceFile, name: str, column: pa.Array, encode_texts: bool) -> pa.Array:
    """Return texts that are UTF-8 and not too long; a dictionary holds no more texts than there are rows."""
    try:
        # Neither texts nor places in a dictionary have been looked at so far, and whoever reads them relies on both.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InvalidDatasetError(f'Column "{name}" of "{file.name}" holds texts that are not UTF-8.') from error
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
            f'Column "{name}" of "{file.name}" holds a text of {longest >> 20:,} MB, and {TEXT_BYTES >> 20} MB is the '
            "most that one may have: leave the column out or cut its texts."
        )
    if indices is None:
        return texts
    encoded = pa.DictionaryArray.from_arrays(pc.cast(indices, pa.int32()), texts)
    return encoded if encode_texts else encoded.dictionary_decode()
