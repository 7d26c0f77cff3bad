"""Parquet files that lie: whole numbers of a page header or of the footer are replaced, and offsets moved along."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import pyarrow.parquet as pq

Path = tuple[int | str, ...]
"""The numbers of thrift's fields, from the outermost on, and `#0` for the first element of a list."""


class Number(NamedTuple):
    """A whole number in a struct of thrift's compact protocol: where it is, and between which bytes."""

    path: Path
    value: int
    begin: int
    end: int


def numbers(content: bytes, at: int) -> list[Number]:
    """Return all whole numbers of the struct that begins there."""
    found: list[Number] = []
    _walk(content, at, (), 12, found)
    return found


def footer(content: bytes) -> int:
    """Return where the footer begins."""
    return int(len(content) - 8 - struct.unpack("<I", content[-8:-4])[0])


def page(content: bytes, column: int, *, dictionary: bool = False) -> int:
    """Return where the first page of a column begins, or its dictionary."""
    chunk = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(column)
    return int(chunk.dictionary_page_offset if dictionary else chunk.data_page_offset)


def edited_footer(content: bytes, which: Callable[[Path, int], int | None]) -> bytes:
    """Return a file whose footer says other numbers: `which` takes a path and its value, and returns another one."""
    start = footer(content)
    for number in reversed(numbers(content, start)):
        value = which(number.path, number.value)
        if value is not None:
            content = _replaced(content, number, value)
    return content[:-8] + struct.pack("<I", len(content) - 8 - start) + content[-4:]


def edited_page(content: bytes, at: int, path: Path, value: int) -> bytes:
    """Return a file in which a page header says another number; where that is longer, the footer's offsets follow."""
    before = len(content)
    for number in reversed(numbers(content, at)):
        if number.path == path:
            content = _replaced(content, number, value)
    longer = len(content) - before

    def moved(where: Path, offset: int) -> int | None:
        is_offset = where[:1] == (4,) and where[-2:] in ((3, 9), (3, 11))
        return offset + longer if is_offset and offset > at else None

    return edited_footer(content, moved)


def _replaced(content: bytes, number: Number, value: int) -> bytes:
    return content[: number.begin] + _varint((value << 1) ^ (value >> 63)) + content[number.end :]


def _walk(content: bytes, at: int, path: Path, kind: int, found: list[Number]) -> int:
    if kind in (4, 5, 6):
        value, end = _read_varint(content, at)
        found.append(Number(path, (value >> 1) ^ -(value & 1), at, end))
        return end
    if kind == 8:
        length, at = _read_varint(content, at)
        return at + length
    if kind in (9, 10):
        head, at = content[at], at + 1
        count, inner = head >> 4, head & 15
        if count == 15:
            count, at = _read_varint(content, at)
        for place in range(count):
            at = at + 1 if inner in (1, 2) else _walk(content, at, (*path, f"#{place}"), inner, found)
        return at
    if kind != 12:
        return at + {1: 0, 2: 0, 3: 1, 7: 8}[kind]
    field = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            number, at = _read_varint(content, at)
            field = (number >> 1) ^ -(number & 1)
        at = _walk(content, at, (*path, field), head & 15, found)
    return at + 1


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = content[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
