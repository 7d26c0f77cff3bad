"""What is measured of a model for its report and its card: importances, effects of features, weak groups of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.conversion import feature_columns
from common.metric_table import Scoring
from common.metrics import Codes, Predictions, Weights, class_codes, multipliers_of
from common.threads import few_threads
from model_evaluation.effects import FEATURES, Effects, partial_dependence
from model_evaluation.evaluation import HeldOut
from model_evaluation.importance import Importance, permutation_importance
from model_evaluation.slices import Slices, find_slices

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class ReportData:
    """What a report tells of: the documents of one run, its model, and the test part with what was predicted for it.

    Attributes
    ----------
    evaluation, profile, model
        The documents `evaluation.json`, `profile.json` and `model.json`.
    pipeline
        The challenger.
    features
        The test part's features, shape (rows, features), or those of a sample of its rows.
    target
        The test part's target, shape (rows,).
    predictions
        For regression the predicted values, shape (rows,); for classification the probabilities, shape
        (rows, classes), in the order of `pipeline.classes_`.
    weights
        How much each row of the test part counts, shape (rows,); None for all alike.
    sample
        The rows that the features are of (`HeldOut`); None for all of them.
    """

    evaluation: Mapping[str, Any]
    profile: Mapping[str, Any]
    model: Mapping[str, Any]
    pipeline: Pipeline
    features: pd.DataFrame
    target: npt.NDArray[Any]
    predictions: npt.NDArray[Any]
    weights: Weights = None
    sample: Codes | None = None

    def seen_by(self, metric: str) -> npt.NDArray[Any]:
        """Return what a metric is to look at of the predictions: one of labels, by what decides."""
        if self.predictions.ndim == 1:
            return self.predictions
        return Predictions(self.predictions, self.pipeline.classes_, multipliers_of(self.pipeline)).seen_by(metric)

    @property
    def decided(self) -> Codes:
        """The positions of the classes that are predicted, shape (rows,)."""
        return np.asarray(self.seen_by("accuracy").argmax(axis=1))


@dataclass(frozen=True)
class Analysis:
    """What was measured.

    Attributes
    ----------
    metric
        By which metric: the one that decides, or where the test part leaves that undefined, the first one that is not.
    importance, slices
        The permutation importances, and the groups of rows on which the model seems worst.
    effects
        What the most important features do to the predictions; None where that would take too long.
    output
        The position of the class that the effects, and the curves of two classes, are of; None for a regression.
    """

    metric: str
    importance: Importance
    slices: Slices
    effects: Effects | None
    output: int | None


def analyse(data: ReportData) -> Analysis:
    """Measure what a report and a card tell of a model; the same data gives the same."""
    metrics, seed = data.evaluation["metrics"], data.model["request"]["seed"]
    metric = next(name for name in (data.evaluation["metric"], *metrics) if metrics[name] is not None)
    part = HeldOut(data.features, data.target, data.weights, data.sample).with_features()
    rows = slice(None) if data.sample is None else data.sample
    predictions = data.predictions[rows]
    scoring = Scoring.of(data.model["request"])
    profile = {column["name"]: column for column in feature_columns(data.profile)}
    classification = data.predictions.ndim == 2
    classes = data.pipeline.classes_ if classification else None
    output = _output(data, scoring) if classification else None
    # Many predictions of a few rows each.
    with few_threads(0):
        importance = permutation_importance(data.pipeline, part, predictions, metric, seed, scoring)
        features = importance.names
        effects = partial_dependence(data.pipeline, part, predictions, features, profile, output, seed)
    slices = find_slices(part, data.seen_by(metric)[rows], classes, metric, scoring, profile, features[:FEATURES])
    return Analysis(metric, importance, slices, effects, output)


def _output(data: ReportData, scoring: Scoring) -> int:
    """Return the position of the positive class, or where there is none, of the second of two or the most frequent."""
    classes = data.pipeline.classes_.tolist()
    positive = scoring.positive(classes)
    if positive is not None:
        return positive
    if len(classes) == 2:
        return 1
    codes, _ = class_codes(data.pipeline.classes_, data.target)
    return int(np.bincount(codes, minlength=len(classes))[: len(classes)].argmax())
