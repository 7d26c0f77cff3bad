"""Evaluation: metrics against scikit-learn's own on plain arrays, the decision, and models that must not be loaded."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn import metrics
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from common.errors import InvalidDatasetError, UntrustedModelError
from common.frames import load_part
from common.request import ESTIMATORS, LOWER_IS_BETTER, METRICS, TrainingRequest, parse_request
from data_preparation.preparation import PreparedData
from model_evaluation.bootstrap import Improvement
from model_evaluation.evaluation import (
    Comparison,
    HeldOut,
    Scores,
    UnusableChampionError,
    compare,
    decide,
    defined_value,
    load_model,
    score,
)
from model_training.training import build_pipeline, fit, save

Make = Callable[..., PreparedData]
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]


def fitted(prepared: PreparedData) -> Pipeline:
    return fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline


def held_out(prepared: PreparedData) -> HeldOut:
    return HeldOut(*load_part(prepared.test, prepared.profile))


@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_every_model_of_ours_is_trusted(prepared_data: Make, tmp_path: Path, problem: str, estimator: str) -> None:
    prepared = prepared_data(problem, estimator=estimator)
    pipeline = fitted(prepared)
    loaded = load_model(save(pipeline, tmp_path / "model.skops"))
    features, _ = load_part(prepared.test, prepared.profile)
    np.testing.assert_array_equal(loaded.predict(features), pipeline.predict(features))


def shout(_: Any) -> None:
    """Stand for code that a model file smuggles in."""
    raise AssertionError("code from a model file was run")


def test_a_type_outside_the_list_is_named_and_nothing_is_run(tmp_path: Path) -> None:
    skops.io.dump(Pipeline([("evil", FunctionTransformer(shout))]), tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match=r"test_evaluation\.shout, which is not in the list of trusted types"):
        load_model(tmp_path / "model.skops")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"\x80\x04\x95pickle"])
def test_what_is_no_skops_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.skops").write_bytes(content)
    with pytest.raises(UntrustedModelError, match="cannot be read as a skops file"):
        load_model(tmp_path / "model.skops")


def test_regression_metrics(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    pipeline = fitted(prepared)
    part = held_out(prepared)
    scores = score(pipeline, part, "regression")
    error = part.target - pipeline.predict(part.features)
    np.testing.assert_array_equal(scores.predictions, pipeline.predict(part.features))
    assert scores.metrics == pytest.approx(
        {
            "rmse": np.sqrt(np.mean(error**2)),
            "mae": np.mean(np.abs(error)),
            "r2": 1 - np.sum(error**2) / np.sum((part.target - part.target.mean()) ** 2),
        }
    )


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"], [0, 1], [True, False]])
def test_classification_metrics(prepared_data: Make, classes: list[Any]) -> None:
    random = np.random.default_rng(0)
    labels = [classes[i] for i in random.integers(0, len(classes), 200)]
    frame = pd.DataFrame({"a": random.normal(size=200) + [classes.index(label) for label in labels], "y": labels})
    prepared = prepared_data("classification", frame)
    pipeline = fitted(prepared)
    part = held_out(prepared)
    target, predicted = part.target, pipeline.predict(part.features)
    probabilities = pipeline.predict_proba(part.features)
    scored = probabilities[:, 1] if len(classes) == 2 else probabilities
    assert score(pipeline, part, "classification").metrics == pytest.approx(
        {
            "accuracy": np.mean(predicted == target),
            "f1_macro": metrics.f1_score(target, predicted, average="macro"),
            "roc_auc": metrics.roc_auc_score(target, scored, multi_class="ovr"),
            "log_loss": metrics.log_loss(target, probabilities),
        }
    )


@pytest.mark.parametrize(
    ("test_label", "undefined"),
    [("c", {"log_loss", "roc_auc"}), ("a", {"roc_auc"})],
)
def test_a_metric_that_the_test_part_leaves_undefined_is_told(
    prepared_data: Make, test_label: str, undefined: set[str]
) -> None:
    frame = pd.DataFrame({"a": np.arange(100) / 7, "y": ["a", "b"] * 40 + [test_label] * 20})
    frame["split"] = ["train"] * 80 + ["test"] * 20
    prepared = prepared_data("classification", frame, split_column="split")
    pipeline = fitted(prepared)
    scores = score(pipeline, held_out(prepared), "classification")
    assert {name for name, value in scores.metrics.items() if value is None} == undefined
    assert set(scores.undefined) == undefined
    defined_value(scores, "accuracy")
    with pytest.raises(InvalidDatasetError, match=r"roc_auc is undefined: the test part .* Choose another metric"):
        defined_value(scores, "roc_auc")


@pytest.mark.parametrize(
    ("metric", "value", "threshold", "decision"),
    [
        ("rmse", 2.0, None, "promote"),
        ("rmse", 2.0, 2.0, "promote"),
        ("rmse", 2.1, 2.0, "reject"),
        ("log_loss", 0.1, 0.2, "promote"),
        ("r2", 0.5, 0.4, "promote"),
        ("r2", 0.3, 0.4, "reject"),
        ("accuracy", 0.9, 0.9, "promote"),
    ],
)
def test_the_threshold_decides_in_the_metrics_direction(
    metric: str, value: float, threshold: float | None, decision: str
) -> None:
    found, reason = decide(scored(metric, value), asked(metric, threshold=threshold), None)
    assert found == decision
    assert metric in reason
    assert (f"{threshold:g}" in reason) if threshold is not None else ("no threshold" in reason)


def scored(metric: str, value: float) -> Scores:
    return Scores(np.zeros(1), {metric: value}, {})


def asked(metric: str, **fields: Any) -> TrainingRequest:
    problem = next(name for name, metrics in METRICS.items() if metric in metrics)
    return parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "metric": metric, **fields}).resolve(problem)


@pytest.mark.parametrize(
    ("improvement", "minimum", "decision", "words"),
    [
        (0.5, 0.0, "promote", "0.5 better than the champion v1 (95 % interval 0.4 to 0.6)."),
        (0.0, 0.0, "reject", "as good as the champion v1 (95 % interval -0.1 to 0.1): no improvement."),
        (-0.5, 0.0, "reject", "0.5 worse than the champion v1"),
        (0.5, 0.5, "reject", "an improvement of more than 0.5 is asked for"),
        (0.5, 0.4, "promote", "an improvement of more than 0.4 is asked for"),
    ],
)
def test_the_challenger_must_be_better_by_more_than_the_minimum(
    improvement: float, minimum: float, decision: str, words: str
) -> None:
    difference = Improvement("rmse", improvement, improvement - 0.1, improvement + 0.1, 1000, 42)
    comparison = Comparison("v1", "scored", None, {"rmse": 2.0}, difference)
    found, reason = decide(scored("rmse", 1.5), asked("rmse", minimum_improvement=minimum), comparison)
    assert found == decision
    assert words in reason


def test_a_better_challenger_below_the_threshold_is_rejected() -> None:
    comparison = Comparison("v1", "scored", None, {"r2": 0.1}, Improvement("r2", 0.2, 0.1, 0.3, 1000, 42))
    assert decide(scored("r2", 0.3), asked("r2", threshold=0.5), comparison)[0] == "reject"


def test_the_threshold_alone_decides_where_the_champion_cannot_be_compared() -> None:
    unusable = Comparison("v1", "unusable", "its file cannot be read (404)")
    found, reason = decide(scored("r2", 0.6), asked("r2", threshold=0.5), unusable)
    assert found == "promote"
    assert "The champion v1 cannot be compared: its file cannot be read (404)." in reason
    assert decide(scored("r2", 0.4), asked("r2", threshold=0.5), unusable)[0] == "reject"


def test_a_run_that_lost_to_others_each_time_is_rejected_with_that_reason() -> None:
    found, reason = decide(scored("r2", 0.6), asked("r2"), None, contended=True)
    assert found == "reject"
    assert "Other runs promoted a model during each evaluation" in reason


@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_a_champion_of_any_kind_is_scored_on_the_same_rows(prepared_data: Make, problem: str, estimator: str) -> None:
    prepared = prepared_data(problem)
    part, scores = held_out(prepared), score(fitted(prepared), held_out(prepared), problem)
    request = prepared.request.model_copy(update={"estimator": estimator})
    champion = fit(build_pipeline(request, prepared.profile), *load_part(prepared.train, prepared.profile)).pipeline
    comparison = compare("v1", champion, scores, part, prepared.request)
    assert comparison.metrics == score(champion, part, problem).metrics
    assert comparison.improvement is not None
    metric = str(prepared.request.metric)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    difference = sign * (scores.metrics[metric] - comparison.metrics[metric])  # type: ignore[operator]
    assert comparison.improvement.value == pytest.approx(difference, abs=1e-9)
    json.dumps(comparison.document(), allow_nan=False)


def test_a_champion_of_other_columns_classes_or_problem_is_unusable(prepared_data: Make) -> None:
    prepared = prepared_data("classification")
    pipeline, part = fitted(prepared), held_out(prepared)
    scores = score(pipeline, part, "classification")
    without = HeldOut(part.features.drop(columns=["amount"]), part.target)
    with pytest.raises(UnusableChampionError, match='it needs "amount", which this run\'s data does not have'):
        compare("v1", pipeline, scores, without, prepared.request)
    others = replace(scores, classes=np.array(["high", "middle"]))
    with pytest.raises(UnusableChampionError, match="it knows other classes"):
        compare("v1", pipeline, others, part, prepared.request)
    regression = prepared.request.model_copy(update={"problem": "regression"})
    with pytest.raises(UnusableChampionError, match="it does not solve a regression"):
        compare("v1", pipeline, scores, part, regression)
    texts = HeldOut(part.features.assign(amount="text"), part.target)
    with pytest.raises(UnusableChampionError, match="cannot apply it to this run's data"):
        compare("v1", pipeline, scores, texts, prepared.request)


def test_a_champion_of_another_scikit_learn_is_unusable(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    pipeline, part = fitted(prepared), held_out(prepared)
    scores = score(pipeline, part, "regression")
    # What an attribute that a newer version expects looks like in an older model.
    del pipeline["features"].named_transformers_["numeric"]["impute"]._fill_dtype
    with pytest.raises(UnusableChampionError, match="_fill_dtype"):
        compare("v1", pipeline, scores, part, prepared.request)


@pytest.mark.parametrize("schema", ["[]", '{"__loader__": "NoSuchNode", "protocol": 2}', "{"])
def test_a_skops_file_of_nonsense_is_untrusted(tmp_path: Path, schema: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(UntrustedModelError, match="cannot be read as a skops file"):
        load_model(tmp_path / "model.skops")
