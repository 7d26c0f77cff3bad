"""Reads tables for a model as they would have been read among those of training; not needed for rows of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from common.conversion import Profile, feature_columns
from common.errors import InvalidDatasetError
from common.reading_options import ReadOptions
from data_preparation.columns import Columns, Wishes
from data_preparation.notation import Notation
from data_preparation.reading import Table
from scoring.fitted import FittedModel
from scoring.oddities import Oddities

if TYPE_CHECKING:
    import pyarrow as pa

    from scoring.capture import Sample
    from scoring.counts import Counts


def wishes(profile: Profile, read: ReadOptions | None = None) -> Wishes:
    """Return how rows are to be read, so that they become what training's became.

    Parameters
    ----------
    profile
        Of the model's training data.
    read
        Of how the rows' files are written; if not given, as training's were said to be.
    """
    expected = {
        column["name"]: Notation.of_document(column["kind"], column.get("notation", {}))
        for column in feature_columns(profile)
    }
    return Wishes(read or read_options(profile), profile.get("read", {}).get("columns", {}), expected=expected)


def read_options(profile: Profile) -> ReadOptions:
    """Return what was said of how training's files are written; rows at the end are left out of training alone."""
    options = {**profile.get("read", {}).get("options", {})}
    options.pop("skip_footer", None)
    return ReadOptions.model_validate(options)


def count_converted(columns: Columns, oddities: Oddities) -> None:
    """Count the values that are written otherwise than in training, of columns that were read by `wishes`."""
    for name, expected in columns.wishes.expected.items():
        column = columns[name]
        now = column.notation
        is_otherwise = (now.style, now.unit) != (expected.style, expected.unit)
        if column.survey is not None and now.kind != "text" and is_otherwise:
            oddities.converted[name] += column.survey.values
        if column.notation.lenient:
            oddities.converted[name] += column.unread


def score_table(
    model: FittedModel,
    table: Table,
    oddities: Oddities,
    read: ReadOptions | None = None,
    counts: Counts | Sample | None = None,
    *,
    as_training: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Yield the predictions for the rows of a table, in their order and in batches.

    Parameters
    ----------
    model
        For which `FittedModel.check_columns` has found nothing missing.
    table
        Opened; it is read more than once where its first rows do not tell what its columns are.
    oddities
        Where what is odd is counted.
    read
        How the table is written; if not given, as training's were said to be.
    counts
        Where rows and what is predicted of them are counted, or kept.
    as_training
        Whether columns that are written otherwise than in training are refused: how they are, all rows of a file tell,
        and this table may be a part of one.

    Raises
    ------
    InvalidRowsError
        If a column is of another kind than it was in training, or scikit-learn refuses the rows.
    InvalidDatasetError
        If the table cannot be read.
    """
    columns, rows, name = Columns(wishes(model.profile, read)), 0, table.file.name
    wanted = frozenset(column["name"] for column in feature_columns(model.profile))
    # How the features are written is to be known before the first row is scored.
    for _ in columns.readings(name):
        for _ in table.batches(columns, wanted, encode_texts=True):
            pass
    if as_training:
        _require_as_training(columns, name)
    count_converted(columns, oddities)
    for batch in table.batches(columns, wanted, encode_texts=True):
        begin = rows
        for scored in model.score_rows(batch, columns.kinds, name, oddities, rows):
            if counts is not None:
                counts.add(batch.slice(rows - begin, len(scored)), scored)
            yield scored
            rows += len(scored)


def _require_as_training(columns: Columns, name: str) -> None:
    for column, expected in columns.wishes.expected.items():
        found = columns[column]
        # What a file itself says of a column holds in each of its parts.
        is_said = found.is_settled and found.decision is None and found.survey is None
        if not is_said and found.notation != expected:
            raise InvalidDatasetError(
                f'Column "{column}" of "{name}" is written otherwise than in training, which a part of a file cannot '
                "tell: write it as in training, or split the file."
            )
