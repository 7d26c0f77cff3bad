"""Reads and writes of S3 objects, with the client passed in.

Whatever a run writes is written once: each call of a step has a folder of its own, and no object that is there is
replaced, which the bucket's policy demands too. Whoever reads an object insists on the version and on the digest that
were handed on.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from s3transfer.utils import S3_RETRYABLE_DOWNLOAD_ERRORS

from common.capacity import disk_too_small, kind
from common.errors import DamagedFileError, InvalidDatasetError
from common.hashing import forget_texts

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_WORKSPACE = "crosstrain-function-"
# No space, none left of a quota, and a file as large as one may be.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
ONE_REQUEST_BYTES = 100 << 20
"""Up to which size a file goes in one request, which takes half the time of several parts of 8 MB.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""
# What one request brings, where a transfer would ask for the size first and start threads.
_FETCHED_AT_ONCE = 8 << 20
_READS = 5
PART_BYTES = 16 << 20
"""How large the first parts of an object are that is written piece by piece (`part_bytes`)."""
_PART_SHARE = 1 << 10
_PARTS_AT_ONCE = 2
_FILE_PARTS_AT_ONCE = 4
# Who sends parts with checksums has to say so at the beginning, and to repeat each one at the end:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
_CHECKSUM: Final = "CRC32"
_WAITS = (0.2, 1.0, 5.0)
# What a client is told by its events holds for all of its calls: of those that need that, one at a time.
_telling = threading.Lock()


@functools.cache
def s3_client() -> S3Client:
    """Return the function's one S3 client, made at the first call and kept for the life of the worker."""
    return boto3.client("s3")


@contextmanager
def disk_errors(compute: str | None = None) -> Iterator[None]:
    """Name a full disk, and the template's parameter that makes it larger.

    Parameters
    ----------
    compute
        The request's, for work that may go on as a task, which has a larger disk; None for any other.

    Raises
    ------
    TooLargeForFunctionError, InvalidDatasetError
        If the work of the `with` block finds no space left; the one where a task has it.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        if compute is not None:
            raise disk_too_small(
                f"The data or the model does not fit the {kind()}'s temporary disk",
                "bring fewer rows or choose a smaller model",
                where=compute,
            ) from error
        raise InvalidDatasetError(
            "The data or the model does not fit the function's temporary disk: raise the parameter FunctionStorage "
            "(10,240 MB at most), bring fewer rows or choose a smaller model."
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Return whether `disk_errors` has named a full disk by this error."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


@contextmanager
def workspace(compute: str | None = None) -> Iterator[Path]:
    """Yield an empty folder on the temporary disk, which goes with the `with` block; they do not nest.

    The disk outlives an invocation: what one has left that was killed, at its timeout say, goes first, or the next ones
    would find less and less space. https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html

    Parameters
    ----------
    compute
        As `disk_errors` takes it.

    Raises
    ------
    TooLargeForFunctionError, InvalidDatasetError
        If the work of the `with` block finds no space left.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_WORKSPACE}*-*"):
        # Elsewhere than on Lambda other functions work beside this one.
        owner = left.name.removeprefix(_WORKSPACE).partition("-")[0]
        if owner == str(os.getpid()) or not _is_running(owner):
            shutil.rmtree(left, ignore_errors=True)
    try:
        with disk_errors(compute), tempfile.TemporaryDirectory(prefix=f"{_WORKSPACE}{os.getpid()}-") as folder:
            yield Path(folder)
    finally:
        # What is in memory of the data set goes as well: the worker may serve another one next.
        forget_texts()


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, OverflowError):
        # Somebody else's, or no folder of ours.
        return True
    return True


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of an S3 URI.

    Examples
    --------
    >>> split_uri("s3://bucket/runs/1/model.json")
    ('bucket', 'runs/1/model.json')
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


@dataclass(frozen=True)
class Stored:
    """An object as it was written, which is what whoever reads it insists on.

    Attributes
    ----------
    uri
        Where it is.
    sha256
        Of its contents, in hexadecimal digits; None where nobody has recorded it.
    size
        In bytes.
    version_id
        S3's; None where it is not known, and the digest alone decides.
    """

    uri: str
    sha256: str | None = None
    size: int | None = None
    version_id: str | None = None


