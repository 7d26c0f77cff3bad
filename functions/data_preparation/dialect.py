"""Finds out how a file of delimited text is written: its encoding, its separator, and where its table begins.

The first part of the file tells; what was found is told, with the option that changes it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from common.errors import InvalidDatasetError, first_few
from common.reading_options import ReadOptions

HEAD_BYTES = 1 << 18
"""How much of a file is looked at."""
LONGEST_HEADER = 4 << 20
"""How long a header may be."""
SEPARATORS = (";", "\t", "|", ",")
"""Where two do alike, a comma is the other's decimal."""
RARE_SEPARATORS = ("\x1f", "\x01", "^", "~", "¦", "§", ":", " ")
"""Separators that are taken only where none of the others is one."""
_SAMPLE_ROWS = 500
_PREAMBLE_ROWS = 50
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)*|[.,]\d+)([eE][-+]?\d+)?\s*%?\s*$")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Bytes that Windows-1252 does not know.
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_NAMES = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32",
          "cp1252": "Windows-1252", "latin-1": "Latin-1"}  # fmt: skip
_SEPARATOR_NAMES = {"\t": "tabs", " ": "spaces", "|": "bars", ";": "semicolons", ",": "commas", ":": "colons"}


@dataclass(frozen=True)
class Dialect:
    """How a file of delimited text is written.

    Attributes
    ----------
    names
        Of the columns, as the file has them; an empty name may be among them.
    skip_lines
        How many lines come before the first row, the header's among them.
    is_spaced
        Whether a space follows each separator.
    has_numbers_in_header
        Whether the header looks like a row.
    told
        Sentences about what was found out.
    """

    names: tuple[str, ...] = ()
    encoding: str = "utf-8"
    separator: str = ","
    quote: str = '"'
    skip_lines: int = 0
    is_spaced: bool = False
    has_numbers_in_header: bool = False
    told: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_known_to_pyarrow(self) -> bool:
        """Whether pyarrow takes the separator: one character of ASCII."""
        return len(self.separator) == 1 and self.separator.isascii()

    @property
    def words(self) -> str:
        """The dialect in words."""
        separator = _SEPARATOR_NAMES.get(self.separator, repr(self.separator))
        quote = "" if self.quote == '"' else f", quoted by {self.quote}"
        return f"{_NAMES.get(self.encoding, self.encoding.upper())} text, separated by {separator}{quote}"


def find_dialect(name: str, stream: IO[bytes], read: ReadOptions) -> Dialect:
    """Return how a file is written, by its beginning.

    Parameters
    ----------
    name
        What messages call the file.
    stream
        The file, decompressed.
    read
        What the request says.

    Raises
    ------
    InvalidDatasetError
        If the file is empty, no text, or no table.
    """
    head = stream.read(HEAD_BYTES)
    if not head:
        raise InvalidDatasetError(f'"{name}" is empty: it needs a header line and rows.')
    is_whole = len(head) < HEAD_BYTES
    encoding = read.encoding or find_encoding(head, is_whole=is_whole)
    text = _decoded(name, head, encoding, is_whole=is_whole)
    while not is_whole and not re.search(r"[\r\n]", text) and len(head) < LONGEST_HEADER:
        more = stream.read(HEAD_BYTES)
        head, is_whole = head + more, len(more) < HEAD_BYTES
        text = _decoded(name, head, encoding, is_whole=is_whole)
    if "\0" in text:
        raise zero_bytes(name)
    if not text.strip():
        raise InvalidDatasetError(f'"{name}" is empty: it needs a header line and rows.')
    return _of_text(name, text, encoding, read, is_whole=is_whole)


