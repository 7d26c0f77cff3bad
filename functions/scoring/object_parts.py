"""Parts of an object that is too large for one call: where it is cut, and each part as a table.

A text is cut behind lines, by bytes, a Parquet file between row groups. Whether a line ends a row, quotes decide, and
those may stand before the part: so each part proves that every row in it is one line, and its last line whole. What
cannot be proved is an error, and whoever gets it scores the object whole.

Preparation has cuts of its own (`data_preparation.file_parts`): at the last line end before a block, so that parts are
read in the batches of the whole file. Here it is the first one behind a part's bytes, and blank lines go with the row
that they come before.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.csv

from common.errors import InvalidDatasetError
from common.reading_options import ReadOptions
from data_preparation.dialect import Dialect, find_dialect
from data_preparation.file_names import hive_columns
from data_preparation.formats import Format, open_text, recognise
from data_preparation.object_ranges import ObjectStream, download_range, read_range
from data_preparation.objects import SourceObject
from data_preparation.parquet_reading import ParquetTable, parquet_errors
from data_preparation.reading import SourceFile, Table
from data_preparation.row_groups import fetch_groups, groups_of
from data_preparation.signatures import HEAD_BYTES, PARQUET, compression_of
from data_preparation.text_reading import BLOCK_BYTES, TextFile
from scoring.blank_lines import BYTE_ENCODINGS, lines_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WINDOW_BYTES = 1 << 16
_LINE_END = re.compile(rb"[^\r\n](\r\n|\n|\r)")
"""The end of a line that is not blank: blank lines belong to the part that they come before a row of."""


@dataclass(frozen=True)
class Part:
    """A part of an object.

    Attributes
    ----------
    source
        The object's number among those of the run.
    number, of
        The part's own number, from 0, and how many there are.
    begin, end
        Bytes of a text, about, which is cut at the ends of lines; row groups of a Parquet file.
    """

    source: int
    number: int
    of: int
    begin: int
    end: int

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.number == self.of - 1


def parts_of(s3: S3Client, source: SourceObject, number: int, most_bytes: int, read: ReadOptions) -> list[Part]:
    """Return the parts of an object, each of about so many bytes at most; none, if it cannot be cut.

    Parameters
    ----------
    s3
        A client.
    source
        The object.
    number
        Its number among those of the run.
    most_bytes
        Of a part.
    read
        How its text is written.
    """
    try:
        if read_range(s3, source, 0, len(PARQUET)) == PARQUET:
            limits = _group_limits(s3, source, most_bytes)
        elif read.skip_footer or text_head(s3, source, read) is None:
            limits = []
        else:
            count = -(-source.size // most_bytes)
            limits = [source.size * each // count for each in range(count + 1)]
    except InvalidDatasetError:
        # Whoever reads the object says what is wrong with it.
        return []
    count = len(limits) - 1
    return [Part(number, each, count, limits[each], limits[each + 1]) for each in range(count)] if count > 1 else []


def _group_limits(s3: S3Client, source: SourceObject, most_bytes: int) -> list[int]:
    """Return which row groups each part of a Parquet file begins with, and how many there are."""
    groups, limits, held = groups_of(s3, source), [0], 0
    for number, group in enumerate(groups):
        if held and held + group.end - group.begin > most_bytes:
            limits.append(number)
            held = 0
        held += group.end - group.begin
    return [*limits, len(groups)]


@dataclass(frozen=True)
class TextHead:
    """How a text is written, by its beginning, and what is told of that."""

    dialect: Dialect
    told: tuple[str, ...]


def text_head(s3: S3Client, source: SourceObject, read: ReadOptions, folder: Path | None = None) -> TextHead | None:
    """Return how an object's text is written; None if it is none, or one that cannot be cut by its bytes."""
    head = read_range(s3, source, 0, min(HEAD_BYTES, source.size))
    if compression_of(head) is not None:
        return None
    with _local(head, folder) as path:
        known = recognise(SourceFile(source.name, path))
    if known.kind != "text":
        return None
    with io.BufferedReader(ObjectStream(s3, source), BLOCK_BYTES) as stream:
        dialect = find_dialect(source.name, stream, read)
    if not dialect.is_known_to_pyarrow or dialect.encoding not in BYTE_ENCODINGS:
        return None
    return TextHead(dialect, (*(f"{sentence}." for sentence in known.told), *dialect.told))


