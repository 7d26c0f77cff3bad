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
from common.metrics import Weights, metrics_of, predict
from common.request import TrainingRequest
from common.threads import few_threads
from model_training.training import build_pipeline, fit

if TYPE_CHECKING:
    import pandas as pd

    from common.frames import PartFile

MOST_ROWS, MOST_VALUES = 5_000, 2_000_000
"""How much a split is tried on: kin that are neighbours in time, or whole keys, so that they stay as alike as they
are."""
LEAST_ROWS = 250
"""Of fewer rows the metrics differ by chance alone."""
MOST_SECONDS = 5.0
"""How many processor seconds the fits may take, by what the model's own took or, if that is more, one on a tenth of the
rows."""
_HELD_OUT = 0.2

Rows = npt.NDArray[np.intp]


class OtherSplits:
    """The rows that other splits are tried on, drawn before the model's own fit consumes them.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data: which columns may hold kin together, it calls `splits_by`.
    features, target
        The training part, of shape (rows, features) and (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    """

    def __init__(
        self,
        request: TrainingRequest,
        profile: Profile,
        features: pd.DataFrame | PartFile,
        target: npt.NDArray[Any],
        weights: Weights = None,
    ) -> None:
        self._tries: list[tuple[dict[str, Any], _Try]] = []
        if profile["split"]["by"] != "rows":
            return
        suspects = [column for column in feature_columns(profile) if "splits_by" in column]
        # The last of each kind that is put in stays: the first column.
        chosen = {column["splits_by"]: column for column in reversed(suspects)}
        most_rows = min(MOST_ROWS, MOST_VALUES // len(features.columns))
        for column in chosen.values():
            rows, held_out = _hold_out(features[column["name"]], column["splits_by"], request.seed, most_rows)
            if len(rows) < LEAST_ROWS or not 0 < held_out.mean() <= 0.5:
                continue
            told = {"column": column["name"], "by": column["splits_by"], "metric": request.metric, "rows": len(rows)}
            drawn = features.take(rows), target[rows], None if weights is None else weights[rows]
            self._tries.append((told, _Try(request, profile, *drawn, held_out)))

    def metrics(self, fit_seconds: float) -> list[dict[str, Any]]:
        """Return the metric by a split of rows and by a split of each column that may hold kin together.

        Parameters
        ----------
        fit_seconds
            How many processor seconds the model's own fit has taken: no fit on fewer rows takes more.

        Returns
        -------
        list of dict
            For the first column by which rows may belong to one time, and the first of things that they may belong to:
            `column`, `by` (`time` or `key`), `metric`, the number of `rows`, and the metric's value `by_rows` and
            `by_column`, None where it could not be tried.
        """
        left, found = MOST_SECONDS, []
        seconds_a_row: float | None = None
        for told, each in self._tries:
            begin = time.process_time()
            with few_threads(each.values):
                fits = 2 * fit_seconds <= left
                if not fits:
                    seconds_a_row = seconds_a_row or each.seconds_a_row()
                    fits = 2 * told["rows"] * seconds_a_row <= left
                found.append({**told, **(each.both() if fits else {"by_rows": None, "by_column": None})})
            left -= time.process_time() - begin
        return found


def _hold_out(column: pd.Series[Any], by: str, seed: int, most_rows: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Return the rows that a split is tried on, and which of them it holds out."""
    if by == "key":
        return _hold_out_keys(column, seed, most_rows)
    times = column.to_numpy()
    rows = np.flatnonzero(column.notna())
    if not len(rows):
        return rows, np.zeros(0, np.bool_)
    # To sort the last ones is enough.
    most_rows = min(most_rows, len(rows))
    rows = rows[times[rows] >= np.partition(times[rows], -most_rows)[-most_rows]]
    rows = rows[np.argsort(times[rows], kind="stable")][-most_rows:]
    times = times[rows]
    # Rows of one time are together.
    return rows, times >= times[-max(1, round(len(rows) * _HELD_OUT))]


def _hold_out_keys(column: pd.Series[Any], seed: int, most_rows: int) -> tuple[Rows, npt.NDArray[np.bool_]]:
    codes, keys = column.factorize()
    sizes = np.bincount(codes[codes >= 0], minlength=len(keys))
    drawn = np.random.default_rng(seed).permutation(len(keys))
    # Those that alone are more than is held out come last, and are trained on.
    large = sizes[drawn] > _HELD_OUT * min(most_rows, sizes.sum())
    drawn = drawn[np.argsort(large, kind="stable")]
    ends = np.cumsum(sizes[drawn])
    taken = int(np.searchsorted(ends, most_rows, side="right"))
    if not taken:
        return np.zeros(0, np.intp), np.zeros(0, np.bool_)
    rank = np.full(len(keys), len(keys))
    rank[drawn[:taken]] = np.arange(taken)
    rows = np.flatnonzero((codes >= 0) & (rank[codes] < taken))
    last = int(np.searchsorted(ends[:taken], ends[taken - 1] * _HELD_OUT)) + 1
    last = min(last, max(1, int((~large).sum())))
    return rows, rank[codes[rows]] < last


class _Try:
    """Fits the request's pipeline on a part of some rows, of shape (rows, features) and (rows,)."""

    def __init__(
        self,
        request: TrainingRequest,
        profile: Profile,
        features: pd.DataFrame,
        target: npt.NDArray[Any],
        weights: Weights,
        held_out: npt.NDArray[np.bool_],
    ) -> None:
        self._request, self._profile = request, profile
        self._features, self._target, self._weights, self._held_out = features, target, weights, held_out
        self.values = features.size

    def seconds_a_row(self) -> float:
        """Return how many processor seconds a fit takes for each row, by one on a tenth of them.

        Most fits take time in proportion, some of them minutes.
        """
        begin = time.process_time()
        rows = len(self._held_out)
        self._value(np.arange(rows) % 10 > 0, self._held_out)
        return 10 * (time.process_time() - begin) / rows

    def both(self) -> dict[str, float | None]:
        """Return the metric by a draw of rows and with the rows held out that the split does."""
        held_out = self._held_out
        shuffled = np.random.default_rng(self._request.seed).permutation(held_out)
        return {"by_rows": self._value(shuffled, shuffled), "by_column": self._value(held_out, held_out)}

    def _value(self, left_out: npt.NDArray[np.bool_], scored: npt.NDArray[np.bool_]) -> float | None:
        """Return the metric on some rows after a fit without others; None where it is undefined."""
        features, target = self._features[scored], self._target[scored]
        trained_by, scored_by = (None if self._weights is None else self._weights[rows] for rows in (~left_out, scored))
        try:
            pipeline = build_pipeline(self._request, self._profile)
            model = fit(pipeline, self._features[~left_out], self._target[~left_out], trained_by).pipeline
            predicted = predict(model, features, str(self._request.problem))
            metrics, _ = metrics_of(predicted, target, scored_by, self._request.scoring)
        except (InvalidDatasetError, ValueError):
            # What is left is of one class, say. The model itself is fitted on more rows.
            return None
        return metrics[str(self._request.metric)]
