"""Blends the best trials of a search: a weighted mean of what they predict, if it is better on the folds than the best.

What each trial has predicted of the rows that it was not fitted on tells how well a blend would do, without a fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE
from common.metrics import Predictions, Weights, metrics_of
from common.request import TrainingRequest
from model_training.folds import Fold

CANDIDATES = 15
"""How many trials a blend is chosen from, the best ones."""
STEPS = 20
"""How often one of them is added: weights are multiples of a twentieth."""
MOST_MEMBERS = 5
LEAST_GAIN = 0.5
"""How many standard errors of the folds' differences a blend must be better by than the best trial."""
_TINY = 1e-15

Outputs = npt.NDArray[np.floating[Any]]
Loss = Callable[[Outputs], float]


@dataclass(frozen=True)
class HeldOutRows:
    """The rows that trials were scored on, fold after fold.

    Attributes
    ----------
    target, weights
        Of these rows, shape (rows,); the weights None for all alike.
    classes
        Of a classification, sorted, shape (classes,).
    ends
        Where each fold's rows end.
    """

    target: npt.NDArray[Any]
    weights: Weights
    classes: npt.NDArray[Any] | None
    ends: tuple[int, ...]

    @classmethod
    def of(cls, folds: Sequence[Fold], target: npt.NDArray[Any], weights: Weights, problem: str) -> HeldOutRows:
        """Return the rows of folds of a target, of shape (rows,)."""
        rows = np.concatenate([fold.scored for fold in folds])
        ends = tuple(int(end) for end in np.cumsum([len(fold.scored) for fold in folds]))
        classes = None if problem == "regression" else np.unique(target)
        return cls(target[rows], None if weights is None else weights[rows], classes, ends)

    def scores(self, outputs: Outputs, request: TrainingRequest) -> list[float] | None:
        """Return the request's metric of each fold; None where it is undefined on one."""
        found, begin = list[float](), 0
        for end in self.ends:
            rows = slice(begin, end)
            metrics, _ = metrics_of(
                Predictions(outputs[rows], self.classes),
                self.target[rows],
                None if self.weights is None else self.weights[rows],
                request.scoring,
            )
            value, begin = metrics[str(request.metric)], end
            if value is None:
                return None
            found.append(value)
        return found


@dataclass(frozen=True)
class Blend:
    """What is better together.

    Attributes
    ----------
    weights
        Of each member, by the trial's number; they add up to 1.
    score, deviation
        The metric's mean over the folds, and the standard deviation of the folds.
    """

    weights: Mapping[int, float]
    score: float
    deviation: float


def choose_blend(outputs: Mapping[int, Outputs], rows: HeldOutRows, request: TrainingRequest) -> Blend | None:
    """Return the blend that is better than the best trial on the folds; None if there is none.

    Trials are added one by one, each as often as it makes the blend better, by a loss that goes with the metric. What
    comes of it is held against the best trial by the metric itself.

    Parameters
    ----------
    outputs
        What trials have predicted of the held-out rows, by their number and the best one first; of shape (rows,), or
        (rows, classes).
    rows
        The held-out rows.
    request
        With every choice made: its metric decides.

    References
    ----------
    R. Caruana et al., "Ensemble selection from libraries of models", ICML 2004.
    """
    weights = _greedy(outputs, _loss(rows, request))
    best = next(iter(outputs))
    if set(weights) == {best}:
        return None
    blended = sum(weight * outputs[number] for number, weight in weights.items())
    alone, together = rows.scores(outputs[best], request), rows.scores(np.asarray(blended), request)
    if alone is None or together is None:
        return None
    sign = 1 if str(request.metric) in LOWER_IS_BETTER else -1
    gains = sign * (np.array(alone) - np.array(together))
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
    if gains.mean() <= LEAST_GAIN * error or gains.mean() <= 0:
        return None
    deviation = float(np.std(together, ddof=1)) if len(together) > 1 else 0.0
    return Blend(weights, float(np.mean(together)), deviation)


def _greedy(outputs: Mapping[int, Outputs], loss: Loss) -> dict[int, float]:
    """Return the weights that adding one trial after another leads to, as far as that pays."""
    best = next(iter(outputs))
    chosen, total, least = [best], outputs[best].astype(np.float64), loss(outputs[best])
    for _ in range(STEPS - 1):
        allowed = outputs if len(set(chosen)) < MOST_MEMBERS else {number: outputs[number] for number in set(chosen)}
        losses = {number: loss((total + each) / (len(chosen) + 1)) for number, each in allowed.items()}
        number = min(losses, key=lambda each: (losses[each], each))
        if losses[number] >= least:
            break
        chosen, total, least = [*chosen, number], total + outputs[number], losses[number]
    return {number: count / len(chosen) for number, count in sorted(Counter(chosen).items())}


def _loss(rows: HeldOutRows, request: TrainingRequest) -> Loss:
    """Return a loss that is quick to compute, and least where what the metric asks for is predicted."""
    target, by = rows.target, rows.weights
    if rows.classes is not None:
        place = np.searchsorted(rows.classes, target)
        each = np.arange(len(target))
        return lambda outputs: -float(np.average(np.log(outputs[each, place] + _TINY), weights=by))
    constant = METRIC_TABLE[str(request.metric)].constant
    if constant == "quantile":
        quantile = request.quantile
        return lambda outputs: float(
            np.average(np.maximum(quantile * (target - outputs), (quantile - 1) * (target - outputs)), weights=by)
        )
    if constant == "median":
        return lambda outputs: float(np.average(np.abs(target - outputs), weights=by))
    if constant == "relative_median":
        scale = np.maximum(np.abs(target), _TINY)
        return lambda outputs: float(np.average(np.abs(target - outputs) / scale, weights=by))
    if constant == "log_mean":
        logarithm = np.log1p(np.maximum(target, 0))
        return lambda outputs: float(np.average((logarithm - np.log1p(np.maximum(outputs, 0))) ** 2, weights=by))
    return lambda outputs: float(np.average((target - outputs) ** 2, weights=by))
