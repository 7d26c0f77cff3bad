"""Scores files with a model: the rows are prepared as they were for training.

The predictions come in the order of the rows; nothing is written if any row cannot be scored.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from common import conversion
from common.conversion import Profile, feature_columns
from common.errors import DamagedFileError, UntrustedModelError
from common.model_file import load_model
from common.request import METRICS, did_you_mean
from common.storage import download, pinned
from crosstrain.command import BadInputError, OperationFailedError, check_name, reason_of
from crosstrain.training.progress import Progress
from crosstrain.training.registry import Registry
from crosstrain.training.stack import DeployedStack, find_stack
from data_preparation.reading import SUFFIXES, Kind, SourceFile, read_batches, read_columns

if TYPE_CHECKING:
    from rich.console import Console
    from sklearn.pipeline import Pipeline

BATCH_ROWS = 1 << 16
"""How many rows are scored at a time: what a batch takes is this times the number of features and classes."""
FILES = {"model.skops": "model", "profile.json": "profile"}
OUT_SUFFIXES = (".csv", ".parquet")

# The kinds of a file's column that a feature of each role can be made of; a column without any value has none.
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "numeric": ("integer", "float", "null"),
    "boolean": ("boolean", "null"),
    "timestamp": ("timestamp", "null"),
    "categorical": ("text", "null"),
}
_WORDS = {"numeric": "numbers", "boolean": "booleans", "timestamp": "timestamps", "categorical": "texts"}
_DTYPES = frozenset({*map(str, conversion.INTEGERS), "float32", "float64", "bool", "category"})
_KIND_WORDS = {"integer": "numbers", "float": "numbers", "boolean": "booleans", "timestamp": "timestamps"}


@dataclass(frozen=True)
class Model:
    """A fitted pipeline and the profile of the data that it was trained on."""

    pipeline: Pipeline
    profile: Profile

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Load `model.skops`, if all types in it are trusted, and `profile.json` from a folder.

        Raises
        ------
        BadInputError
            If a file is not there, or is no profile.
        UntrustedModelError
            If the model may not be loaded.
        """
        for name in FILES:
            if not (folder / name).is_file():
                raise BadInputError(f'There is no {name} in "{folder}": name a folder that `make train` has written.')
        try:
            profile = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInputError(f'"{folder / "profile.json"}" is not JSON ({error}).') from error
        except RecursionError:
            profile = None
        if not _is_profile(profile):
            raise BadInputError(f'"{folder / "profile.json"}" is no profile that data preparation has written.')
        model = cls(load_model(folder / "model.skops"), profile)
        with _model_errors():
            model.schema  # noqa: B018 (its labels are those of a model, or nothing can be written)
        return model

    @property
    def classes(self) -> npt.NDArray[Any] | None:
        """The class labels, in the order of the probabilities; None for a regression."""
        return None if self.profile["problem"] == "regression" else np.asarray(self.pipeline.classes_)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the predictions: `prediction`, and `probability_<class>` for each class."""
        if self.classes is None:
            return pa.schema([("prediction", pa.float64())])
        labels = pa.array(self.classes.tolist())
        # As a CSV file shows the labels themselves.
        names = [f"probability_{label}" for label in pc.cast(labels, pa.string()).to_pylist()]
        return pa.schema([("prediction", labels.type), *((name, pa.float64()) for name in names)])

    def check_columns(self, file: str, names: Sequence[str]) -> list[str]:
        """Return the columns of a file that the model does not use.

        Raises
        ------
        BadInputError
            Naming every feature that the file does not have, with the nearest names.
        """
        features = [column["name"] for column in feature_columns(self.profile)]
        others = [name for name in names if name not in features]
        missing = [name for name in features if name not in names]
        if missing:
            missing_columns = " ".join(
                f'"{name}" is missing.{did_you_mean(name, others) if others else ""}' for name in missing
            )
            raise BadInputError(f'"{file}" does not have the columns that the model was trained on: {missing_columns}')
        return others

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the predictions for a batch of rows that has the feature columns.

        Raises
        ------
        ValueError
            If scikit-learn refuses the rows.
        UntrustedModelError
            If the model fails in any other way.
        """
        rows = conversion.features(batch, self.profile)
        with _model_errors():
            if self.classes is None:
                columns = [np.asarray(self.pipeline.predict(rows), dtype=np.float64)]
            else:
                probabilities = self.pipeline.predict_proba(rows)
                # As in the evaluation: the class of the highest probability is what `predict` returns.
                columns = [self.classes[probabilities.argmax(axis=1)], *np.asarray(probabilities, dtype=np.float64).T]
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _is_profile(document: Any) -> bool:
    """Return whether a document says what a prediction asks of a profile."""
    try:
        features = feature_columns(document)
        return document["problem"] in METRICS and document["rows"]["train"] >= 0 and all(map(_is_feature, features))
    except (KeyError, TypeError, IndexError):
        return False


