"""The paired bootstrap: how sure a metric is, and the difference between two models on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from common.metrics import Weights
from common.request import LOWER_IS_BETTER

CONFIDENCE = 0.95
RESAMPLES = 1000
MIN_RESAMPLES = 200
MAX_DRAWS = 20_000_000
"""How many values are drawn at most: the more rows there are, the less the noise of fewer resamples matters."""
LEAST_ROWS = 30
LEAST_DIFFERENT = 10
"""With fewer rows, or fewer on which two models differ, the resamples hold too few different values for an interval."""

Floats = npt.NDArray[np.float64]
# A metric of weighted rows: from the weights, shape (rows,), to the value.
WeightedMetric = Callable[[Floats], float]


@dataclass(frozen=True)
class Interval:
    """A metric's value on the test rows.

    Attributes
    ----------
    value
        On the rows as they are.
    low, high
        The limits of the interval; None where there are too few rows for one.
    deviation
        The standard deviation of the resamples, which stands for the standard error; None as well.
    """

    value: float
    low: float | None
    high: float | None
    deviation: float | None


@dataclass(frozen=True)
class Improvement:
    """How much better the challenger is than another model; positive is better, whatever the metric's direction.

    Attributes
    ----------
    metric
        The metric.
    value
        The difference on the rows that count.
    low, high, deviation
        Its interval and the standard deviation of the resamples; None where too few rows count or tell them apart.
    rows, different
        How many rows count, and on how many of them the models differ.
    loss
        Of the other model on these rows: the metric, or 1 - metric where higher is better.
    resamples, seed
        Of the bootstrap.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    deviation: float | None
    rows: int
    different: int
    loss: float
    resamples: int
    seed: int
    confidence: float = CONFIDENCE
    method: str = "paired bootstrap, expanded percentile"


def improvement(  # noqa: PLR0913 - as many as a comparison takes
    metric: str,
    target: npt.NDArray[Any],
    challenger: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
    *,
    weights: Weights = None,
) -> Improvement:
    """Return the improvement over another model with its bootstrap confidence interval.

    Rows are drawn with replacement, the same ones for both models, and the interval is that of the expanded percentiles
    of the differences. Weighted rows are drawn as all others, and then count by their weights: one that counts twice
    was seen once. The fewer of them have most of the weight, the fewer rows they are worth (L. Kish, Survey Sampling,
    1965, section 11.7), which is what the interval is expanded by.

    Parameters
    ----------
    metric
        A metric of `common.request.METRICS`.
    target
        Shape (rows,).
    challenger, other
        Predictions of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    classes
        The classes of the probabilities' columns; None for regression.
    seed
        The seed of the draws.
    weights
        How much each row counts, shape (rows,); None for all alike.

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015, section 5.3.
    """
    resamples = _resamples(len(target), classes)
    figure = _improvement_of(metric, target, challenger, other, classes, weights)
    (told,) = _resampled([figure], len(target), resamples, seed, weights)
    return _as_improvement(metric, figure, told, len(target), resamples, seed)


def interval(
    metric: str,
    target: npt.NDArray[Any],
    predictions: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
    *,
    weights: Weights = None,
) -> Interval:
    """Return a model's own metric with its bootstrap confidence interval; parameters as those of `improvement`."""
    figure = _Figure(_weighted(metric, target, predictions, classes), np.ones(len(target), np.bool_))
    return Interval(*_resampled([figure], len(target), _resamples(len(target), classes), seed, weights)[0])


def interval_and_improvement(  # noqa: PLR0913 - as above
    metric: str,
    target: npt.NDArray[Any],
    challenger: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
    *,
    weights: Weights = None,
) -> tuple[Interval, Improvement]:
    """Return what `interval` says of the challenger and what `improvement` does, with each resample drawn once."""
    resamples = _resamples(len(target), classes)
    own = _Figure(_weighted(metric, target, challenger, classes), np.ones(len(target), np.bool_))
    over = _improvement_of(metric, target, challenger, other, classes, weights)
    first, second = _resampled([own, over], len(target), resamples, seed, weights)
    return Interval(*first), _as_improvement(metric, over, second, len(target), resamples, seed)


@dataclass(frozen=True)
class _Figure:
    """What is resampled: a figure of weighted rows, on which rows it may differ, and the other model's loss."""

    value_of: WeightedMetric
    different: npt.NDArray[np.bool_]
    loss: float = np.nan


# The figure of the rows as they are, and over resamples of them the limits and the deviation.
_Told = tuple[float, float | None, float | None, float | None]


