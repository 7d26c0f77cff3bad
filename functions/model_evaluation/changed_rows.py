"""Predicts rows of which one column's values are taken from other rows: what importances and effects are measured by.

What a pipeline makes of a row's columns, before its model sees them, is the same whichever row it is in. So the rows
are made ready once, and what becomes of a changed column is taken from where it is; a pipeline that is not known well
enough for that gets each changed row as it is. The predictions are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from common.dates import DateParts
from common.metrics import Codes

if TYPE_CHECKING:
    Change = tuple[str, Codes]

BLOCK_CELLS = 1 << 22
"""How many values one prediction may take or return (32 MB)."""
CELLS_OF_TEXT = 250
"""How many values a free text is to a model that knows runs of letters."""

Places = Mapping[str, Sequence[int]]


def predict_changed(
    pipeline: Pipeline, features: pd.DataFrame, classes: int | None, rows: Codes, changes: Sequence[Change]
) -> Iterable[npt.NDArray[Any]]:
    """Yield what is predicted for some rows with one column's values taken from other rows, for each change.

    Parameters
    ----------
    pipeline
        Fitted.
    features
        Shape (rows, features).
    classes
        How many classes there are, of which probabilities are predicted; None for a regression.
    rows
        The positions of those to predict.
    changes
        A column's name, and for each of these rows the position of the one that it takes the column's value from.

    Yields
    ------
    numpy.ndarray of shape (rows,) or (rows, classes)
        Values of a regression, or probabilities.
    """
    places = _places(pipeline)
    size, free_texts = len(rows), int((features.dtypes == "str").sum())
    together = max(1, BLOCK_CELLS // (size * max(features.shape[1] + CELLS_OF_TEXT * free_texts, classes or 1)))
    method = "predict" if classes is None else "predict_proba"
    blocks = (changes[start : start + together] for start in range(0, len(changes), together))
    if places is None:
        for block in blocks:
            yield from np.split(getattr(pipeline, method)(_changed_frame(features, rows, block)), len(block))
        return
    if not changes:
        return
    used, at = np.unique(np.concatenate([rows, *(order for _, order in changes)]), return_inverse=True)
    ready = pipeline[:-1].transform(features.take(used).reset_index(drop=True))
    orders = iter(at[size:].reshape(len(changes), size))
    for block in blocks:
        moved = [(places[name], next(orders)) for name, _ in block]
        yield from np.split(getattr(pipeline[-1], method)(_changed_ready(ready, at[:size], moved)), len(block))


def _changed_frame(features: pd.DataFrame, rows: Codes, block: Sequence[Change]) -> pd.DataFrame:
    """Return the rows once for each change of a block, with the changed column's values of other rows."""
    size, same = len(rows), np.tile(rows, len(block))
    sources = {name: same.copy() for name, _ in block}
    for position, (name, order) in enumerate(block):
        sources[name][position * size : (position + 1) * size] = order
    return pd.DataFrame({name: features[name].array.take(sources.get(name, same)) for name in features.columns})


def _changed_ready(
    ready: npt.NDArray[Any] | pd.DataFrame, rows: Codes, moved: Sequence[tuple[Sequence[int], Codes]]
) -> npt.NDArray[Any] | pd.DataFrame:
    """Return what `_changed_frame` becomes before the model, made of rows that are ready."""
    size, same = len(rows), np.tile(rows, len(moved))
    if isinstance(ready, pd.DataFrame):
        columns = [ready.iloc[:, each].to_numpy() for each in range(ready.shape[1])]
        changed = [column[same] for column in columns]
        for position, (places, order) in enumerate(moved):
            for place in places:
                changed[place][position * size : (position + 1) * size] = columns[place][order]
        return pd.DataFrame(dict(zip(ready.columns, changed, strict=True)), copy=False)
    stacked = np.empty((len(same), ready.shape[1]), ready.dtype, order="F" if np.isfortran(ready) else "C")
    np.take(ready, same, axis=0, out=stacked)
    for position, (places, order) in enumerate(moved):
        stacked[position * size : (position + 1) * size, places] = ready[order[:, None], places]
    return stacked


def _places(pipeline: Pipeline) -> Places | None:
    """Return which columns of what a model gets each feature becomes; None where that is not known for certain."""
    if len(pipeline.steps) != 2 or not isinstance(pipeline.steps[0][1], ColumnTransformer):
        return None
    features = pipeline.steps[0][1]
    if features.sparse_output_:
        return None
    places: dict[str, list[int]] = {str(name): [] for name in features.feature_names_in_}
    for name, step, columns in features.transformers_:
        span, counts = features.output_indices_[name], _counts(step, len(columns))
        if counts is None or sum(counts) != span.stop - span.start:
            return None
        begin = span.start
        for column, count in zip(columns, counts, strict=True):
            places[column] += range(begin, begin + count)
            begin += count
    return places


def _counts(step: Any, columns: int) -> list[int] | None:
    """Return in how many columns a transformer turns each of its own, one after another; None if that is not known."""
    if isinstance(step, str):
        return [1 if step == "passthrough" else 0] * columns
    if isinstance(step, Pipeline):
        return _counts_of_steps([each for _, each in step.steps], columns)
    # Classes as they are: what is made of one of them may do otherwise.
    kind = type(step)
    if kind is OneHotEncoder:
        is_plain = step.drop is None and step.max_categories is None and step.min_frequency is None
        return [len(each) for each in step.categories_] if is_plain else None
    if kind is TargetEncoder:
        return [len(step.classes_) if step.target_type_ == "multiclass" else 1] * columns
    if kind is DateParts:
        # Each column has as many of each of its parts.
        names = len(step.get_feature_names_out())
        parts = sum(len(each) for each in step.parts_)
        return [len(each) * names // parts for each in step.parts_]
    # A fitted "passthrough" is a function that is none.
    is_one_to_one = (
        kind in {StandardScaler, OrdinalEncoder}
        or (kind is SimpleImputer and step.keep_empty_features and not step.add_indicator)
        or (kind is MissingIndicator and step.features == "all")
        or (kind is FunctionTransformer and step.func in {None, np.float32})
    )
    return [1] * columns if is_one_to_one else None


def _counts_of_steps(steps: Sequence[Any], columns: int) -> list[int] | None:
    counts = [1] * columns
    for step in steps:
        made = _counts(step, sum(counts))
        if made is None:
            return None
        ends = np.cumsum(counts)
        counts = [sum(made[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    return counts
