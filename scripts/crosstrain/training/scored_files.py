"""Scores files with a model, in the order of the rows. Nothing is written if any row cannot be scored."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from common.errors import InvalidDatasetError
from common.reading_options import ReadOptions
from crosstrain.command import BadInputError, check_name
from crosstrain.training.data_files import STDIN, DataFiles, find_data_files, store_stdin
from crosstrain.training.prediction import Model, open_model
from crosstrain.training.progress import Progress
from crosstrain.training.written_predictions import OUT_SUFFIXES, delivered
from data_preparation.formats import EmptyFileError
from data_preparation.reading import SourceFile, open_table
from scoring.kept_columns import KeptRows, check_kept
from scoring.oddities import Oddities, ignored
from scoring.prediction_files import CsvWriter, open_writer, write_predictions
from scoring.reading import read_options

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Summary:
    """What is told of rows that were scored.

    Attributes
    ----------
    rows, blank : int
        How many were scored, and how many blank lines have a row without a prediction.
    changed : int
        How many texts have an apostrophe before them, so that they run in no spreadsheet.
    oddities : Oddities
        Missing values and unseen categories.
    """

    rows: int = 0
    blank: int = 0
    changed: int = 0
    oddities: Oddities = field(default_factory=Oddities)

    def lines(self) -> list[str]:
        """Return a line for each thing that is worth telling."""
        odd = "; ".join(filter(None, self.oddities.told))
        blank = f"blank lines, each of which has a row without a prediction: {self.blank:,}"
        changed = (
            f"texts that a spreadsheet would take for formulas, and that have an apostrophe before them: "
            f"{self.changed:,} (--keep-formulas leaves them as they are)"
        )
        told = ((odd, odd), (blank, self.blank), (changed, self.changed))
        return [line for line, is_worth_it in told if is_worth_it]


def predict(options: argparse.Namespace, errors: Console) -> None:
    """Score what the options name and write the predictions where the options say.

    Raises
    ------
    BadInputError, InvalidDatasetError
        If the data, the model's name, the columns to keep or the place to write to cannot be used.
    OperationFailedError, UntrustedModelError
        If the model cannot be fetched or may not be loaded.
    """
    progress = Progress(errors)
    with tempfile.TemporaryDirectory() as folder:
        files = [store_stdin(Path(folder))] if options.file == STDIN else find_data_files(options.file)
        out = _checked_out(options.out, files, Path(options.file))
        with progress.step("Fetch the model") if options.folder is None else nullcontext():
            model = open_model(
                options.folder,
                trust=options.trust,
                stack=options.stack,
                model_name=options.model_name,
                version=options.version,
            )
        if model.origin.objection:
            errors.print(f"warning: {model.origin.objection}", markup=False, style="yellow")
        read = read_options(model.profile) if options.read is None else ReadOptions.model_validate(options.read)
        columns = _columns(files, read, errors)
        files = [file for file in files if file.name in columns]
        keep = columns[files[0].name] if options.keep_all else list(dict.fromkeys(options.keep or ()))
        others = {name: None for file, names in columns.items() for name in model.check_columns(file, names)}
        if unused := [name for name in others if name not in keep]:
            errors.print(ignored(unused), markup=False)
        with delivered(out) as path, progress.step("Score the rows"):
            summary = score_files(model, files, path, read=read, keep=keep, keep_formulas=options.keep_formulas)
    for line in summary.lines():
        errors.print(line, markup=False)
    errors.print(f"{summary.rows:,} rows scored with {model.origin}", markup=False)


def _columns(files: Sequence[SourceFile], read: ReadOptions, errors: Console) -> dict[str, list[str]]:
    """Return the columns of each file that has rows, and tell what was found out about them."""
    columns, empty = dict[str, list[str]](), list[EmptyFileError]()
    for name in files.ignored if isinstance(files, DataFiles) else ():
        errors.print(f'"{name}" is no data by its name, and is ignored.', markup=False)
    for file in files:
        try:
            with open_table(file, read) as table:
                columns[file.name] = table.all_columns
                for told in table.told:
                    errors.print(told, markup=False)
        except EmptyFileError as error:
            empty.append(error)
            errors.print(f'"{file.name}" has no rows, and is left out.', markup=False)
    if not columns:
        raise InvalidDatasetError(str(empty[0]))
    return columns


def score_files(
    model: Model,
    files: Sequence[SourceFile],
    path: Path,
    *,
    read: ReadOptions | None = None,
    keep: Sequence[str] = (),
    keep_formulas: bool = False,
) -> Summary:
    """Score files in batches, so that memory does not grow with them.

    Parameters
    ----------
    model
        The model, for which `check_columns` has found nothing missing.
    files
        Of any format that training reads.
    path
        Where to write the predictions, as Parquet or as CSV by its name.
    read
        How the files are written, where that is not to be found out; if not given, as training's were said to be.
    keep
        The columns of the files that are written before the predictions, as they are.
    keep_formulas
        Whether a text that a spreadsheet would take for a formula is written to a CSV file as it is.

    Raises
    ------
    InvalidRowsError
        If a column is of another kind than it was in training, or scikit-learn refuses the rows; or if a column to
        keep is missing or has a name or type that cannot be written.
    BadInputError
        If a Parquet file would have a column to keep in two types.
    InvalidDatasetError
        If a file cannot be read.
    """
    read = read or read_options(model.profile)
    schema = pa.schema([*_kept_schema(files, read, keep, model, path), *model.schema])
    summary = Summary()
    with open_writer(path, schema, keep_formulas=keep_formulas, spelled=model.spelled) as writer:
        for file in files:
            with open_table(file, read) as table:
                kept = KeptRows(table, keep)
                rows, blank = write_predictions(model, kept, writer, summary.oddities, read)
                summary.rows += rows
                summary.blank += blank
    summary.changed = writer.changed if isinstance(writer, CsvWriter) else 0
    return summary


def _kept_schema(
    files: Sequence[SourceFile], read: ReadOptions, keep: Sequence[str], model: Model, path: Path
) -> pa.Schema:
    """Return the types of the columns that are kept, which a Parquet file has one of for each."""
    schemas = dict[str, pa.Schema]()
    for file in files:
        with open_table(file, read) as table:
            check_kept(keep, table.all_columns, model.schema.names, file.name)
            schemas[file.name] = KeptRows(table, keep).schema
    first, schema = next(iter(schemas.items()))
    for name, other in schemas.items():
        for column in keep:
            if path.name.endswith(".parquet") and other.field(column).type != schema.field(column).type:
                raise BadInputError(
                    f'The column "{column}" to keep is of the type {schema.field(column).type} in "{first}" and '
                    f'{other.field(column).type} in "{name}": give it one type, or write the predictions as CSV.'
                )
    return schema


def _checked_out(name: str | None, files: Sequence[SourceFile], scored: Path) -> Path | None:
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
    if out.exists() and any(out.samefile(file.path) for file in files):
        raise BadInputError(f'"{out}" is the file to score: name another one for the predictions.')
    if scored.is_dir() and scored.resolve() in out.resolve().parents:
        raise BadInputError(f'"{out}" is in the folder to score: the next time, it would be scored as well.')
    return out
