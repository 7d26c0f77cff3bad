"""Writes JSON objects as rows of CSV: one object a line, or an array of objects.

Neither is ever held whole: objects are read one by one, and twice where a later one has a column that those before
have not, as the header comes first.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from common.errors import InvalidDatasetError, first_few
from data_preparation.delimited import line, plain, quoted
from data_preparation.formats import EmptyFileError
from data_preparation.notation import NULL_VALUES
from data_preparation.parquet_reading import MAX_COLUMNS

MAX_OBJECT_BYTES = 16 << 20
"""How long one object may be."""
_CHUNK = 1 << 20
# Texts that mean "missing" where they stand for a value.
_MISSING = frozenset(NULL_VALUES)
_SPACE = re.compile(r"[ \t\r\n]*")


class _Number(str):
    """A number as it is written: a float would round long ones."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def write_json_as_csv(name: str, open_stream: Callable[[], BinaryIO], target: Path) -> list[str]:
    """Write the objects of a file as CSV, with a column for each key, in the order in which the keys appear.

    Parameters
    ----------
    name
        The file's, for people.
    open_stream
        Opens its decompressed bytes; called more than once.
    target
        Where to write. A null or absent key is an empty value, an empty text is in quotes, numbers are as written.

    Returns
    -------
    list of str
        A sentence on the columns that were left out because they hold objects or lists.

    Raises
    ------
    EmptyFileError
        If there is no object.
    InvalidDatasetError
        If there is anything else than objects, or nothing but objects and lists in them.
    """
    table = _Table(name)
    while not table.write(_objects(name, open_stream), target):
        pass
    if not table.nested:
        return []
    columns = first_few(f'"{column}"' for column in sorted(table.nested))
    return [f'columns of "{name}" are left out, for they hold objects or lists: {columns}']


class _Table:
    """The columns that are known so far, and those among them that hold no single values."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._columns: dict[str, None] = {}
        self.nested: set[str] = set()

    def write(self, objects: Iterator[dict[str, Any]], target: Path) -> bool:
        """Write all objects, and return whether all of their columns were known when the header was written."""
        first = next(objects, None)
        if first is None:
            raise EmptyFileError(f'"{self._name}" is empty: it holds no JSON object.')
        self._learn(first)
        is_complete, columns = True, self._written()
        # A name may hold half of a character, which no encoding has.
        with target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            stream.write(line(_text(column) for column in columns))
            stream.write(line(_value(first.get(column)) for column in columns))
            for each in objects:
                if self._learn(each):
                    is_complete = False
                if is_complete:
                    stream.write(line(_value(each.get(column)) for column in columns))
        if not self._written():
            raise InvalidDatasetError(
                f'"{self._name}" holds no values in its objects but objects and lists: write a row as one object of '
                "numbers, texts, true and false."
            )
        return is_complete

    def _learn(self, row: dict[str, Any]) -> bool:
        """Note what is new about the columns, and return whether anything is."""
        is_new = not row.keys() <= self._columns.keys()
        if is_new:
            self._columns.update(dict.fromkeys(row))
            if len(self._columns) > MAX_COLUMNS:
                raise InvalidDatasetError(
                    f'The objects of "{self._name}" have more than {MAX_COLUMNS:,} different keys, each of which is a '
                    "column: give all of them the same keys."
                )
        nested = {key for key, value in row.items() if isinstance(value, dict | list)} - self.nested
        self.nested |= nested
        return is_new or bool(nested)

    def _written(self) -> list[str]:
        return [column for column in self._columns if column not in self.nested]


def _value(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _Number():
            return value
    return _text(value)


def _text(text: str) -> str:
    """Return a text in quotes where it is one that looks like none, though readers may not tell it by them."""
    return quoted(text) if text in _MISSING else plain(text)


def _objects(name: str, open_stream: Callable[[], BinaryIO]) -> Iterator[dict[str, Any]]:
    with _buffered(open_stream()) as reader:
        is_array = reader.read(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    with _buffered(open_stream()) as reader:
        try:
            yield from (_elements if is_array else _lines)(name, reader)
        except UnicodeDecodeError as error:
            raise InvalidDatasetError(f'"{name}" is not UTF-8, as JSON has to be: save it as UTF-8.') from error


def _buffered(stream: BinaryIO) -> io.BufferedReader:
    # It closes what it reads from, and gives as many bytes as it is asked for.
    return io.BufferedReader(cast("Any", stream), _CHUNK)


def _lines(name: str, reader: io.BufferedReader) -> Iterator[dict[str, Any]]:
    number = 0
    while content := reader.readline(MAX_OBJECT_BYTES + 1):
        number += 1
        if len(content) > MAX_OBJECT_BYTES:
            raise _too_long(name, f"Line {number:,}")
        text = content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if not text:
            continue
        try:
            value = _DECODER.decode(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _no_object(name, f"Line {number:,}") from error
        if not isinstance(value, dict):
            raise _no_object(name, f"Line {number:,}")
        yield value


def _elements(name: str, reader: io.BufferedReader) -> Iterator[dict[str, Any]]:
    with io.TextIOWrapper(reader, encoding="utf-8-sig") as stream:
        yield from _array(name, _Text(stream))


def _array(name: str, text: _Text) -> Iterator[dict[str, Any]]:
    text.skip("[")
    for number in count(1):
        where = f"Element {number:,} of the array"
        if not (number == 1 and text.mark() == "]"):
            if text.mark() != "{":
                raise _no_object(name, where)
            try:
                yield text.value()
            except (json.JSONDecodeError, RecursionError) as error:
                raise _no_object(name, where) from error
            except OverflowError as error:
                raise _too_long(name, where) from error
        if text.skip("]"):
            break
        if not text.skip(","):
            raise InvalidDatasetError(
                f'The array in "{name}" ends after {number:,} elements without a bracket: it is damaged, or was not '
                "downloaded to its end."
            )
    if text.mark():
        raise InvalidDatasetError(f'Something follows the array in "{name}": write all objects into one array.')


class _Text:
    """Text of which so much is in memory as a value needs."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._buffer, self._place = "", 0

    def mark(self) -> str:
        """Return the next character that is no white space; none at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._place)
            self._place = space.end() if space else self._place
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._read_on():
                return ""

    def skip(self, mark: str) -> bool:
        """Pass over the next character if it is this one."""
        is_there = self.mark() == mark
        self._place += is_there
        return is_there

    def value(self) -> dict[str, Any]:
        """Return the object that begins here; an `OverflowError` says that it is too long."""
        while True:
            try:
                value, self._place = _DECODER.raw_decode(self._buffer, self._place)
            except json.JSONDecodeError:
                if len(self._buffer) - self._place > MAX_OBJECT_BYTES:
                    raise OverflowError from None
                if not self._read_on():
                    raise
            else:
                found: dict[str, Any] = value
                return found

    def _read_on(self) -> bool:
        more = self._stream.read(_CHUNK)
        self._buffer, self._place = self._buffer[self._place :] + more, 0
        return bool(more)


def _no_object(name: str, where: str) -> InvalidDatasetError:
    return InvalidDatasetError(
        f'{where} is no JSON object in "{name}": write a row as {{"column": value, ...}}, one on each line or all of '
        "them in one array."
    )


def _too_long(name: str, where: str) -> InvalidDatasetError:
    return InvalidDatasetError(
        f'{where} is longer than {MAX_OBJECT_BYTES >> 20} MB in "{name}", which is more than a row may have: write a '
        "row as one object, and leave out long texts."
    )
