"""Metrics as functions of how much each row counts: what does not depend on that is computed once.

A resample is the same rows with other weights, so that a thousand of them take a thousand sums and no sorting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.metric_table import METRIC_TABLE, Scoring
from common.metrics import Codes, class_codes

Floats = npt.NDArray[np.float64]
# From the weights, shape (rows,), to the value; not a number where the rows that weigh leave it undefined.
WeightedMetric = Callable[[Floats], float]
# From what is predicted, of shape (rows,) for regression, and of probabilities (rows, classes) for classification.
MetricOf = Callable[[npt.NDArray[np.floating]], WeightedMetric]


def weighted_metric(
    metric: str, target: npt.NDArray[Any], classes: npt.NDArray[Any] | None, scoring: Scoring
) -> MetricOf:
    """Return a metric of a target as a function of predictions, and of these as one of the rows' weights.

    Parameters
    ----------
    metric
        Of `common.metric_table`.
    target
        Shape (rows,).
    classes
        The classes of the probabilities' columns; None for regression.
    scoring
        The positive class and the quantile.
    """
    if classes is None:
        return lambda values: _of_regression(metric, target, np.asarray(values, np.float64), scoring.quantile)
    codes, unseen = class_codes(classes, target)
    if METRIC_TABLE[metric].needs_positive_class:
        positive = scoring.positive(classes.tolist())
        return lambda probabilities: _of_positive_class(metric, codes, probabilities, positive)
    if METRIC_TABLE[metric].of_labels:
        return lambda probabilities: _of_labels(metric, codes, probabilities.argmax(axis=1), len(classes) + len(unseen))
    return lambda probabilities: _of_probabilities(metric, codes, np.asarray(probabilities, np.float64))


def looked_at(
    metric: str, predictions: npt.NDArray[np.floating], classes: npt.NDArray[Any] | None, scoring: Scoring
) -> npt.NDArray[Any]:
    """Return what a metric looks at of predictions, shape (rows, columns): two models differ where this does."""
    if classes is None:
        return predictions[:, None]
    kind, seen = METRIC_TABLE[metric], predictions
    columns: Sequence[int] | slice = slice(None)
    if kind.needs_positive_class and (positive := scoring.positive(classes.tolist())) is not None:
        columns = [positive]
    if kind.of_labels:
        seen = np.arange(len(classes)) == predictions.argmax(axis=1)[:, None]
    return seen[:, columns]


def _total(weights: npt.NDArray[Any], values: Floats) -> float:
    """Return the weighted sum, without the threads of a BLAS: they wait for each other longer than one takes."""
    return float(np.einsum("i,i", weights, values))


def _mean(losses: Floats) -> WeightedMetric:
    return lambda weights: _total(weights, losses) / float(weights.sum())


# Regression


def _of_regression(metric: str, target: Floats, predicted: Floats, quantile: float) -> WeightedMetric:
    error = target - predicted
    if metric == "r2":
        return _r2(target, error**2)
    if metric == "medae":
        return _median(np.abs(error))
    losses: Mapping[str, Callable[[], Floats]] = {
        "rmse": lambda: error**2,
        "mae": lambda: np.abs(error),
        # As scikit-learn divides: by the least step, where the target is 0.
        "mape": lambda: np.abs(error) / np.maximum(np.abs(target), np.finfo(np.float64).eps),
        "rmsle": lambda: (np.log1p(target) - np.log1p(predicted)) ** 2,
        "pinball": lambda: np.maximum(quantile * error, (quantile - 1) * error),
    }
    # Of another model's prediction there may be no logarithm: then this is not a number.
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _mean(losses[metric]())
    return (lambda weights: float(np.sqrt(mean(weights)))) if metric in ("rmse", "rmsle") else mean


def _r2(target: Floats, squares: Floats) -> WeightedMetric:
    def r2(weights: Floats) -> float:
        drawn = target[weights > 0]
        if drawn.min() == drawn.max():
            return np.nan
        deviations = (target - np.average(target, weights=weights)) ** 2
        total = _total(weights, deviations)
        return float(1 - _total(weights, squares) / total) if total else np.nan

    return r2


def _median(values: Floats) -> WeightedMetric:
    """Return the weighted median: the middle of two values where exactly half of the weight is below.

    The values are sorted once.

    References
    ----------
    R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50, 1996, type 2.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def median(weights: Floats) -> float:
        below = np.cumsum(weights[order])
        half = below[-1] / 2
        first = int(np.searchsorted(below, half))
        # Behind a value at which half is reached comes the next one of any weight.
        second = int(np.searchsorted(below, below[first], side="right"))
        exact = below[first] - half <= np.finfo(np.float64).eps and second < len(below)
        return float((ordered[first] + ordered[second if exact else first]) / 2)

    return median


