"""The objects of a data set: listed, and read as they were when they were listed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from common.capacity import disk_too_small, kind
from common.errors import InvalidDatasetError
from common.storage import download_unchanged, split_uri
from data_preparation.file_names import data_names, no_data_name
from data_preparation.reading import SourceFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class SourceObject:
    """One object of a data set: where it is, its name within the data set, its size in bytes and its ETag."""

    uri: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True)
class Listing:
    """The data files of a data set, and the names of what lies beside them and is ignored."""

    objects: list[SourceObject]
    ignored: list[str]


def list_objects(s3: S3Client, uri: str, way_out: str | None = None) -> Listing:
    """Return the data files at a URI: the object itself or, where it ends in a slash, those below it in name order.

    Parameters
    ----------
    s3
        A client.
    uri
        Of the object or the folder.
    way_out
        What helps where they may not be read, for people; if not given, what helps a role that reads data sets.

    Raises
    ------
    InvalidDatasetError
        If there is none, or it may not be read.
    """
    bucket, key = split_uri(uri)
    folder = key.endswith("/")
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        listed = {entry["Key"]: (entry["Size"], entry["ETag"]) for page in pages for entry in page.get("Contents", ())}
    except ClientError as error:
        raise unreadable(uri, error, way_out) from error
    if not folder:
        if key not in listed:
            hint = f' Did you mean the folder "{uri}/"?' if any(name.startswith(f"{key}/") for name in listed) else ""
            raise InvalidDatasetError(f'There is no data file at "{uri}".{hint}')
        return Listing([SourceObject(uri, key.rsplit("/", 1)[-1], *listed[key])], [])
    # A key ending in a slash is a folder that somebody made in the console.
    names, ignored = data_names(name[len(key) :] for name in listed if not name.endswith("/"))
    if not names:
        raise InvalidDatasetError(f'There is no data file at "{uri}": {no_data_name(ignored)}.')
    return Listing([SourceObject(f"s3://{bucket}/{key}{name}", name, *listed[key + name]) for name in names], ignored)


@dataclass(frozen=True)
class Downloads:
    """Each object as a local file, which is there until the next one is asked for.

    Raises
    ------
    InvalidDatasetError
        If an object is no longer the one that was listed, may not be read, or does not fit the disk.
    TooLargeForFunctionError
        If a task has the disk for it, and `takes_task` says that there may be one.
    """

    s3: S3Client
    objects: list[SourceObject]
    folder: Path
    way_out: str | None = None
    takes_task: bool = False

    def __iter__(self) -> Iterator[SourceFile]:
        for each in self.objects:
            free = shutil.disk_usage(self.folder).free
            if each.size > free:
                size_mb = each.size >> 20
                told = f'"{each.name}" has {size_mb:,} MB and the {kind()}\'s temporary disk {free >> 20:,} MB free'
                if self.takes_task:
                    raise disk_too_small(told, "split the file", disk_mb=size_mb)
                raise InvalidDatasetError(f"{told}: raise the parameter FunctionStorage or split the file.")
            path = self.folder / "source"
            if not each.size:
                # Of a folder with a million markers none is asked for.
                path.touch()
                yield SourceFile(each.name, path)
                path.unlink()
                continue
            try:
                download_unchanged(self.s3, each.uri, each.etag, path)
            except ClientError as error:
                raise unreadable(each.uri, error, self.way_out) from error
            yield SourceFile(each.name, path)
            path.unlink()


def unreadable(uri: str, error: ClientError, way_out: str | None = None) -> Exception:
    """Return what to raise for a failed S3 call: the user's mistake where it is one, else the call's own error."""
    code = error.response["Error"]["Code"]
    if code in ("AccessDenied", "403"):
        helps = way_out or (
            f"put data sets under data/ in the bucket {os.environ['ARTIFACT_BUCKET']}, or name their bucket by the "
            "parameter DatasetBucketName and, where a key of KMS encrypts it, the key by DatasetKeyArn."
        )
        return InvalidDatasetError(f'"{uri}" may not be read: {helps}')
    if code in ("PreconditionFailed", "412"):
        return InvalidDatasetError(f'"{uri}" was replaced while the data set was read: start a new run.')
    if code in ("NoSuchBucket", "NoSuchKey", "404"):
        return InvalidDatasetError(f'"{uri}" does not exist ({code}).')
    return error
