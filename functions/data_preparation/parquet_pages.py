"""What a Parquet file says of its own size, looked at before pyarrow takes memory by it.

pyarrow allocates what a page header or a schema tells it to: a file of 400 KB once made it ask for 3.3 TB. So each
page header of the columns that are to be read is parsed here (a few bytes a page, the pages themselves are skipped) and
held against the file and against the memory that there is.

References
----------
https://parquet.apache.org/docs/file-format/ and its parquet.thrift, for the numbers of fields;
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

READING_SHARE = 0.4
"""The share of the memory that the open pages and dictionaries of all columns may take; batches need the rest."""
TEXT_BYTES = 4 << 20
"""How many bytes of text a batch is to hold, and the most that one text may."""
MAX_FIXED_BYTES = 32
"""The longest value of a fixed length that is a number: a decimal of 76 digits."""
SECTION_VALUES, SECTION_BYTES = 16_000_000, 128 << 20
"""How many values the row groups hold that are read as one, or how many bytes they take: eight batches."""

# The first look at a page header, which holds statistics, too; and how long pyarrow takes one to be at most.
_HEADER_BYTES = 256
_MAX_HEADER_BYTES = 16 << 20
# What the oldest writers forgot to count of a dictionary page's header (PARQUET-816), as pyarrow grants it.
_UNCOUNTED_BYTES = 100
_DENSITY_VALUES = 1024
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_DICTIONARY_ENCODINGS = frozenset({2, 8})
_DELTA_BYTE_ARRAY = 7
# How many bytes of a dictionary page a value takes at least: a text has its length before it.
_VALUE_BYTES = {"INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12, "BYTE_ARRAY": 4}
_TEXT_VIEW_BYTES = 16

_Wanted = Mapping[int, "_Wanted"]
"""The numbers of the fields that are asked for, and of those in them."""
# Of a row group its columns' number of values, bytes and places, and its rows.
_ROW_GROUP: _Wanted = {1: {3: {5: {}, 7: {}, 9: {}, 11: {}}}, 3: {}}
# Kind, bytes unpacked and packed, and of a page or dictionary its number of values and its encoding.
_PAGE_HEADER: _Wanted = {1: {}, 2: {}, 3: {}, 5: {1: {}, 2: {}}, 7: {1: {}, 2: {}}, 8: {1: {}, 4: {}}}


class UnusableFileError(Exception):
    """A file says of its size what cannot be, or what the memory cannot hold: half a sentence, without a name."""


@dataclass(frozen=True)
class _Chunk:
    """What reading one column of a row group takes: bytes for its pages, and bytes of text for a row."""

    open_bytes: int
    row_bytes: float


@dataclass(frozen=True)
class Plan:
    """How some row groups are to be read.

    Attributes
    ----------
    groups
        Their numbers.
    text_bytes
        How many bytes of text a row takes, wherever in them most.
    encoded
        The columns with dictionaries: read as such, a text of a megabyte in a million rows stays one text.
    """

    groups: Sequence[int]
    text_bytes: float
    encoded: tuple[str, ...]


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file: its rows and columns, and where its bytes begin and end."""

    rows: int
    columns: int
    begin: int
    end: int


