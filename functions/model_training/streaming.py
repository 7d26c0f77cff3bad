"""Fits linear models block by block: of the rows they need no more than the sums of products of columns.

What the pipeline's features learn is learned first: of texts which there are, of numbers mean and variance. Then the
sums of products of what they make of the rows are added up, and the estimator is fitted on as many rows as there are
columns, which have the same sums of products (`model_training.sums`). Blocks are of a fixed number of rows, so that a
model is the same to the last bit however the file of the rows is cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.conversion import Profile, free_texts, numbers
from common.dates import PERIODS, part_of
from common.metrics import Weights
from common.request import TrainingRequest
from common.threads import few_threads
from model_training.features import made_columns, texts_of
from model_training.moments import ColumnMoments
from model_training.sums import Design, Sums
from model_training.training import FittedModel, as_told, without_empty_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    from common.frames import PartFile

STREAMED = frozenset({"linear_regression", "ridge"})
MOST_COLUMNS = 1_000
"""With more columns their sums of products take longer than an iterative fit of sparse ones."""
BLOCK_ROWS = 1 << 14
MOST_TURNED = 10**12
"""For how many products the rows are looked at once more, which takes minutes: beyond, coefficients of columns that
nearly repeat others keep fewer digits than nine."""


def streams(request: TrainingRequest, profile: Profile) -> bool:
    """Return whether a fit takes the rows block by block; that depends neither on the machine nor on its memory.

    What becomes of texts of many different values follows from the target of the rows in other folds, and what becomes
    of free texts from a decomposition: both take all rows at once. Two solvers go from row to row.
    """
    if request.estimator not in STREAMED or request.hyperparameters.get("solver") in ("sag", "saga"):
        return False
    whole = free_texts(profile) or texts_of(request, profile)[1]
    return not whole and made_columns(request, profile) <= MOST_COLUMNS


def fit_streamed(
    pipeline: Pipeline,
    part: PartFile,
    target: npt.NDArray[Any],
    weights: Weights = None,
    watch: Callable[[pa.RecordBatch], None] | None = None,
) -> FittedModel:
    """Fit the pipeline of a linear model.

    Parameters
    ----------
    pipeline
        From `model_training.training.build_pipeline`, of a request that `streams`.
    part
        The training part.
    target
        Its target, shape (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    watch
        What else is to see the features and the target of the rows, batch by batch.

    Returns
    -------
    FittedModel
        What `model_training.training.fit` returns for the part as a frame, in float64.

    Raises
    ------
    InvalidDatasetError
        If scikit-learn refuses the data.
    """
    started = time.perf_counter()
    with as_told(pipeline) as messages, few_threads():
        empty, names = _learn(pipeline["features"], part, target, weights, watch)
        model = pipeline["model"]
        shift, intercept = float(target.mean()), bool(model.fit_intercept)
        sums = Sums(Design(pipeline["features"], part, empty), shift, intercept=intercept)
        for block, rows, of_rows in _blocks(part, part.columns, weights):
            sums.add(block, target[rows], of_rows)
        few = sums.few_rows()
        # A penalty is far above the digits that are lost.
        again = not getattr(model, "alpha", 0.0) and part.rows * len(few.rows) ** 2 <= MOST_TURNED
        if again and few.lose_digits():
            products = sum(
                sums.turned(block, target[rows], of_rows, few)
                for block, rows, of_rows in _blocks(part, part.columns, weights)
            )
            few = few.again(np.asarray(products))
        sums.fit(model, names, few)
    return FittedModel(pipeline, messages, time.perf_counter() - started)


def _blocks(part: PartFile, names: Sequence[str], weights: Weights) -> Iterator[tuple[pa.Table, slice, Weights]]:
    """Yield blocks of some columns, which rows they are, and their weights."""
    begin = 0
    for block in part.blocks(names, BLOCK_ROWS):
        rows = slice(begin, begin + block.num_rows)
        yield block, rows, None if weights is None else weights[rows]
        begin = rows.stop


def _learn(
    features: ColumnTransformer,
    part: PartFile,
    target: npt.NDArray[Any],
    weights: Weights,
    watch: Callable[[pa.RecordBatch], None] | None,
) -> tuple[frozenset[str], list[str] | None]:
    """Fit the transformer of the features.

    Return the columns without any value, and the names of the columns that are made, if the estimator is told them.
    """
    examples = _Examples(features)
    moments = {name: ColumnMoments() for name in examples.numeric}
    for block, rows_of_block, of_rows in _blocks(part, part.columns if watch is None else part.watched, weights):
        if watch is not None:
            for batch in block.to_batches():
                watch(batch)
        for name, learned in moments.items():
            learned.add(numbers(block[name]), of_rows)
        examples.add(block, rows_of_block.start)
    rows = examples.rows()
    frame = part.take(rows)
    empty = frozenset(frame.columns[frame.isna().all()])
    made = features.fit_transform(without_empty_columns(frame), target[rows])
    weight = np.float64(part.rows if weights is None else weights.sum())
    for name, transformer, columns in features.transformers_:
        if name.startswith("numeric"):
            _teach(transformer, [moments[column] for column in columns], weight)
    return empty, list(made.columns) if hasattr(made, "columns") else None


def _teach(steps: Pipeline, columns: Sequence[ColumnMoments], weight: np.float64) -> None:
    """Set what an imputer and a scaler have learned of a few rows to what they would have of all."""
    steps["impute"].statistics_ = np.array([each.values.mean for each in columns])
    filled = [each.filled() for each in columns]
    mean = np.array([each.mean for each in filled])
    variance = np.array([each.squares / each.weight for each in filled])
    # What scikit-learn takes for a constant, by the bound of what rounding does:
    # https://github.com/scikit-learn/scikit-learn/blob/1.9.X/sklearn/preprocessing/_data.py
    step = np.finfo(np.float64).eps
    constant = variance <= weight * step * variance + (weight * mean * step) ** 2
    scaler = steps["scale"]
    scaler.mean_, scaler.var_, scaler.n_samples_seen_ = mean, variance, weight
    scaler.scale_ = np.where(constant, 1.0, np.sqrt(variance))


class _Examples:
    """The numbers of the rows that hold all that features learn of columns, but for the moments of numbers.

    They are the first rows with each text and with each of few whole numbers, the first with and without a value, and
    those of the earliest and the latest times and parts of the calendar.
    """

    def __init__(self, features: ColumnTransformer) -> None:
        columns: dict[str, list[str]] = {name: list(names) for name, _, names in features.transformers}
        self.numeric = [each for name, names in columns.items() if name.startswith("numeric") for each in names]
        self._texts = columns.get("categorical", [])
        self._few_values = columns.get("values", [])
        self._times = columns.get("dates", [])
        self._rows: dict[tuple[str, Any], int] = {}
        self._extremes: dict[tuple[str, Any], float] = {}

    def add(self, block: pa.Table, begin: int) -> None:
        """Look at a block, whose first row has the number `begin`."""
        for name in (*self.numeric, *self._texts):
            self._add_gaps(name, block[name], begin)
        for name in self._texts:
            at = begin
            for chunk in block[name].chunks:
                self._add_texts(name, chunk, at)
                at += len(chunk)
        for name in self._few_values:
            for value, row in zip(*np.unique(numbers(block[name]), return_index=True), strict=True):
                self._rows.setdefault((name, float(value)), begin + int(row))
        for name in self._times:
            self._add_times(name, numbers(block[name]), begin)

    def rows(self) -> npt.NDArray[np.intp]:
        """Return the numbers of the rows, ascending."""
        return np.unique(np.fromiter(self._rows.values(), np.intp))

    def _add_gaps(self, name: str, column: pa.ChunkedArray, begin: int) -> None:
        gaps = column.null_count
        if gaps < len(column) and (name, "known") not in self._rows:
            self._rows[name, "known"] = begin + int(np.argmax(column.is_valid().to_numpy()))
        if gaps and (name, "missing") not in self._rows:
            self._rows[name, "missing"] = begin + int(np.argmax(column.is_null().to_numpy()))

    def _add_texts(self, name: str, chunk: pa.DictionaryArray, begin: int) -> None:
        codes = chunk.indices.drop_null().to_numpy()
        present = np.flatnonzero(np.bincount(codes, minlength=len(chunk.dictionary)))
        texts = chunk.dictionary.to_pylist()
        for code in present:
            if (name, (texts[code],)) not in self._rows:
                first = int(np.argmax(chunk.indices.fill_null(-1).to_numpy() == code))
                self._rows[name, (texts[code],)] = begin + first

    def _add_times(self, name: str, seconds: npt.NDArray[np.float64], begin: int) -> None:
        known = np.flatnonzero(~np.isnan(seconds))
        if not len(known):
            return
        for part in (None, *PERIODS):
            values = seconds[known] if part is None else part_of(seconds[known], part)
            for sign in (1, -1):
                row = int(np.argmin(sign * values))
                if sign * values[row] < self._extremes.get((name, (part, sign)), np.inf):
                    self._extremes[name, (part, sign)] = sign * values[row]
                    self._rows[name, (part, sign)] = begin + int(known[row])
