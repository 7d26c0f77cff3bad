"""Parts of one file of text that is too large for a function: cut at line ends near the blocks that it is read in.

A part begins with the first row that ends behind the beginning of its first block, as the batch of that block does in
the whole file: so all parts together are read in the same batches as that.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from common.errors import InvalidDatasetError
from data_preparation import text_reading
from data_preparation.dialect import LONGEST_HEADER
from data_preparation.reading import SourceFile
from data_preparation.text_reading import Segment

Copy = Callable[[int, int, BinaryIO], None]
"""Writes the bytes of a file from one position up to another to a stream."""


def part_of(name: str, size: int, begin: int, end: int, copy: Copy, folder: Path) -> SourceFile:
    """Return a part of a file, copied to a folder.

    Parameters
    ----------
    name, size
        Of the file, in bytes.
    begin, end
        Of the part; multiples of `text_reading.BLOCK_BYTES`, but for the end of the file.
    copy
        What copies.
    folder
        Where it goes, with the beginning of the file beside it.

    Raises
    ------
    InvalidDatasetError
        If a row is longer than a block.
    """
    path, head = folder / "part", folder / "head"
    with path.open("w+b") as target:
        tail = io.BytesIO()
        if begin:
            copy(max(0, begin - text_reading.BLOCK_BYTES), begin, tail)
        held = tail.getvalue()[_after_last_line(name, tail.getvalue()) if begin else 0 :]
        target.write(held)
        copy(begin, end, target)
        if end < size:
            _cut_at_line(name, target)
    if begin:
        with head.open("w+b") as target:
            length = min(size, LONGEST_HEADER + text_reading.BLOCK_BYTES)
            copy(0, length, target)
            if length < size:
                _cut_at_line(name, target)
    return SourceFile(name, path, Segment(head if begin else path, len(held), begin == 0, end == size))


def _cut_at_line(name: str, file: BinaryIO) -> None:
    """Leave out what stands behind the last line end."""
    length = file.tell()
    back = max(0, length - text_reading.BLOCK_BYTES)
    file.seek(back)
    file.truncate(back + _after_last_line(name, file.read()))


def _after_last_line(name: str, content: bytes) -> int:
    at = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
    if not at:
        raise InvalidDatasetError(
            f'"{name}" has a row of more than {text_reading.BLOCK_BYTES >> 20} MB, which is no row of a table: see '
            "whether a quote is missing, or what ends its lines."
        )
    return at
