"""Reads an object of S3 as a file of which no more is fetched than what is asked for."""

from __future__ import annotations

import hashlib
import io
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from common.errors import DamagedFileError
from common.storage import Stored, read_body, require_digest, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_RANGE_BYTES, _RANGES_AT_ONCE = 16 << 20, 6
"""How much of an object one request asks for, and how many do at once: S3 serves each with some 90 MB a second.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html
"""


def read_ahead(read: Callable[[int, int], bytes], begin: int, end: int) -> Iterator[bytes]:
    """Yield what `read` returns of the bytes from `begin` to `end`, range by range, several requests ahead."""
    with ThreadPoolExecutor(_RANGES_AT_ONCE) as threads:
        coming = deque[Future[bytes]]()
        for at in range(begin, end, _RANGE_BYTES):
            coming.append(threads.submit(read, at, min(at + _RANGE_BYTES, end)))
            if len(coming) == _RANGES_AT_ONCE:
                yield coming.popleft().result()
        for left in coming:
            yield left.result()


class SeekableFile(io.RawIOBase):
    """A file of a known size that is read at a position, by what a class made of this one knows to read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._position = size, 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on, less of it at the end, and return how many bytes it has taken."""
        wanted = min(len(buffer), max(0, self._size - self._position))
        content = self._at(self._position, wanted) if wanted else b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    @abstractmethod
    def _at(self, begin: int, size: int) -> bytes:
        """Return some bytes, which are there; at least one."""


class ObjectFile(SeekableFile):
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
        super().__init__(file.size)
        self._s3, self._file, self._version = s3, file, file.version_id
        self._bucket, self._key = split_uri(file.uri)
        self.name = file.uri.rpartition("/")[2]

    def opened(self) -> Self:
        """Return it as another file, which is read at a place of its own."""
        return type(self)(self._s3, self._file)

    def compared(self) -> Self:
        """Go through it once, compare it with its digest, and return it.

        Raises
        ------
        DamagedFileError
            If it has another digest than is recorded.
        """
        digest = hashlib.sha256()
        for content in read_ahead(lambda begin, end: self._at(begin, end - begin), 0, self._size):
            digest.update(content)
        require_digest(self._file, digest.hexdigest())
        return self

    def _at(self, begin: int, size: int) -> bytes:
        wanted = f"bytes={begin}-{begin + size - 1}"
        return read_body(self._s3, Bucket=self._bucket, Key=self._key, VersionId=self._version, Range=wanted)
