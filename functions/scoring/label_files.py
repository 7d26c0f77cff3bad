"""Reads files of predictions and of labels into tables that `scoring.live` joins: keys as they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import Profile, target_column
from common.errors import InvalidDatasetError
from common.metrics import PROBABILITY
from common.reading_options import ReadOptions
from common.validation import did_you_mean
from data_preparation.columns import Columns, Wishes
from data_preparation.notation import Notation
from data_preparation.parquet_reading import ParquetTable
from data_preparation.reading import SourceFile, Table, open_table
from scoring.capture import ROW, VERSION
from scoring.captured import MOST_ROWS, Line
from scoring.kept_columns import KeptRows
from scoring.prediction_files import PREDICTION
from scoring.reading import read_options

# What a file of predictions in CSV has before a text that a spreadsheet would take for a formula.
_ESCAPED = r"^'([=+\-@\t\r])"


def read_labels(
    files: Iterable[SourceFile],
    profile: Profile,
    keys: Sequence[str],
    target: str,
    *,
    read: ReadOptions | None = None,
    weights: str | None = None,
) -> pa.Table:
    """Return the key's columns, the target as training's files have it and, where they are there, the weights.

    Parameters
    ----------
    files
        Of any format that training reads.
    profile
        Of the model's training data.
    keys
        The key's columns, whose values stay as they are written.
    target
        What the files call the column of what turned out to be true.
    read
        How the files are written; if not given, as training's were said to be.
    weights
        The column of the weights, if training has one.

    Raises
    ------
    InvalidDatasetError
        If a file cannot be read or lacks a column.
    """
    described = target_column(profile)
    expected = {target: Notation.of_document(described["kind"], described.get("notation", {}))}
    tables = list[pa.Table]()
    for file in files:
        with open_table(file, read or read_options(profile)) as table:
            _require(table, [*keys, target], "labels")
            more = {weights: Notation("float")} if weights in table.all_columns else {}
            wishes = Wishes(read or read_options(profile), label=target, expected={**expected, **more})
            tables.append(_read(table, wishes, keys))
    return _one(tables)


def read_predictions(files: Iterable[SourceFile], profile: Profile, keys: Sequence[str]) -> pa.Table:
    """Return the key's columns and those of the predictions, of files that `predict.py` or a scoring run has written.

    Raises
    ------
    InvalidDatasetError
        If a file cannot be read or lacks a column.
    """
    label = _label_notation(profile)
    tables = list[pa.Table]()
    for file in files:
        with open_table(file) as table:
            _require(table, [*keys, PREDICTION], "predictions")
            probabilities = [name for name in table.all_columns if name.startswith(PROBABILITY)]
            expected = {PREDICTION: label, **dict.fromkeys(probabilities, Notation("float"))}
            found = _read(table, Wishes(label=PREDICTION, expected=expected), keys)
            tables.append(found if isinstance(table.file, ParquetTable) else _unescaped(found))
    return _one(tables)


def _label_notation(profile: Profile) -> Notation:
    """Return how files of predictions have labels: texts and booleans as training's files, numbers plainly."""
    described = target_column(profile)
    if profile["problem"] == "regression":
        return Notation("float")
    spelled = described.get("notation", {}) if described["kind"] == "boolean" else {}
    return Notation.of_document(described["kind"], spelled)


def captured_predictions(lines: Iterable[Line], version: str, keys: Sequence[str]) -> tuple[pa.Table, int, int, int]:
    """Return the predictions of captured rows.

    Returns
    -------
    predictions : pyarrow.Table
        With the key's columns, of `MOST_ROWS` rows at most.
    others, without, beyond
        How many rows another version predicted, how many have no such columns, or had them private, and how many are
        more than that.
    """
    kept, others, without, beyond = list[dict[str, Any]](), 0, 0, 0
    for line in lines:
        if len(kept) == MOST_ROWS:
            beyond += 1
        elif line[VERSION] != version:
            others += 1
        elif not all(name in line[ROW] for name in keys):
            without += 1
        else:
            of_model = {name: each for name, each in line.items() if name.startswith((PREDICTION, PROBABILITY))}
            kept.append({**{name: line[ROW][name] for name in keys}, **of_model})
    names = list(kept[0]) if kept else [*keys, PREDICTION]
    return pa.table({name: _plain([row[name] for row in kept]) for name in names}), others, without, beyond


def _plain(values: Sequence[Any]) -> pa.Array:
    """Return values of one kind; of several, as of ids that some callers send as numbers, the texts of all."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if each is None else str(each) for each in values], pa.string())


def _require(table: Table, names: Sequence[str], what: str) -> None:
    for name in names:
        if name not in table.all_columns:
            hint = did_you_mean(name, table.all_columns)
            raise InvalidDatasetError(f'The {what} in "{table.file.name}" have no column "{name}".{hint}')


def _read(table: Table, wishes: Wishes, keys: Sequence[str]) -> pa.Table:
    columns, wanted = Columns(wishes), frozenset(wishes.expected)
    for _ in columns.readings(table.file.name):
        for _ in table.batches(columns, wanted):
            pass
    batches = list(table.batches(columns, wanted))
    values = (
        pa.Table.from_batches(batches) if batches else pa.table({name: pa.array([], pa.string()) for name in wanted})
    )
    kept = KeptRows(table, keys)
    found = {name: values[name] for name in values.column_names if name not in keys}
    for name, key in zip(keys, kept.take(values.num_rows), strict=True):
        found[name] = _present(key)
    return pa.table(found)


def _present(key: pa.Array) -> pa.Array:
    """Return a key's values without texts of nothing but spaces, which are missing."""
    if not pa.types.is_string(key.type):
        return key
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(key), ""), pa.scalar(None, pa.string()), key)


def _unescaped(table: pa.Table) -> pa.Table:
    columns: Mapping[str, pa.ChunkedArray] = {
        name: pc.replace_substring_regex(table[name], _ESCAPED, r"\1")
        if pa.types.is_string(table.schema.field(name).type)
        else table[name]
        for name in table.column_names
    }
    return pa.table(columns)


def _one(tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables together; a column that has several types has their common one, or is one of texts."""
    return pa.concat_tables(tables, promote_options="permissive")
