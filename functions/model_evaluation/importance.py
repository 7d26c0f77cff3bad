"""Measures permutation importance, with many shuffled copies of the rows in one prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE, PLAIN, Scoring
from common.metrics import Codes, class_codes, multipliers_of
from common.weighted_metrics import weighted_metric
from model_evaluation.changed_rows import predict_changed
from model_evaluation.evaluation import HeldOut

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

# What bounds the time, whatever the test part is.
MEASURED_FEATURES = 30
REPEATS = 5
SAMPLE_ROWS = 2000
LEAST_SAMPLE_ROWS = 100
PREDICTED_ROWS = 60_000
"""As many rows are predicted in all, less than a test part of 100,000 has; fewer where a row is wide or there are many
classes, for each of which boosting has trees of its own."""
CHEAP_CLASSES = 4
SCREENING_ROWS = 16
SCREENED_CELLS = 20_000_000
"""How many values all predictions of the screening may take or return: up to 1,118 features all are looked at."""


@dataclass(frozen=True)
class Importance:
    """Permutation importance, the most important feature first.

    Attributes
    ----------
    names
        Of the features that were measured.
    losses
        By how much the metric gets worse when a feature is shuffled, shape (features, repeats).
    rows
        How many test rows it was measured on.
    screened
        How many features were looked at, to choose those from that were measured.
    features
        How many features there are.
    """

    names: list[str]
    losses: npt.NDArray[np.floating[Any]]
    rows: int
    screened: int
    features: int


def permutation_importance(
    pipeline: Pipeline,
    part: HeldOut,
    predictions: npt.NDArray[Any],
    metric: str,
    seed: int,
    scoring: Scoring = PLAIN,
) -> Importance:
    """Measure by how much a metric gets worse when one feature is shuffled.

    The numbers are those of `sklearn.inspection.permutation_importance` with the same seed, on a sample of the test
    rows; but many shuffled copies go into one prediction, which for a forest is ten times as fast.

    Parameters
    ----------
    pipeline
        Fitted.
    part
        The test part.
    predictions
        What the pipeline predicts for it: values of shape (rows,) for regression, probabilities of shape
        (rows, classes) for classification.
    metric
        A metric of `common.metric_table`.
    seed
        Of the sample and of the shuffling.
    scoring
        The positive class and the quantile.

    References
    ----------
    L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    classification = predictions.ndim == 2
    multipliers = multipliers_of(pipeline) if METRIC_TABLE[metric].of_labels else None
    if multipliers is not None:
        predictions = predictions * multipliers
    # Codes are sorted faster than texts.
    classes = class_codes(pipeline.classes_, part.target)[0] if classification else part.target
    outputs, columns = predictions[0].size, part.features.shape[1]
    names, screened = list(part.features.columns), columns
    if columns > MEASURED_FEATURES:
        names, screened = _screen(pipeline, part.features, predictions, seed)
    rows = _sample(classes, _sample_size(len(names), columns, outputs), seed, every_class=classification)
    sample = HeldOut(
        part.features.iloc[rows].reset_index(drop=True),
        part.target[rows],
        None if part.weights is None else part.weights[rows],
    )
    score = _scorer(metric, sample, pipeline.classes_ if classification else None, scoring)
    changes = [(name, order) for name in names for order in _permutations(len(rows), seed)]
    changed = predict_changed(pipeline, sample.features, _classes(predictions), np.arange(len(rows)), changes)
    if multipliers is not None:
        changed = (predicted * multipliers for predicted in changed)
    if metric == "rmsle":
        # Values of other rows may make predictions without a logarithm: the least of the model's own stands for them.
        least = predictions.min()
        changed = (np.where(predicted > -1, predicted, least) for predicted in changed)
    scores = np.array([score(predicted) for predicted in changed])
    losses = score(predictions[rows]) - scores.reshape(len(names), REPEATS)
    order = np.argsort(-losses.mean(axis=1), kind="stable")
    return Importance([names[each] for each in order], losses[order], len(rows), screened, columns)


def cost_of_row(features: int, outputs: int) -> float:
    """Return what predicting a row costs, in rows of a narrow table and of few classes."""
    return max(1, outputs / CHEAP_CLASSES) * max(1, features / MEASURED_FEATURES)


def _sample_size(measured: int, features: int, outputs: int) -> int:
    affordable = int(PREDICTED_ROWS / (cost_of_row(features, outputs) * measured * REPEATS))
    return min(max(affordable, LEAST_SAMPLE_ROWS), SAMPLE_ROWS)


def _sample(target: npt.NDArray[Any], size: int, seed: int, *, every_class: bool) -> Codes:
    """Return the positions of a seeded sample of the test rows, if asked for with at least one of each class."""
    order = np.random.default_rng(seed).permutation(len(target))
    if every_class:
        _, first = np.unique(target[order], return_index=True)
        order = np.concatenate([order[first], np.delete(order, first)])
        size = max(size, len(first))
    return np.sort(order[:size])


def _permutations(rows: int, seed: int) -> list[Codes]:
    # As scikit-learn draws them: one shuffle upon another, and the same for each feature.
    state = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    shuffle = order = np.arange(rows)
    orders = list[Codes]()
    for _ in range(REPEATS):
        shuffle = shuffle.copy()
        state.shuffle(shuffle)
        order = order[shuffle]
        orders.append(order)
    return orders


def _classes(predictions: npt.NDArray[Any]) -> int | None:
    return predictions.shape[1] if predictions.ndim == 2 else None


def _screen(
    pipeline: Pipeline, features: pd.DataFrame, predictions: npt.NDArray[Any], seed: int
) -> tuple[list[str], int]:
    """Return the features whose values move the predictions most when a few rows take them from other rows.

    Each feature is a prediction of as many values as there are features, which squares: of thousands of them a seeded
    sample is looked at. The second value is how many were.
    """
    random = np.random.default_rng(seed)
    rows = random.permutation(len(features))[:SCREENING_ROWS]
    sample = features.iloc[rows].reset_index(drop=True)
    order = np.roll(np.arange(len(rows)), 1)
    columns = features.shape[1]
    affordable = max(MEASURED_FEATURES, SCREENED_CELLS // (len(rows) * max(columns, predictions[0].size)))
    looked_at = np.sort(random.permutation(columns)[:affordable])
    names = [features.columns[each] for each in looked_at]
    same = np.arange(len(rows))
    changed = predict_changed(pipeline, sample, _classes(predictions), same, [(name, order) for name in names])
    moves = np.array([np.abs(predicted - predictions[rows]).mean() for predicted in changed])
    return [names[each] for each in np.sort(np.argsort(-moves, kind="stable")[:MEASURED_FEATURES])], len(names)


def _scorer(
    metric: str, part: HeldOut, classes: npt.NDArray[Any] | None, scoring: Scoring
) -> Callable[[npt.NDArray[Any]], float]:
    """Return the metric of a part as a function of what was predicted; the higher the better.

    scikit-learn's own checks of its input would take longer than these formulas.

    Parameters
    ----------
    metric
        Its name.
    part
        Whose target and weights count.
    classes
        Those that the pipeline knows; None for regression.
    scoring
        The positive class and the quantile.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    by = np.ones(len(part.target)) if part.weights is None else part.weights
    metric_of = weighted_metric(metric, part.target, classes, scoring)
    return lambda predicted: sign * metric_of(predicted)(by)