# Classification


def _of_labels(metric: str, codes: Codes, predicted: Codes, size: int) -> WeightedMetric:
    """Return a metric of the predicted classes of all; one that training never saw is never predicted."""
    correct = (codes == predicted).astype(np.float64)

    def balanced_accuracy(weights: Floats) -> float:
        actual, hits = (np.bincount(codes, each, size) for each in (weights, weights * correct))
        return float((hits[actual > 0] / actual[actual > 0]).mean())

    def f1_macro(weights: Floats) -> float:
        counts = np.bincount(codes, weights, size) + np.bincount(predicted, weights, size)
        hits = np.bincount(codes, weights * correct, size)
        return float((2 * hits[counts > 0] / counts[counts > 0]).mean())

    choices: Mapping[str, WeightedMetric] = {
        "accuracy": _mean(correct),
        "balanced_accuracy": balanced_accuracy,
        "f1_macro": f1_macro,
    }
    return choices[metric]


def _of_positive_class(
    metric: str, codes: Codes, probabilities: npt.NDArray[np.floating], positive: int | None
) -> WeightedMetric:
    """Return a metric of one class against all others; not a number without a row of it."""
    if positive is None:
        return lambda _: np.nan
    truth = codes == positive
    if metric == "average_precision":
        return _average_precision(truth, probabilities[:, positive])
    predicted = probabilities.argmax(axis=1) == positive
    actual, taken, hits = (each.astype(np.float64) for each in (truth, predicted, truth & predicted))

    def of_counts(weights: Floats) -> float:
        found, there, told = (_total(weights, each) for each in (hits, actual, taken))
        if not there:
            return np.nan
        # Whoever finds none has no precision: scikit-learn's 0, as in every other place here.
        return {"recall": found / there, "precision": found / told if told else 0.0, "f1": 2 * found / (there + told)}[
            metric
        ]

    return of_counts


def _average_precision(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> WeightedMetric:
    """Return the mean precision over all recalls, where rows of one score are found together.

    The scores are ranked once, the highest first; what is left for each resample is linear in the rows.
    """
    ranks = np.unique(-scores, return_inverse=True)[1]
    lowest = int(ranks.max()) + 1

    def average_precision(weights: Floats) -> float:
        hits = np.bincount(ranks, weights * truth, lowest)
        told = np.cumsum(np.bincount(ranks, weights, lowest))
        found = np.cumsum(hits)
        if not found[-1]:
            return np.nan
        # Where no row was told of yet, none is found.
        return _total(hits, found / np.where(told > 0, told, 1)) / float(found[-1])

    return average_precision


def _of_probabilities(metric: str, codes: Codes, probabilities: Floats) -> WeightedMetric:
    columns = probabilities.shape[1]
    if metric == "log_loss":
        # Clipped as scikit-learn does: the smallest step of the type from 0 and 1.
        epsilon = np.finfo(probabilities.dtype).eps
        return _mean(-np.log(np.clip(probabilities[np.arange(len(codes)), codes], epsilon, 1 - epsilon)))
    if metric == "brier":
        squares = ((probabilities - (codes[:, None] == np.arange(columns))) ** 2).sum(axis=1)
        # Of two classes the square of either one's probability, as scikit-learn has it.
        return _mean(squares / 2 if columns == 2 else squares)
    positives = [1] if columns == 2 else range(columns)
    curves = [_area(codes == code, probabilities[:, code]) for code in positives]
    return lambda weights: float(np.mean([curve(weights) for curve in curves]))


def _area(positive: npt.NDArray[np.bool_], scores: Floats) -> WeightedMetric:
    """Return the area under the ROC curve: the share of pairs that are in order, ties counting half.

    The scores are ranked once; what is left for each resample is linear in the rows.
    """
    ranks = np.unique(scores, return_inverse=True)[1]
    highest = int(ranks.max()) + 1

    def area(weights: Floats) -> float:
        hits = np.bincount(ranks, weights * positive, highest)
        misses = np.bincount(ranks, weights * ~positive, highest)
        pairs = hits.sum() * misses.sum()
        below = np.cumsum(misses) - misses / 2
        return _total(hits, below) / float(pairs) if pairs else np.nan

    return area
