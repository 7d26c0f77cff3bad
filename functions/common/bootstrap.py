"""The paired bootstrap: how sure a metric is, and the difference between two models on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from common.metric_table import LOWER_IS_BETTER, PLAIN, Scoring
from common.metrics import Weights
from common.weighted_metrics import Floats, WeightedMetric, looked_at, weighted_metric

CONFIDENCE = 0.95
RESAMPLES = 1000
MIN_RESAMPLES = 200
MAX_DRAWS = 20_000_000
"""How many values are drawn at most: the more rows there are, the less the noise of fewer resamples matters."""
LEAST_ROWS = 30
LEAST_DIFFERENT = 10
"""With fewer rows, or fewer on which two models differ, the resamples hold too few different values for an interval."""


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
    scoring: Scoring = PLAIN,
) -> Improvement:
    """Return the improvement over another model with its bootstrap confidence interval.

    Rows are drawn with replacement, the same ones for both models, and the interval is that of the expanded percentiles
    of the differences. Weighted rows are drawn as all others, and then count by their weights: one that counts twice
    was seen once. The fewer of them have most of the weight, the fewer rows they are worth (L. Kish, Survey Sampling,
    1965, section 11.7), which is what the interval is expanded by.

    Parameters
    ----------
    metric
        A metric of `common.metric_table`.
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
    scoring
        The positive class and the quantile.

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015, section 5.3.
    """
    return _compared(metric, target, challenger, other, classes, seed, weights, scoring)[1]


def interval(  # noqa: PLR0913 - as above
    metric: str,
    target: npt.NDArray[Any],
    predictions: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
    *,
    weights: Weights = None,
    scoring: Scoring = PLAIN,
) -> Interval:
    """Return a model's own metric with its bootstrap confidence interval; parameters as those of `improvement`."""
    by, metric_of = _by(target, weights), weighted_metric(metric, target, classes, scoring)(predictions)
    worth = rows_worth(by)
    (drawn,) = _drawn([metric_of], by, _resamples(len(target), classes) if worth >= LEAST_ROWS else 0, seed)
    return Interval(*_told(drawn, worth))


def interval_and_improvement(  # noqa: PLR0913 - as above
    metric: str,
    target: npt.NDArray[Any],
    challenger: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
    *,
    weights: Weights = None,
    scoring: Scoring = PLAIN,
) -> tuple[Interval, Improvement]:
    """Return what `interval` says of the challenger and what `improvement` does, with each resample drawn once."""
    return _compared(metric, target, challenger, other, classes, seed, weights, scoring, own=True)


def _compared(  # noqa: PLR0913, PLR0917 - those of the two that it serves, and which one that is
    metric: str,
    target: npt.NDArray[Any],
    challenger: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    classes: npt.NDArray[Any] | None,
    seed: int,
    weights: Weights,
    scoring: Scoring,
    *,
    own: bool = False,
) -> tuple[Interval, Improvement]:
    """Return the improvement and, if asked for, the challenger's own interval, else one without limits."""
    by, resamples = _by(target, weights), _resamples(len(target), classes)
    new_seen, old_seen = (looked_at(metric, each, classes, scoring) for each in (challenger, other))
    different = (new_seen != old_seen).any(axis=1)
    worth = rows_worth(by)
    enough = worth >= LEAST_ROWS and rows_worth(by[different]) >= LEAST_DIFFERENT
    metric_of = weighted_metric(metric, target, classes, scoring)
    both = [metric_of(predictions) for predictions in (challenger, other)]
    new, old = _drawn(both, by, resamples if enough or (own and worth >= LEAST_ROWS) else 0, seed)
    lower = metric in LOWER_IS_BETTER
    gains = (old - new) if lower else (new - old)
    told = _told(gains if enough else gains[:1], worth)
    loss = float(old[0] if lower else 1 - old[0])
    over = Improvement(metric, *told, len(target), int(different.sum()), loss, resamples, seed)
    return Interval(*_told(new, worth)), over


def _by(target: npt.NDArray[Any], weights: Weights) -> Floats:
    """Return how much each row counts."""
    return np.ones(len(target)) if weights is None else weights


def rows_worth(weights: Floats) -> float:
    """Return how many rows of equal weight tell as much as these: their number, if their weights are equal."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _resamples(rows: int, classes: npt.NDArray[Any] | None) -> int:
    return max(MIN_RESAMPLES, min(RESAMPLES, MAX_DRAWS // (rows * (1 if classes is None else len(classes)))))


def _drawn(metrics: Sequence[WeightedMetric], by: Floats, resamples: int, seed: int) -> Floats:
    """Return metrics of weighted rows as they are, and behind that of resamples; shape (metrics, 1 + resamples)."""
    random, drawn, rows = np.random.default_rng(seed), np.empty((len(metrics), 1 + resamples)), len(by)
    drawn[:, 0] = [metric_of(by) for metric_of in metrics]
    for index in range(1, 1 + resamples):
        weights = np.bincount(random.integers(0, rows, rows), minlength=rows) * by
        drawn[:, index] = [metric_of(weights) for metric_of in metrics]
    return drawn


def _told(drawn: Floats, rows: float) -> tuple[float, float | None, float | None, float | None]:
    """Return a figure of the rows as they are, and the limits and the deviation of those behind it."""
    # Adding zero turns -0.0 into 0.0, which reads better.
    value = float(drawn[0]) + 0.0
    # A resample of one class only has no roc_auc.
    resampled = drawn[1:][~np.isnan(drawn[1:])]
    if not len(resampled):
        return value, None, None, None
    # Percentiles of a normal figure, widened to those of Student's t and for the n in place of n - 1 of resampling.
    tail = float(ndtr(np.sqrt(rows / (rows - 1)) * stdtrit(rows - 1, (1 - CONFIDENCE) / 2)))
    low, high = (float(each) + 0.0 for each in np.quantile(resampled, [tail, 1 - tail]))
    return value, low, high, float(resampled.std())
