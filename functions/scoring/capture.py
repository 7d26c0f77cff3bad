"""Keeps a share of the requests for predictions: their rows, without what is private, and what was predicted of them.

A request becomes one object of lines of JSON, written once. No answer depends on it: what cannot be kept is told in the
log and by a metric, and the caller has its predictions all the same.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from botocore.exceptions import ClientError

from common.hashing import Hashes, row_hashes
from common.storage import write_bytes
from scoring.private import Private

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AT, VERSION, ANSWERED_BY, ROW = "at", "version", "answered_by", "row"
"""The members of a line, beside the columns of a file of predictions."""
SUFFIX = ".jsonl.gz"

logger = logging.getLogger(__name__)


@dataclass
class Sample:
    """The rows of one request, in pieces.

    Attributes
    ----------
    features
        As they were read, whatever they were written in.
    others
        Of each row what it has besides.
    predicted
        With the columns of a file of predictions.
    objection
        Why the rows cannot be kept, if that is known.
    keeps_others
        Whether what rows have besides their features is wanted.
    answered_by
        The challenger of each row that one has answered, else None; empty without one. What was predicted is the
        champion's for each row.
    """

    features: list[pa.RecordBatch] = field(default_factory=list)
    others: list[Mapping[str, Any]] = field(default_factory=list)
    predicted: list[pa.RecordBatch] = field(default_factory=list)
    objection: str | None = None
    keeps_others: bool = True
    answered_by: Sequence[str | None] = ()

    def hashes(self) -> Hashes:
        """Return the hashes of the rows, shape (rows,), of their features alone."""
        found = [row_hashes(batch, batch.schema.names) for batch in self.features]
        return np.concatenate([np.zeros(0, np.uint64), *found])

    def add(self, rows: pa.RecordBatch, predicted: pa.RecordBatch) -> None:
        """Take more rows, and what was predicted of them."""
        self.features.append(rows)
        self.predicted.append(predicted)

    def add_table(self, rows: pa.RecordBatch, others: Sequence[Mapping[str, Any]], predicted: pa.Table) -> None:
        """Take all rows at once."""
        self.others += others
        self.features.append(rows)
        self.predicted += predicted.to_batches()


@dataclass(frozen=True)
class Capture:
    """What is captured, and where it goes.

    Attributes
    ----------
    s3
        A client.
    bucket
        Of the stack.
    model_name
        The model.
    share
        How many of a hundred requests.
    private
        The columns that are left out.
    """

    s3: S3Client
    bucket: str
    model_name: str
    share: float
    private: Private

    def wants(self, request_id: str) -> bool:
        """Return whether a request is one of the sample; that follows from its id alone."""
        return is_sampled(request_id, self.share)

    def keep(self, request_id: str, version: str, sample: Sample) -> bool:
        """Write the rows of a request; return False, and tell the log why, if that is not possible."""
        if sample.objection is not None:
            return _fail(sample.objection)
        try:
            now = datetime.now(UTC)
            lines = "".join(f"{line}\n" for line in self._lines(now, version, sample))
            content = gzip.compress(lines.encode(), mtime=0)
            uri = f"s3://{self.bucket}/{hour_prefix(self.model_name, now)}{request_id}{SUFFIX}"
            write_bytes(self.s3, content, uri, "application/gzip")
        except Exception as error:  # noqa: BLE001 (whatever it is, the caller gets the predictions)
            return _fail(f"{type(error).__name__}: {error}" if isinstance(error, ClientError) else type(error).__name__)
        return True

    def _lines(self, now: datetime, version: str, sample: Sample) -> Iterator[str]:
        features, predicted = (
            pa.Table.from_batches(batches).to_pylist() for batches in (sample.features, sample.predicted)
        )
        others: Sequence[Mapping[str, Any]] = sample.others or [{}] * len(features)
        challengers = sample.answered_by or [None] * len(features)
        for row, other, found, challenger in zip(features, others, predicted, challengers, strict=True):
            kept = {name: value for name, value in {**row, **other}.items() if name not in self.private}
            answered = {} if challenger is None else {ANSWERED_BY: challenger}
            line = {AT: now.isoformat(timespec="milliseconds"), VERSION: version, **answered, ROW: kept, **found}
            yield json.dumps(line, allow_nan=False, separators=(",", ":"), default=_text)


def _fail(reason: str) -> bool:
    """Tell the log, without a trace, which might show a row."""
    logger.error("request not captured", extra={"reason": reason})
    return False


def is_sampled(request_id: str, share: float) -> bool:
    """Return whether a request is among so many of a hundred, by the hash of its id.

    Examples
    --------
    >>> is_sampled("a", 100), is_sampled("a", 0)
    (True, False)
    """
    place = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8])
    return place < share / 100 * 2**64


def model_prefix(model_name: str) -> str:
    """Return the folder of what is captured of a model's requests."""
    return f"captured/{model_name}/"


def hour_prefix(model_name: str, at: datetime) -> str:
    """Return the folder of one hour; folders sort as their hours do."""
    return f"{model_prefix(model_name)}{at.astimezone(UTC):%Y/%m/%d/%H}/"


def _text(value: object) -> str:
    """Return a time as the reader of JSON takes it."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError(type(value).__name__)