def _improvement_of(
    metric: str,
    target: npt.NDArray[Any],
    challenger: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    weights: Weights,
) -> _Figure:
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    new, old = (_weighted(metric, target, predictions, classes) for predictions in (challenger, other))
    before = old(np.ones(len(target)) if weights is None else weights)
    return _Figure(
        lambda counts: sign * (new(counts) - old(counts)),
        _different(metric, challenger, other),
        before if metric in LOWER_IS_BETTER else 1 - before,
    )


def _as_improvement(metric: str, figure: _Figure, told: _Told, rows: int, resamples: int, seed: int) -> Improvement:
    return Improvement(metric, *told, rows, int(figure.different.sum()), figure.loss, resamples, seed)


def _resamples(rows: int, classes: npt.NDArray[Any] | None) -> int:
    return max(MIN_RESAMPLES, min(RESAMPLES, MAX_DRAWS // (rows * (1 if classes is None else len(classes)))))


def _resampled(figures: Sequence[_Figure], rows: int, resamples: int, seed: int, weights: Weights) -> list[_Told]:
    """Return figures of the same rows, and the limits and the deviation of each over the same resamples of them."""
    as_they_are = np.ones(rows) if weights is None else weights
    # Adding zero turns -0.0 into 0.0, which reads better.
    values = [float(each.value_of(as_they_are)) + 0.0 for each in figures]
    worth = rows_worth(as_they_are)
    enough = [worth >= LEAST_ROWS and rows_worth(as_they_are[each.different]) >= LEAST_DIFFERENT for each in figures]
    drawn = np.empty((len(figures), resamples))
    if any(enough):
        for index, counts in enumerate(_counts(rows, resamples, seed)):
            weighted = counts if weights is None else counts * weights
            drawn[:, index] = [each.value_of(weighted) for each in figures]
    return [
        (value, *(_limits(of_one, worth) if resampled else (None, None, None)))
        for value, of_one, resampled in zip(values, drawn, enough, strict=True)
    ]


def rows_worth(weights: Floats) -> float:
    """Return how many rows of equal weight tell as much as these: their number, if their weights are equal."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _counts(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each row is drawn, shape (rows,)."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def _limits(drawn: Floats, rows: float) -> tuple[float, float, float] | tuple[None, None, None]:
    # A resample of one class only has no roc_auc.
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return None, None, None
    # Percentiles of a normal figure, widened to those of Student's t and for the n in place of n - 1 of resampling.
    tail = float(ndtr(np.sqrt(rows / (rows - 1)) * stdtrit(rows - 1, (1 - CONFIDENCE) / 2)))
    low, high = (float(each) + 0.0 for each in np.quantile(drawn, [tail, 1 - tail]))
    return low, high, float(drawn.std())


def _different(metric: str, one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Return on which rows, of shape (rows,), two models differ in what a metric looks at."""
    if one.ndim == 1:
        return np.asarray(one != other)
    if metric in ("accuracy", "f1_macro"):
        return np.asarray(one.argmax(axis=1) != other.argmax(axis=1))
    return np.asarray((one != other).any(axis=1))


def _weighted(
    metric: str, target: npt.NDArray[Any], predictions: npt.NDArray[np.floating], classes: npt.NDArray[Any] | None
) -> WeightedMetric:
    if classes is None:
        return _weighted_regression(metric, target, np.asarray(predictions, np.float64))
    return _weighted_classification(metric, target, np.asarray(predictions, np.float64), classes)


def _total(weights: npt.NDArray[Any], values: Floats) -> float:
    """Return the weighted sum, without the threads of a BLAS: they wait for each other longer than one takes."""
    return float(np.einsum("i,i", weights, values))


def _weighted_regression(metric: str, target: Floats, predicted: Floats) -> WeightedMetric:
    squares, absolutes = (target - predicted) ** 2, np.abs(target - predicted)

    def r2(weights: Floats) -> float:
        drawn = target[weights > 0]
        if drawn.min() == drawn.max():
            return np.nan
        deviations = (target - np.average(target, weights=weights)) ** 2
        total = _total(weights, deviations)
        return float(1 - _total(weights, squares) / total) if total else np.nan

    choices: Mapping[str, WeightedMetric] = {
        "rmse": lambda weights: float(np.sqrt(_total(weights, squares) / weights.sum())),
        "mae": lambda weights: _total(weights, absolutes) / float(weights.sum()),
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
        return lambda weights: _total(weights, correct) / float(weights.sum())
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
    return lambda weights: _total(weights, losses) / float(weights.sum())


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
        return _total(hits, below) / float(pairs) if pairs else np.nan

    return area
