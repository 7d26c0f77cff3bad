"""Row groups of a Parquet file on S3: where they lie, and some of them as a file that has nothing but its footer."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from data_preparation.object_ranges import FileWithGaps, ObjectStream, Segment, download_range, read_range
from data_preparation.objects import SourceObject
from data_preparation.parquet_pages import RowGroup, row_groups
from data_preparation.parquet_reading import RowGroups, parquet_errors
from data_preparation.signatures import PARQUET

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FOOTER_BYTES = 1 << 16
"""How much of a file's end pyarrow reads at least, to find the footer in it."""
_SPARE_BYTES = 1 << 10
"""What may be read beyond the last page: a header's first look, and what old writers forgot to count."""


def groups_of(s3: S3Client, source: SourceObject) -> list[RowGroup]:
    """Return the row groups of an object, of which the footer alone is read.

    Raises
    ------
    InvalidDatasetError
        If it is no Parquet file, or another object by now.
    """
    with parquet_errors(source.name), io.BufferedReader(ObjectStream(s3, source), _FOOTER_BYTES) as stream:
        return row_groups(cast("BinaryIO", stream))


def fetch_groups(s3: S3Client, source: SourceObject, numbers: range, folder: Path) -> RowGroups:
    """Copy neighbouring row groups of an object to a folder, and the footer, so that they are where that says.

    Raises
    ------
    InvalidDatasetError
        If it is no Parquet file, another object by now, or the disk has no room for them.
    """
    groups = groups_of(s3, source)
    wanted = [groups[number] for number in numbers]
    begin = min(group.begin for group in wanted)
    end = min(source.size, max(group.end for group in wanted) + _SPARE_BYTES)
    footer_bytes = int.from_bytes(read_range(s3, source, source.size - 8, source.size - 4), "little")
    tail = max(0, source.size - max(_FOOTER_BYTES, footer_bytes + 8))
    (folder / "magic").write_bytes(PARQUET)
    segments = [
        Segment(0, len(PARQUET), folder / "magic"),
        Segment(tail, source.size - tail, download_range(s3, source, tail, source.size, folder / "footer")),
        Segment(begin, end - begin, download_range(s3, source, begin, end, folder / "groups")),
    ]
    opens = cast("Callable[[], BinaryIO]", partial(FileWithGaps, source.size, segments))
    return RowGroups(numbers, numbers.start == 0, numbers.stop == len(groups), opens)