def describe_files(files: Mapping[str, Stored]) -> dict[str, Any]:
    """Return what steps and the registry hold of files by name: `<name>_uri`, and `sha256`, `bytes`, `version_ids`."""
    return {
        **{f"{name}_uri": file.uri for name, file in files.items()},
        "sha256": {name: file.sha256 for name, file in files.items()},
        "bytes": {name: file.size for name, file in files.items()},
        "version_ids": {name: file.version_id for name, file in files.items()},
    }


def describe_file(file: Stored) -> dict[str, Any]:
    """Return what a document holds of one file, which `Stored(**…)` takes."""
    return asdict(file)


def pinned(document: Mapping[str, Any], name: str) -> Stored:
    """Return a file that `describe_files` has described.

    Raises
    ------
    KeyError
        If no digest of it is recorded: nothing is read that nobody vouches for.
    """
    size, version_id = ((document.get(field) or {}).get(name) for field in ("bytes", "version_ids"))
    return Stored(document[f"{name}_uri"], document["sha256"][name], size, version_id)


def new_folder(run_id: str, step: str) -> str:
    """Return the URI of a folder that one call of a step has for itself: a call that is repeated finds nothing there.

    Examples
    --------
    >>> new_folder("run-1", "model")                                                  # doctest: +SKIP
    's3://bucket/runs/run-1/model/20261128T153012-22f89fbf'
    """
    return f"s3://{os.environ['ARTIFACT_BUCKET']}/runs/{run_id}/{step}/{new_call()}"


