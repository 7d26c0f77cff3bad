"""A model that predicts: rows of a file or of a frame are prepared as they were for training.

The predictions come in the order of the rows. A model's file is opened only if a registry vouches for it, or the user.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from common import conversion
from common.conversion import Profile, feature_columns
from common.errors import DamagedFileError, UntrustedModelError, first_few
from common.metric_table import METRICS
from common.metrics import interval_width_of, predict
from common.model_file import load_model, pipelines_of
from common.request import ReadOptions, did_you_mean
from common.storage import digest_of, download, pinned
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.training.errors import errors_of_functions
from crosstrain.training.registry import Registry
from crosstrain.training.stack import DeployedStack, find_stack
from data_preparation.columns import Columns, Wishes
from data_preparation.notation import Kind, Notation
from data_preparation.reading import typed_batch

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

BATCH_ROWS = 1 << 16
"""How many rows are scored at a time: what a batch takes is this times the number of features and classes."""
FILES = {"model.skops": "model", "profile.json": "profile"}
INTERVAL = ("prediction_low", "prediction_high")
"""The columns of an interval around predictions."""
FRAME = "DataFrame"
"""What messages call a frame, which has no name of its own."""

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


class Oddities:
    """Counts of the values that predictions were made without: missing ones, and categories that training had not.

    Attributes
    ----------
    missing, unseen : collections.Counter
        Rows by the name of a column.
    converted : collections.Counter
        Values, by the name of a column, that were written otherwise than those of training, and are certain.
    empty : int
        Rows without a value in any column.
    """

    def __init__(self) -> None:
        self.empty = 0
        self.missing: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        self.converted: Counter[str] = Counter()

    def count(self, rows: pd.DataFrame, known: Mapping[str, frozenset[Any]]) -> None:
        """Count those of rows that are as the model gets them."""
        is_missing = rows.isna()
        self.missing.update({str(name): int(count) for name, count in is_missing.sum().items()})
        self.empty += int(is_missing.all(axis=1).sum())
        for name, categories in known.items():
            is_new = np.array([each not in categories for each in rows[name].cat.categories], dtype=bool)
            codes = rows[name].cat.codes.to_numpy()
            self.unseen[name] += int(is_new[codes[codes >= 0]].sum())

    @property
    def told_unseen(self) -> str:
        """What is to be said of unseen categories; nothing where there are none."""
        return _by_column("categories that training has not seen", self.unseen)

    @property
    def told(self) -> tuple[str, ...]:
        """All that is to be said; empty texts for what there is none of."""
        return self.told_unseen, self.told_converted, self.told_missing, self.told_empty

    @property
    def told_converted(self) -> str:
        """What is to be said of values that were converted; nothing where there are none."""
        return _by_column("values written otherwise than in training, and taken for the same", self.converted)

    @property
    def told_missing(self) -> str:
        """What is to be said of missing values; nothing where there are none."""
        return _by_column("missing values", self.missing)

    @property
    def told_empty(self) -> str:
        """What is to be said of rows without a value; nothing where there are none."""
        return f"rows without any value: {self.empty:,}" if self.empty else ""


@dataclass(frozen=True)
class Model:
    """A fitted pipeline, the profile of the data that it was trained on, and where it comes from."""

    pipeline: Pipeline
    profile: Profile
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
        if not _is_profile(profile):
            raise BadInputError(f'"{folder / "profile.json"}" is no profile that data preparation has written.')
        model = cls(load_model(folder / "model.skops"), profile, origin or Origin.of_folder(folder))
        with _model_errors():
            model.schema  # noqa: B018 (its labels are those of a model, or nothing can be written)
        return model

    @property
    def classes(self) -> npt.NDArray[Any] | None:
        """The class labels, in the order of the probabilities; None for a regression."""
        return None if self.profile["problem"] == "regression" else np.asarray(self.pipeline.classes_)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the predictions: `prediction`, and `probability_<class>` for each class, or an interval."""
        if self.classes is None:
            names = ["prediction", *(INTERVAL if interval_width_of(self.pipeline) is not None else ())]
            return pa.schema([(name, pa.float64()) for name in names])
        labels = pa.array(self.classes.tolist())
        # As a CSV file shows the labels themselves.
        names = [f"probability_{label}" for label in pc.cast(labels, pa.string()).to_pylist()]
        return pa.schema([("prediction", labels.type), *((name, pa.float64()) for name in names)])

    @property
    def spelled(self) -> tuple[str, str] | None:
        """How the file of training spells the labels true and false, if otherwise."""
        target: Mapping[str, Any] = next(
            (column for column in self.profile["columns"] if column["use"] == "target"), {}
        )
        yes, _, no = target.get("notation", {}).get("style", "").partition("/")
        return (yes, no) if target.get("kind") == "boolean" and no else None

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

    @cached_property
    def known_categories(self) -> Mapping[str, frozenset[Any]]:
        """The texts that training has seen, by column, of columns whose texts the model knows all."""
        known: dict[str, frozenset[Any]] = {}
        transformers = (each["features"].transformers_ for each in pipelines_of(self.pipeline))
        for _, steps, names in chain.from_iterable(transformers):
            encoder = steps[0] if hasattr(steps, "steps") else steps
            if hasattr(encoder, "categories_"):
                # Members of a blend may know fewer of a column's texts than others.
                for name, texts in zip(names, encoder.categories_, strict=True):
                    known[name] = known.get(name, frozenset()) | frozenset(texts)
        return {name: texts for name, texts in known.items() if name in self._of_counted_texts}

    @property
    def _of_counted_texts(self) -> frozenset[str]:
        """The columns of texts; but of those with more than were counted the model knows the most frequent ones."""
        columns = (column for column in feature_columns(self.profile) if column["role"] == "categorical")
        return frozenset(column["name"] for column in columns if not isinstance(column.get("distinct"), str))

    @cached_property
    def _alike(self) -> Mapping[str, Mapping[str, str]]:
        """The category that a text stands for without regard to case and the spaces around it, where that is one."""
        alike: dict[str, dict[str, str]] = {}
        for name, known in self.known_categories.items():
            folded = Counter(map(_folded, known))
            alike[name] = {_folded(each): each for each in known if folded[_folded(each)] == 1}
        return alike

    def wishes(self, read: ReadOptions | None = None) -> Wishes:
        """Return how rows are to be read, so that they become what training's became.

        Parameters
        ----------
        read
            Of how the rows' files are written; if not given, as training's were said to be.
        """
        expected = {
            column["name"]: Notation.of_document(column["kind"], column.get("notation", {}))
            for column in feature_columns(self.profile)
        }
        return Wishes(read or self.read_options, self.profile.get("read", {}).get("columns", {}), expected=expected)

    @property
    def read_options(self) -> ReadOptions:
        """What was said of how training's files are written; but rows at the end are left out of training alone."""
        options = {**self.profile.get("read", {}).get("options", {})}
        options.pop("skip_footer", None)
        return ReadOptions.model_validate(options)

    def count_converted(self, columns: Columns, oddities: Oddities) -> None:
        """Count the values that are written otherwise than in training."""
        for name, expected in self.wishes().expected.items():
            column = columns[name]
            now = column.notation
            is_otherwise = (now.style, now.unit) != (expected.style, expected.unit)
            if column.survey is not None and now.kind != "text" and is_otherwise:
                oddities.converted[name] += column.survey.values  # noqa: PD011 (no frame)
            if column.notation.lenient:
                oddities.converted[name] += column.unread

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
        rows, columns = pa.RecordBatch.from_arrays(arrays, names=features), Columns(self.wishes())
        for _ in columns.readings(FRAME):
            read = typed_batch(FRAME, rows, columns)
        self.count_converted(columns, oddities)
        return read, columns.kinds, others

    def score_rows(
        self, read: pa.RecordBatch, kinds: Mapping[str, Kind], source: str, oddities: Oddities, first: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Yield the predictions for rows, `BATCH_ROWS` at a time.

        Parameters
        ----------
        read
            Has the feature columns, in the types of the kinds.
        kinds
            The kind of each.
        source
            What messages call the rows.
        oddities
            Where missing values and unseen categories are counted.
        first
            How many rows of the source came before.

        Raises
        ------
        BadInputError
            If a column is of another kind than it was in training, or scikit-learn refuses the rows.
        """
        for column in feature_columns(self.profile):
            _check_kind(column, kinds[column["name"]], read[column["name"]], source)
        for begin in range(0, read.num_rows, BATCH_ROWS):
            batch = read.slice(begin, BATCH_ROWS)
            try:
                # What overflows is refused by scikit-learn, which says so itself.
                with np.errstate(over="ignore"):
                    yield self.score(batch, oddities)
            except ValueError as error:
                raise BadInputError(
                    f'The rows {first + begin + 1:,} to {first + begin + batch.num_rows:,} of "{source}" cannot be '
                    f"scored: {' '.join(str(error).split())}"
                ) from error

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

    def _match_categories(self, rows: pd.DataFrame, oddities: Oddities) -> None:
        """Take texts that training has not seen for the one that they differ from by case or spaces alone."""
        import pandas as pd  # noqa: PLC0415 (as above)

        for name, known in self.known_categories.items():
            texts, codes = rows[name].cat.categories, rows[name].cat.codes.to_numpy()
            meant = [each if each in known else self._alike[name].get(_folded(each), each) for each in texts]
            is_other = np.array([new != old for new, old in zip(meant, texts, strict=True)], dtype=bool)
            if not is_other.any():
                continue
            oddities.converted[name] += int(is_other[codes[codes >= 0]].sum())
            values = np.array([*meant, None], dtype=object)[codes]
            rows[name] = pd.Categorical(values, categories=list(dict.fromkeys(meant)))

    def score(self, batch: pa.RecordBatch, oddities: Oddities) -> pa.RecordBatch:
        """Return the predictions for a batch of rows that has the feature columns, and count what is odd in it.

        Raises
        ------
        ValueError
            If scikit-learn refuses the rows.
        UntrustedModelError
            If the model fails in any other way.
        """
        rows = conversion.features(batch, self.profile)
        with _model_errors():
            self._match_categories(rows, oddities)
            predicted = predict(self.pipeline, rows, self.profile["problem"])
            columns = [*np.atleast_2d(np.asarray(predicted.outputs, dtype=np.float64).T)]
            width = interval_width_of(self.pipeline)
            if width is not None:
                columns += [columns[0] - width, columns[0] + width]
            if predicted.classes is not None:
                # As in the evaluation, and as `predict` of the pipeline returns it.
                columns.insert(0, predicted.classes[predicted.decisive.argmax(axis=1)])
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, self.schema, strict=True)]
            oddities.count(rows, self.known_categories)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _folded(text: Any) -> str:
    return str(text).strip().casefold()


def _by_column(what: str, counts: Counter[str]) -> str:
    found = [f'{count:,} in "{name}"' for name, count in counts.most_common() if count]
    return f"{what}: {first_few(found)}" if found else ""


def ignored(columns: Sequence[str]) -> str:
    """Return the sentence that says which columns the model does not use."""
    quoted = ", ".join(f'"{name}"' for name in columns)
    return f"ignored, for the model does not use it: {quoted}"


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


def fetch(stack: DeployedStack, model_name: str | None, version: str | None, folder: Path) -> Origin:
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
        _, item = registry.champion_version(model_name or registry.only_model())
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
    return Origin.of_version(item)


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
