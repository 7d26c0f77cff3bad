"""What a chosen model's errors on held-out folds teach: probabilities that mean what they say, and a better decision.

Each fold is predicted by a pipeline that was fitted on others, and what is learned of these predictions is kept only
where it is better, beyond noise, on folds that it was not learned on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from common.adjusted import AdjustedClassifier, IntervalRegressor
from common.conversion import Profile
from common.errors import InvalidDatasetError, InvalidRequestError
from common.metric_table import METRIC_TABLE
from common.request import TrainingRequest
from model_training.calibration import calibrate
from model_training.decisions import Goal, judge_decision, tune
from model_training.folds import Part, PartOnDisk
from model_training.held_out import Floats, OutOfFold, predict_folds, rounded


@dataclass(frozen=True)
class Adjustment:
    """What is made of a fitted pipeline.

    Attributes
    ----------
    apply
        Puts what was learned around a pipeline's estimator; None where nothing is better than it is.
    record
        What the model's description says of it.
    """

    record: dict[str, Any]
    apply: Callable[[Any], Any] | None = None

    def applied(self, pipeline: Pipeline) -> Pipeline:
        """Return a fitted pipeline with what was learned."""
        if self.apply is None:
            return pipeline
        return Pipeline([*pipeline.steps[:-1], ("model", self.apply(pipeline.steps[-1][1]))])


def learn(request: TrainingRequest, profile: Profile, part: Part | PartOnDisk, seconds: float) -> Adjustment:
    """Fit the request's pipeline on folds of the training part, and learn of its errors.

    Parameters
    ----------
    request
        With every choice made.
    profile
        Of the prepared data.
    part
        The training part.
    seconds
        How long that may take; where it does not do, nothing is learned.

    Raises
    ------
    InvalidRequestError
        If there are too few rows for the interval that is asked for.
    """
    begin = time.monotonic()
    try:
        found = predict_folds(request, profile, part, seconds)
    except InvalidDatasetError as error:
        # The model itself is fitted on more rows.
        return Adjustment({"told": f"Nothing was learned of held-out folds: {error}"})
    record: dict[str, Any] = {
        "rows": len(found.target),
        "folds": found.count,
        "seconds": round(time.monotonic() - begin, 3),
        "told": None,
        "calibration": None,
        "decision": None,
        "multipliers": None,
        "interval": None,
    }
    if request.interval is not None:
        return _with_interval(found, request.interval, record)
    return adjust_classes(found, request, record)


def _with_interval(found: OutOfFold, share: float, record: Mapping[str, Any]) -> Adjustment:
    width = interval_width(np.abs(found.target - found.outputs), found.weights, share)
    return Adjustment(
        {**record, "interval": {"share": share, "width": width}},
        lambda estimator: IntervalRegressor(estimator, share, width),
    )


def interval_width(errors: Floats, weights: Floats, share: float) -> float:
    """Return how far an interval reaches to each side of a prediction, to hold the target of a share of new rows.

    As many held-out errors are within as there would have to be with one more row, of the mean weight, that is beyond
    all of them.

    Parameters
    ----------
    errors
        Absolute ones, of rows that the model was not fitted on, shape (rows,).
    weights
        How much each row counts, shape (rows,).
    share
        Between 0 and 1.

    Raises
    ------
    InvalidRequestError
        If there are too few rows for the share.

    References
    ----------
    J. Lei et al., "Distribution-free predictive inference for regression", Journal of the American Statistical
    Association 113, 2018. R. F. Barber et al., "Predictive inference with the jackknife+", Annals of Statistics 49,
    2021: held-out folds in place of one part.
    """
    order = np.argsort(errors, kind="stable")
    within = np.cumsum(weights[order])
    needed = share * (within[-1] + weights.mean())
    place = int(np.searchsorted(within, needed * (1 - 1e-12)))
    if place >= len(errors):
        raise InvalidRequestError(
            f'"interval" is {share:g}, and {len(errors):,} held-out rows are too few for that: choose a smaller share, '
            "or bring more rows."
        )
    return rounded(float(errors[order][place]))


def adjust_classes(found: OutOfFold, request: TrainingRequest, record: Mapping[str, Any]) -> Adjustment:
    """Return how a classifier is adjusted by its predictions of held-out folds.

    Parameters
    ----------
    found
        The predictions.
    request
        With every choice made: its metric is what the decision is tuned for.
    record
        What is known already.
    """
    metric = str(request.metric)
    calibration, probabilities, calibrated = calibrate(found, "brier" if metric == "brier" else "log_loss")
    goal = Goal.of(request, np.asarray(found.classes).tolist())
    decided = None if goal is None else judge_decision(found, probabilities, goal, request.seed)
    multipliers = None
    if goal is not None and decided is not None and decided["kept"]:
        final = found.outputs if calibration is None else calibration.of(found.outputs)
        multipliers = tune(final, found.codes, found.weights, goal)
    elif calibration is not None and METRIC_TABLE[metric].of_labels and calibration.offsets.any():
        # The offset alone would move the border between the two classes, and make the metric what it may. Of equal
        # probabilities the first still decides.
        undone = np.exp(-calibration.offsets) * [1 + 1e-5, 1]
        multipliers = np.array([rounded(each) for each in undone / undone.sum()])
    document = {
        **record,
        "calibration": calibrated,
        "decision": decided,
        "multipliers": None if multipliers is None else multipliers.tolist(),
    }
    if calibration is None and multipliers is None:
        return Adjustment(document)
    numbers = {} if calibration is None else vars(calibration)
    return Adjustment(document, lambda estimator: AdjustedClassifier(estimator, multipliers=multipliers, **numbers))
