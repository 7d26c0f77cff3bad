"""The decision for a class: tuned for a metric, and kept where held-out folds say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from common.metric_table import METRIC_TABLE, Scoring
from common.metrics import Predictions, metrics_of
from common.request import parse_request
from model_training.decisions import MOST_CLASSES, TUNED, Goal, judge_decision, tune
from model_training.held_out import OutOfFold


def rare(rows: int = 4000, seed: int = 0) -> tuple[Any, Any]:
    """Return right probabilities of a class that is rare, and what comes true."""
    random = np.random.default_rng(seed)
    second = expit(random.normal(-3, 1.5, rows))
    return np.column_stack([1 - second, second]), (random.random(rows) < second).astype(np.int64)


def found(probabilities: Any, codes: Any) -> OutOfFold:
    rows, size = probabilities.shape
    return OutOfFold(probabilities, codes, np.arange(rows) % 5, np.ones(rows), np.arange(size))


@pytest.mark.parametrize("metric", sorted(TUNED))
@pytest.mark.parametrize("classes", [2, 4])
def test_the_value_is_that_of_the_metric(metric: str, classes: int) -> None:
    random = np.random.default_rng(1)
    codes, decided = random.integers(0, classes, (2, 300))
    decided[decided == 3] = 0
    weights = random.uniform(0.1, 3, 300)
    expected, _ = metrics_of(
        Predictions(np.eye(classes)[decided], np.arange(classes)), codes, weights, Scoring(pos_label=1)
    )
    assert Goal(metric, classes, 1).value(codes, decided, weights) == pytest.approx(expected[metric])


def test_all_metrics_of_labels_are_tuned_but_those_that_have_no_best_decision() -> None:
    of_labels = {name for name, metric in METRIC_TABLE.items() if metric.of_labels}
    assert of_labels - TUNED == {"precision", "recall"}
    for metric in of_labels:
        request = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "metric": metric, "pos_label": "b"})
        assert (Goal.of(request, ["a", "b"]) == Goal(metric, 2, 1)) == (metric in TUNED)
        assert Goal.of(request, [str(each) for each in range(MOST_CLASSES + 1)]) is None
        assert Goal.of(request, ["b"]) is None
    asked = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "metric": "f1", "pos_label": "c"})
    assert Goal.of(asked, ["a", "b"]) is None


def test_of_two_classes_the_threshold_is_the_best_one() -> None:
    probabilities, codes = rare()
    ones, goal = np.ones(len(codes)), Goal("f1", 2, 1)
    multipliers = tune(probabilities, codes, ones, goal)
    assert multipliers.sum() == pytest.approx(1)
    decided = (probabilities * multipliers).argmax(axis=1)
    np.testing.assert_array_equal(decided == 1, probabilities[:, 1] > multipliers[0])
    every = [goal.value(codes, (probabilities[:, 1] > each).astype(int), ones) for each in np.linspace(0, 1, 1000)]
    assert goal.value(codes, decided, ones) > max(every) - 0.005


def test_several_classes_weigh_by_how_rare_they_are() -> None:
    random = np.random.default_rng(2)
    scores = random.normal(size=(6000, 3)) + np.array([3, 0, 0])
    probabilities = softmax(scores, axis=1)
    codes = (probabilities.cumsum(axis=1) < random.random(6000)[:, None]).sum(axis=1)
    goal = Goal("balanced_accuracy", 3)
    told = judge_decision(found(probabilities, codes), probabilities, goal, 0)
    assert told is not None
    assert told["kept"]
    multipliers = tune(probabilities, codes, np.ones(6000), goal)
    assert multipliers[0] < 0.1 < multipliers[1]


def test_a_decision_that_is_better_on_folds_that_it_was_not_tuned_on_is_kept() -> None:
    probabilities, codes = rare()
    told = judge_decision(found(probabilities, codes), probabilities, Goal("f1_macro", 2), 0)
    assert told is not None
    assert told["kept"]
    assert told["before"] == pytest.approx(
        Goal("f1_macro", 2).value(codes, probabilities.argmax(axis=1), np.ones(len(codes)))
    )
    assert told["after"] > told["before"] + 2 * told["deviation"]
    assert told == judge_decision(found(probabilities, codes), probabilities, Goal("f1_macro", 2), 0)


def test_what_may_be_chance_is_not_kept() -> None:
    """The most probable class has the best accuracy of right probabilities: tuned ones fit the noise alone."""
    for seed in range(5):
        probabilities, codes = rare(300, seed)
        told = judge_decision(found(probabilities, codes), probabilities, Goal("accuracy", 2), 0)
        assert told is not None
        assert not told["kept"]


def test_probabilities_of_nothing_and_of_all_are_decided_on() -> None:
    probabilities = np.repeat([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], 20, axis=0)
    codes = np.repeat([0, 1, 1], 20)
    multipliers = tune(probabilities, codes, np.ones(60), Goal("accuracy", 2))
    assert np.isfinite(multipliers).all()
    assert (multipliers > 0).all()
