"""The paired bootstrap: its metrics are scikit-learn's, and its interval covers what it should."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from common import bootstrap
from common.metric_table import LOWER_IS_BETTER, METRICS, Scoring
from scikit_metrics import scikit_metric

# Neither is what counts when nobody says anything.
SCORING = Scoring("b", 0.8)
improvement, interval, interval_and_improvement = (
    partial(each, scoring=SCORING)
    for each in (bootstrap.improvement, bootstrap.interval, bootstrap.interval_and_improvement)
)


def regression(rows: int = 300) -> tuple[Any, Any, Any, Any]:
    random = np.random.default_rng(0)
    # No metric is undefined far from zero.
    target = random.normal(10, size=rows)
    return target, target + random.normal(0, 0.5, rows), target + random.normal(0, 1.0, rows), None


def classification(classes: int, rows: int = 300) -> tuple[Any, Any, Any, Any]:
    random = np.random.default_rng(0)
    labels = np.array(["a", "b", "c"][:classes])
    codes = random.integers(0, classes, rows)

    def probabilities(strength: float) -> Any:
        raw = np.exp(random.normal(size=(rows, classes)) + strength * np.eye(classes)[codes])
        return raw / raw.sum(axis=1, keepdims=True)

    return labels[codes], probabilities(2.0), probabilities(0.5), labels


def scikits(metric: str, target: Any, predictions: Any, classes: Any) -> float:
    return scikit_metric(metric, target, predictions, classes, SCORING)


CASES = [
    *((metric, regression()) for metric in METRICS["regression"]),
    *((metric, classification(classes)) for metric in METRICS["classification"] for classes in (2, 3)),
]
NAMES = [f"{metric}-{'regression' if data[3] is None else len(data[3])}" for metric, data in CASES]


@pytest.mark.parametrize(("metric", "data"), CASES, ids=NAMES)
def test_the_improvement_is_the_difference_of_scikit_learns_metrics(metric: str, data: tuple[Any, ...]) -> None:
    target, new, old, classes = data
    found = improvement(metric, target, new, old, classes, seed=1)
    difference = scikits(metric, target, new, classes) - scikits(metric, target, old, classes)
    assert found.value == pytest.approx(-difference if metric in LOWER_IS_BETTER else difference)
    assert found.value > 0
    assert found.low < found.value < found.high
    assert (found.resamples, found.seed) == (1000, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert improvement("rmse", *regression(), seed=1) == improvement("rmse", *regression(), seed=1)
    assert improvement("rmse", *regression(), seed=1) != improvement("rmse", *regression(), seed=2)


def test_equal_models_do_not_differ() -> None:
    target, new, _, classes = classification(2)
    found = improvement("roc_auc", target, new, new, classes, seed=1)
    assert (found.value, found.low, found.high, found.different) == (0, None, None, 0)


def test_the_interval_of_a_mean_difference_is_the_normal_one() -> None:
    """For mae the difference is a mean, whose interval is known."""
    target, new, old, _ = regression(2000)
    found = improvement("mae", target, new, old, None, seed=1)
    differences = np.abs(target - old) - np.abs(target - new)
    half = 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    assert found.low == pytest.approx(differences.mean() - half, abs=half / 5)
    assert found.high == pytest.approx(differences.mean() + half, abs=half / 5)


def test_many_rows_get_fewer_resamples() -> None:
    target, new, old, _ = regression(100_000)
    assert improvement("rmse", target, new, old, None, seed=1).resamples == bootstrap.MIN_RESAMPLES


def test_resamples_without_a_class_are_left_out_of_roc_auc() -> None:
    target, classes = np.array(["a"] * 40 + ["b"]), np.array(["a", "b"])
    probabilities = np.column_stack([np.linspace(1, 0, 41), np.linspace(0, 1, 41)])
    found = improvement("roc_auc", target, probabilities, probabilities[::-1], classes, seed=1)
    assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro", "f1", "precision", "recall"])
@pytest.mark.parametrize("unseen", ["aa", "z"])
def test_a_class_that_training_never_saw_is_never_right(metric: str, unseen: str) -> None:
    target, new, old, classes = classification(2)
    target = np.where(np.arange(len(target)) % 5 == 0, unseen, target)
    found = improvement(metric, target, new, old, classes, seed=1)
    difference = scikits(metric, target, new, classes) - scikits(metric, target, old, classes)
    assert found.value == pytest.approx(difference)


def test_ties_count_half_in_roc_auc() -> None:
    target, classes = np.array(["a", "b", "a", "b"]), np.array(["a", "b"])
    ties, order = (np.column_stack([1 - np.array(p), p]) for p in ([0.5] * 4, [0.1, 0.9, 0.2, 0.8]))
    assert improvement("roc_auc", target, order, ties, classes, seed=1).value == 0.5


@pytest.mark.parametrize(("rows", "different"), [(29, 29), (300, 9)])
def test_too_few_rows_or_differences_have_no_interval(rows: int, different: int) -> None:
    target, new, _, _ = regression(rows)
    old = np.where(np.arange(rows) < different, new + 1, new)
    found = improvement("rmse", target, new, old, None, seed=1)
    assert (found.rows, found.different) == (rows, different)
    assert (found.low, found.high, found.deviation) == (None, None, None)
    assert found.value == pytest.approx(scikits("rmse", target, old, None) - scikits("rmse", target, new, None))


def test_labels_alone_differ_where_the_metric_looks_at_them_alone() -> None:
    target, new, _, classes = classification(2)
    surer = new**2 / (new**2).sum(axis=1, keepdims=True)
    assert improvement("accuracy", target, surer, new, classes, seed=1).different == 0
    assert improvement("log_loss", target, surer, new, classes, seed=1).different == len(target)


@pytest.mark.parametrize(("metric", "data"), CASES, ids=NAMES)
def test_a_models_own_metric_has_an_interval_about_it(metric: str, data: tuple[Any, ...]) -> None:
    target, new, _, classes = data
    found = interval(metric, target, new, classes, seed=1)
    assert found.value == pytest.approx(scikits(metric, target, new, classes))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


@pytest.mark.parametrize(("metric", "data"), CASES, ids=NAMES)
def test_figures_of_the_same_resamples_are_those_that_each_has_by_itself(metric: str, data: tuple[Any, ...]) -> None:
    target, new, old, classes = data
    alone = interval(metric, target, new, classes, seed=3), improvement(metric, target, new, old, classes, seed=3)
    assert interval_and_improvement(metric, target, new, old, classes, seed=3) == alone


def test_a_model_that_hardly_differs_from_another_has_an_interval_of_its_own() -> None:
    target, new, _, _ = regression(300)
    old = np.where(np.arange(300) < 9, new + 1, new)
    own, over = interval_and_improvement("rmse", target, new, old, None, seed=1)
    assert own.low is not None
    assert over.low is None


def test_expanded_percentiles_are_wider_and_the_more_so_the_fewer_the_rows() -> None:
    """For a mean, Student's interval is the right one: https://doi.org/10.1080/00031305.2015.1089789."""
    target = np.random.default_rng(1).normal(size=30)
    absolute = np.abs(target)
    found = interval("mae", target, np.zeros(30), None, seed=1)
    assert found.low is not None
    assert found.high is not None
    half = 2.045 * absolute.std(ddof=1) / np.sqrt(30)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.12)
    assert found.deviation == pytest.approx(absolute.std() / np.sqrt(30), rel=0.1)