def memory_bytes() -> int:
    """Return the memory of the function or, where this is none, of the machine."""
    megabytes = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if megabytes is not None:
        return int(megabytes) << 20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def row_groups(stream: BinaryIO) -> list[RowGroup]:
    """Return the row groups of a file that nobody has opened yet.

    Raises
    ------
    UnusableFileError
        If it does not end as Parquet does, or says what cannot be.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    if end[4:] != b"PAR1" or int.from_bytes(end[:4], "little") > size - 12:
        raise UnusableFileError("it does not end as a Parquet file does")
    found = [_described(group) for group in _row_groups(stream, size)]
    if not all(0 < group.begin <= group.end <= size for group in found):
        raise UnusableFileError("a row group says that it lies outside of the file: it is damaged")
    return found


def _described(group: _Fields) -> RowGroup:
    chunks = [column.struct(3) for column in group.structs(1)]
    spans = [(_begin_of(chunk), _begin_of(chunk) + chunk.number(7)) for chunk in chunks]
    begin, end = min((begin for begin, _ in spans), default=0), max((end for _, end in spans), default=0)
    return RowGroup(group.number(3), len(chunks), begin, end)


def sections(groups: Sequence[RowGroup]) -> list[range]:
    """Return which row groups are read as one, whatever else is read of the file: between two of them it can be cut.

    Batches end with them. So a section is large enough for that not to matter, and small enough for a piece.
    """
    found, begin, values, held = list[range](), 0, 0, 0
    for number, group in enumerate(groups):
        values += group.rows * group.columns
        held += group.end - group.begin
        if values >= SECTION_VALUES or held >= SECTION_BYTES or number + 1 == len(groups):
            found.append(range(begin, number + 1))
            begin, values, held = number + 1, 0, 0
    return found


def plan_reading(
    stream: BinaryIO, parquet: Any, columns: Sequence[str], groups: Collection[int] | None = None
) -> list[Plan]:
    """Look at everything that a Parquet file says of its size.

    Parameters
    ----------
    stream
        The file.
    parquet
        Its `pyarrow.parquet.ParquetFile`.
    columns
        The columns that are to be read, none of them nested.
    groups
        The row groups that are to be read; all, if not given.

    Returns
    -------
    list of Plan
        Of each section that is to be read.

    Raises
    ------
    UnusableFileError
        If the file says of itself what cannot be, or what the memory cannot hold; without the file's name.
    """
    places = _places(parquet, columns)
    size = stream.seek(0, os.SEEK_END)
    rows, found, most = parquet.metadata.num_rows, 0, 0
    all_groups, seen = list[RowGroup](), dict[int, tuple[float, list[str]]]()
    for number, group in enumerate(_row_groups(stream, size)):
        all_groups.append(_described(group))
        found += group.number(3)
        if groups is not None and number not in groups:
            continue
        described = [column.struct(3) for column in group.structs(1)]
        if len(described) != len(parquet.schema):
            raise UnusableFileError("a row group has not as many columns as the file: it is damaged")
        chunks, encoded = [], list[str]()
        for name, place in places.items():
            leaf, column = parquet.schema.column(place), described[place]
            chunks.append(_chunk(stream, column, name, leaf, group.number(3), size))
            if leaf.physical_type == "BYTE_ARRAY" and column.number(11) > 0:
                encoded.append(name)
        seen[number] = sum(chunk.row_bytes for chunk in chunks), encoded
        most = max(most, sum(chunk.open_bytes for chunk in chunks))
    if rows < 0 or found != rows:
        raise UnusableFileError(f"it says that it has {rows:,} rows, and its row groups say otherwise: it is damaged")
    limit = int(READING_SHARE * memory_bytes())
    if most > limit:
        raise UnusableFileError(
            f"one page of each column takes {most >> 20:,} MB, and there is room for {limit >> 20:,} MB: write it "
            "with smaller pages (1 MB is usual) or row groups, or raise the parameter DataPreparationMemory"
        )
    return [
        Plan(
            held, max(seen[each][0] for each in held), tuple(sorted({name for each in held for name in seen[each][1]}))
        )
        for section in sections(all_groups)
        if (held := [each for each in section if each in seen])
    ]


def _places(parquet: Any, columns: Sequence[str]) -> dict[str, int]:
    """Return the place of each column among the file's leaves; a column that is not nested is one."""
    leaves = {parquet.schema.column(place).path: place for place in range(len(parquet.schema))}
    places = {}
    for name in columns:
        if name not in leaves:
            raise UnusableFileError(f'column "{name}" is not where the schema says: it is damaged')
        leaf = parquet.schema.column(leaves[name])
        if leaf.max_repetition_level > 0:
            raise UnusableFileError(f'column "{name}" is nested where the schema says otherwise: it is damaged')
        if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" and not 0 < leaf.length <= MAX_FIXED_BYTES:
            raise UnusableFileError(
                f'column "{name}" says that each value has {leaf.length:,} bytes, and {MAX_FIXED_BYTES} hold any '
                "number: it is damaged"
            )
        places[name] = leaves[name]
    return places