def find_encoding(head: bytes, *, is_whole: bool) -> str:
    """Return the encoding of a text that begins so, as Python calls it."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head[:4096]:
        # Letters of the west have a zero beside them in UTF-16.
        even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
        if max(even, odd) > 3 * min(even, odd) and max(even, odd) > len(head[:4096]) / 8:
            return "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=is_whole)
    except UnicodeDecodeError:
        return "latin-1" if _NOT_1252.search(head) else "cp1252"
    return "utf-8"


def _decoded(name: str, head: bytes, encoding: str, *, is_whole: bool) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head, final=is_whole)
    except UnicodeDecodeError as error:
        raise not_encoded(name, encoding) from error


def read_otherwise(name: str, encoding: str) -> str:
    """Return what is told of a file that is not in UTF-8."""
    return (
        f'"{name}" is no UTF-8: read as {_NAMES.get(encoding, encoding)}. If letters look wrong, say its encoding: '
        'READ=\'{"encoding": "…"}\'.'
    )


def not_encoded(name: str, encoding: str) -> InvalidDatasetError:
    """Return the error of a file that is not in an encoding."""
    shown = _NAMES.get(encoding, encoding.upper())
    return InvalidDatasetError(
        f'"{name}" is not {shown} text: save it with the encoding UTF-8, or say which it has: '
        'READ=\'{"encoding": "…"}\'.'
    )


def zero_bytes(name: str) -> InvalidDatasetError:
    """Return the error of a file that has bytes which no text has."""
    return InvalidDatasetError(
        f'"{name}" is not text: it has zero bytes. If it is text in another encoding, say which: '
        'READ=\'{"encoding": "utf-16"}\'.'
    )


def _of_text(name: str, text: str, encoding: str, read: ReadOptions, *, is_whole: bool) -> Dialect:
    told = []
    if encoding not in ("utf-8", "utf-8-sig") and read.encoding is None:
        told.append(read_otherwise(name, encoding))
    separator = read.separator.replace("\\t", "\t") if read.separator else None
    skipped = read.skip_rows or 0
    hint = re.match(r"sep=(.)\r?\n", text)
    if hint and read.skip_rows is None:  # Excel's own way to say it
        separator, skipped = separator or hint[1], 1
    lines = _without_lines(text, skipped)
    quote = _quote(lines)
    separator = separator or _separator(lines, quote, is_whole=is_whole)
    table = _rows(lines, separator, quote, is_whole=is_whole)
    if separator != ",":
        told.append(f'"{name}" is separated by {_SEPARATOR_NAMES.get(separator, repr(separator))}.')
    found = Dialect(encoding=encoding, separator=separator, quote=quote, told=tuple(told))
    return _with_header(name, found, table, skipped, read)


def _without_lines(text: str, count: int) -> str:
    lines = io.StringIO(text, newline="")
    for _ in range(count):
        lines.readline()
    return lines.read()


def _quote(text: str) -> str:
    """Return the character that quotes values: an apostrophe where it is around values and no double quote is."""
    single = re.findall(r"(?:^|[,;\t|])'[^'\n]*'(?=[,;\t|\r\n])", text[:65536])
    return "'" if len(single) > 3 and '"' not in text else '"'


@dataclass(frozen=True)
class _Row:
    cells: list[str]
    end: int
    """How many lines of the file come before the next row."""


def _rows(text: str, separator: str, quote: str, *, is_whole: bool, most: int = _SAMPLE_ROWS) -> list[_Row]:
    """Return the first rows of a text that are there as a whole; blank lines are none."""
    found = list[_Row]()
    for row in _parsed(text, separator, quote):
        found.append(row)
        if len(found) > most:
            break
    else:
        # The last one may be cut off in the middle.
        found = found if is_whole or len(found) < 2 else found[:-1]
    return [each for each in found if each.cells]


def _parsed(text: str, separator: str, quote: str) -> Iterator[_Row]:
    if len(separator) > 1:
        for number, line in enumerate(text.splitlines(), 1):
            yield _Row(line.split(separator) if line else [], number)
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote)
    limit = csv.field_size_limit(len(text) + 1)
    try:
        for cells in reader:
            yield _Row(cells, reader.line_num)
    except csv.Error:
        return
    finally:
        csv.field_size_limit(limit)


def _separator(text: str, quote: str, *, is_whole: bool) -> str:
    """Return the separator by which most rows have as many values as the others, and more than one."""
    best, best_score = ",", (0.0, 0)
    for separators, least in ((SEPARATORS, 0.5), (RARE_SEPARATORS, 0.95)):
        for separator in separators:
            if separator not in text:
                continue
            rows = _rows(text, separator, quote, is_whole=is_whole)
            counts = Counter(len(row.cells) for row in rows[1:] or rows)
            width, often = max(counts.items(), key=lambda each: (each[1], each[0]), default=(0, 0))
            share = often / max(1, sum(counts.values()))
            if width < 2 or share < least:
                continue
            # The header has as many names, or a comma is a decimal's.
            first = max((len(row.cells) for row in rows[:_PREAMBLE_ROWS] if not _is_data(row.cells)), default=0)
            agrees = 1.0 if first == width or 1 < first == width - 1 or len(rows) == 1 else 0.5
            score = (round(share * agrees, 1), width if separators is SEPARATORS else 0)
            if score > best_score:
                best, best_score = separator, score
        if best_score[0]:
            break
    return best


def _is_data(cells: Sequence[str]) -> bool:
    """Return whether a row holds numbers, as a header hardly does."""
    return any(_NUMBER.match(cell) for cell in cells)


def _with_header(name: str, found: Dialect, rows: list[_Row], skipped: int, read: ReadOptions) -> Dialect:
    """Return the dialect with the names of the columns, and where the first row is."""
    if not rows:
        raise InvalidDatasetError(f'"{name}" is empty: it needs a header line and rows.')
    width, last_is_empty = _shape(rows)
    if read.header is False or isinstance(read.header, list):
        names = read.header if isinstance(read.header, list) else [f"column_{at + 1}" for at in range(width)]
        if len(names) != width:
            raise InvalidDatasetError(
                f'"{name}" has rows of {width:,} values, and the request names {len(names):,} columns: name each once.'
            )
        return replace(found, names=tuple(names), skip_lines=skipped)
    at, told = 0, list(found.told)
    if read.skip_rows is None:
        at = _header_at(rows, width)
    if at:
        lines = rows[at - 1].end
        skipped_lines = (
            f"{lines} lines above the header, which are" if lines > 1 else "1 line above the header, which is"
        )
        told.append(
            f'"{name}" has {skipped_lines} skipped. READ=\'{{"skip_rows": 0}}\' takes the first line for the header.'
        )
    cells = list(rows[at].cells)
    if len(cells) == width - 1 and len(rows) > at + 1:
        if last_is_empty:
            cells.append("")
        elif _are_row_names(rows[at + 1 :], width):
            cells.insert(0, "")
            told.append(f'"{name}" has no name for its first column, as R writes row names.')
    _check_decimal_commas(name, found, cells, rows[at + 1 :], width)
    end = rows[at + 1].end if len(rows) > at + 1 and _is_rule(rows[at + 1].cells) else rows[at].end
    is_spaced = _is_spaced(rows[at:])
    if is_spaced:
        cells = [cell.strip() for cell in cells]
        told.append(f'"{name}" has a space after each separator: read without it.')
    return replace(
        found,
        names=tuple(cells),
        is_spaced=is_spaced,
        skip_lines=skipped + end,
        has_numbers_in_header=_is_data(cells),
        told=tuple(told),
    )


def _shape(rows: Sequence[_Row]) -> tuple[int, bool]:
    """Return how many values most rows have, and whether the last of them is empty in all these rows."""
    counts = Counter(len(row.cells) for row in rows[1:] or rows)
    width = max(counts.items(), key=lambda each: (each[1], each[0]))[0]
    full = [row.cells[-1] for row in rows[1:] if len(row.cells) == width]
    return width, bool(full) and not any(cell.strip() for cell in full)


def _header_at(rows: Sequence[_Row], width: int) -> int:
    """Return which row is the header: the first one that is as wide as the table and has more than a title."""
    for at, row in enumerate(rows[:_PREAMBLE_ROWS]):
        cells = [cell.strip() for cell in row.cells]
        is_title = not any(cells) or (width > 2 and sum(map(bool, cells)) == 1)
        is_comment = cells[0].startswith("#") and len(cells) != width
        if width == 1 or (len(cells) == width and not is_title and not is_comment):
            return at
        # Names are fewer than values where these end with a separator, have row names, or decimal commas.
        before_data = len(rows) > at + 1 and _is_data(rows[at + 1].cells) and not _is_data(cells)
        if 1 < len(cells) < width and before_data and not is_comment:
            return next(
                (later for later in range(at, _PREAMBLE_ROWS) if _are_names(rows[later : later + 2], width)), at
            )
    return 0


def _are_names(rows: Sequence[_Row], width: int) -> bool:
    """Return whether a row has a name for each column, and the next one a number below a name."""
    names, *values = [row.cells for row in rows] or [[]]
    return len(names) == width and all(map(str.strip, names)) and not _is_data(names) and any(map(_is_data, values))


def _is_rule(cells: Sequence[str]) -> bool:
    """Return whether a row is a line below the header, as Markdown has it."""
    return any(cell.strip() for cell in cells) and all(re.fullmatch(r"\s*:?[-=]*:?\s*", cell) for cell in cells)


def _is_spaced(rows: Sequence[_Row]) -> bool:
    """Return whether a space follows each separator, in the header and in all rows."""
    cells = [cell for row in rows for cell in row.cells[1:]]
    return len(rows) > 1 and bool(cells) and all(cell.startswith(" ") for cell in cells)


def _are_row_names(rows: Sequence[_Row], width: int) -> bool:
    names = [row.cells[0] for row in rows if len(row.cells) == width]
    return len(set(names)) == len(names) > 1


def _check_decimal_commas(name: str, found: Dialect, cells: list[str], rows: Sequence[_Row], width: int) -> None:
    """Refuse rows that have more values than the header has names because numbers have decimal commas."""
    wide = [row.cells for row in rows if len(row.cells) == width > len(cells)]
    if found.separator == "," and wide and all(sum(each.isdigit() for each in map(str.strip, row)) > 1 for row in wide):
        raise InvalidDatasetError(
            f'"{name}" has {len(cells):,} names in its header and {width:,} values in its rows: its numbers seem to '
            "have decimal commas, which nothing tells from the commas between values. Save it with semicolons, or "
            "quote them."
        )


def named(file: str, header: Sequence[str]) -> list[str]:
    """Return the names of a file's columns; an empty one is named as pandas does it (`Unnamed: 0`).

    Raises
    ------
    InvalidDatasetError
        If a name is there twice, or is no text.
    """
    names = [each or f"Unnamed: {index}" for index, each in enumerate(header)]
    if any("\0" in each for each in names):
        raise InvalidDatasetError(f'"{file}" has a column with a zero byte in its name: give it another name.')
    twice = sorted(f'"{each}"' for each, count in Counter(names).items() if count > 1)
    if twice:
        raise InvalidDatasetError(
            f'"{file}" has more than one column named {first_few(twice)}: give each its own name, or name all of them: '
            'READ=\'{"header": ["…", "…"], "skip_rows": 1}\'.'
        )
    return names
