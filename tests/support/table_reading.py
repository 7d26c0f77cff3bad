"""Reads a file as data preparation does: once more for as long as its columns turn out to be otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from common.reading_options import ReadOptions
from common.request import ColumnKind
from data_preparation.columns import Columns, Wishes
from data_preparation.reading import SourceFile, open_table

if TYPE_CHECKING:
    import pyarrow as pa


def read(
    file: SourceFile, columns: Columns | None = None, wanted: Collection[str] | None = None, **options: Any
) -> tuple[Columns, list[pa.RecordBatch]]:
    """Return what the columns of a file are, and its rows; `options` are those of `Table.batches`."""
    columns = columns or Columns()
    with open_table(file, columns.wishes.read) as table:
        for _ in columns.readings(file.name):
            batches = list(table.batches(columns, wanted, **options))
    return columns, batches


def values(batches: Collection[pa.RecordBatch], name: str) -> list[Any]:
    """Return the values of a column."""
    return [value for batch in batches for value in batch[name].to_pylist()]


def asked(kinds: Mapping[str, ColumnKind] | None = None, label: str | None = None, **options: Any) -> Columns:
    """Return columns of which a request says how to read them."""
    return Columns(Wishes(ReadOptions(**options), kinds or {}, label))
