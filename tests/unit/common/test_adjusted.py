"""Estimators with what was learned of their errors: what they predict, and what of a file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.special import expit, logit
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline

from common.adjusted import AdjustedClassifier, IntervalRegressor, calibrated
from common.errors import UntrustedModelError
from common.frames import load_part
from common.metrics import interval_width_of, metrics_of, predict
from common.model_file import load_model, save_model
from data_preparation.preparation import PreparedData
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


def test_of_two_classes_a_calibration_is_a_sigmoid_of_the_log_odds() -> None:
    second = np.array([0.001, 0.2, 0.5, 0.97])
    probabilities = np.column_stack([1 - second, second])
    found = calibrated(probabilities, 0.5, np.array([0.0, -0.7]), 1e-9)
    np.testing.assert_allclose(found[:, 1], expit(0.5 * logit(second) - 0.7))
    np.testing.assert_allclose(calibrated(probabilities, 1.0, np.zeros(2), 1e-9), probabilities)


def test_a_probability_of_nothing_counts_as_the_floor() -> None:
    found = calibrated(np.array([[0.0, 1.0], [0.01, 0.99]]), 1.0, np.zeros(2), 0.01)
    np.testing.assert_allclose(found[0], [0.01 / 1.01, 1 / 1.01])
    assert np.isfinite(found).all()


def adjusted(make: Make, problem: str = "classification", **numbers: Any) -> tuple[Pipeline, Pipeline, Any, Any]:
    """Return a plain pipeline, one that is adjusted, and the test part."""
    prepared = make(problem, search_trials=0)
    plain = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    kind: Any = AdjustedClassifier if problem == "classification" else IntervalRegressor
    model = kind(plain.pipeline["model"], **numbers)
    pipeline = Pipeline([*plain.pipeline.steps[:-1], ("model", model)])
    return plain.pipeline, pipeline, *load_part(prepared.test, prepared.profile)


NUMBERS: dict[str, Any] = {"slope": 0.4, "offsets": np.array([0.0, -0.3]), "floor": 1e-4}
MULTIPLIERS = np.array([0.9, 0.1])


def test_labels_and_probabilities_are_those_of_the_saved_pipeline_everywhere(
    prepared_data: Make, tmp_path: Path
) -> None:
    plain, pipeline, features, target = adjusted(prepared_data, **NUMBERS, multipliers=MULTIPLIERS)
    loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
    probabilities = loaded.predict_proba(features)
    np.testing.assert_array_equal(probabilities, pipeline.predict_proba(features))
    np.testing.assert_array_equal(probabilities, calibrated(plain.predict_proba(features), **NUMBERS))
    # The second class where its probability is above 0.9.
    labels = loaded.predict(features)
    np.testing.assert_array_equal(labels == loaded.classes_[1], probabilities[:, 1] > 0.9)
    assert 0 < (labels != plain.predict(features)).mean() < 1
    found = predict(loaded, features, "classification")
    np.testing.assert_array_equal(found.classes[found.decisive.argmax(axis=1)], labels)  # type: ignore[index]
    np.testing.assert_array_equal(found.outputs, probabilities)
    assert metrics_of(found, target)[0]["accuracy"] == np.mean(labels == target)
    assert loaded.score(features, target) == np.mean(labels == target)


def test_without_numbers_all_is_as_the_estimator_has_it(prepared_data: Make) -> None:
    plain, pipeline, features, _ = adjusted(prepared_data)
    np.testing.assert_array_equal(pipeline.predict_proba(features), plain.predict_proba(features))
    np.testing.assert_array_equal(pipeline.predict(features), plain.predict(features))
    assert list(pipeline.feature_names_in_) == list(plain.feature_names_in_)


FORGED: dict[str, dict[str, Any]] = {
    "a slope that is none": {**NUMBERS, "slope": float("nan")},
    "a slope that turns all around": {**NUMBERS, "slope": -1.0},
    "a slope of another type": {**NUMBERS, "slope": "0.5"},
    "half a calibration": {"slope": 0.5},
    "a floor below all": {**NUMBERS, "floor": 0.0},
    "offsets of three classes": {**NUMBERS, "offsets": np.zeros(3)},
    "offsets without an end": {**NUMBERS, "offsets": np.array([0.0, np.inf])},
    "offsets of another type": {**NUMBERS, "offsets": [0.0, 0.0]},
    "multipliers below nothing": {"multipliers": np.array([0.5, -0.5])},
    "multipliers of another shape": {"multipliers": np.ones((100_000, 2))},
    "multipliers of texts": {"multipliers": np.array(["a", "b"])},
}


@pytest.mark.parametrize("what", FORGED)
def test_what_training_does_not_write_is_refused(prepared_data: Make, tmp_path: Path, what: str) -> None:
    _, pipeline, *_ = adjusted(prepared_data, **FORGED[what])
    path = save_model(pipeline, tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match="a calibration or a decision that training does not make"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (AdjustedClassifier, "holds no pipeline of features and a model"),
        (lambda model: IntervalRegressor(model.estimator, 0.9, 1.0), "adjusts an estimator of another kind"),
        (lambda _: AdjustedClassifier(DummyClassifier()), "DummyClassifier"),
        (lambda _: AdjustedClassifier({"a": 1}), "holds no pipeline of features and a model"),
    ],
)
def test_only_an_estimator_of_ours_and_of_its_kind_is_within(
    prepared_data: Make, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    _, pipeline, *_ = adjusted(prepared_data, multipliers=MULTIPLIERS)
    pipeline.steps[-1] = ("model", change(pipeline["model"]))
    skops.io.dump(pipeline, tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match=message):
        load_model(tmp_path / "model.skops")


def test_a_checks_own_name_is_no_way_around_it(prepared_data: Make, tmp_path: Path) -> None:
    _, pipeline, *_ = adjusted(prepared_data, multipliers=np.array([0.0, 1.0]))
    pipeline["model"].checked = "not to be called"
    with pytest.raises(UntrustedModelError, match="a calibration or a decision"):
        load_model(save_model(pipeline, tmp_path / "model.skops"))


def test_an_interval_changes_no_prediction(prepared_data: Make, tmp_path: Path) -> None:
    plain, pipeline, features, target = adjusted(prepared_data, "regression", share=0.9, width=2.5)
    loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
    np.testing.assert_array_equal(loaded.predict(features), plain.predict(features))
    assert (loaded["model"].share, interval_width_of(loaded)) == (0.9, 2.5)
    assert loaded.score(features, target) == plain.score(features, target)
    assert not hasattr(loaded, "classes_")
    assert interval_width_of(plain) is None


@pytest.mark.parametrize(
    "numbers", [{"share": 1.5, "width": 1.0}, {"share": 0.9, "width": np.nan}, {"share": 0.9, "width": [1.0]}]
)
def test_an_interval_that_training_does_not_make_is_refused(
    prepared_data: Make, tmp_path: Path, numbers: dict[str, Any]
) -> None:
    _, pipeline, *_ = adjusted(prepared_data, "regression", **numbers)
    with pytest.raises(UntrustedModelError, match="an interval that training does not make"):
        load_model(save_model(pipeline, tmp_path / "model.skops"))
