"""Reads what was captured of requests: the objects of a time, as many as one run can take."""

from __future__ import annotations

import gzip
import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from common.conversion import feature_columns
from common.errors import DamagedFileError
from common.storage import Stored, read_bytes
from scoring.capture import ROW, hour_prefix, model_prefix
from scoring.json_rows import READERS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from common.conversion import Profile
    from scoring.refusal import Problem

MOST_OBJECTS = 20_000
"""So many requests are read by one run, a draw of all."""
MOST_ROWS = 500_000
_AT_ONCE = 16
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Objects:
    """Captured requests.

    Attributes
    ----------
    uris
        In the order of their hashes, so that the first ones are a draw of all.
    left_out
        How many more there are.
    """

    uris: Sequence[str]
    left_out: int


def find_objects(
    s3: S3Client, bucket: str, model_name: str, since: datetime | None, until: datetime, most: int = MOST_OBJECTS
) -> Objects:
    """Return the objects that were written since a time, and before another one.

    Parameters
    ----------
    s3, bucket, model_name
        Whose.
    since
        None for all that there are.
    until
        Not included.
    most
        How many are returned.
    """
    keys, count = _keys(s3, bucket, model_name, since, until), 0

    def counted() -> Iterator[str]:
        nonlocal count
        for key in keys:
            count += 1
            yield key

    drawn = heapq.nsmallest(most, counted(), key=lambda key: hashlib.sha256(key.encode()).digest())
    return Objects([f"s3://{bucket}/{key}" for key in drawn], count - len(drawn))


def _keys(s3: S3Client, bucket: str, model_name: str, since: datetime | None, until: datetime) -> Iterator[str]:
    prefix, hour = model_prefix(model_name), timedelta(hours=1)
    # A request that began in one hour may be written in the next one.
    first = prefix if since is None else hour_prefix(model_name, since - hour)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=first)
    for page in pages:
        for each in page.get("Contents", ()):
            if (since is None or each["LastModified"] >= since) and each["LastModified"] < until:
                yield each["Key"]


def read_objects(s3: S3Client, uris: Sequence[str]) -> Iterator[list[Line]]:
    """Yield the lines of each object, several of which are under way at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # What was read waits in memory until it is asked for.
        for begin in range(0, len(uris), 4 * _AT_ONCE):
            yield from pool.map(lambda uri: _lines(s3, uri), uris[begin : begin + 4 * _AT_ONCE])


def _lines(s3: S3Client, uri: str) -> list[Line]:
    try:
        return [json.loads(line) for line in gzip.decompress(read_bytes(s3, Stored(uri))).splitlines()]
    except (OSError, EOFError, ValueError) as error:
        raise DamagedFileError(f'"{uri}" is nothing that was captured: take it away.') from error


def features_of(lines: Sequence[Line], profile: Profile) -> pa.RecordBatch:
    """Return the features of lines, all of which have them, as they were read for the prediction.

    Raises
    ------
    DamagedFileError
        If a value is of another kind than its column.
    """
    problems: list[Problem] = []
    columns: dict[str, pa.Array] = {}
    for column in feature_columns(profile):
        name = column["name"]
        array = READERS[column["role"]](name, [line[ROW][name] for line in lines], problems)
        if array is None:
            raise DamagedFileError(f'Captured values of "{name}" are not of its kind: {problems[0].reason}.')
        columns[name] = array
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(lines), pa.struct([])))
    return pa.record_batch(columns)


def predictions_of(lines: Sequence[Line], names: Sequence[str]) -> pa.RecordBatch:
    """Return columns of a file of predictions, as they were captured."""
    return pa.record_batch({name: pa.array([line[name] for line in lines]) for name in names})
