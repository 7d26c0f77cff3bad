"""A fitted pipeline that predicts: rows become what they would have become among those of training.

Whoever scores rows, a command, a notebook or a function, does it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common import conversion
from common.conversion import Profile, feature_columns
from common.errors import InvalidRowsError, UntrustedModelError, without_values
from common.metric_table import METRICS
from common.metrics import PROBABILITY, interval_width_of, label_texts, predict
from common.model_file import pipelines_of
from common.threads import few_threads
from scoring.oddities import Oddities

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from data_preparation.notation import Kind

BATCH_ROWS = 1 << 16
"""How many rows are scored at a time: what a batch takes is this times the number of features and classes."""
INTERVAL = ("prediction_low", "prediction_high")
"""The columns of an interval around predictions."""

# The kinds of a file's column that a feature of each role can be made of; a column without any value has none.
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "numeric": ("integer", "float", "null"),
    "boolean": ("boolean", "null"),
    "timestamp": ("timestamp", "null"),
    "categorical": ("text", "null"),
    "text": ("text", "null"),
}
_WORDS = {
    "numeric": "numbers",
    "boolean": "booleans",
    "timestamp": "timestamps",
    "categorical": "texts",
    "text": "texts",
}
_DTYPES = frozenset({*map(str, conversion.INTEGERS), "float32", "float64", "bool", "category", "string"})
_KIND_WORDS = {"integer": "numbers", "float": "numbers", "boolean": "booleans", "timestamp": "timestamps"}


@dataclass(frozen=True)
class FittedModel:
    """A fitted pipeline, and the profile of the data that it was trained on."""

    pipeline: Pipeline
    profile: Profile

    def require_own_labels(self) -> None:
        """Refuse a model whose labels are none, for which nothing can be written.

        Raises
        ------
        UntrustedModelError
            If they are not what training writes.
        """
        with _model_errors():
            self.schema  # noqa: B018 (made once, and kept)

    @property
    def classes(self) -> npt.NDArray[Any] | None:
        """The class labels, in the order of the probabilities; None for a regression."""
        return None if self.profile["problem"] == "regression" else np.asarray(self.pipeline.classes_)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the predictions: `prediction`, and `probability_<class>` for each class, or an interval."""
        if self.classes is None:
            names = ["prediction", *(INTERVAL if interval_width_of(self.pipeline) is not None else ())]
            return pa.schema([(name, pa.float64()) for name in names])
        names = [f"{PROBABILITY}{label}" for label in label_texts(self.classes)]
        labels = pa.array(self.classes.tolist()).type
        return pa.schema([("prediction", labels), *((name, pa.float64()) for name in names)])

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
        InvalidRowsError
            Naming every feature that the file does not have, with the nearest names.
        """
        features = [column["name"] for column in feature_columns(self.profile)]
        others = [name for name in names if name not in features]
        missing = [name for name in features if name not in names]
        if missing:
            from common.validation import did_you_mean  # noqa: PLC0415 (for this message alone: it imports pydantic)

            missing_columns = " ".join(
                f'"{name}" is missing.{did_you_mean(name, others) if others else ""}' for name in missing
            )
            raise InvalidRowsError(
                f'"{file}" does not have the columns that the model was trained on: {missing_columns}'
            )
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
        InvalidRowsError
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
                which = f'The rows {first + begin + 1:,} to {first + begin + batch.num_rows:,} of "{source}"'
                raise InvalidRowsError(
                    f"{which} cannot be scored: {' '.join(str(error).split())}",
                    f"{which} cannot be scored: {without_values(str(error))}",
                ) from error

    def _match_categories(self, rows: pd.DataFrame, oddities: Oddities) -> None:
        """Take texts that training has not seen for the one that they differ from by case or spaces alone."""
        import pandas as pd  # noqa: PLC0415 (scikit-learn has imported it by now)

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
            with few_threads(rows.size):
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


def is_profile(document: Any) -> bool:
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
    holds = f'Column "{described["name"]}" of "{file}" holds {_KIND_WORDS.get(kind, "texts")}'
    trained = f"and the model was trained on {_WORDS[role]}."
    raise InvalidRowsError(f"{holds}{example}, {trained}", f"{holds}, {trained}")


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