@contextmanager
def open_part(s3: S3Client, source: SourceObject, part: Part, read: ReadOptions, folder: Path) -> Iterator[Table]:
    """Yield a part of an object as a table, of local files in a folder.

    Raises
    ------
    InvalidDatasetError
        If the object is another one by now, cannot be read, its part has no room on the disk or, at the end of the
        `with` block, is of another encoding than the object's beginning.
    """
    if read_range(s3, source, 0, len(PARQUET)) == PARQUET:
        with parquet_errors(source.name):
            groups = fetch_groups(s3, source, range(part.begin, part.end), folder)
            table = Table(ParquetTable(source.name, folder / "groups", groups), hive_columns(source.name))
    else:
        head = text_head(s3, source, read, folder)
        if head is None:
            raise InvalidDatasetError(f'"{source.name}" is no text that can be cut.')
        begin = _line_end(s3, source, part.begin) if part.number else 0
        end = source.size if part.is_last else _line_end(s3, source, part.end)
        path = download_range(s3, source, begin, max(begin, end), folder / "part")
        dialect = replace(head.dialect, skip_lines=0) if part.number else head.dialect
        opener = partial(open_text, SourceFile(source.name, path), Format("text", None))
        table = Table(TextFile(source.name, opener, dialect), hive_columns(source.name), head.told)
    encoding = _encoding(table)
    yield table
    if isinstance(table.file, TextFile) and _encoding(table) != encoding:
        raise _uncut(table.file, "its letters turn out to be of another encoding behind its beginning")


def _encoding(table: Table) -> str | None:
    return table.file.dialect.encoding if isinstance(table.file, TextFile) else None


def _line_end(s3: S3Client, source: SourceObject, position: int) -> int:
    """Return where the next line begins behind a byte, at which whoever cuts there cuts."""
    window = b""
    while len(window) <= 2 * BLOCK_BYTES:
        begin = position + len(window)
        more = read_range(s3, source, begin, min(source.size, begin + max(_WINDOW_BYTES, len(window))))
        window += more
        is_end = position + len(window) >= source.size
        found = _LINE_END.search(window)
        # A carriage return at the window's end may have a line feed behind it.
        if found and (found.end() < len(window) or is_end):
            return position + found.end()
        if is_end:
            return source.size
    raise InvalidDatasetError(
        f'"{source.name}" has a line of more than {2 * BLOCK_BYTES >> 20} MB: is a quote missing?'
    )


def require_whole_rows(table: Table, part: Part, rows: int, blank: int) -> None:
    """Check that a part of a text, which was read, was cut between rows.

    Parameters
    ----------
    table
        The part.
    part
        Which one it is.
    rows, blank
        How many rows were read, and how many blank lines.

    Raises
    ------
    InvalidDatasetError
        If it may not have been.
    """
    file = table.file
    if not isinstance(file, TextFile):
        return
    lines = lines_of(file)
    if file.remarks and not part.is_last:
        raise _uncut(file, "it has rows of another length that look like remarks")
    # Without quotes each line is a row.
    if lines is None or not lines.quotes:
        return
    if lines.has_blank or blank:
        raise _uncut(file, "it has blank lines and quotes")
    if rows + file.remarks != lines.count - file.dialect.skip_lines:
        raise _uncut(file, "it has values of several lines")
    if not part.is_last and not _ends_whole(file):
        raise _uncut(file, "a line break within quotes is where it was cut")


def _uncut(file: TextFile, why: str) -> InvalidDatasetError:
    return InvalidDatasetError(
        f'"{file.name}" is too large to be read at once and cannot be cut into parts, for {why}: save it as Parquet, '
        "or bring it as several files."
    )


def _ends_whole(file: TextFile) -> bool:
    """Return whether the last line of a part is closed: behind it, the same line is one more row."""
    with cast("pa.NativeFile", file.open()) as stream:
        stream.seek(max(0, stream.size() - 2 * BLOCK_BYTES))
        line = re.split(rb"[\r\n]", stream.read().rstrip(b"\r\n"))[-1]
    names = [str(each) for each in range(len(file.columns))]
    try:
        found = pa.csv.read_csv(
            io.BytesIO(line + b"\n" + line + b"\n"),
            read_options=pa.csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=pa.csv.ParseOptions(
                delimiter=file.dialect.separator, quote_char=file.dialect.quote, newlines_in_values=True
            ),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary())),
        )
    except pa.ArrowInvalid:
        return False
    return bool(found.num_rows == 2)


@contextmanager
def _local(content: bytes, folder: Path | None) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(dir=folder, prefix="head-") as file:
        file.write(content)
        file.flush()
        yield Path(file.name)
