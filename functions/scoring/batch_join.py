"""Puts together what was written for the parts of an object: one file of predictions, and what is told of all rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from common.capacity import compute
from common.storage import Stored, describe_file, download, upload_stream, workspace
from scoring.batch_plan import Plan, about_object, run_folder
from scoring.oddities import Oddities

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from scoring.counts import Counts

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Written:
    """What is told of a file of predictions, or of a part of one.

    Attributes
    ----------
    rows, blank
        How many rows were scored, and how many blank lines have a row without a prediction.
    told
        Of how the file is written.
    oddities
        Of its rows.
    unused
        The columns that neither the model uses nor the output has.
    """

    rows: int
    blank: int
    told: list[str]
    oddities: Oddities
    unused: list[str]

    def told_of_object(self) -> dict[str, Any]:
        """Return what a document says of an object."""
        return {
            "rows": self.rows,
            "blank_lines": self.blank,
            "told": [*self.told, *filter(None, self.oddities.told)],
            "unused_columns": self.unused,
        }

    def document(self) -> dict[str, Any]:
        """Return all of it in types of JSON."""
        return {**vars(self), "oddities": self.oddities.document()}

    @classmethod
    def of_parts(cls, documents: Sequence[Mapping[str, Any]]) -> Written:
        """Return what is told of the parts together, by their documents."""
        oddities = Oddities()
        for each in documents:
            oddities.merge(each["oddities"])
        rows, blank = (sum(each[name] for each in documents) for name in ("rows", "blank"))
        return cls(rows, blank, documents[0]["told"], oddities, documents[0]["unused"])


def join_parts(
    s3: S3Client, plan: Plan, number: int, documents: Sequence[Mapping[str, Any]], counts: Counts | None
) -> dict[str, Any]:
    """Write the file of predictions of an object that was scored in parts, and return its document.

    Parameters
    ----------
    s3
        A client.
    plan
        Of the run.
    number
        The object's.
    documents
        Of its parts, in their order.
    counts
        Which count nothing so far; None where there is nothing to compare rows with.
    """
    files = [Stored(**each["predictions"]) for each in documents]
    join = _parquet if plan.request.output_format == "parquet" else _texts
    with workspace("auto") as folder, cast("BinaryIO", _Pulled(join(s3, files, folder / "part"))) as stream:
        stored = upload_stream(s3, stream, run_folder(plan.run_id) + plan.outputs[number])
    if counts is not None:
        for each in documents:
            counts.merge(each["counts"])
    about, told = about_object(plan.objects[number]), Written.of_parts(documents).told_of_object()
    # Each kind once, in the order of the parts; the last one has put them together.
    ran_on = [each for document in documents for each in document["compute"]] + [compute()]
    outcome = {**about, "state": "scored", **told, "predictions": describe_file(stored), "compute": _distinct(ran_on)}
    return {"objects": [outcome], "counts": None if counts is None else counts.document()}


def _distinct(described: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for place, each in enumerate(described) if each not in described[:place]]


def _texts(s3: S3Client, files: Sequence[Stored], path: Path) -> Iterator[bytes]:
    """Yield the bytes of files, one after another; the first one alone has a header."""
    for file in files:
        with download(s3, file, path).open("rb") as stream:
            while content := stream.read(_COPY_BYTES):
                yield content


def _parquet(s3: S3Client, files: Sequence[Stored], path: Path) -> Iterator[bytes]:
    """Yield the bytes of one file with the row groups of all."""
    written = _Collected()
    writer: pq.ParquetWriter | None = None
    for file in files:
        with pq.ParquetFile(download(s3, file, path), pre_buffer=False) as parquet:
            writer = writer or pq.ParquetWriter(pa.PythonFile(written, mode="w"), parquet.schema_arrow)
            for group in range(parquet.num_row_groups):
                writer.write_table(parquet.read_row_group(group))
                yield written.taken()
    if writer is not None:
        writer.close()
    yield written.taken()


class _Collected(io.RawIOBase):
    """What is written to it, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces = list[bytes]()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._pieces.append(bytes(content))
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class _Pulled(io.RawIOBase):
    """A stream of what an iterator yields."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end alone: a part of an upload is to be as large as the others."""
        found, held = [self._left], len(self._left)
        while (size < 0 or held < size) and (more := next(self._pieces, None)) is not None:
            found.append(more)
            held += len(more)
        whole = b"".join(found)
        end = len(whole) if size < 0 else size
        self._left = whole[end:]
        return whole[:end]
