"""A model that predicts: rows of a file or of a frame are prepared as they were for training.

The predictions come in the order of the rows. A model's file is opened only if a registry vouches for it, or the user.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from botocore.exceptions import ClientError

from common.conversion import feature_columns
from common.errors import DamagedFileError
from common.model_file import load_model
from common.storage import digest_of, download, pinned
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.registry import Registry
from crosstrain.training.stack import DeployedStack, find_stack
from data_preparation.columns import Columns
from data_preparation.notation import Kind
from data_preparation.reading import typed_batch
from scoring.fitted import INTERVAL, FittedModel, is_profile
from scoring.oddities import Oddities, ignored
from scoring.reading import count_converted, wishes

if TYPE_CHECKING:
    import pandas as pd

FILES = {"model.skops": "model", "profile.json": "profile"}
FRAME = "DataFrame"
"""What messages call a frame, which has no name of its own."""


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes
    ----------
    name : str
        The folder, or the model and its version.
    run_id : str or None
        The run that made the model; None where no record says so.
    decision : str or None
        What the run's evaluation decided, `promote` or `reject`.
    reason : str
        Why.
    """

    name: str
    run_id: str | None = None
    decision: str | None = None
    reason: str = ""

    @classmethod
    def of_folder(cls, folder: Path) -> Origin:
        """Return what the records beside a model say of it, if they are of this very file."""
        info, evaluation = (_json_object(folder / name) for name in ("model.json", "evaluation.json"))
        digests, run_id = info.get("sha256"), info.get("run_id")
        is_of_file = isinstance(digests, dict) and digests.get("model") == digest_of(folder / "model.skops")
        if not is_of_file or run_id is None or evaluation.get("run_id") != run_id:
            return cls(str(folder))
        return cls(str(folder), str(run_id), str(evaluation.get("decision")), str(evaluation.get("reason")))

    @classmethod
    def of_version(cls, item: Mapping[str, Any]) -> Origin:
        """Return what a registry's item says of a version."""
        name = f"{item['model_name']} {item['version']}"
        return cls(name, item["version"], item.get("decision"), item.get("reason", ""))

    def __str__(self) -> str:
        run = "" if self.run_id is None or self.run_id in self.name else f"run {self.run_id}, "
        decision = {"promote": "promoted", "reject": "rejected"}.get(str(self.decision), "no record of its decision")
        return f"{self.name} ({run}{decision})"

    @property
    def objection(self) -> str | None:
        """What speaks against the use of the model, in one sentence."""
        return f"The model {self.name} was rejected: {self.reason}" if self.decision == "reject" else None


