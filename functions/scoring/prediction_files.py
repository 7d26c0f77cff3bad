"""Files of predictions: Parquet, or CSV that runs in no spreadsheet, a row for each row of the input."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.errors import InvalidRowsError
from common.reading_options import ReadOptions
from scoring.blank_lines import BlankLines
from scoring.fitted import FittedModel
from scoring.kept_columns import KeptRows
from scoring.oddities import Oddities
from scoring.reading import score_table

if TYPE_CHECKING:
    from scoring.counts import Counts

PREDICTION = "prediction"
"""What the column of the predictions is called."""
_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+\-]?(\d+(\.\d*)?|\.\d+)([eE][+\-]?\d+)?$"
_NEEDS_QUOTES = '[,"\r\n]'


class CsvWriter(AbstractContextManager["CsvWriter"]):
    """Writes record batches as CSV, with quotes around what needs them alone.

    pyarrow's own writer quotes all texts or none.

    Parameters
    ----------
    path
        The file.
    schema
        Of the batches; each type has to have a text.
    keep_formulas
        Whether a text that a spreadsheet would take for a formula is written as it is, and not with an apostrophe
        before it: https://owasp.org/www-community/attacks/CSV_Injection
    spelled
        What is written for true and false among the predictions, if not these words.
    header
        Whether the names of the columns come first.

    Attributes
    ----------
    changed : int
        How many texts have got an apostrophe.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        keep_formulas: bool = False,
        spelled: tuple[str, str] | None = None,
        header: bool = True,
    ) -> None:
        for field in schema:
            _check_has_text(field)
        self.changed = 0
        self._keep_formulas, self._spelled = keep_formulas, spelled
        self._stream = path.open("wb")
        if header:
            self._write([pa.array([name]) for name in schema.names])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write rows."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if self._spelled is not None:
            columns[PREDICTION] = pc.if_else(columns[PREDICTION], *self._spelled)
        self._write(list(columns.values()))

    def _write(self, columns: list[pa.Array]) -> None:
        texts = [self._text(column) for column in columns]
        lines = pc.binary_join_element_wise(*texts, ",", null_handling="replace", null_replacement="")
        self._stream.writelines(f"{line}\n".encode() for line in lines.to_pylist())

    def _text(self, column: pa.Array) -> pa.Array:
        text = pc.cast(column, pa.string())
        if not (self._keep_formulas or _is_harmless(column.type)):
            runs = pc.and_(pc.match_substring_regex(text, _FORMULA), pc.invert(pc.match_substring_regex(text, _NUMBER)))
            self.changed += pc.sum(runs).as_py() or 0
            text = pc.if_else(runs, pc.binary_join_element_wise("'", text, ""), text)
        escaped = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring_regex(text, _NEEDS_QUOTES), escaped, text)


def _is_harmless(type_: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(type_) or pa.types.is_null(type_))


def _check_has_text(field: pa.Field) -> None:
    try:
        pc.cast(pa.array([], field.type), pa.string())
        has_text = not pa.types.is_binary(field.type)
    except pa.ArrowException:
        has_text = False
    if not has_text:
        raise InvalidRowsError(
            f'The column "{field.name}" is of the type {field.type}, which CSV cannot hold: leave it out, or write the '
            "predictions to a .parquet file."
        )


def open_writer(
    path: Path,
    schema: pa.Schema,
    *,
    keep_formulas: bool,
    spelled: tuple[str, str] | None = None,
    header: bool = True,
) -> CsvWriter | pq.ParquetWriter:
    """Return a writer for a file, by its name; the other arguments are for CSV, which has no types."""
    if path.name.endswith(".parquet"):
        return pq.ParquetWriter(path, schema)
    return CsvWriter(path, schema, keep_formulas=keep_formulas, spelled=spelled, header=header)


def write_predictions(  # noqa: PLR0913 - what is scored and how it is read, and where what comes of it goes
    model: FittedModel,
    kept: KeptRows,
    writer: CsvWriter | pq.ParquetWriter,
    oddities: Oddities,
    read: ReadOptions,
    counts: Counts | None = None,
    *,
    as_training: bool = False,
) -> tuple[int, int]:
    """Score the rows of a table in batches, and write them with what is kept of them.

    Parameters
    ----------
    model
        For which `FittedModel.check_columns` has found nothing missing.
    kept
        The columns that are written before the predictions, and the opened table that they are of.
    writer
        Of `schema_of`, whose kept columns are of the types that this table has them in, or have a text.
    oddities
        Where what is odd is counted.
    read
        How the table is written.
    counts
        Where rows and predictions are counted, blank lines not among them.
    as_training
        Whether columns that are written otherwise than in training are refused (`scoring.reading.score_table`).

    Returns
    -------
    rows, blank : int
        How many rows were scored, and how many blank lines have a row without a prediction.

    Raises
    ------
    InvalidRowsError, InvalidDatasetError
        If the table cannot be read, or its rows cannot be scored.
    """
    schema = schema_of(model, kept)
    blank, rows = BlankLines(kept.table), 0
    for scored in score_table(model, kept.table, oddities, read, counts, as_training=as_training):
        whole = pa.RecordBatch.from_arrays([*kept.take(len(scored)), *scored.columns], schema=schema)
        writer.write_batch(blank.restore(whole, rows))
        rows += len(scored)
    blank.check(rows)
    return rows, blank.count


def schema_of(model: FittedModel, kept: KeptRows) -> pa.Schema:
    """Return the columns of a file of predictions: what is kept, and what is predicted."""
    return pa.schema([*kept.schema, *model.schema])
