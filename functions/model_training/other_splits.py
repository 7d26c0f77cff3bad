"""What a split by time or by a key would say, where rows were split one by one: often that the model is worse.

Rows of one day, one city or one customer resemble each other. Split one by one, the test part holds rows whose kin the
model has seen, and its metrics tell how well it does among its own; how well it does tomorrow, or on the next customer,
only a split tells that keeps kin together. Here that is tried on the training part alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.conversion import Profile, feature_columns
from common.errors import InvalidDatasetError
from common.request import TrainingRequest
from model_training.training import build_pipeline, fit

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 10_000
"""How many rows a split is tried on: kin that are neighbours in time, or whole keys, so that they stay as alike as they
are."""
LEAST_ROWS = 50
MOST_SECONDS = 5.0
"""After how long no further column is tried."""
_HELD_OUT = 0.2

Rows = npt.NDArray[np.intp]


def try_other_splits(
    request: TrainingRequest, profile: Profile, features: pd.DataFrame, target: npt.NDArray[Any]
) -> list[dict[str, Any]]:
    """Return the metric by a split of rows and by a split of each column that may hold kin together.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data: which columns may do so, it calls `splits_by`.
    features, target
        The training part, of shape (rows, features) and (rows,).

    Returns
    -------
    list of dict
        For the first column by which rows may belong to one time, and the first of things that they may belong to:
        `column`, `by` (`time` or `key`), `metric`, the number of `rows`, and the metric's value `by_rows` and
        `by_column`, None where it could not be tried.
    """
    if profile["split"]["by"] != "rows":
        return []
    suspects = [column for column in feature_columns(profile) if "splits_by" in column]
    # The last of each kind that is put in stays: the first column.
    chosen = {column["splits_by"]: column for column in reversed(suspects)}
    begin, found = time.perf_counter(), []
    for column in chosen.values():
        told = {"column": column["name"], "by": column["splits_by"], "metric": request.metric}
        values: dict[str, float | None] = {"by_rows": None, "by_column": None}
        rows, held_out = _hold_out(features[column["name"]], column["splits_by"], request.seed)
        if time.perf_counter() - begin < MOST_SECONDS and len(rows) >= LEAST_ROWS and 0 < held_out.sum() < len(rows):
            some, labels = features.iloc[rows], target[rows]
            shuffled = np.random.default_rng(request.seed).permutation(held_out)
            values = {
                name: _value(request, profile, some, labels, mask)
                for name, mask in (("by_rows", shuffled), ("by_column", held_out))
            }
        found.append({**told, "rows": len(rows), **values})
    return found


def _hold_out(column: pd.Series[Any], by: str, seed: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Return the rows that a split is tried on, and which of them it holds out."""
    if by == "time":
        known = np.flatnonzero(column.notna())
        rows = known[np.argsort(column.to_numpy()[known], kind="stable")][-MOST_ROWS:]
        times = column.to_numpy()[rows]
        # Rows of one time are together.
        return rows, times >= times[-max(1, round(len(rows) * _HELD_OUT))] if len(rows) else times.astype(bool)
    codes, keys = column.factorize()
    sizes = np.bincount(codes[codes >= 0], minlength=len(keys))
    drawn = np.random.default_rng(seed).permutation(len(keys))
    ends = np.cumsum(sizes[drawn])
    taken = max(1, int(np.searchsorted(ends, MOST_ROWS, side="right")))
    rank = np.full(len(keys), len(keys))
    rank[drawn[:taken]] = np.arange(taken)
    rows = np.flatnonzero((codes >= 0) & (rank[codes] < taken))
    last = int(np.searchsorted(ends[:taken], ends[taken - 1] * _HELD_OUT)) + 1
    return rows, rank[codes[rows]] < last


def _value(
    request: TrainingRequest,
    profile: Profile,
    features: pd.DataFrame,
    target: npt.NDArray[Any],
    held_out: npt.NDArray[np.bool_],
) -> float | None:
    """Return the metric on the rows that are held out from the fit; None where it is undefined."""
    # A function's start does not pay for what few data sets need.
    from common.metrics import classification_metrics, regression_metrics  # noqa: PLC0415

    try:
        model = fit(build_pipeline(request, profile), features[~held_out], target[~held_out]).pipeline
        if request.problem == "regression":
            metrics, _ = regression_metrics(target[held_out], model.predict(features[held_out]))
        else:
            probabilities = model.predict_proba(features[held_out])
            metrics, _ = classification_metrics(model.classes_, target[held_out], probabilities)
    except (InvalidDatasetError, ValueError):
        # What is left is of one class, say. The model itself is fitted on more rows.
        return None
    return metrics[str(request.metric)]
