"""Calibration: the numbers that scikit-learn finds, and kept where held-out folds say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from model_training.calibration import calibrate, fit_calibration
from model_training.held_out import OutOfFold

RANDOM = np.random.default_rng(0)


def of_two(second: Any) -> Any:
    return np.column_stack([1 - second, second])


def too_sure(rows: int = 4000, slope: float = 3.0, offset: float = 1.0) -> tuple[Any, Any]:
    """Return probabilities whose log odds are too far from 0, by a factor and an offset, and what comes true."""
    odds = np.random.default_rng(1).normal(0, 1.5, rows)
    truth = (np.random.default_rng(2).random(rows) < expit(odds)).astype(np.int64)
    return of_two(expit(slope * odds + offset)), truth


def found(probabilities: Any, codes: Any, weights: Any = None, folds: int = 5) -> OutOfFold:
    rows = len(codes)
    classes = np.arange(probabilities.shape[1])
    return OutOfFold(
        probabilities, codes, np.arange(rows) % folds, np.ones(rows) if weights is None else weights, classes
    )


def test_what_was_wrong_with_the_odds_is_undone() -> None:
    probabilities, truth = too_sure(40_000)
    learned = fit_calibration(probabilities, truth, np.ones(len(truth)))
    assert learned.slope == pytest.approx(1 / 3, rel=0.05)
    assert learned.offsets == pytest.approx([0, -1 / 3], abs=0.05)


def test_the_numbers_are_those_of_an_unregularised_logistic_regression() -> None:
    probabilities, truth = too_sure()
    weights = np.random.default_rng(3).uniform(0.1, 3, len(truth))
    learned = fit_calibration(probabilities, truth, weights)
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(probabilities[:, 1])[:, None], truth, weights)
    assert [learned.slope, learned.offsets[1]] == pytest.approx([line.coef_[0, 0], line.intercept_[0]], rel=1e-3)


def test_several_classes_get_a_temperature() -> None:
    scores = np.random.default_rng(4).normal(size=(20_000, 3))
    drawn = np.random.default_rng(5).random(len(scores))
    truth = (softmax(scores, axis=1).cumsum(axis=1) < drawn[:, None]).sum(axis=1)
    learned = fit_calibration(softmax(4 * scores, axis=1), truth, np.ones(len(scores)))
    assert learned.slope == pytest.approx(0.25, rel=0.05)
    assert learned.offsets.tolist() == [0, 0, 0]


def test_a_row_of_twice_the_weight_is_two_rows() -> None:
    probabilities, truth = too_sure(500)
    weights = np.where(np.arange(500) < 200, 2.0, 1.0)
    twice = np.repeat(np.arange(500), weights.astype(int))
    one, other = (
        fit_calibration(probabilities, truth, weights),
        fit_calibration(probabilities[twice], truth[twice], np.ones(len(twice))),
    )
    assert (one.slope, one.offsets[1]) == pytest.approx((other.slope, other.offsets[1]), rel=1e-3)


@pytest.mark.parametrize(("metric", "function"), [("log_loss", log_loss), ("brier", brier_score_loss)])
def test_a_calibration_that_is_better_on_held_out_folds_is_kept_and_told(metric: str, function: Any) -> None:
    probabilities, truth = too_sure()
    calibration, after, told = calibrate(found(probabilities, truth), metric)
    assert calibration is not None
    assert told is not None
    assert told["before"] == pytest.approx(
        function(truth, probabilities if metric == "log_loss" else probabilities[:, 1])
    )
    assert told["after"] == pytest.approx(function(truth, after if metric == "log_loss" else after[:, 1]))
    assert told["after"] < told["before"] - 2 * told["deviation"]
    assert (told["kept"], told["slope"], told["floor"]) == (True, calibration.slope, calibration.floor)
    # The folds' own numbers are about those of all.
    np.testing.assert_allclose(after, calibration.of(probabilities), atol=0.05)


def test_probabilities_that_are_right_stay_as_they_are() -> None:
    probabilities, truth = too_sure(slope=1.0, offset=0.0)
    calibration, after, told = calibrate(found(probabilities, truth), "log_loss")
    assert calibration is None
    assert after is probabilities
    assert told is not None
    assert not told["kept"]
    assert "slope" not in told


def test_a_probability_of_0_that_comes_true_costs_no_more_than_the_rarest_one() -> None:
    """As of a forest, none of whose trees knows a class: its log loss is of these few rows."""
    probabilities, truth = too_sure(1000)
    rounded = of_two(np.round(probabilities[:, 1], 2))
    calibration, _, told = calibrate(found(rounded, truth), "log_loss")
    assert calibration is not None
    assert told is not None
    assert calibration.floor == 0.005
    assert told["before"] > 1
    assert told["after"] < 0.7


def test_of_one_fold_or_one_class_nothing_is_learned() -> None:
    probabilities, truth = too_sure(100)
    assert calibrate(found(probabilities, truth, folds=1), "log_loss")[::2] == (None, None)
    assert calibrate(found(probabilities, np.zeros(100, np.int64)), "log_loss")[::2] == (None, None)
