"""Reads files of delimited text in record batches.

The first rows are read as strings and tell what to ask pyarrow's fast converters for; where one of them meets a value
that it does not take, the rest is read as strings. What a string says, `data_preparation.columns` finds out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from common.conversion import OFFSET, timestamps
from common.errors import InvalidDatasetError, first_few, without_values
from data_preparation.columns import Columns, decimal_hint
from data_preparation.dialect import Dialect, named, not_encoded, read_otherwise, zero_bytes
from data_preparation.notation import ARROW_TYPES, MARKERS, NULL_VALUES, Notation, texts_of

BLOCK_BYTES = 4 << 20
"""How much of a file one batch holds; pyarrow reads a few of them ahead."""
SAMPLE_BYTES = 1 << 18
"""How much of a file is looked at to tell the kinds that its columns probably are of."""
ENCODED_SHARE = 0.5
"""The largest share of different texts, in the sample, for which a column is worth a dictionary."""
MAX_REMARKS = 5
"""How many rows of another length a file may end with, to be taken for remarks below the table."""
_WRITTEN_SO = re.compile(
    r"(?i)\W*(\(?\d[\d,.]* rows?\b.*|total.*|sum.*|summe.*|gesamt.*|end of .*|source.*|quelle.*|note.*)"
)
# What converters are told to take for missing if the first rows have it, in the ways that people write it.
_MISSING = sorted({*NULL_VALUES, *MARKERS, *map(str.upper, MARKERS), *map(str.capitalize, MARKERS)})
MAYBE_OTHERWISE = r"^[+-]?(?:[1-9]\d{0,2}\.\d{3}|\d{1,3}|[01]\d\.(?:1[89]|2[01])\d\d)$"
"""6.221: decimals to some, thousands to others. 01.2024: a month."""
_MANY = 50
_CUT = (
    "It is cut into pieces at line ends, which must not be within quotes: write it as several files, of about a GB "
    "each."
)
_HINT_COLUMNS = 100
"""How many columns are asked for their decimal character."""


class Opens(Protocol):
    """Opens a file from its beginning, decompressed."""

    def __call__(self) -> IO[bytes] | pa.NativeFile:
        """Return the opened file."""


@dataclass(frozen=True)
class Segment:
    """A part of a file, from the beginning of a row to the end of one.

    Attributes
    ----------
    head
        The beginning of the whole file, which tells how it is written.
    lead
        How many of the part's first bytes belong to the block before it. Blocks are those of the whole file, so that
        batches are, too.
    is_first, is_last
        Where the part is.
    """

    head: Path
    lead: int
    is_first: bool
    is_last: bool


@dataclass
class TextFile:
    """A file of delimited text.

    Attributes
    ----------
    name
        What messages call it.
    open
        Opens it.
    dialect
        How it is written.
    remarks
        How many rows of its last reading were remarks below the table.
    segment
        Which part of a file it is; None for a whole one.
    swallowed
        The columns of which a value of its last reading holds what look like whole rows.
    """

    name: str
    open: Opens
    dialect: Dialect
    segment: Segment | None = None
    remarks: int = 0
    swallowed: set[str] = field(default_factory=set)

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return named(self.name, self.dialect.names)

    @property
    def told_of_rows(self) -> list[str]:
        """What its last reading has told of the rows."""
        remarks = f'"{self.name}" has remarks below its rows, {self.remarks:,} of them: left out.'
        names = first_few(f'"{each}"' for each in sorted(self.swallowed))
        swallowed = f'"{self.name}" has values that hold whole rows, in {names}: is a quote missing, or one too many?'
        return [*([remarks] if self.remarks else []), *([swallowed] if self.swallowed else [])]

    def batches(
        self, columns: Columns, wanted: Collection[str] | None = None, *, encode_texts: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows as record batches, in the types that the columns are known to have (`reading.Table`)."""
        names = [name for name in self.columns if wanted is None or name in wanted]
        columns.begin()
        columns.trims = self.dialect.is_spaced or columns.wishes.read.trim
        try:
            yield from self._batches(names, columns, encode_texts)
        except InvalidDatasetError as error:
            if self.segment is not None:
                raise InvalidDatasetError(f"{error} {_CUT}") from error
            if not self._has_another_encoding(error, columns):
                raise

    def _batches(self, names: list[str], columns: Columns, encode_texts: bool) -> Iterator[pa.RecordBatch]:
        if self.segment is not None and not self.segment.is_last:
            # What ends the file does not end this part of it.
            columns.footer = 0
        types, rows = self._types(names, columns, encode_texts), 0
        with suppress(pa.ArrowInvalid, OSError, UnicodeError):
            # What no first row has for a missing value is no such marker to a converter, so that it is told.
            markers = {marker for name in names for marker in columns[name].markers}
            for batch in self._read(types, columns.footer, ["", *sorted(markers)]):
                yield _typed(batch, columns)
                rows += batch.num_rows
            return
        # A value that a converter does not take, or a damaged file: read as strings, it turns out which.
        with self._errors():
            for batch in self._read(dict.fromkeys(names, pa.string()), columns.footer):
                new = batch.slice(min(rows, batch.num_rows))
                rows -= batch.num_rows - new.num_rows
                if new.num_rows:
                    yield _typed(new, columns)

    def _has_another_encoding(self, error: InvalidDatasetError, columns: Columns) -> bool:
        """Take a file for Windows-1252 of which a late letter shows that it is no UTF-8; it is to be read again."""
        is_of_letters = isinstance(error.__cause__, UnicodeError) or "UTF8" in str(error.__cause__)
        follower = {"utf-8": "cp1252", "cp1252": "latin-1"}.get(self.dialect.encoding)
        if not is_of_letters or follower is None or columns.wishes.read.encoding is not None:
            return False
        self.dialect = replace(self.dialect, encoding=follower)
        columns.start_over(told=read_otherwise(self.name, follower))
        return True

    def texts(self, wanted: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Yield the values of columns as they are written, an empty text where there is none."""
        with self._errors():
            yield from self._open({name: pa.string() for name in self.columns if name in wanted})

    def _types(self, names: list[str], columns: Columns, encode_texts: bool) -> dict[str, pa.DataType]:
        """Return the type to read each column in, by the first rows; strings are given a kind afterwards."""
        types: dict[str, pa.DataType] = dict.fromkeys(names, pa.string())
        with self._errors():
            sample = self._sample(types, columns.footer)
        if sample is None:
            return types
        if columns.hint is None:
            texts = {name: sample[name] for name in names[:_HINT_COLUMNS]}
            columns.hint = decimal_hint(texts) if self.dialect.separator != "," or _has_commas(texts) else "."
        for name in names:
            types[name] = _type(columns, name, sample[name], encode_texts)
        return types

    def _sample(self, types: Mapping[str, pa.DataType], footer: int) -> pa.RecordBatch | None:
        """Return the first rows; where a row is longer than a sample, a whole block of them."""
        file = self if self.segment is None else self._head(self.segment)
        if SAMPLE_BYTES < BLOCK_BYTES:
            with suppress(pa.ArrowInvalid, OSError):
                return next(iter(file._open(types, block=SAMPLE_BYTES, handler=_Remarks(self.name, footer))), None)
        return next(iter(file._open(types, handler=_Remarks(self.name, footer))), None)

    def _head(self, segment: Segment) -> TextFile:
        """Return the beginning of the whole file, by which all parts are read."""
        return replace(self, open=partial(pa.input_stream, str(segment.head), compression=None), segment=None)

    @property
    def _skipped(self) -> int:
        """How many lines come before the first row."""
        return self.dialect.skip_lines if self.segment is None or self.segment.is_first else 0

    @property
    def end_mark(self) -> str | None:
        """What is read behind a part that others follow: no row, but where a part ends within quotes, text of a value.

        So each part proves of the next one that it begins with a row.
        """
        if self.segment is None or self.segment.is_last:
            return None
        return "crosstrain.end" + self.dialect.separator * len(self.columns)

    def _read(
        self, types: Mapping[str, pa.DataType], footer: int, missing: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        remarks, watched, rows = _Remarks(self.name, footer, self.end_mark), _Watched(self), 0
        reader = self._open(types, stream=watched, handler=remarks, missing=missing)
        self.swallowed = set()
        for batch in _without_last(_read_ahead(reader), footer, remarks):
            if watched.quotes:
                self._look_for_rows(batch)
            rows += batch.num_rows
            yield batch
        self.remarks = remarks.rows - remarks.in_footer
        if self.end_mark is not None:
            if not remarks.has_ended or self.remarks:
                raise InvalidDatasetError(
                    f'"{self.name}" has a line end within quotes, or a row of another length, where it was cut.'
                )
            return
        if not footer:
            remarks.check(rows)
        if watched.quotes % 2:
            self._check_quotes()

    def _look_for_rows(self, batch: pa.RecordBatch) -> None:
        """Note values that hold rows: two quotes too many make one value of all that lies between them."""
        mark, more = re.escape(self.dialect.separator), len(self.columns) - 1
        # As many values as a row has on one line; of a wide table, at least so many.
        line = rf"\n[^\n{mark}]*(?:{mark}[^\n{mark}]*){{{min(more, _MANY)}}}" + (r"\n" if more <= _MANY else "")
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            texts = column.dictionary if pa.types.is_dictionary(column.type) else column
            if more > 1 and pa.types.is_string(texts.type) and _may_have_lines(texts):
                lines = texts.filter(pc.match_substring(texts, "\n"))
                if pc.any(pc.match_substring_regex(pc.binary_join_element_wise(lines, "\n", ""), line)).as_py():
                    self.swallowed.add(name)

    def _check_quotes(self) -> None:
        """Refuse a quote that is never closed, for all that comes after it has become one value."""
        dialect = self.dialect
        limit, line = csv.field_size_limit(2 * BLOCK_BYTES), 0
        try:
            with io.TextIOWrapper(self.open(), dialect.encoding, newline="") as text:
                for _ in range(self._skipped):
                    text.readline()
                rows = csv.reader(text, delimiter=dialect.separator, quotechar=dialect.quote, strict=True)
                for _ in rows:
                    line = rows.line_num
        except csv.Error as error:
            if "end of data" in str(error):
                raise InvalidDatasetError(
                    f'"{self.name}" has a quote that is opened in line {dialect.skip_lines + line + 1:,} or below and '
                    "never closed: all that comes after it would be one value."
                ) from error
        finally:
            csv.field_size_limit(limit)

    def _open(
        self,
        types: Mapping[str, pa.DataType],
        *,
        block: int | None = None,
        stream: _Watched | None = None,
        handler: object = None,
        missing: Sequence[str] = (),
    ) -> pa.csv.CSVStreamingReader:
        dialect = self.dialect
        return pa.csv.open_csv(
            pa.PythonFile(stream or _Watched(self), mode="r"),
            read_options=pa.csv.ReadOptions(
                block_size=block or BLOCK_BYTES,
                # Rows have numbers without threads alone, and with them a third more of memory is used in no less time.
                use_threads=False,
                column_names=self.columns,
                skip_rows=self._skipped,
                encoding="utf8" if dialect.encoding == "utf-8-sig" else dialect.encoding,
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=dialect.separator,
                quote_char=dialect.quote,
                newlines_in_values=True,
                invalid_row_handler=handler or _Remarks(self.name),
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=missing,
                strings_can_be_null=False,
                true_values=("true", "True", "TRUE"),
                false_values=("false", "False", "FALSE"),
            ),
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say in one sentence what is wrong with the file when pyarrow cannot read it."""
        try:
            yield
        except UnicodeError as error:
            raise not_encoded(self.name, self.dialect.encoding) from error
        except (pa.ArrowInvalid, OSError) as error:
            message = str(error)
            if "UTF8" in message:
                raise not_encoded(self.name, self.dialect.encoding) from error
            if "straddling" in message:
                raise InvalidDatasetError(
                    f'"{self.name}" has a row of more than {BLOCK_BYTES >> 20} MB, which is no row of a table: see '
                    "whether a quote is missing, or what ends its lines."
                ) from error
            if isinstance(error, OSError) or "zlib" in message or "inflate" in message:
                raise InvalidDatasetError(f'"{self.name}" cannot be decompressed: {_one_line(message)}.') from error
            raise InvalidDatasetError(
                f'"{self.name}" is not valid CSV: {_one_line(message.removeprefix("CSV parse error: "))}. '
                "Every row needs as many values as the header has names; quote values that hold the separator. "
                'READ=\'{"skip_footer": 1}\' leaves out the last row, "skip_rows" those above the header.'
            ) from error


class _Watched:
    """Hands a file to pyarrow, and looks for what it lets pass: zero bytes, and quotes that are never closed."""

    closed = False

    def __init__(self, file: TextFile) -> None:
        self._name, self._stream = file.name, file.open()
        dialect = file.dialect
        # In UTF-16 and UTF-32 both bytes are parts of letters.
        self._quote = None if dialect.encoding.startswith(("utf-16", "utf-32")) else ord(dialect.quote)
        self.quotes = 0
        self._lead = file.segment.lead if file.segment is not None else 0
        self._end_mark, self._left = file.end_mark, 0
        if self._end_mark is not None:
            self._left = self._stream.size()  # type: ignore[union-attr] # a part is never packed

    def read_buffer(self, size: int) -> pa.Buffer:
        """Return the next bytes, which pyarrow asks for without a copy."""
        stream, size, self._lead = self._stream, size + self._lead, 0
        buffer = stream.read_buffer(size) if isinstance(stream, pa.NativeFile) else pa.py_buffer(stream.read(size))
        if self._end_mark is not None and len(buffer):
            self._left -= len(buffer)
            if not self._left:
                buffer = pa.py_buffer(buffer.to_pybytes() + self._end_mark.encode() + b"\n")
        if self._quote is not None:
            content = np.frombuffer(buffer, np.uint8)
            if not content.all():
                raise zero_bytes(self._name)
            self.quotes += int(np.count_nonzero(content == self._quote))
        return buffer

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        return bytes(self.read_buffer(size))

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._stream.close()


class _Remarks:
    """Passes over remarks below a table, such as (200 rows affected); any other row of another length is an error.

    Parameters
    ----------
    file
        What messages call the file.
    footer
        How many rows at the end are no data whatever they look like.
    end_mark
        A row that is none (`TextFile.end_mark`).
    """

    def __init__(self, file: str, footer: int = 0, end_mark: str | None = None) -> None:
        self._file, self._footer, self._end_mark = file, footer, end_mark
        self.rows = self.in_footer = 0
        self._first = 0
        self.has_ended = False

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        if self._end_mark is not None and row.text == self._end_mark:
            self.has_ended = True
            return "skip"
        is_remark = row.actual_columns == 1 and _WRITTEN_SO.match(row.text) and self.rows <= MAX_REMARKS
        if not is_remark:
            if self.in_footer >= self._footer:
                return "error"
            self.in_footer += 1
        self._first = self._first or row.number or 0
        self.rows += 1
        return "skip"

    def check(self, rows: int) -> None:
        """Raise InvalidDatasetError if a row of another length was among the others, of which there are so many."""
        if self.rows and self._first <= rows:
            raise InvalidDatasetError(
                f'"{self._file}" has a row of another length among the others: row {self._first:,}. Every row needs as '
                "many values as the header has names."
            )


def _type(columns: Columns, name: str, texts: pa.StringArray, encode_texts: bool) -> pa.DataType:
    """Return the type that a column is read in, by its first values."""
    column = columns[name]
    is_open = (column.asked.kind is None or column.asked.is_expected) and not column.notation.style
    if (
        is_open
        and column.notation.kind in ("null", "float", "timestamp")
        and (column.survey is None or column.is_settled)
    ):
        fast = _fast_type(columns, texts)
        notation = Notation("float" if fast is not None and pa.types.is_floating(fast) else "timestamp")
        if fast is not None and (not column.asked.is_expected or column.notation == notation):
            column.notation = notation
            if column.asked.is_label:
                # The converters would take more texts for missing than a target's may be.
                return pa.string()
            markers = texts.filter(pc.is_in(texts, value_set=texts_of(*_MISSING))).unique().to_pylist()
            column.markers = set(markers) - {""}
            return fast
    few = encode_texts and len(texts.unique()) <= ENCODED_SHARE * len(texts)
    return pa.dictionary(pa.int32(), pa.string()) if few and not _is_whole(texts) else pa.string()


def _is_whole(texts: pa.StringArray) -> bool:
    """Return whether the values are whole numbers, which strings are the fastest way to."""
    try:
        pc.cast(_present(texts), pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _present(texts: pa.StringArray) -> pa.StringArray:
    return texts.filter(pc.invert(pc.is_in(texts, value_set=texts_of(*_MISSING))))


def _fast_type(columns: Columns, texts: pa.StringArray) -> pa.DataType | None:
    """Return the type of decimals or times that pyarrow's converters take; None where a closer look is needed."""
    there, read = _present(texts), columns.wishes.read
    if not len(there) or read.date_format is not None:
        return None
    try:
        pc.cast(there, pa.float64())
    except pa.ArrowInvalid:
        return _timestamp_type(there)
    # Three decimals throughout may be thousands, and four, months; whole numbers may be codes, and 3E2, too.
    has_decimals = pc.any(pc.match_substring_regex(there, r"\.")).as_py()
    is_doubtful = pc.all(pc.match_substring_regex(there, MAYBE_OTHERWISE)).as_py()
    is_otherwise = read.thousands == "." or read.decimal == ","
    return pa.float64() if has_decimals and not is_doubtful and not is_otherwise else None


def _timestamp_type(texts: pa.StringArray) -> pa.DataType | None:
    """Return the type that takes all times of a sample: with an offset each, or without one."""
    try:
        timestamps(texts)
    except pa.ArrowInvalid:
        return None
    zoned = pc.match_substring_regex(texts, OFFSET)
    if pc.all(zoned).as_py():
        return pa.timestamp("us", "UTC")
    return None if pc.any(zoned).as_py() else ARROW_TYPES["timestamp"]


def _has_commas(texts: Mapping[str, pa.StringArray]) -> bool:
    return any(pc.any(pc.match_substring_regex(each, r"\d,\d")).as_py() for each in texts.values())


def _may_have_lines(texts: pa.StringArray) -> bool:
    """Return whether a line end is among the bytes that texts lie in; a look at each text takes fifty times as long."""
    content = texts.buffers()[2]
    return content is not None and bool((np.frombuffer(content, np.uint8) == ord("\n")).any())


def _typed(batch: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    """Return what was read with every column in its kind."""
    arrays = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_timestamp(column.type) or pa.types.is_floating(column.type):
            columns.note_converted(name, len(column))
            array = pc.cast(column, ARROW_TYPES[columns[name].notation.kind])
        else:
            array = columns.add(name, column)
        arrays.append(columns.without_missing_numbers(array))
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _read_ahead(reader: pa.csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
    """Yield all batches; pyarrow reads each on one core, which need not wait while the caller works on another."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, reader, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, reader, None)
            yield batch


def _without_last(batches: Iterable[pa.RecordBatch], footer: int, remarks: _Remarks) -> Iterator[pa.RecordBatch]:
    """Yield batches without the last rows of them all; those of another length are gone already."""
    held, rows, total = list[pa.RecordBatch](), 0, 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        total += batch.num_rows
        while held and rows - held[0].num_rows >= footer:
            rows -= held[0].num_rows
            yield held.pop(0)
    if footer:
        remarks.check(total)
    left = rows - max(0, footer - remarks.in_footer)
    for batch in held:
        if left > 0:
            yield batch if batch.num_rows <= left else _without_unused(batch.slice(0, left))
        left -= batch.num_rows


def _without_unused(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a slice of a batch whose dictionaries hold what its own rows have: a total left out is none of them."""
    arrays = [
        each.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(each.type) else each
        for each in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _one_line(message: str) -> str:
    """Return what pyarrow says of a file without the row that it shows, which is data."""
    text = without_values(message)
    shown = re.search(r"got \d+", text)
    return (text[: shown.end()] if shown else text).rstrip(".")
