"""The metrics: scikit-learn's values, on all rows and classes that may come, and why one is undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.metric_table import METRIC_TABLE, METRICS, OF_POSITIVE_CLASS, Scoring
from common.metrics import Predictions, best_constant, class_codes, metrics_of
from scikit_metrics import scikit_metric

ROWS = 60


@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(0.01, 0.99))
def test_metrics_of_numbers_are_scikit_learns(seed: int, weighted: bool, quantile: float) -> None:
    random = np.random.default_rng(seed)
    # Whole numbers, so that errors are equal.
    target, predicted = random.integers(1, 9, ROWS).astype(float), random.integers(0, 9, ROWS).astype(float)
    weights = random.integers(1, 4, ROWS).astype(float) if weighted else None
    scoring = Scoring(None, quantile)
    found, undefined = metrics_of(Predictions(predicted), target, weights, scoring)
    expected = {name: scikit_metric(name, target, predicted, None, scoring, weights) for name in METRICS["regression"]}
    assert found == pytest.approx(expected, rel=1e-12)
    assert undefined == {}


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([["a", "bb"], ["a", "b", "c"], [0, 7], [False, True]]))
def test_metrics_of_classes_are_scikit_learns(seed: int, weighted: bool, labels: list[Any]) -> None:
    random, classes = np.random.default_rng(seed), np.array(labels)
    target = classes[np.r_[np.arange(len(labels)), random.integers(0, len(labels), ROWS)]]
    # Rounded, so that scores are equal.
    raw = 1 + random.integers(0, 4, (len(target), len(labels)))
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    weights = random.integers(1, 4, len(target)).astype(float) if weighted else None
    scoring = Scoring(labels[int(random.integers(len(labels)))])
    found, undefined = metrics_of(Predictions(probabilities, classes), target, weights, scoring)
    expected = {
        name: scikit_metric(name, target, probabilities, classes, scoring, weights)
        for name in METRICS["classification"]
    }
    assert found == pytest.approx(expected, rel=1e-12)
    assert undefined == {}


@pytest.mark.parametrize(
    ("target", "predicted", "undefined"),
    [
        (
            [1.0, 0.0, 2.0, 0.0],
            [1.0] * 4,
            {"mape": "the target is 0 in 2 of the test rows, and no error is a"},
        ),
        ([1.0, -0.5, 2.0, 3.0], [1.0] * 4, {"rmsle": "the target is negative in 1 of the test rows"}),
        ([1.0, 2.0, 3.0, 4.0], [1.0, -1.0, -3.0, 1.0], {"rmsle": "2 predictions are -1 or below, of which there is"}),
        ([2.0, 2.0, 2.0, 2.0], [1.0] * 4, {"r2": "the target is the same in all test rows"}),
        ([1e200, 1.0, 2.0, 3.0], [1.0] * 4, {"rmse": "it is beyond what a float holds", "r2": "it is beyond"}),
    ],
)
def test_a_metric_that_a_target_does_not_allow_says_why(
    target: list[float], predicted: list[float], undefined: dict[str, str]
) -> None:
    found, told = metrics_of(Predictions(np.array(predicted)), np.array(target))
    assert {name for name, value in found.items() if value is None} == set(told) == set(undefined)
    assert all(told[name].startswith(reason) for name, reason in undefined.items())


@pytest.mark.parametrize(
    ("target", "scoring", "reason"),
    [
        (["a", "b", "a"], Scoring(), "it is of one class, and pos_label does not say of which"),
        (["a", "b", "c"], Scoring("c"), "training never saw the class that pos_label names"),
        (["a", "a", "a"], Scoring("b"), "the test part has no row of the class that pos_label names"),
    ],
)
def test_without_rows_of_a_positive_class_its_metrics_say_why(target: list[str], scoring: Scoring, reason: str) -> None:
    predictions = Predictions(np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]), np.array(["a", "b"]))
    found, undefined = metrics_of(predictions, np.array(target), None, scoring)
    assert {name: undefined[name] for name in OF_POSITIVE_CLASS} == dict.fromkeys(OF_POSITIVE_CLASS, reason)
    assert all(found[name] is None for name in OF_POSITIVE_CLASS)
    assert found["balanced_accuracy"] is not None


@pytest.mark.parametrize("metric", [name for name in METRICS["regression"] if name != "medae"])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_other_constant_is_better(metric: str, weighted: bool) -> None:
    random = np.random.default_rng(0)
    target, scoring = random.lognormal(0, 1, 501), Scoring(None, 0.8)
    weights = random.integers(1, 4, 501).astype(float) if weighted else None
    best = best_constant(metric, target, weights, 0.8)
    others = [best, best - 0.02, best + 0.02, target.mean(), float(np.median(target))]
    sign = 1 if METRIC_TABLE[metric].lower_is_better else -1
    losses = [sign * scikit_metric(metric, target, np.full(501, each), None, scoring, weights) for each in others]
    assert losses[0] == min(losses)


def test_a_constant_bears_what_its_metric_does_not() -> None:
    """Training rows may hold what the test part does not."""
    target = np.array([-1.0, 0.0, 3.0])
    assert best_constant("rmsle", target) == pytest.approx(4 ** (1 / 3) - 1)
    assert best_constant("mape", target) == 0


def test_codes_are_places_among_the_classes_and_behind_them() -> None:
    codes, unseen = class_codes(np.array(["b", "d"]), np.array(["d", "c", "b", "a"]))
    assert (codes.tolist(), unseen) == ([1, 3, 0, 2], ["a", "c"])
