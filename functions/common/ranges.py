"""Reads an object of S3 as a file of which no more is fetched than what is asked for."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from common.errors import DamagedFileError
from common.storage import Stored, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ObjectFile(io.RawIOBase):
    """One version of an object, as a file.

    Parameters
    ----------
    s3
        The client that reads it.
    file
        With its size and version, of which S3 never changes a byte: somebody has compared the whole with its digest.

    Raises
    ------
    DamagedFileError
        If neither is recorded.
    """

    def __init__(self, s3: S3Client, file: Stored) -> None:
        if file.version_id is None or file.size is None:
            raise DamagedFileError(f'"{file.uri}" has no version on record, so that its parts could be of several.')
        self._s3, self._size, self._at = s3, file.size, 0
        self._version = file.version_id
        self._bucket, self._key = split_uri(file.uri)
        self.name = file.uri.rpartition("/")[2]

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes from here on, all for -1, fewer at the end."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        answer = self._s3.get_object(
            Bucket=self._bucket, Key=self._key, VersionId=self._version, Range=f"bytes={self._at}-{end - 1}"
        )
        content = answer["Body"].read()
        self._at += len(content)
        return content
