"""Each metric by scikit-learn's function of that name, on labels as they are: what the project's own are held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn import metrics

from common.metric_table import LOWER_IS_BETTER, Scoring

Function = Callable[..., float]

REGRESSION: Mapping[str, Function] = {
    "rmse": metrics.root_mean_squared_error,
    "mae": metrics.mean_absolute_error,
    "medae": metrics.median_absolute_error,
    "mape": metrics.mean_absolute_percentage_error,
    "rmsle": metrics.root_mean_squared_log_error,
    "r2": metrics.r2_score,
}
LABELS: Mapping[str, Function] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "f1_macro": partial(metrics.f1_score, average="macro", zero_division=0),
}
POSITIVE: Mapping[str, Function] = {
    "f1": metrics.f1_score,
    "precision": metrics.precision_score,
    "recall": metrics.recall_score,
}


def scikit_metric(
    metric: str, target: Any, predictions: Any, classes: Any, scoring: Scoring, weights: Any = None
) -> float:
    """Return a metric of values, or of probabilities of shape (rows, classes)."""
    by = {"sample_weight": weights}
    if classes is None:
        of = {**REGRESSION, "pinball": partial(metrics.mean_pinball_loss, alpha=scoring.quantile)}
        return float(of[metric](target, predictions, **by))
    labels = classes[predictions.argmax(axis=1)]
    if metric in LABELS:
        return float(LABELS[metric](target, labels, **by))
    if metric in POSITIVE:
        truth, told = target == scoring.pos_label, labels == scoring.pos_label
        return float(POSITIVE[metric](truth, told, zero_division=0, **by))
    if metric == "average_precision":
        (position,) = np.flatnonzero(classes == scoring.pos_label)
        return float(metrics.average_precision_score(target == scoring.pos_label, predictions[:, position], **by))
    return _of_probabilities(metric, target, predictions, classes, by)


def _of_probabilities(metric: str, target: Any, probabilities: Any, classes: Any, by: Mapping[str, Any]) -> float:
    second = probabilities[:, 1]
    if metric == "log_loss":
        return float(metrics.log_loss(target, probabilities, labels=classes, **by))
    if metric == "roc_auc" and len(classes) > 2:
        return float(metrics.roc_auc_score(target, probabilities, multi_class="ovr", labels=classes, **by))
    if metric == "roc_auc":
        return float(metrics.roc_auc_score(target == classes[1], second, **by))
    assert metric == "brier"
    if len(classes) > 2:
        return float(metrics.brier_score_loss(target, probabilities, labels=classes, **by))
    return float(metrics.brier_score_loss(target == classes[1], second, **by))


def scikit_scorer(metric: str, scoring: Scoring) -> Function:
    """Return the metric as scikit-learn's own tools take one: the higher the better."""
    sign = -1 if metric in LOWER_IS_BETTER else 1

    def score(pipeline: Any, features: Any, target: Any, sample_weight: Any = None) -> float:
        classes = getattr(pipeline, "classes_", None)
        if classes is None:
            predictions = pipeline.predict(features)
        elif metric in LABELS or metric in POSITIVE:
            # Whatever the pipeline decides by.
            predictions = pipeline.predict(features)[:, None] == classes
        else:
            predictions = pipeline.predict_proba(features)
        return sign * scikit_metric(metric, target, predictions, classes, scoring, sample_weight)

    return score
