"""Writes predictions: whole or not at all, as Parquet, or as CSV that runs in no spreadsheet."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crosstrain.command import BadInputError, OperationFailedError, reason_of

PREDICTION = "prediction"
"""What the column of the predictions is called."""
OUT_SUFFIXES = (".csv", ".parquet")
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
    ) -> None:
        for field in schema:
            _check_has_text(field)
        self.changed = 0
        self._keep_formulas, self._spelled = keep_formulas, spelled
        self._stream = path.open("wb")
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
        raise BadInputError(
            f'The column "{field.name}" is of the type {field.type}, which CSV cannot hold: leave it out, or write the '
            "predictions to a .parquet file."
        )


def open_writer(
    path: Path, schema: pa.Schema, *, keep_formulas: bool, spelled: tuple[str, str] | None = None
) -> CsvWriter | pq.ParquetWriter:
    """Return a writer for a file, by its name; the other arguments are for CSV, which has no types."""
    if path.name.endswith(".parquet"):
        return pq.ParquetWriter(path, schema)
    return CsvWriter(path, schema, keep_formulas=keep_formulas, spelled=spelled)


@contextmanager
def delivered(out: Path | None) -> Iterator[Path]:
    """Yield a path to write to; what was written there is moved to `out`, or copied to stdout, if all went well.

    Raises
    ------
    OperationFailedError
        If it cannot be written, as on a full disk.
    """
    try:
        with tempfile.TemporaryDirectory(dir=out.parent if out else None, prefix=".incoming-") as folder:
            path = Path(folder) / (out.name if out else "predictions.csv")
            yield path
            if out is not None:
                path.replace(out)
                return
            with path.open("rb") as written:
                shutil.copyfileobj(written, sys.stdout.buffer)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OperationFailedError(
            f"The predictions cannot be written to {out or 'stdout'} ({reason_of(error)}); nothing is left of them."
        ) from error
