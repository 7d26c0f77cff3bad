"""Scores files with a model. Nothing is written if any row cannot be scored."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from common.conversion import feature_columns
from crosstrain.command import BadInputError, OperationFailedError, check_name, reason_of
from crosstrain.training.prediction import Model, Oddities, ignored, open_model
from crosstrain.training.progress import Progress
from data_preparation.reading import SUFFIXES, Kind, SourceFile, read_batches, read_columns

if TYPE_CHECKING:
    from rich.console import Console

OUT_SUFFIXES = (".csv", ".parquet")


def predict(options: argparse.Namespace, errors: Console) -> None:
    """Score the file of the options and write the predictions where the options say.

    Raises
    ------
    BadInputError, InvalidDatasetError
        If the file, the model's name or the place to write to cannot be used.
    OperationFailedError, UntrustedModelError
        If the model cannot be fetched or may not be loaded.
    """
    file = _source_file(options.file)
    out = _checked_out(options.out, file)
    progress = Progress(errors)
    with progress.step("Fetch the model") if options.folder is None else nullcontext():
        model = open_model(
            options.folder,
            trust=options.trust,
            stack=options.stack,
            model_name=options.model_name,
            version=options.version,
        )
    others = model.check_columns(file.name, read_columns(file))
    if others:
        errors.print(ignored(others), markup=False)
    with _delivered(out) as path, progress.step("Score the rows"):
        rows = score_file(model, file, path, keep_formulas=options.keep_formulas)
    errors.print(f"{rows:,} rows scored with {model.origin}", markup=False)


def score_file(model: Model, file: SourceFile, path: Path, *, keep_formulas: bool = False) -> int:
    """Score a file in batches, so that memory does not grow with it, and return the number of rows.

    Parameters
    ----------
    model
        The model, for which `check_columns` has found nothing missing.
    file
        A CSV or Parquet file.
    path
        Where to write the predictions, as Parquet or as CSV by its name.
    keep_formulas
        Whether a label that a spreadsheet would take for a formula is written to a CSV file as it is.

    Raises
    ------
    BadInputError
        If a column is of another kind than it was in training, or scikit-learn refuses the rows.
    InvalidDatasetError
        If the file cannot be read.
    """
    # What a CSV column is read as is what it was in training, not what this file's values look like: a text "01" stays
    # one.
    kinds: dict[str, Kind] = {column["name"]: column["kind"] for column in feature_columns(model.profile)}
    rows, as_parquet, oddities = 0, path.name.endswith(".parquet"), Oddities()
    with _writer(path, model.schema) as writer:
        for read in read_batches(file, kinds, frozenset(kinds), encode_texts=True):
            for scored in model.score_rows(read, kinds, file.name, oddities, rows):
                writer.write_batch(scored if keep_formulas or as_parquet else _without_formulas(scored))
                rows += scored.num_rows
    return rows


def _without_formulas(scored: pa.RecordBatch) -> pa.RecordBatch:
    """Put an apostrophe before labels that a spreadsheet would take for formulas, and run.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    columns = [
        pc.replace_substring_regex(column, r"^([=+\-@\t\r])", r"'\1") if pa.types.is_string(column.type) else column
        for column in scored.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=scored.schema)


def _writer(path: Path, schema: pa.Schema) -> pa.csv.CSVWriter | pq.ParquetWriter:
    if path.name.endswith(".parquet"):
        return pq.ParquetWriter(path, schema)
    # pyarrow's "needed" quotes every text. The columns are named after the labels: if no name needs quotes, no label
    # does.
    quoting = "needed" if any(set(name) & set(',"\r\n') for name in schema.names) else "none"
    return pa.csv.CSVWriter(
        path, schema, write_options=pa.csv.WriteOptions(quoting_style=quoting, quoting_header=quoting)
    )


@contextmanager
def _delivered(out: Path | None) -> Iterator[Path]:
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


def _source_file(name: str) -> SourceFile:
    check_name(name, "the file")
    path = Path(name)
    if not path.is_file():
        what = "is a folder: score its files one by one" if path.is_dir() else "does not exist"
        raise BadInputError(f'"{path}" {what}.')
    if not path.name.endswith(SUFFIXES):
        raise BadInputError(f'"{path}" cannot be read: the name of a data file must end in {" or ".join(SUFFIXES)}.')
    return SourceFile(path.name, path)


def _checked_out(name: str | None, file: SourceFile) -> Path | None:
    if name is None:
        return None
    out = Path(name)
    check_name(out.absolute(), "the file for the predictions")
    if not out.name.endswith(OUT_SUFFIXES):
        raise BadInputError(
            f'The predictions cannot be written to "{out}": the name must end in {" or ".join(OUT_SUFFIXES)}.'
        )
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK) or out.is_dir():
        raise BadInputError(f'The predictions cannot be written to "{out}": it is in no folder that may be written to.')
    if out.exists() and out.samefile(file.path):
        raise BadInputError(f'"{out}" is the file to score: name another one for the predictions.')
    return out
