"""How good a model is on rows that it was fitted on: beside the test part that says how much it knows by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.metrics import Weights, metrics_of, predict
from common.request import TrainingRequest

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from common.frames import PartFile

MOST_VALUES = 200_000
"""How much is predicted once more: of a wide table fewer rows."""
SLOW_ROWS = 1_500
MOST_ROWS = {
    "linear_regression": 10_000,
    "ridge": 10_000,
    "logistic_regression": 10_000,
    "hist_gradient_boosting": 4_000,
    "xgboost": 4_000,
}
"""How many rows are predicted once more, by the estimator: as many as take it about as long; of others `SLOW_ROWS`."""


class OwnRows:
    """A sample of the training part, drawn before the fit consumes it.

    Parameters
    ----------
    request
        With every choice made.
    features, target
        The training part, of shape (rows, features) and (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    """

    def __init__(
        self,
        request: TrainingRequest,
        features: pd.DataFrame | PartFile,
        target: npt.NDArray[Any],
        weights: Weights = None,
    ) -> None:
        self._request = request
        most = max(1, min(MOST_ROWS.get(str(request.estimator), SLOW_ROWS), MOST_VALUES // len(features.columns)))
        drawn = np.random.default_rng(request.seed).permutation(len(target))[:most]
        rows = np.sort(drawn)
        self._features, self._target = features.take(rows), target[rows]
        self._weights = None if weights is None else weights[rows]

    def metric(self, pipeline: Pipeline) -> dict[str, Any]:
        """Return the metric that decides, its value for a fitted pipeline or None, and of how many rows it is."""
        name = str(self._request.metric)
        predicted = predict(pipeline, self._features, str(self._request.problem))
        values, _ = metrics_of(predicted, self._target, self._weights, self._request.scoring)
        return {"metric": name, "value": values[name], "rows": len(self._target)}