@dataclass(frozen=True)
class Model(FittedModel):
    """A fitted pipeline, the profile of the data that it was trained on, and where it comes from."""

    origin: Origin

    @classmethod
    def load(cls, folder: Path, origin: Origin | None = None) -> Model:
        """Load `model.skops`, if all types in it are trusted, and `profile.json` from a folder.

        Parameters
        ----------
        folder
            Of a run's results.
        origin
            Where the files come from; without it, it is what other files of the folder say.

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
        if not is_profile(profile):
            raise BadInputError(f'"{folder / "profile.json"}" is no profile that data preparation has written.')
        model = cls(load_model(folder / "model.skops"), profile, origin or Origin.of_folder(folder))
        model.require_own_labels()
        return model

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the predictions for a frame: those of `scripts/predict.py` for a Parquet file of it.

        Columns that the model does not use, and categories that training has not seen, are warned of.

        Parameters
        ----------
        frame
            Has the columns that the model was trained on, by name and in any order. Missing values may be there.

        Returns
        -------
        pandas.DataFrame of shape (rows, 1 + classes)
            With the index of `frame`: `prediction`, float64 or of the labels' type, and for a classification
            `probability_<class>` for each class, float64; for a regression that was asked for an interval
            `prediction_low` and `prediction_high`.

        Raises
        ------
        BadInputError
            If a column is missing, or of another kind than it was in training, or scikit-learn refuses the rows.
        OperationFailedError
            If the model cannot predict.
        """
        with errors_of_functions():
            oddities = Oddities()
            read, kinds, others = self._read(frame, oddities)
            batches = list(self.score_rows(read, kinds, FRAME, oddities))
        if others:
            warnings.warn(ignored(others), stacklevel=2)
        for told in filter(None, (oddities.told_unseen, oddities.told_converted)):
            warnings.warn(told, stacklevel=2)
        scored: pd.DataFrame = pa.Table.from_batches(batches, self.schema).to_pandas()
        return scored.set_axis(frame.index)

    def _read(self, frame: pd.DataFrame, oddities: Oddities) -> tuple[pa.RecordBatch, dict[str, Kind], list[str]]:
        """Return a frame's features as a Parquet file's are read, their kinds, and the columns that are none."""
        import pandas as pd  # noqa: PLC0415 (a command that fails early does without it)

        if not isinstance(frame, pd.DataFrame):
            raise BadInputError(f"Rows are a pandas DataFrame, not a {type(frame).__name__}.")
        # As they would be called in a file.
        names = [str(name) for name in frame.columns]
        others = self.check_columns(FRAME, names)
        features = [column["name"] for column in feature_columns(self.profile)]
        if twice := [name for name in features if names.count(name) > 1]:
            raise BadInputError(f'"{FRAME}" has more than one column named "{twice[0]}": give each its own name.')
        arrays = [_from_pandas(name, frame.iloc[:, names.index(name)]) for name in features]
        rows, columns = pa.RecordBatch.from_arrays(arrays, names=features), Columns(wishes(self.profile))
        for _ in columns.readings(FRAME):
            read = typed_batch(FRAME, rows, columns)
        count_converted(columns, oddities)
        return read, columns.kinds, others

    def predict_interval(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the limits between which the target is, in the share of the rows that training was asked for.

        Parameters
        ----------
        frame
            As `predict` takes it.

        Returns
        -------
        pandas.DataFrame of shape (rows, 2)
            With the index of `frame`: `prediction_low` and `prediction_high`, float64, which `predict` returns, too.

        Raises
        ------
        BadInputError
            If the model knows no interval, and where `predict` raises it.
        """
        if self.schema.names[-2:] != list(INTERVAL):
            raise BadInputError(
                "The model knows no interval around its predictions: train it with one, such as interval=0.9."
            )
        return self.predict(frame)[list(INTERVAL)]


def _from_pandas(name: str, column: pd.Series) -> pa.Array:
    try:
        array = pa.array(column, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise BadInputError(
            f'Column "{name}" of "{FRAME}" cannot be read: give it one type (it is {column.dtype}).'
        ) from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _json_object(path: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one where there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def open_model(
    folder: str | os.PathLike[str] | None,
    *,
    trust: bool,
    stack: str | None = None,
    model_name: str | None = None,
    version: str | None = None,
) -> Model:
    """Load the model of a folder, if it is trusted, or else one for which a stack's registry vouches.

    Raises
    ------
    BadInputError
        If both are named or neither, there is no such model, or nobody vouches for it.
    OperationFailedError, UntrustedModelError
        If the model cannot be fetched or may not be loaded.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as fetched:
            return Model.load(Path(fetched), fetch(find_stack(stack), model_name, version, Path(fetched)))
    if stack or model_name or version:
        raise BadInputError(
            f'"{os.fspath(folder)}" is a local folder, which holds one model: leave the stack, the version and the '
            "model's name out."
        )
    if not trust:
        raise BadInputError(
            f'Nobody vouches for the model in "{os.fspath(folder)}": say --trust (in Python, trust=True) if you know '
            "where it comes from, or leave the folder out for one that a stack's registry knows."
        )
    return Model.load(Path(folder))


def fetch(
    stack: DeployedStack,
    model_name: str | None,
    version: str | None,
    folder: Path,
    files: Mapping[str, str] = FILES,
) -> Origin:
    """Copy a version's files, by default the champion's, from a stack to a folder, and return which version it is.

    Parameters
    ----------
    stack
        Where the model was trained.
    model_name, version : str, optional
        Which one; by default the champion, of the only model.
    folder
        Where the files go.
    files
        What the registry calls each file, by the name that it gets.

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
        _, item = registry.champion_version(model_name or registry.only_model())
    s3 = stack.session.client("s3")
    if not set(files.values()) <= set(item.get("sha256") or ()):
        raise OperationFailedError(
            f"The registry does not say which files the version {item['version']} has: it is from a version of this "
            "project that did not record them. Train again."
        )
    for name, kind in files.items():
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
    return Origin.of_version(item)