def _is_feature(column: Mapping[str, Any]) -> bool:
    numeric = column["role"] == "numeric" and column["kind"] == "integer"
    return (
        isinstance(column["name"], str)
        and column["role"] in _KINDS
        and column["kind"] in _KINDS[column["role"]]
        and column["dtype"] in _DTYPES
        and isinstance(column["nulls"], int)
        and (not numeric or all(isinstance(column[each], int) for each in ("min", "max")))
    )


@contextmanager
def _model_errors() -> Iterator[None]:
    """Name the error: a model that was changed makes scikit-learn fail in any way, and the rows in one."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise UntrustedModelError(
            f"The model cannot predict ({type(error).__name__}): its file is not what training has written."
        ) from error


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
    with tempfile.TemporaryDirectory() as folder:
        if options.folder is not None:
            if not options.trust:
                raise BadInputError(
                    f'Nobody vouches for the model in "{options.folder}": say --trust if you know where it comes from, '
                    "or leave --from out for one that a stack's registry knows."
                )
            model, name = Model.load(Path(options.folder)), str(options.folder)
        else:
            stack = find_stack(options.stack)
            with progress.step("Fetch the model"):
                name = fetch(stack, options.model_name, options.version, Path(folder))
                model = Model.load(Path(folder))
    others = model.check_columns(file.name, read_columns(file))
    if others:
        quoted = ", ".join(f'"{other}"' for other in others)
        errors.print(f"ignored, for the model does not use it: {quoted}", markup=False)
    with _delivered(out) as path, progress.step("Score the rows"):
        rows = score_file(model, file, path, keep_formulas=options.keep_formulas)
    errors.print(f"{rows:,} rows scored with {name}", markup=False)


def fetch(stack: DeployedStack, model_name: str | None, version: str | None, folder: Path) -> str:
    """Copy a version's files, by default the champion's, from a stack to a folder, and return which version it is.

    Raises
    ------
    BadInputError
        If there is no such version or model.
    OperationFailedError
        If a file of it is gone, or is not the one that was recorded.
    """
    registry = Registry(stack.session.client("dynamodb"), stack.output("ModelRegistryTableName"))
    if version is not None:
        item = registry.find_version(version, model_name)
    else:
        _, item = registry.champion_version(model_name or "default")
    s3 = stack.session.client("s3")
    if not set(FILES.values()) <= set(item.get("sha256") or ()):
        raise OperationFailedError(
            f"The registry does not say which files the version {item['version']} has: it is from a version of this "
            "project that did not record them. Train again."
        )
    for name, kind in FILES.items():
        file = pinned(item, kind)
        try:
            download(s3, file, folder / name)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise OperationFailedError(
                f"{file.uri} of the version {item['version']} cannot be read ({code})."
            ) from error
        except DamagedFileError as error:
            raise OperationFailedError(f"The version {item['version']} cannot be used: {error}") from error
    return f"{item['model_name']} {item['version']}"


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
    features = feature_columns(model.profile)
    # What a CSV column is read as is what it was in training, not what this file's values look like: a text "01" stays
    # one.
    kinds: dict[str, Kind] = {column["name"]: column["kind"] for column in features}
    rows, as_parquet = 0, path.name.endswith(".parquet")
    with _writer(path, model.schema) as writer:
        for read in read_batches(file, kinds, frozenset(kinds), encode_texts=True):
            for column in features:
                _check_kind(column, kinds[column["name"]], read[column["name"]], file.name)
            for begin in range(0, read.num_rows, BATCH_ROWS):
                batch = read.slice(begin, BATCH_ROWS)
                try:
                    # What overflows is refused by scikit-learn, which says so itself.
                    with np.errstate(over="ignore"):
                        scored = model.score(batch)
                        writer.write_batch(scored if keep_formulas or as_parquet else _without_formulas(scored))
                except ValueError as error:
                    raise BadInputError(
                        f'The rows {rows + 1:,} to {rows + batch.num_rows:,} of "{file.name}" cannot be scored: '
                        f"{' '.join(str(error).split())}"
                    ) from error
                rows += batch.num_rows
    return rows


def _check_kind(described: Mapping[str, Any], kind: Kind, column: pa.Array, file: str) -> None:
    """Check that a column is of a kind that a feature of its role can be made of."""
    role = described["role"]
    if kind in _KINDS[role]:
        return
    example = ""
    if kind == "text":
        different = (value.as_py() for value in pc.unique(column))
        shown = next((value for value in different if value is not None and not _fits(value, role)), None)
        example = f' such as "{shown[:40]}"' if shown is not None else ""
    raise BadInputError(
        f'Column "{described["name"]}" of "{file}" holds {_KIND_WORDS.get(kind, "texts")}{example}, and the model was '
        f"trained on {_WORDS[role]}."
    )


def _fits(value: str, role: str) -> bool:
    types = {
        "numeric": [pa.float64()],
        "boolean": [pa.bool_()],
        "timestamp": [pa.timestamp("us"), pa.timestamp("us", "UTC")],
    }
    for type_ in types[role]:
        try:
            pc.cast(pa.scalar(value.strip()), type_)
        except pa.ArrowInvalid:
            continue
        return True
    return False


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
