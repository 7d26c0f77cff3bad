"""Evaluation: metrics against scikit-learn's own on plain arrays, and champions that cannot be scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from common.distributions import of_numbers
from common.frames import load_part
from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE, METRICS, OF_POSITIVE_CLASS, Metric, Scoring
from common.request import ESTIMATORS
from data_preparation.preparation import PreparedData
from model_evaluation.evaluation import (
    HeldOut,
    Scores,
    UnusableChampionError,
    against_constant,
    compare_on,
    distribution_of,
    measure_champion,
    own_interval,
    predict_as_champion,
    score,
)
from model_training.training import build_pipeline, describe_baseline, fit
from scikit_metrics import scikit_metric

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Make = Callable[..., PreparedData]
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]


def fitted(prepared: PreparedData) -> Pipeline:
    return fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline


def held_out(prepared: PreparedData) -> HeldOut:
    return HeldOut(*load_part(prepared.test, prepared.profile))


def test_regression_metrics(prepared_data: Make) -> None:
    prepared = prepared_data("regression", quantile=0.8)
    pipeline, scoring = fitted(prepared), prepared.request.scoring
    part = held_out(prepared)
    scores = score(pipeline, part, "regression", scoring)
    predictions = pipeline.predict(part.features)
    np.testing.assert_array_equal(scores.predictions, predictions)
    expected = {name: scikit_metric(name, part.target, predictions, None, scoring) for name in METRICS["regression"]}
    assert scores.metrics == pytest.approx(expected)


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"], [0, 1], [True, False]])
def test_classification_metrics(prepared_data: Make, classes: list[Any]) -> None:
    random = np.random.default_rng(0)
    labels = [classes[i] for i in random.integers(0, len(classes), 200)]
    frame = pd.DataFrame({"a": random.normal(size=200) + [classes.index(label) for label in labels], "y": labels})
    prepared = prepared_data("classification", frame)
    pipeline = fitted(prepared)
    part = held_out(prepared)
    # Of two classes the rarer one.
    rarer = min(classes, key=labels.count)
    assert prepared.request.pos_label == (rarer if len(classes) == 2 else None)
    scoring, probabilities = Scoring(rarer), pipeline.predict_proba(part.features)
    expected = {
        name: scikit_metric(name, part.target, probabilities, pipeline.classes_, scoring)
        for name in METRICS["classification"]
    }
    assert score(pipeline, part, "classification", scoring).metrics == pytest.approx(expected)


@pytest.mark.parametrize(
    ("test_label", "undefined"),
    [("c", {"log_loss", "roc_auc", "brier", *OF_POSITIVE_CLASS}), ("a", {"roc_auc", *OF_POSITIVE_CLASS})],
)
def test_a_metric_that_the_test_part_leaves_undefined_is_told(
    prepared_data: Make, test_label: str, undefined: set[str]
) -> None:
    frame = pd.DataFrame({"a": np.arange(100) / 7, "y": ["a", "b"] * 40 + [test_label] * 20})
    frame["split"] = ["train"] * 80 + ["test"] * 20
    prepared = prepared_data("classification", frame, split_column="split")
    pipeline = fitted(prepared)
    scores = score(pipeline, held_out(prepared), "classification", prepared.request.scoring)
    assert {name for name, value in scores.metrics.items() if value is None} == undefined
    assert set(scores.undefined) == undefined
    request = prepared.request.model_copy(update={"metric": "roc_auc"})
    assert own_interval(scores, held_out(prepared), request) is None
    assert against_constant(scores, held_out(prepared), {"shares": [0.5, 0.5]}, request) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "kind"), METRIC_TABLE.items())
def test_a_guess_without_features_is_what_a_model_is_measured_by(
    prepared_data: Make, metric: str, kind: Metric
) -> None:
    problem = kind.problem
    prepared = prepared_data(problem, metric=metric, quantile=0.8)
    scoring = prepared.request.scoring
    pipeline, part = fitted(prepared), held_out(prepared)
    _, target = load_part(prepared.train, prepared.profile)
    baseline = describe_baseline(target, prepared.request)
    dummy = DummyClassifier(strategy="prior")
    if kind.constant == "positive":
        dummy = DummyClassifier(strategy="constant", constant=scoring.pos_label)
    if problem == "regression":
        dummy = DummyRegressor(strategy="constant", constant=baseline[kind.constant])
    guess = score(dummy.fit(np.zeros((len(target), 1)), target), part, problem, scoring)
    scores = score(pipeline, part, problem, scoring)
    own, found = against_constant(scores, part, baseline, prepared.request)
    assert own == own_interval(scores, part, prepared.request)
    assert found is not None
    difference = guess.metrics[metric] - scores.metrics[metric]  # type: ignore[operator]
    assert found.value == pytest.approx(difference if kind.lower_is_better else -difference)
    assert found.low is not None
    assert found.low > 0


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_a_champion_of_any_kind_is_scored_on_the_same_rows(prepared_data: Make, problem: str, estimator: str) -> None:
    prepared = prepared_data(problem)
    part, pipeline = held_out(prepared), fitted(prepared)
    scores = score(pipeline, part, problem)
    request = prepared.request.model_copy(update={"estimator": estimator})
    champion = fit(build_pipeline(request, prepared.profile), *load_part(prepared.train, prepared.profile)).pipeline
    old = score_champion(champion, scores, part, problem)
    assert old.metrics == score(champion, part, problem).metrics
    metric = str(prepared.request.metric)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    counted = np.arange(len(part.target)) % 3 > 0
    for rows in (np.ones(len(part.target), bool), counted):
        some = HeldOut(part.features[rows], part.target[rows])
        new, before = (score(each, some, problem).metrics[metric] for each in (pipeline, champion))
        found = compare_on(rows, scores, old, part, prepared.request)
        assert found.value == pytest.approx(sign * (new - before), abs=1e-9)  # type: ignore[operator]
        assert found.rows == rows.sum()


def score_champion(champion: Any, scores: Scores, part: HeldOut, problem: str) -> Scores:
    """Score a champion as a run does, but in this process."""
    return measure_champion(predict_as_champion(champion, part.features, problem), scores, part.target)


def test_a_champion_of_other_columns_classes_or_problem_is_unusable(prepared_data: Make) -> None:
    prepared = prepared_data("classification")
    pipeline, part = fitted(prepared), held_out(prepared)
    scores = score(pipeline, part, "classification")
    without = HeldOut(part.features.drop(columns=["amount"]), part.target)
    with pytest.raises(UnusableChampionError, match='it needs "amount", which this run\'s data does not have'):
        score_champion(pipeline, scores, without, "classification")
    others = replace(scores, classes=np.array(["high", "middle"]))
    with pytest.raises(UnusableChampionError, match="it knows other classes"):
        score_champion(pipeline, others, part, "classification")
    with pytest.raises(UnusableChampionError, match="it does not solve a regression"):
        score_champion(pipeline, scores, part, "regression")
    texts = HeldOut(part.features.assign(amount="text"), part.target)
    with pytest.raises(UnusableChampionError, match="cannot apply it to this run's data"):
        score_champion(pipeline, scores, texts, "classification")


def test_a_champion_of_another_scikit_learn_is_unusable(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    pipeline, part = fitted(prepared), held_out(prepared)
    scores = score(pipeline, part, "regression")
    # What an attribute that a newer version expects looks like in an older model.
    del pipeline["features"].named_transformers_["numeric"]["impute"]._fill_dtype
    with pytest.raises(UnusableChampionError, match="_fill_dtype"):
        score_champion(pipeline, scores, part, "regression")


def test_a_metric_beyond_what_a_float_holds_is_undefined(prepared_data: Make) -> None:
    prepared = prepared_data("regression", metric="r2")
    pipeline, part = fitted(prepared), held_out(prepared)
    scores = score(pipeline, replace(part, target=part.target * 1e200), "regression")
    assert scores.metrics["rmse"] is None
    assert "rmse" in scores.undefined
    json.dumps(scores.metrics, allow_nan=False)


def test_r2_of_a_target_that_never_changes_is_undefined(prepared_data: Make) -> None:
    prepared = prepared_data("regression", metric="r2")
    pipeline, part = fitted(prepared), held_out(prepared)
    constant = replace(part, target=np.full(len(part.target), 0.1))
    scores = score(pipeline, constant, "regression")
    assert scores.metrics["r2"] is None
    assert scores.undefined["r2"] == "the target is the same in all test rows"
    assert own_interval(scores, constant, prepared.request) is None
    assert against_constant(scores, constant, {"mean": 1.0}, prepared.request) == (None, None)
    found = compare_on(
        np.arange(len(part.target)) < 2, score(pipeline, part, "regression"), scores, constant, prepared.request
    )
    assert np.isnan(found.value)


def test_predictions_of_a_number_are_told_by_bins() -> None:
    values = np.random.default_rng(0).normal(size=500)
    assert distribution_of(Scores(values, {}, {}), None) == {"of": "prediction", **of_numbers(values)}


@pytest.mark.parametrize(("pos_label", "column"), [("no", 0), ("yes", 1), (None, 1)])
def test_of_two_classes_the_probability_of_the_positive_one_is_told(pos_label: str | None, column: int) -> None:
    shares = np.random.default_rng(0).random(500)
    scores = Scores(np.stack([shares, 1 - shares], axis=1), {}, {}, np.array(["no", "yes"]))
    found = distribution_of(scores, pos_label)
    assert found == {"of": f"probability_{['no', 'yes'][column]}", **of_numbers(scores.predictions[:, column])}


def test_of_several_classes_the_predicted_ones_are_told_by_what_decides() -> None:
    shares = np.tile([0.5, 0.3, 0.2], (60, 1))
    shares[:20] = [0.1, 0.1, 0.8]
    scores = Scores(shares, {}, {}, np.array([1, 2, 3]), np.array([1.0, 2.0, 1.0]))
    found = distribution_of(scores, None)
    assert (found["of"], found["values"], found["counts"], found["other"]) == ("prediction", ["2", "3"], [40, 20], 0)
