"""Evaluation: metrics against scikit-learn's own on plain arrays, the decision, and models that must not be loaded."""

from __future__ import annotations

from collections.abc import Callable
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
from common.request import ESTIMATORS
from data_preparation.preparation import PreparedData
from model_evaluation.evaluation import decide, evaluate, load_model
from model_training.training import build_pipeline, fit, save

Make = Callable[..., PreparedData]
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]


def fitted(prepared: PreparedData) -> Pipeline:
    return fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline


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
    features, target = load_part(prepared.test, prepared.profile)
    evaluation = evaluate(pipeline, features, target, prepared.request)
    error = target - pipeline.predict(features)
    assert evaluation.metrics == pytest.approx(
        {
            "rmse": np.sqrt(np.mean(error**2)),
            "mae": np.mean(np.abs(error)),
            "r2": 1 - np.sum(error**2) / np.sum((target - target.mean()) ** 2),
        }
    )
    assert evaluation.decision == "promote"


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"], [0, 1], [True, False]])
def test_classification_metrics(prepared_data: Make, classes: list[Any]) -> None:
    random = np.random.default_rng(0)
    labels = [classes[i] for i in random.integers(0, len(classes), 200)]
    frame = pd.DataFrame({"a": random.normal(size=200) + [classes.index(label) for label in labels], "y": labels})
    prepared = prepared_data("classification", frame)
    pipeline = fitted(prepared)
    features, target = load_part(prepared.test, prepared.profile)
    scores = evaluate(pipeline, features, target, prepared.request).metrics
    predicted, probabilities = pipeline.predict(features), pipeline.predict_proba(features)
    scored = probabilities[:, 1] if len(classes) == 2 else probabilities
    assert scores == pytest.approx(
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
    features, target = load_part(prepared.test, prepared.profile)
    evaluation = evaluate(pipeline, features, target, prepared.request)
    assert {name for name, value in evaluation.metrics.items() if value is None} == undefined
    assert set(evaluation.undefined) == undefined
    chosen = prepared.request.model_copy(update={"metric": "roc_auc"})
    with pytest.raises(InvalidDatasetError, match=r"roc_auc is undefined: the test part .* Choose another metric"):
        evaluate(pipeline, features, target, chosen)


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
    found, reason = decide(metric, value, threshold)
    assert found == decision
    assert metric in reason
    assert (f"{threshold:g}" in reason) if threshold is not None else ("no threshold" in reason)
