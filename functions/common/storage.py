"""Reads and writes of S3 objects, with the client passed in."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from common.errors import InvalidDatasetError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from common.training_rows import TrainingRows

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


def download(s3: S3Client, uri: str, path: Path) -> Path:
    """Copy the object at `uri` to the file `path` and return the path."""
    bucket, key = split_uri(uri)
    s3.download_file(bucket, key, str(path))
    return path


def upload(s3: S3Client, path: Path, uri: str) -> str:
    """Copy the file `path` to the object at `uri` and return the URI."""
    bucket, key = split_uri(uri)
    s3.upload_file(str(path), bucket, key)
    return uri


def read_training_rows(s3: S3Client, uri: str, description: Mapping[str, Any]) -> TrainingRows:
    """Return the record of a model's training rows, by what `model.json` says of it.

    Raises
    ------
    UntrustedModelError
        If the file is not what is said of it.
    """
    from common.training_rows import TrainingRows  # noqa: PLC0415 (preparation has no use for it)

    bucket, key = split_uri(uri)
    return TrainingRows.read(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), description)


def read_json(s3: S3Client, uri: str) -> Any:
    """Return the JSON document stored at `uri`."""
    bucket, key = split_uri(uri)
    return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def write_text(s3: S3Client, text: str, uri: str, content_type: str) -> str:
    """Store text as UTF-8 at `uri` and return the URI."""
    bucket, key = split_uri(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType=content_type)
    return uri


def write_bytes(s3: S3Client, content: bytes, uri: str) -> str:
    """Store bytes at `uri` and return the URI."""
    bucket, key = split_uri(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/octet-stream")
    return uri


def write_json(s3: S3Client, document: Any, uri: str) -> str:
    """Store a JSON document at `uri` and return the URI."""
    # Strict JSON: a NaN here would be unreadable for everybody but Python.
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    return write_text(s3, text, uri, "application/json")
