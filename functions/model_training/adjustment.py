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

from common.adjusted import AdjustedClassifier
from common.conversion import Profile
from common.errors import InvalidDatasetError
from common.metric_table import METRIC_TABLE
from common.request import TrainingRequest
from model_training.calibration import calibrate
from model_training.decisions import Goal, judge_decision, tune
from model_training.folds import Part
from model_training.held_out import OutOfFold, predict_folds, rounded


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


def learn(request: TrainingRequest, profile: Profile, part: Part, seconds: float) -> Adjustment:
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
    }
    return adjust_classes(found, request, record)


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