def _row_groups(stream: BinaryIO, size: int) -> Iterator[_Fields]:
    """Yield the row groups of a file that pyarrow has opened, so that the length of its footer is right.

    They are read here, because pyarrow's own description of one ends the process where a footer contradicts itself.
    """
    stream.seek(size - 8)
    length = int.from_bytes(stream.read(4), "little")
    stream.seek(max(0, size - 8 - length))
    try:
        yield from _Compact(stream.read(length)).elements(4, _ROW_GROUP)
    except (IndexError, ValueError):
        raise UnusableFileError("its footer cannot be read: it is damaged") from None


def _chunk(stream: BinaryIO, column: _Fields, name: str, leaf: Any, rows: int, size: int) -> _Chunk:
    """Walk the pages of one column of a row group, and add up what they say."""

    def refuse(what: str) -> UnusableFileError:
        return UnusableFileError(f'column "{name}" {what}: it is damaged')

    if column.number(5) != rows or rows < 0:
        raise refuse(f"says that it has {column.number(5):,} values in a row group of {rows:,} rows")
    kind = leaf.physical_type
    smallest = leaf.length if kind == "FIXED_LEN_BYTE_ARRAY" else _VALUE_BYTES.get(kind, 1)
    largest, dictionary, seen, density = 0, 0, 0, _Density()
    for page in _pages(stream, column, size, refuse):
        if page.values < 0:
            raise refuse(f"has a page that says to hold {page.values:,} values")
        if page.kind == _DICTIONARY:
            if page.values * smallest > page.unpacked:
                raise refuse(f"has a dictionary that says to hold {page.values:,} values in {page.unpacked:,} bytes")
            value_bytes = _TEXT_VIEW_BYTES if kind == "BYTE_ARRAY" else smallest
            dictionary = max(dictionary, page.packed + page.unpacked + page.values * value_bytes)
        elif page.kind in (_DATA, _DATA_2):
            seen += page.values
            largest = max(largest, page.packed + page.unpacked)
            density.add(page)
    if seen != rows:
        raise refuse(f"has pages of {seen:,} values in a row group of {rows:,} rows")
    return _Chunk(largest + dictionary, density.most if kind == "BYTE_ARRAY" else 0.0)


class _Density:
    """How many bytes of text a row takes where it takes most, over a thousand rows or a page, whichever is more."""

    def __init__(self) -> None:
        self._most = 0.0
        self._bytes = self._values = 0

    @property
    def most(self) -> float:
        """The bytes of text for a row."""
        last = self._bytes / max(1, _DENSITY_VALUES if self._most else self._values)
        return max(self._most, last)

    def add(self, page: _Page) -> None:
        """Take in the next page; in one of a dictionary the texts themselves are not."""
        if page.encoding == _DELTA_BYTE_ARRAY:
            # Each text may begin with all that the ones before it ended with.
            self._most = max(self._most, float(page.unpacked))
        elif page.encoding not in _DICTIONARY_ENCODINGS:
            self._bytes += page.unpacked
            self._values += page.values
            if self._values >= _DENSITY_VALUES:
                self._most = max(self._most, self._bytes / self._values)
                self._bytes = self._values = 0


@dataclass(frozen=True)
class _Page:
    kind: int
    packed: int
    unpacked: int
    values: int
    encoding: int


def _pages(stream: BinaryIO, column: _Fields, size: int, refuse: Callable[[str], UnusableFileError]) -> Iterator[_Page]:
    """Yield what each page header says, up to the page that pyarrow reads last."""
    place, length = _begin_of(column), column.number(7)
    if not (0 < place <= size and 0 <= length <= size - place):
        raise refuse("says that it lies outside of the file")
    end, seen = min(place + length + _UNCOUNTED_BYTES, size), 0
    while seen < column.number(5) and place < end:
        fields, header = _header(stream, place, end, refuse)
        kind, unpacked, packed = (fields.number(each) for each in (1, 2, 3))
        inner = fields.struct({_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}.get(kind, 0))
        place += header
        if unpacked < 0 or not 0 <= packed <= end - place:
            raise refuse(
                f"has a page that says to have {packed:,} bytes, {unpacked:,} unpacked, where {end - place:,} are left"
            )
        place += packed
        page = _Page(kind, packed, unpacked, inner.number(1), inner.number(4 if kind == _DATA_2 else 2))
        seen += max(page.values, 0) if kind in (_DATA, _DATA_2) else 0
        yield page


