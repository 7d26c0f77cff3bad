"""Metrics of weighted rows: scikit-learn's of the same weights, and those of rows drawn as often as they weigh."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.metric_table import METRIC_TABLE, METRICS, OF_POSITIVE_CLASS, Scoring
from common.weighted_metrics import looked_at, weighted_metric
from scikit_metrics import scikit_metric

ROWS = 80
SCORING = Scoring("b", 0.8)


def made_up(seed: int, metric: str, classes: int) -> tuple[Any, Any, Any, Any]:
    """Return a target, predictions with equal errors and equal scores among them, the classes, and a generator."""
    random = np.random.default_rng(seed)
    if METRIC_TABLE[metric].problem == "regression":
        return *(random.integers(low, 9, ROWS).astype(float) for low in (1, 0)), None, random
    labels = np.array(["a", "b", "c"][:classes])
    raw = 1 + random.integers(0, 4, (ROWS, classes))
    codes = np.r_[np.arange(classes), random.integers(0, classes, ROWS - classes)]
    return labels[codes], raw / raw.sum(axis=1, keepdims=True), labels, random


CASES = [
    *((metric, 0) for metric in METRICS["regression"]),
    *((metric, classes) for metric in METRICS["classification"] for classes in (2, 3)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "classes"), CASES)
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans())
def test_a_weighted_metric_is_scikit_learns(metric: str, classes: int, seed: int, whole: bool) -> None:
    target, predictions, labels, random = made_up(seed, metric, classes)
    # Halves are exact: half of the weight is then below an error here as there.
    weights = random.integers(0, 4, ROWS) / 2 if whole else random.lognormal(size=ROWS)
    weights[: max(classes, 2)] = 1
    target[0] += 1 if classes == 0 else ""
    kept = weights > 0
    expected = scikit_metric(metric, target[kept], predictions[kept], labels, SCORING, weights[kept])
    assert weighted_metric(metric, target, labels, SCORING)(predictions)(weights) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "classes"), CASES)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_resample_is_scored_as_its_rows_are(metric: str, classes: int, seed: int) -> None:
    target, predictions, labels, random = made_up(seed, metric, classes)
    # A row of each class is always drawn.
    rows = np.r_[np.arange(max(classes, 2)), random.integers(0, ROWS, ROWS)]
    if len(np.unique(target[rows])) == 1:
        return
    weights = np.bincount(rows, minlength=ROWS).astype(float)
    expected = scikit_metric(metric, target[rows], predictions[rows], labels, SCORING)
    assert weighted_metric(metric, target, labels, SCORING)(predictions)(weights) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", OF_POSITIVE_CLASS)
def test_without_a_row_of_the_positive_class_there_is_no_value(metric: str) -> None:
    target, predictions, labels, _ = made_up(0, metric, 3)
    weights = (target != "b").astype(float)
    assert np.isnan(weighted_metric(metric, target, labels, SCORING)(predictions)(weights))
    assert np.isnan(weighted_metric(metric, target, labels, Scoring("d"))(predictions)(np.ones(ROWS)))


def test_another_models_prediction_without_a_logarithm_has_no_rmsle() -> None:
    assert np.isnan(weighted_metric("rmsle", np.ones(3), None, SCORING)(np.array([1.0, -2.0, 1.0]))(np.ones(3)))


def test_models_differ_in_what_a_metric_looks_at() -> None:
    classes = np.array(["a", "b", "c"])
    one, other = np.array([[0.5, 0.1, 0.4], [0.2, 0.5, 0.3]]), np.array([[0.4, 0.1, 0.5], [0.3, 0.6, 0.1]])

    def differ(metric: str) -> list[bool]:
        seen = (looked_at(metric, each, classes, SCORING) for each in (one, other))
        return np.not_equal(*seen).any(axis=1).tolist()

    # The first row's class is another one, but not the positive one; the second row's is the same, more surely.
    assert differ("accuracy") == differ("balanced_accuracy") == differ("f1_macro") == [True, False]
    assert differ("f1") == differ("precision") == differ("recall") == [False, False]
    assert differ("average_precision") == [False, True]
    assert differ("log_loss") == differ("roc_auc") == differ("brier") == [True, True]
