"""Reads parts of an S3 object: as a stream that goes to and fro, as a local file, and as one with gaps."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from common.errors import InvalidDatasetError
from common.ranges import SeekableFile, read_ahead
from common.storage import read_body, split_uri
from data_preparation.objects import SourceObject, unreadable

if TYPE_CHECKING:
    from _typeshed import SupportsWrite
    from mypy_boto3_s3 import S3Client


class ObjectStream(SeekableFile):
    """An object as a stream, of which each read is a request: wrap it in a buffer.

    Reading it raises InvalidDatasetError if the object is no longer the one that was listed, or may not be read.
    """

    def __init__(self, s3: S3Client, source: SourceObject) -> None:
        super().__init__(source.size)
        self._s3, self._source = s3, source

    def _at(self, begin: int, size: int) -> bytes:
        return read_range(self._s3, self._source, begin, begin + size)


def read_range(s3: S3Client, source: SourceObject, begin: int, end: int) -> bytes:
    """Return the bytes of an object from `begin` to `end`, if it is still the one that was listed.

    Raises
    ------
    InvalidDatasetError
        If it is not, or may not be read.
    """
    bucket, key = split_uri(source.uri)
    try:
        return read_body(s3, Bucket=bucket, Key=key, IfMatch=source.etag, Range=f"bytes={begin}-{end - 1}")
    except ClientError as error:
        raise unreadable(source.uri, error) from error


def copy_range(s3: S3Client, source: SourceObject, begin: int, end: int, target: SupportsWrite[bytes]) -> None:
    """Write the bytes of an object from `begin` to `end` to a stream, several requests ahead (`read_range`).

    Raises
    ------
    InvalidDatasetError
        If the object is no longer the one that was listed, or may not be read.
    """
    for content in read_ahead(partial(read_range, s3, source), begin, end):
        target.write(content)


def download_range(s3: S3Client, source: SourceObject, begin: int, end: int, path: Path) -> Path:
    """Copy the bytes of an object from `begin` to `end` to a file (`read_range`), and return its path.

    Raises
    ------
    InvalidDatasetError
        If the object is another one by now, or the disk has no room for them.
    """
    free = shutil.disk_usage(path.parent).free
    if end - begin > free:
        raise InvalidDatasetError(
            f'A part of "{source.name}" has {(end - begin) >> 20:,} MB and the function\'s temporary disk '
            f"{free >> 20:,} MB free: raise the parameter FunctionStorage or split the file."
        )
    with path.open("wb") as file:
        copy_range(s3, source, begin, end, file)
    return path


@dataclass(frozen=True)
class Segment:
    """Bytes of an object that are in a local file: where they begin in the object, how many, and the file."""

    begin: int
    size: int
    path: Path


class FileWithGaps(SeekableFile):
    """An object of which some segments are in local files; nothing else of it can be read."""

    def __init__(self, size: int, segments: Sequence[Segment]) -> None:
        super().__init__(size)
        self._segments = segments

    def _at(self, begin: int, size: int) -> bytes:
        found = b""
        while len(found) < size and (more := self._piece(begin + len(found), size - len(found))):
            found += more
        if not found:
            raise OSError(f"the bytes from {begin:,} on were not fetched")
        return found

    def _piece(self, begin: int, size: int) -> bytes:
        """Return what one segment has of some bytes, nothing in a gap."""
        for each in self._segments:
            if each.begin <= begin < each.begin + each.size:
                with each.path.open("rb") as file:
                    file.seek(begin - each.begin)
                    return file.read(min(size, each.begin + each.size - begin))
        return b""
