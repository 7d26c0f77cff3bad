"""Calibrates probabilities, so that what is said to have a chance of 0.8 comes true in eight of ten rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from common.adjusted import calibrated
from common.metrics import Codes, brier_of_rows
from model_training.held_out import NOISE, Floats, OutOfFold, rounded

_MOST_SLOPE = 20.0
_MOST_OFFSET = 10.0


@dataclass(frozen=True)
class Calibration:
    """The numbers of `common.adjusted.calibrated`."""

    slope: float
    offsets: Floats
    floor: float

    def of(self, probabilities: Floats) -> Floats:
        """Return calibrated probabilities."""
        return calibrated(probabilities, self.slope, self.offsets, self.floor)


def fit_calibration(probabilities: Floats, codes: Codes, weights: Floats) -> Calibration:
    """Return the calibration of the least log loss: a slope, and of two classes an offset, which is Platt's sigmoid.

    Parameters
    ----------
    probabilities
        Of rows that the estimator was not fitted on, shape (rows, classes).
    codes
        The place of each row's class, shape (rows,).
    weights
        How much each row counts, shape (rows,).
    """
    # A forest's probability of 0 says that none of its trees knows better, and no more.
    floor = rounded(float(probabilities[probabilities > 0].min()) / 2)
    logarithms = np.log(np.maximum(probabilities, floor))
    shares, rows, size = weights / weights.sum(), np.arange(len(codes)), probabilities.shape[1]
    is_second = np.arange(size) == 1 if size == 2 else np.zeros(size, np.bool_)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        """Return the mean log loss, and its slope in each parameter."""
        scaled = parameters[0] * logarithms + parameters[1] * is_second
        wrong = softmax(scaled, axis=1)
        wrong[rows, codes] -= 1
        by_slope = float(shares @ (wrong * logarithms).sum(axis=1))
        by_offset = float(shares @ wrong[:, is_second].sum(axis=1))
        return float(-shares @ log_softmax(scaled, axis=1)[rows, codes]), np.array([by_slope, by_offset])

    bounds = [(1 / _MOST_SLOPE, _MOST_SLOPE), (-_MOST_OFFSET, _MOST_OFFSET)]
    slope, offset = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(rounded(slope), np.where(is_second, rounded(offset), 0.0), floor)


def _losses(probabilities: Floats, codes: Codes, metric: str) -> Floats:
    """Return what each row adds to the metric that a calibration is judged by, shape (rows,)."""
    if metric == "brier":
        return brier_of_rows(codes, probabilities)
    right = probabilities[np.arange(len(codes)), codes]
    # As the metric clips them.
    step = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(right, step, 1 - step)))


def calibrate(found: OutOfFold, metric: str) -> tuple[Calibration | None, Floats, dict[str, Any] | None]:
    """Return a calibration if it is better on folds that it was not fitted on, and what that was measured by.

    Parameters
    ----------
    found
        Predictions of held-out folds.
    metric
        That is to be better: `log_loss` or `brier`.

    Returns
    -------
    calibration : Calibration, optional
        None where it is not better beyond noise.
    probabilities : numpy.ndarray of shape (rows, classes)
        Calibrated by the other folds, or as they are.
    told : dict, optional
        The metric `before` and `after`, the `deviation` of their difference and whether the calibration is `kept`, and
        then its numbers; None where there is nothing to compare.
    """
    codes = found.codes
    if found.count < 2 or len(np.unique(codes)) < 2:
        return None, found.outputs, None
    after = np.empty_like(found.outputs)
    for number in range(found.count):
        held_out = found.folds == number
        learned = fit_calibration(found.outputs[~held_out], codes[~held_out], found.weights[~held_out])
        after[held_out] = learned.of(found.outputs[held_out])
    before_by, after_by = (_losses(each, codes, metric) for each in (found.outputs, after))
    shares = found.weights / found.weights.sum()
    gains = before_by - after_by
    gain = float(shares @ gains)
    deviation = float(np.sqrt((shares**2) @ (gains - gain) ** 2))
    told = {
        "metric": metric,
        "before": float(shares @ before_by),
        "after": float(shares @ after_by),
        "deviation": deviation,
        "kept": gain > NOISE * deviation,
    }
    if not told["kept"]:
        return None, found.outputs, told
    calibration = fit_calibration(found.outputs, codes, found.weights)
    numbers = {"slope": calibration.slope, "offsets": calibration.offsets.tolist(), "floor": calibration.floor}
    return calibration, after, {**told, **numbers}
