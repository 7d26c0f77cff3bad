"""The paired bootstrap: how sure the difference between two models on the same rows is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.request import LOWER_IS_BETTER

CONFIDENCE = 0.95
RESAMPLES = 1000
MIN_RESAMPLES = 200
MAX_DRAWS = 20_000_000
"""How many values are drawn at most: the more rows there are, the less the noise of fewer resamples matters."""

Floats = npt.NDArray[np.float64]
# A metric of weighted rows: from the weights, shape (rows,), to the value.
WeightedMetric = Callable[[Floats], float]


@dataclass(frozen=True)
class Improvement:
    """How much better the challenger is than the champion; positive is better, whatever the metric's direction."""

    metric: str
    value: float
    low: float
    high: float
    resamples: int
    seed: int
    confidence: float = CONFIDENCE
    method: str = "paired bootstrap, percentile"


def improvement(
    metric: str,
    target: npt.NDArray[Any],
    challenger: npt.NDArray[np.floating],
    champion: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
) -> Improvement:
    """Return the improvement with its bootstrap confidence interval.

    Rows are drawn with replacement, the same ones for both models, and the interval is that of the percentiles of the
    differences (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Parameters
    ----------
    metric
        A metric of `common.request.METRICS`.
    target
        Shape (rows,).
    challenger, champion
        Predictions of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    classes
        The classes of the probabilities' columns; None for regression.
    seed
        The seed of the draws.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    new, old = (_weighted(metric, target, predictions, classes) for predictions in (challenger, champion))
    rows = len(target)
    resamples = max(MIN_RESAMPLES, min(RESAMPLES, MAX_DRAWS // (rows * (1 if classes is None else len(classes)))))
    random = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for index in range(resamples):
        weights = np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)
        differences[index] = sign * (new(weights) - old(weights))
    once = np.ones(rows)
    tail = (1 - CONFIDENCE) / 2
    # A resample of one class only has no roc_auc.
    low, high = np.nanquantile(differences, [tail, 1 - tail])
    # Adding zero turns -0.0 into 0.0, which reads better.
    value, low, high = (float(each) + 0.0 for each in (sign * (new(once) - old(once)), low, high))
    return Improvement(metric, value, low, high, resamples, seed)


def _weighted(
    metric: str, target: npt.NDArray[Any], predictions: npt.NDArray[np.floating], classes: npt.NDArray[Any] | None
) -> WeightedMetric:
    if classes is None:
        return _weighted_regression(metric, target, np.asarray(predictions, np.float64))
    return _weighted_classification(metric, target, np.asarray(predictions, np.float64), classes)


def _weighted_regression(metric: str, target: Floats, predicted: Floats) -> WeightedMetric:
    squares, absolutes = (target - predicted) ** 2, np.abs(target - predicted)

    def r2(weights: Floats) -> float:
        deviations = (target - np.average(target, weights=weights)) ** 2
        total = weights @ deviations
        return float(1 - (weights @ squares) / total) if total else np.nan

    choices: Mapping[str, WeightedMetric] = {
        "rmse": lambda weights: float(np.sqrt(weights @ squares / weights.sum())),
        "mae": lambda weights: float(weights @ absolutes / weights.sum()),
        "r2": r2,
    }
    return choices[metric]


def _weighted_classification(
    metric: str, target: npt.NDArray[Any], probabilities: Floats, classes: npt.NDArray[Any]
) -> WeightedMetric:
    # A class that training never saw gets a code behind the known ones: it is never predicted.
    known = {
        label: code
        for code, label in enumerate([*classes.tolist(), *sorted(set(target.tolist()) - set(classes.tolist()))])
    }
    codes = np.array([known[label] for label in target.tolist()])
    predicted = probabilities.argmax(axis=1)
    correct = (codes == predicted).astype(np.float64)

    def f1_macro(weights: Floats) -> float:
        counts = np.bincount(codes, weights, len(known)) + np.bincount(predicted, weights, len(known))
        hits = np.bincount(codes, weights * correct, len(known))
        present = counts > 0
        return float((2 * hits[present] / counts[present]).mean())

    if metric == "accuracy":
        return lambda weights: float(weights @ correct / weights.sum())
    if metric == "f1_macro":
        return f1_macro
    if metric == "log_loss":
        return _weighted_log_loss(codes, probabilities)
    positives = [1] if len(classes) == 2 else range(len(classes))
    curves = [_weighted_auc(codes == code, probabilities[:, code]) for code in positives]
    return lambda weights: float(np.mean([curve(weights) for curve in curves]))


def _weighted_log_loss(codes: npt.NDArray[np.integer], probabilities: Floats) -> WeightedMetric:
    # Clipped as scikit-learn does: the smallest step of the type from 0 and 1.
    epsilon = np.finfo(probabilities.dtype).eps
    losses = -np.log(np.clip(probabilities[np.arange(len(codes)), codes], epsilon, 1 - epsilon))
    return lambda weights: float(weights @ losses / weights.sum())


def _weighted_auc(positive: npt.NDArray[np.bool_], scores: Floats) -> WeightedMetric:
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
        return float(hits @ below / pairs) if pairs else np.nan

    return area