def new_call() -> str:
    """Return an id that no other call has; they sort by time.

    Examples
    --------
    >>> new_call()                                                                    # doctest: +SKIP
    '20261128T153012-22f89fbf'
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def download(s3: S3Client, file: Stored, path: Path) -> Path:
    """Copy an object to the file `path` and return the path.

    Raises
    ------
    DamagedFileError
        If it has another digest than is recorded.
    """
    if file.size is not None and file.size <= _FETCHED_AT_ONCE:
        path.write_bytes(read_bytes(s3, file))
        return path
    bucket, key = split_uri(file.uri)
    s3.download_file(bucket, key, str(path), ExtraArgs=_version(file))
    if file.sha256 is not None:
        require_digest(file, digest_of(path))
    return path


def download_unchanged(s3: S3Client, uri: str, etag: str, path: Path) -> None:
    """Copy an object to the file `path`, if it is still the one that was listed with this ETag; else S3 answers 412."""
    bucket, key = split_uri(uri)
    with _adding(s3, ("HeadObject", "GetObject"), IfMatch=etag):
        s3.download_file(bucket, key, str(path))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bytes(s3: S3Client, file: Stored) -> bytes:
    """Return the contents of an object.

    Raises
    ------
    DamagedFileError
        If it has another digest than is recorded.
    """
    bucket, key = split_uri(file.uri)
    content = read_body(s3, Bucket=bucket, Key=key, **_version(file))
    if file.sha256 is not None:
        require_digest(file, hashlib.sha256(content).hexdigest())
    return content


def read_body(s3: S3Client, **parameters: Any) -> bytes:
    """Return what a request to read an object answers; one that breaks off is made again, as transfers do it."""
    for _ in range(_READS - 1):
        try:
            return s3.get_object(**parameters)["Body"].read()
        except S3_RETRYABLE_DOWNLOAD_ERRORS:
            continue
    return s3.get_object(**parameters)["Body"].read()


def read_json(s3: S3Client, file: Stored) -> Any:
    """Return the JSON document in an object, if it is the one that was recorded (`read_bytes`)."""
    return json.loads(read_bytes(s3, file))


def _version(file: Stored) -> dict[str, Any]:
    return {} if file.version_id is None else {"VersionId": file.version_id}


def require_digest(file: Stored, found: str) -> None:
    """Raise DamagedFileError if an object has another SHA-256 than is recorded of it."""
    if found != file.sha256:
        raise DamagedFileError(
            f'"{file.uri}" has the SHA-256 {found[:12]}… and not {str(file.sha256)[:12]}…, which is recorded: it was '
            "written again, or damaged. Start a new run."
        )


def upload(s3: S3Client, path: Path, uri: str) -> Stored:
    """Copy the file `path` to a new object (`_write_once`); several may be under way at once."""
    bucket, key = split_uri(uri)
    size = path.stat().st_size

    def write() -> str | None:
        with path.open("rb") as stream:
            if size <= ONE_REQUEST_BYTES:
                return _version_of(s3.put_object(Bucket=bucket, Key=key, Body=stream, IfNoneMatch="*"))
            return _in_parts(s3, stream, bucket, key)

    return Stored(uri, digest_of(path), size, _write_once(write))


def part_bytes(sent: int) -> int:
    """Return how large the next part of an upload is, by how many bytes were sent.

    Parts grow with the object, so that one of 5 TiB has fewer than the 10,000 that it may have, and none of more than
    5 GiB: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html

    Examples
    --------
    >>> part_bytes(0), part_bytes(10**12)
    (16777216, 976562500)
    """
    return max(PART_BYTES, sent // _PART_SHARE)


class Upload(io.RawIOBase):
    """A new object that is written piece by piece, however large it becomes; `open_upload` makes and finishes it.

    Attributes
    ----------
    stored : Stored
        What was written, once it is finished.
    """

    stored: Stored

    def __init__(self, s3: S3Client, uri: str) -> None:
        self._s3, self._uri = s3, uri
        self._bucket, self._key = split_uri(uri)
        self._digest, self._size, self._held = hashlib.sha256(), 0, bytearray()
        self._upload: str | None = None
        self._parts: list[Future[CompletedPartTypeDef]] = []
        self._threads = ThreadPoolExecutor(_PARTS_AT_ONCE)

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size

    def write(self, content: ReadableBuffer) -> int:
        """Take in some more bytes, and upload a part as soon as it is whole."""
        new = memoryview(content)
        self._digest.update(new)
        self._size += new.nbytes
        self._held += new
        while len(self._held) >= (part := part_bytes(self._size - len(self._held))):
            self._send(bytes(self._held[:part]))
            del self._held[:part]
        return new.nbytes

    def _send(self, content: bytes) -> None:
        if self._upload is None:
            self._upload = self._s3.create_multipart_upload(
                Bucket=self._bucket, Key=self._key, ChecksumAlgorithm=_CHECKSUM
            )["UploadId"]
        if len(self._parts) >= _PARTS_AT_ONCE:
            # No more parts are in memory than are under way.
            self._parts[-_PARTS_AT_ONCE].result()
        self._parts.append(self._threads.submit(self._send_part, len(self._parts) + 1, content))

    def _send_part(self, number: int, content: bytes) -> CompletedPartTypeDef:
        answer = self._s3.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=str(self._upload),
            PartNumber=number,
            Body=content,
            ChecksumAlgorithm=_CHECKSUM,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]}

    def finish(self) -> None:
        """Make the object of what was written (`_write_once`)."""
        if self._upload is None:
            self.stored = write_bytes(self._s3, bytes(self._held), self._uri, "binary/octet-stream")
            return
        self._send(bytes(self._held))
        parts = [part.result() for part in self._parts]

        def complete() -> str | None:
            answer = self._s3.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=str(self._upload),
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
            return _version_of(answer)

        self.stored = Stored(self._uri, self._digest.hexdigest(), self._size, _write_once(complete))

    def abort(self) -> None:
        """Let go of the parts, which else go by the bucket's own rule.

        Whoever began an upload may abort it: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
        """
        self.stop()
        if self._upload is not None:
            with suppress(ClientError):
                self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload)

    def stop(self) -> None:
        """Wait for parts that are under way, and begin no other."""
        self._threads.shutdown(cancel_futures=True)


@contextmanager
def open_upload(s3: S3Client, uri: str) -> Iterator[Upload]:
    """Yield what is written to a new object, which is there if the `with` block ends without an error."""
    sink = Upload(s3, uri)
    try:
        yield sink
        sink.finish()
    except BaseException:
        sink.abort()
        raise
    sink.stop()


def write_bytes(s3: S3Client, content: bytes, uri: str, content_type: str) -> Stored:
    """Store bytes as a new object (`_write_once`)."""
    bucket, key = split_uri(uri)

    def write() -> str | None:
        answer = s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type, IfNoneMatch="*")
        return _version_of(answer)

    return Stored(uri, hashlib.sha256(content).hexdigest(), len(content), _write_once(write))


def write_json(s3: S3Client, document: Any, uri: str) -> Stored:
    """Store a JSON document as a new object (`_write_once`)."""
    # Strict JSON: a NaN here would be unreadable for everybody but Python.
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    return write_bytes(s3, text.encode(), uri, "application/json")


def write_json_once(s3: S3Client, document: Any, uri: str) -> tuple[Any, Stored]:
    """Store a JSON document as a new object, and return what the object holds: of several writers, the first one's.

    Returns
    -------
    document
        As it is stored.
    stored : Stored
        The object.
    """
    stored = write_json(s3, document, uri)
    if stored.version_id is None:
        # It may have been there before.
        bucket, key = split_uri(uri)
        answer = s3.get_object(Bucket=bucket, Key=key)
        content = answer["Body"].read()
        stored = Stored(uri, hashlib.sha256(content).hexdigest(), len(content), _version_of(answer))
        document = json.loads(content)
    return document, stored


def exists(s3: S3Client, uri: str) -> bool:
    """Return whether there is an object, for which the right to list it is needed, and none to read it."""
    bucket, key = split_uri(uri)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", ())
    return any(each["Key"] == key for each in listed)


def names_in(s3: S3Client, folder: str) -> set[str]:
    """Return the names of the objects in a folder, whose URI ends in a slash."""
    bucket, key = split_uri(folder)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
    return {entry["Key"].removeprefix(key) for page in pages for entry in page.get("Contents", ())}


def _write_once(write: Callable[[], str | None]) -> str | None:
    """Write an object that is not there yet, and return its version, None where the answer with it was lost.

    Both ways in which an object comes to be take the condition:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    try:
        return _despite_itself(write)
    except ClientError as error:
        # The folder is this call's own: what is there already, an earlier attempt of this very request has written,
        # whose answer was lost. Whoever reads it looks whether it is what was to be written.
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        return None


