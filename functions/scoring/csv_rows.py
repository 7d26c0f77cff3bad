"""Rows in CSV, read by the reader of data sets: imported for a request that has some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from common.errors import InvalidRowsError
from common.storage import workspace
from data_preparation.formats import recognise
from data_preparation.reading import SourceFile, Table, open_table
from data_preparation.signatures import HEAD_BYTES, compression_of
from scoring.blank_lines import BlankLines
from scoring.capture import Sample
from scoring.champion import Champion
from scoring.json_rows import too_many_rows
from scoring.kept_columns import KeptRows
from scoring.oddities import Oddities
from scoring.reading import read_options, score_table
from scoring.refusal import RefusedError
from scoring.scored import Scored

NAME = "rows.csv"
"""What messages call the body of a request."""


def score_csv(body: bytes, champion: Champion, most: int, sample: Sample | None = None) -> Scored:
    """Return the predictions for the rows of a text, whose first line has the columns' names.

    Parameters
    ----------
    body
        Of the request: text, in whatever encoding, separators and numbers training's files might have come.
    champion
        Predicts.
    most
        How many rows there may be.
    sample
        Where the rows are kept.

    Raises
    ------
    RefusedError
        If it is something else than text (415), or has too many rows (413).
    InvalidDatasetError, InvalidRowsError
        If it is no table, or its rows do not fit the model.
    """
    with workspace() as folder:
        file = SourceFile(NAME, folder / NAME)
        file.path.write_bytes(body)
        # What is packed is not unpacked to be looked at: it may be larger than any request.
        if compression_of(body[:HEAD_BYTES]) is not None or recognise(file).kind != "text":
            raise RefusedError(415, "The body is no CSV: send the text itself, not packed, and in no other format.")
        return _scored(file, champion, most, folder, sample)


def _scored(file: SourceFile, champion: Champion, most: int, folder: Path, sample: Sample | None) -> Scored:
    model, oddities = champion.model, Oddities()
    read = read_options(model.profile)
    with open_table(file, read, folder) as table:
        others = model.check_columns(NAME, table.all_columns)
        blank, rows, batches = BlankLines(table), 0, list[pa.RecordBatch]()
        for scored in score_table(model, table, oddities, read, sample):
            batches.append(blank.restore(scored, rows))
            rows += len(scored)
            if rows + blank.count > most:
                raise too_many_rows(most)
        blank.check(rows)
        if sample is not None and sample.keeps_others and others:
            _keep_others(table, others, rows, sample)
        return Scored(pa.Table.from_batches(batches, model.schema), oddities, others, table.told)


def _keep_others(table: Table, others: Sequence[str], rows: int, sample: Sample) -> None:
    """Take the columns that the model does not use, as they are written: an id is turned into no number."""
    try:
        kept = KeptRows(table, others)
        sample.others += pa.Table.from_arrays(kept.take(rows), schema=kept.schema).to_pylist()
    except InvalidRowsError as error:
        # They are scored all the same.
        sample.objection = str(error)
