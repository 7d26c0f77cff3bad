"""Tunes the decision for a class: where a metric is of labels, the most probable class is not always the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from common.metrics import Codes
from common.request import TrainingRequest
from model_training.held_out import NOISE, Floats, OutOfFold, rounded

TUNED = frozenset({"accuracy", "balanced_accuracy", "f1_macro", "f1"})
"""Metrics of labels that have a best decision: precision alone is best of one row, and recall of all rows."""
MOST_CLASSES = 50
"""Of more classes none has rows enough to tune a decision by."""
MOST_RATIO = 1e6
_CANDIDATES = 100
_PASSES = 2
_RESAMPLES = 200


@dataclass(frozen=True)
class Goal:
    """What a decision is to be good at.

    Attributes
    ----------
    metric
        One of `TUNED`.
    classes
        How many there are.
    positive
        The place of the positive class, which f1 is of.
    """

    metric: str
    classes: int
    positive: int | None = None

    @classmethod
    def of(cls, request: TrainingRequest, classes: Sequence[Any]) -> Self | None:
        """Return that of a request with every choice made; None where no decision is tuned for it."""
        metric, positive = str(request.metric), request.scoring.positive(classes)
        if metric not in TUNED or not 1 < len(classes) <= MOST_CLASSES or (metric == "f1" and positive is None):
            return None
        return cls(metric, len(classes), positive)

    def value(self, codes: Codes, decided: Codes, weights: Floats) -> float:
        """Return the metric of what was decided; all of shape (rows,)."""
        counted = np.bincount(codes * self.classes + decided, weights, self.classes**2)
        table = counted.reshape(self.classes, self.classes)
        hits, actual, predicted = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
        if self.metric == "accuracy":
            return float(hits.sum() / table.sum())
        if self.metric == "balanced_accuracy":
            return float((hits[actual > 0] / actual[actual > 0]).mean())
        met = actual + predicted
        f1 = 2 * hits / np.where(met > 0, met, 1)
        return float(f1[met > 0].mean() if self.metric == "f1_macro" else f1[self.positive])


def judge_decision(found: OutOfFold, probabilities: Floats, goal: Goal, seed: int) -> dict[str, Any] | None:
    """Return whether a tuned decision is better on folds that it was not tuned on.

    Parameters
    ----------
    found
        Predictions of held-out folds; what they decide by themselves is what has to be beaten.
    probabilities
        The same, calibrated by other folds, shape (rows, classes). A calibration has a number or two, and that these
        know the fold that is looked at makes no difference.
    goal
        What the decision is to be good at.
    seed
        Of the resamples.

    Returns
    -------
    dict, optional
        The metric `before` and `after`, the `deviation` of their difference, and whether the decision is `kept`, which
        it is if it is better beyond noise; None where there is nothing to compare.
    """
    if found.count < 2:
        return None
    codes, weights = found.codes, found.weights
    before = found.outputs.argmax(axis=1)
    after = np.empty_like(before)
    for number in range(found.count):
        held_out = found.folds == number
        tuned = tune(probabilities[~held_out], codes[~held_out], weights[~held_out], goal)
        after[held_out] = (probabilities[held_out] * tuned).argmax(axis=1)
    values = [goal.value(codes, each, weights) for each in (before, after)]
    deviation = _deviation(found, (before, after), goal, seed)
    return {
        "metric": goal.metric, "before": values[0], "after": values[1], "deviation": deviation,
        "kept": values[1] - values[0] > NOISE * deviation,
    }  # fmt: skip


def tune(probabilities: Floats, codes: Codes, weights: Floats, goal: Goal) -> Floats:
    """Return what probabilities are best multiplied by before the highest decides, shape (classes,), with a sum of 1.

    One class after another gets the best of some multipliers: those at which evenly many rows change their class. Of
    two classes that is a threshold.

    References
    ----------
    Z. Lipton, C. Elkan and B. Naryanaswamy, "Optimal thresholding of classifiers to maximize F1 measure", ECML 2014.
    """
    multipliers = np.ones(goal.classes)
    for code in [1] if goal.classes == 2 else [*range(goal.classes)] * _PASSES:
        others = probabilities * multipliers
        others[:, code] = -1
        other = others.argmax(axis=1)
        # Beyond this multiplier a row is of this class.
        least = others.max(axis=1) / np.maximum(probabilities[:, code], np.finfo(np.float64).tiny)
        # Of equals the first one is taken, which is there already.
        tried = [multipliers[code], *_between(least)]
        values = [goal.value(codes, np.where(least < each, code, other), weights) for each in tried]
        multipliers[code] = tried[int(np.argmax(values))]
    return np.array([rounded(each) for each in multipliers / multipliers.sum()])


def _between(values: Floats) -> Floats:
    """Return numbers between values, as many values from each other."""
    known = np.unique(values[(values > 1 / MOST_RATIO) & (values < MOST_RATIO)])
    if len(known) < 2:
        return known[:0]
    return np.unique(np.quantile((known[1:] + known[:-1]) / 2, np.linspace(0, 1, _CANDIDATES)))


def _deviation(found: OutOfFold, decisions: tuple[Codes, Codes], goal: Goal, seed: int) -> float:
    """Return the standard error of the difference of two decisions on the same rows, by a bootstrap."""
    random, rows, drawn = np.random.default_rng(seed), len(found.codes), list[float]()
    for _ in range(_RESAMPLES):
        weights = np.bincount(random.integers(0, rows, rows), minlength=rows) * found.weights
        one, other = (goal.value(found.codes, each, weights) for each in decisions)
        drawn.append(other - one)
    return float(np.std(drawn))
