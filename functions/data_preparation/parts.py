"""Writes the parts of a data set: what is handed over of each row, and in which of them it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.conversion import FINGERPRINT, ORDER, to_part
from common.errors import InvalidDatasetError, first_few
from common.hashing import Hashes
from common.request import TrainingRequest
from common.words import label_of
from data_preparation.findings import Findings, PartColumn
from data_preparation.notation import ARROW_TYPES
from data_preparation.splitting import PARTS, Booleans, Split

if TYPE_CHECKING:
    import numpy as np

LEFT_OUT = "left_out"
"""What is said of rows that are in neither part, for the request trains on a share of them."""
ROW_GROUP_VALUES = 4_000_000
"""How many values a row group of a part holds: large ones read fast, and memory does not grow with the columns."""
SPARSE = 4
"""Texts a row, from which on a dictionary is made anew."""
ROW_GROUP_BYTES = 1 << 26
"""How much of free texts a row group holds."""


@dataclass(frozen=True)
class Drawn:
    """How the rows were split: how many each part has, how many of each class, and what names the test part.

    Besides the parts there are the classes of the rows that were left out, if any (`chosen_rows`).
    """

    rows: Mapping[str, int]
    classes: Mapping[str, Mapping[Any, int]]
    test_part: int
    first_time: np.uint64 | None


class PartWriter:
    """Writes one part as Parquet, in row groups of a size that reads fast."""

    def __init__(self, path: Path | pa.NativeFile, schema: pa.Schema) -> None:
        text = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        # Dictionaries pay for texts; numbers of many different values only lose time to them.
        self._writer = pq.ParquetWriter(path, schema, use_dictionary=text, compression="lz4", write_page_checksum=True)
        self._schema = schema
        self._row_group_rows = max(1024, ROW_GROUP_VALUES // len(schema))
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; the same batches give the same file, byte for byte."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        texts = (column for column in batch.columns if pa.types.is_string(column.type))
        # By the texts alone: how an array holds them depends on where it comes from.
        self._pending_bytes += sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in texts)
        self.rows += batch.num_rows
        if self._pending_rows >= self._row_group_rows or self._pending_bytes > ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pending, self._schema).unify_dictionaries()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pending and exception[0] is None:
            self._flush()
        self._writer.close()


def part_schemas(found: Findings, fingerprint: str, split: Split) -> dict[str, pa.Schema]:
    """Return the schema of each part."""
    # Whoever loads a part compares it with the profile's: both are of one reading of the data set.
    of_reading = {FINGERPRINT: fingerprint}
    schema = pa.schema([(column.summary.name, column.type) for column in found.kept], metadata=of_reading)
    by_order = split.by in ("key", "time")
    return {"train": schema.append(pa.field(ORDER, pa.uint64())) if by_order else schema, "test": schema}


def chosen_rows(mask: Booleans, sampled: Booleans | None) -> dict[str, Booleans]:
    """Return which rows each part has, and which are left out, if any may be.

    Parameters
    ----------
    mask
        The test rows, shape (rows,).
    sampled
        The rows that may be trained on (`splitting.TrainingSample`), shape (rows,); None for all.
    """
    if sampled is None:
        return {"train": ~mask, "test": mask}
    return {"train": ~mask & sampled, "test": mask, LEFT_OUT: ~mask & ~sampled}


def parted(
    batch: pa.RecordBatch,
    chosen: Mapping[str, Booleans],
    order: Hashes | None,
    found: Findings,
    schemas: Mapping[str, pa.Schema],
) -> dict[str, pa.RecordBatch]:
    """Return the rows of each part as it holds them.

    Parameters
    ----------
    batch
        Rows that have a target.
    chosen
        Which of them each part has (`chosen_rows`).
    order
        What they are ordered by, shape (rows,), for a split by key or time.
    found
        What becomes of each column.
    schemas
        Of the parts.
    """
    arrays = [_convert(batch[column.summary.name], column) for column in found.kept]
    converted = pa.RecordBatch.from_arrays(arrays, schema=schemas["test"])
    train, test = (_with_own_texts(converted.filter(pa.array(chosen[part]))) for part in PARTS)
    if order is not None:
        train = train.append_column(schemas["train"].field(ORDER), pa.array(order[chosen["train"]]))
    return {"train": train, "test": test}


def _with_own_texts(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows with dictionaries that hold the texts of these rows, where they are few of those of their batch.

    A filter keeps whole dictionaries, and many batches wait for a row group of a small part.
    """
    arrays = [
        column.dictionary_decode().dictionary_encode().cast(column.type)
        if pa.types.is_dictionary(column.type) and len(column.dictionary) > SPARSE * len(column)
        else column
        for column in rows.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=rows.schema)


def labels_of(batch: pa.RecordBatch, chosen: Mapping[str, Booleans], found: Findings) -> dict[str, dict[Any, int]]:
    """Return how many rows of each class each part has, and how many are left out; nothing of a regression."""
    if found.request.problem != "classification":
        return {}
    target = found.request.target
    kind, counts = ARROW_TYPES[found.kinds[target]], dict[str, dict[Any, int]]()
    for part, rows in chosen.items():
        counted = pc.value_counts(batch[target].filter(pa.array(rows)))
        labels = pc.cast(counted.field("values"), kind).to_pylist()
        counts[part] = dict(zip(labels, counted.field("counts").to_pylist(), strict=True))
    return counts


@contextmanager
def part_writers(workspace: Path, schemas: Mapping[str, pa.Schema]) -> Iterator[dict[str, PartWriter]]:
    """Yield what writes each part to a folder."""
    with ExitStack() as stack:
        yield {part: stack.enter_context(PartWriter(workspace / f"{part}.parquet", schemas[part])) for part in PARTS}


def _convert(column: pa.Array, kept: PartColumn) -> pa.Array:
    if kept.use == "feature" or pa.types.is_dictionary(kept.type):
        return to_part(column, kept.type)
    # A target keeps its digits; the nearest float stands for a whole number that has more of them.
    return pc.cast(column, kept.type, safe=not pa.types.is_floating(kept.type))


def check_parts(drawn: Drawn, request: TrainingRequest) -> None:
    """Raise InvalidDatasetError if the split leaves too few rows, or a single class, to a part."""
    column = request.split_column
    way_out = f'mark more rows in "{column}"' if column else "change test_fraction or bring more rows"
    more = f"raise training_fraction, which is {request.training_fraction:g}"
    for part in PARTS:
        if drawn.rows[part] < 2:
            sampled = part == "train" and request.training_fraction < 1
            raise InvalidDatasetError(
                f"The split leaves {drawn.rows[part]} rows to the {part} part; at least 2 are needed: "
                f"{more if sampled else way_out}."
            )
    if request.problem != "classification":
        return
    trained = drawn.classes["train"]
    # A fit that holds rows out has none of a class of which it has one.
    if few := [label for label in drawn.classes.get(LEFT_OUT, {}) if trained.get(label, 0) < 2]:
        names = first_few(sorted(f'"{label_of(each)}"' for each in few))
        raise InvalidDatasetError(f"Less than 2 rows of {names} would be trained on: {more}.")
    if len(trained) < 2:
        raise InvalidDatasetError(f"The training part has one class only: {way_out}.")
