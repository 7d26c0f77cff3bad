"""Puts together what was written for the parts of an object: one file of predictions, and what is told of all rows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from common.capacity import compute
from common.storage import Stored, Upload, describe_file, download, open_upload, workspace
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
    join = _join_parquet if plan.request.output_format == "parquet" else _join_texts
    with workspace("auto") as folder, open_upload(s3, run_folder(plan.run_id) + plan.outputs[number]) as sink:
        join(s3, files, folder / "part", sink)
    if counts is not None:
        for each in documents:
            counts.merge(each["counts"])
    about, told = about_object(plan.objects[number]), Written.of_parts(documents).told_of_object()
    # Each kind once, in the order of the parts; the last one has put them together.
    ran_on = [each for document in documents for each in document["compute"]] + [compute()]
    outcome = {
        **about,
        "state": "scored",
        **told,
        "predictions": describe_file(sink.stored),
        "compute": _distinct(ran_on),
    }
    return {"objects": [outcome], "counts": None if counts is None else counts.document()}


def _distinct(described: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for place, each in enumerate(described) if each not in described[:place]]


def _join_texts(s3: S3Client, files: Sequence[Stored], path: Path, sink: Upload) -> None:
    """Write files one after another; the first one alone has a header."""
    for file in files:
        with download(s3, file, path).open("rb") as stream:
            shutil.copyfileobj(stream, sink, _COPY_BYTES)


def _join_parquet(s3: S3Client, files: Sequence[Stored], path: Path, sink: Upload) -> None:
    """Write one file with the row groups of all."""
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for file in files:
            with pq.ParquetFile(download(s3, file, path), pre_buffer=False) as parquet:
                writer = writer or stack.enter_context(pq.ParquetWriter(sink, parquet.schema_arrow))
                for group in range(parquet.num_row_groups):
                    writer.write_table(parquet.read_row_group(group))
