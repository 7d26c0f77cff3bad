"""Reads and writes of S3 objects, with the client passed in."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from common.errors import DamagedFileError, InvalidDatasetError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WORKSPACE = "crosstrain-function-"


@functools.cache
def s3_client() -> S3Client:
    """Return the function's one S3 client, made at the first call and kept for the life of the worker."""
    return boto3.client("s3")


@contextmanager
def disk_errors() -> Iterator[None]:
    """Name a full disk, and the template's parameter that makes it larger.

    Raises
    ------
    InvalidDatasetError
        If the work of the `with` block finds no space left.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InvalidDatasetError(
            "The data or the model does not fit the function's temporary disk: raise the parameter FunctionStorage "
            "(10,240 MB at most), bring fewer rows or choose a smaller model."
        ) from error


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield an empty folder on the temporary disk, which goes with the `with` block; they do not nest.

    The disk outlives an invocation: what one has left that was killed, at its timeout say, goes first, or the next ones
    would find less and less space. https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html

    Raises
    ------
    InvalidDatasetError
        If the work of the `with` block finds no space left.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_WORKSPACE}*-*"):
        # Elsewhere than on Lambda other functions work beside this one.
        owner = left.name.removeprefix(_WORKSPACE).partition("-")[0]
        if owner == str(os.getpid()) or not _is_running(owner):
            shutil.rmtree(left, ignore_errors=True)
    with disk_errors(), tempfile.TemporaryDirectory(prefix=f"{_WORKSPACE}{os.getpid()}-") as folder:
        yield Path(folder)


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


def download(s3: S3Client, uri: str, path: Path, sha256: str | None = None) -> Path:
    """Copy the object at `uri` to the file `path` and return the path.

    Raises
    ------
    DamagedFileError
        If it has another digest than is recorded.
    """
    bucket, key = split_uri(uri)
    s3.download_file(bucket, key, str(path))
    if sha256 is not None:
        _require(uri, digest_of(path), sha256)
    return path


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bytes(s3: S3Client, uri: str, sha256: str | None = None) -> bytes:
    """Return the contents of the object at `uri`.

    Raises
    ------
    DamagedFileError
        If it has another digest than is recorded.
    """
    bucket, key = split_uri(uri)
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    if sha256 is not None:
        _require(uri, hashlib.sha256(content).hexdigest(), sha256)
    return content


def _require(uri: str, found: str, recorded: str) -> None:
    if found != recorded:
        raise DamagedFileError(
            f'"{uri}" has the SHA-256 {found[:12]}… and not {recorded[:12]}…, which is recorded: it was written again, '
            "or damaged. Start a new run."
        )


def upload(s3: S3Client, path: Path, uri: str) -> tuple[str, str]:
    """Copy the file `path` to the object at `uri`, and return the URI and the SHA-256."""
    bucket, key = split_uri(uri)
    s3.upload_file(str(path), bucket, key)
    return uri, digest_of(path)


def read_json(s3: S3Client, uri: str, sha256: str | None = None) -> Any:
    """Return the JSON document stored at `uri`; with a digest, only if it is that one (`read_bytes`)."""
    return json.loads(read_bytes(s3, uri, sha256))


def write_bytes(s3: S3Client, content: bytes, uri: str, content_type: str) -> tuple[str, str]:
    """Store bytes at `uri`, and return the URI and their SHA-256."""
    bucket, key = split_uri(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type)
    return uri, hashlib.sha256(content).hexdigest()


def write_json(s3: S3Client, document: Any, uri: str) -> tuple[str, str]:
    """Store a JSON document at `uri`, and return the URI and its SHA-256."""
    # Strict JSON: a NaN here would be unreadable for everybody but Python.
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    return write_bytes(s3, text.encode(), uri, "application/json")