def _begin_of(column: _Fields) -> int:
    """Return where the first page of a column is; some writers say 0 for a dictionary that is not there."""
    place, dictionary = column.number(9), column.number(11)
    return dictionary if 0 < dictionary < place else place


def _header(stream: BinaryIO, place: int, end: int, refuse: Callable[[str], UnusableFileError]) -> tuple[_Fields, int]:
    """Return the fields of the page header at a place, and its length."""
    wanted = _HEADER_BYTES
    while True:
        stream.seek(place)
        content = stream.read(min(wanted, end - place))
        try:
            return _Compact(content).struct(_PAGE_HEADER)
        except IndexError:
            if len(content) < wanted or wanted >= _MAX_HEADER_BYTES:
                raise refuse("has a page header that does not end") from None
            wanted *= 8
        except ValueError:
            raise refuse("has a page header that cannot be read") from None


class _Fields:
    """The fields of a struct, by their numbers; what is not there, or is something else, is 0 or empty."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}

    def number(self, field: int) -> int:
        """Return a whole number."""
        value = self.values.get(field)
        return value if isinstance(value, int) else 0

    def struct(self, field: int) -> _Fields:
        """Return a struct."""
        value = self.values.get(field)
        return value if isinstance(value, _Fields) else _Fields()

    def structs(self, field: int) -> list[_Fields]:
        """Return a list of structs."""
        value = self.values.get(field)
        return [each for each in value if isinstance(each, _Fields)] if isinstance(value, list) else []


class _Compact:
    """A reader of thrift's compact protocol that keeps the fields that are asked for, and skips all else."""

    _MAX_DEPTH = 16

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self, wanted: _Wanted) -> tuple[_Fields, int]:
        """Return the fields of the struct that the content begins with, and how many bytes it takes.

        Raises
        ------
        IndexError
            If the content ends before the struct does.
        ValueError
            If it is no struct.
        """
        return self._struct(0, wanted), self._at

    def elements(self, field: int, wanted: _Wanted) -> Iterator[_Fields]:
        """Yield the structs of a list in the struct that the content begins with; it raises what `struct` does."""
        for number, kind in self._headers():
            if number == field and kind == 9:
                inner, length = self._list_header()
                for _ in range(length):
                    if inner == 12:
                        yield self._struct(1, wanted)
                    else:
                        self._value(inner, 1, {})
            elif kind not in (1, 2):
                self._value(kind, 0, {})

    def _headers(self) -> Iterator[tuple[int, int]]:
        """Yield number and kind of each field, whose value is to be read before the next one."""
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._zigzag()
            yield number, header & 15

    def _struct(self, depth: int, wanted: _Wanted) -> _Fields:
        if depth > self._MAX_DEPTH:
            raise ValueError
        fields = _Fields()
        for number, kind in self._headers():
            # A truth value is in its header; in a list it is a byte.
            if kind not in (1, 2):
                value = self._value(kind, depth, wanted.get(number, {}))
                if number in wanted:
                    fields.values[number] = value
        return fields

    def _value(self, kind: int, depth: int, wanted: _Wanted) -> Any:
        match kind:
            case 4 | 5 | 6:
                return self._zigzag()
            case 12:
                return self._struct(depth + 1, wanted)
            case 9 | 10:
                return self._list(depth + 1, wanted)
            case 1 | 2 | 3:
                self._skip(1)
            case 7:
                self._skip(8)
            case 8:
                self._skip(self._varint())
            case _:
                # A map, which no footer holds.
                raise ValueError
        return None

    def _list(self, depth: int, wanted: _Wanted) -> list[Any]:
        if depth > self._MAX_DEPTH:
            raise ValueError
        inner, length = self._list_header()
        found = []
        for _ in range(length):
            value = self._value(inner, depth, wanted)
            if wanted:
                found.append(value)
        return found

    def _list_header(self) -> tuple[int, int]:
        header = self._byte()
        return header & 15, header >> 4 if header >> 4 < 15 else self._varint()

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._content):
            raise IndexError

    def _byte(self) -> int:
        byte = self._content[self._at]
        self._at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
