"""Lambda handler of data preparation: downloads the data set, calls `prepare`, uploads the parts and the profile."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from common.errors import InvalidDatasetError
from common.lineage import image_digest, unpack_names
from common.request import parse_request
from common.storage import (
    Stored,
    describe_files,
    download_unchanged,
    new_folder,
    s3_client,
    split_uri,
    upload,
    workspace,
    write_json,
)
from data_preparation.file_names import data_names, no_data_name
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Prepare the data set of one run.

    Parameters
    ----------
    event
        `{"run_id": …, "request": …, "champion": …}`: the request as the execution's input holds it; the champion's
        `version`, `target` and `split`, as JSON, which is inherited, or None.

    Returns
    -------
    dict
        `request`, with every open choice made, and `prepared`: the URIs, digests and row counts of what was written.

    Raises
    ------
    InvalidRequestError, InvalidDatasetError
        If the request or the data cannot be used.
    """
    s3 = s3_client()
    request = parse_request(event["request"])
    prefix = new_folder(event["run_id"], "prepared")
    with workspace() as folder:
        listing = _list_objects(s3, request.dataset_uri)
        downloads, champion = _Downloads(s3, listing.objects, folder), _inherited(event.get("champion"))
        prepared = prepare(downloads, request, folder, champion)
        profile = {**prepared.profile, "ignored_files": listing.ignored, "image_digest": image_digest()}
        rows = profile["rows"]
        files = {
            **_upload_parts(s3, prepared, prefix),
            # Written last: where it is, the parts are whole.
            "profile": write_json(s3, profile, f"{prefix}/profile.json"),
        }
        result = {
            **describe_files(files),
            "rows": rows,
            "columns": sum(column["use"] == "feature" for column in profile["columns"]),
            "test_part": profile["split"]["test_part"],
        }
    logger.info("data prepared", extra={"run_id": event["run_id"], "rows": rows})
    handed_on = prepared.request.model_dump()
    if "pos_label" in profile["left_open"]:
        # What a class is called is data, and what states hand on is logged: the profile tells it.
        handed_on["pos_label"] = None
    return {"request": handed_on, "prepared": result}


def _upload_parts(s3: S3Client, prepared: PreparedData, prefix: str) -> dict[str, Stored]:
    """Upload both parts at once."""
    paths = {"train": prepared.train, "test": prepared.test}
    with ThreadPoolExecutor(len(paths)) as threads:
        uploads = {name: threads.submit(upload, s3, path, f"{prefix}/{name}.parquet") for name, path in paths.items()}
    return {name: each.result() for name, each in uploads.items()}


def _inherited(champion: dict[str, str] | None) -> dict[str, Any] | None:
    """Return what is inherited of a champion; an earlier version of this project did not say all of the split."""
    split = json.loads((champion or {}).get("split", "{}"))
    if champion is None or "columns" not in split:
        return None
    return {**champion, "split": {**split, "columns": unpack_names(split["columns"])}}


@dataclass(frozen=True)
class _Object:
    uri: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True)
class _Listing:
    """The data files of a data set, and the names of what lies beside them and is ignored."""

    objects: list[_Object]
    ignored: list[str]


def _list_objects(s3: S3Client, uri: str) -> _Listing:
    """Return the data files at a URI: the object itself or, where it ends in a slash, those below it in name order."""
    bucket, key = split_uri(uri)
    folder = key.endswith("/")
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        listed = {entry["Key"]: (entry["Size"], entry["ETag"]) for page in pages for entry in page.get("Contents", ())}
    except ClientError as error:
        raise _unreadable(uri, error) from error
    if not folder:
        if key not in listed:
            hint = f' Did you mean the folder "{uri}/"?' if any(name.startswith(f"{key}/") for name in listed) else ""
            raise InvalidDatasetError(f'There is no data file at "{uri}".{hint}')
        return _Listing([_Object(uri, key.rsplit("/", 1)[-1], *listed[key])], [])
    # A key ending in a slash is a folder that somebody made in the console.
    names, ignored = data_names(name[len(key) :] for name in listed if not name.endswith("/"))
    if not names:
        raise InvalidDatasetError(f'There is no data file at "{uri}": {no_data_name(ignored)}.')
    return _Listing([_Object(f"s3://{bucket}/{key}{name}", name, *listed[key + name]) for name in names], ignored)


@dataclass(frozen=True)
class _Downloads:
    """Each object as a local file, which is there until the next one is asked for."""

    s3: S3Client
    objects: list[_Object]
    folder: Path

    def __iter__(self) -> Iterator[SourceFile]:
        for each in self.objects:
            free = shutil.disk_usage(self.folder).free
            if each.size > free:
                raise InvalidDatasetError(
                    f'"{each.name}" has {each.size >> 20:,} MB and the function\'s temporary disk {free >> 20:,} MB '
                    "free: raise the parameter FunctionStorage or split the file."
                )
            path = self.folder / "source"
            try:
                download_unchanged(self.s3, each.uri, each.etag, path)
            except ClientError as error:
                raise _unreadable(each.uri, error) from error
            yield SourceFile(each.name, path)
            path.unlink()


def _unreadable(uri: str, error: ClientError) -> Exception:
    """Return what to raise for a failed S3 call: the user's mistake where it is one, else the call's own error."""
    code = error.response["Error"]["Code"]
    if code in ("AccessDenied", "403"):
        return InvalidDatasetError(
            f'"{uri}" may not be read: put data sets under data/ in the bucket {os.environ["ARTIFACT_BUCKET"]}, '
            "or name their bucket by the parameter DatasetBucketName and, where a key of KMS encrypts it, the key by "
            "DatasetKeyArn."
        )
    if code in ("PreconditionFailed", "412"):
        return InvalidDatasetError(f'"{uri}" was replaced while the data set was read: start a new run.')
    if code in ("NoSuchBucket", "NoSuchKey", "404"):
        return InvalidDatasetError(f'"{uri}" does not exist ({code}).')
    return error