def _version_of(answer: Mapping[str, Any]) -> str | None:
    version: str | None = answer.get("VersionId")
    return version


def _in_parts(s3: S3Client, stream: BinaryIO, bucket: str, key: str) -> str | None:
    """Upload a file in parts by many threads, and return the version of the object that S3 makes of them."""
    # Each part is in memory while it is sent, and both files of a data set are uploaded at once.
    config = TransferConfig(multipart_threshold=ONE_REQUEST_BYTES, max_concurrency=_FILE_PARTS_AT_ONCE)
    versions: list[str | None] = []

    def answered(parsed: Mapping[str, Any], **_: Any) -> None:
        versions.append(_version_of(parsed))

    finished = "after-call.s3.CompleteMultipartUpload"
    with _adding(s3, ("CompleteMultipartUpload",), IfNoneMatch="*"):
        s3.meta.events.register(finished, answered)
        try:
            # Not `upload_file`, which turns what S3 answers into an error of its own.
            s3.upload_fileobj(stream, bucket, key, Config=config)
        finally:
            s3.meta.events.unregister(finished, answered)
    return versions[-1] if versions else None


def _despite_itself(write: Callable[[], str | None]) -> str | None:
    """Write once more where an attempt meets an earlier one of the same request, which S3 has not finished with.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html#conditional-error-response
    """
    for wait in _WAITS:
        try:
            return write()
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalRequestConflict":
                raise
            time.sleep(wait)
    return write()


@contextmanager
def _adding(s3: S3Client, operations: tuple[str, ...], **parameters: str) -> Iterator[None]:
    """Give each call of these operations parameters that the client's own transfers do not take, in no other thread."""

    def add(params: dict[str, Any], **_: Any) -> None:
        params.update(parameters)

    events = [f"provide-client-params.s3.{operation}" for operation in operations]
    with _telling:
        for event in events:
            s3.meta.events.register(event, add)
        try:
            yield
        finally:
            for event in events:
                s3.meta.events.unregister(event, add)
