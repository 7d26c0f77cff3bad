"""Several models as one: which of them, and that the saved pipeline predicts their weighted mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import VotingRegressor

from common.errors import UntrustedModelError
from common.frames import load_part
from common.model_file import load_model, save_model
from common.request import TrainingRequest, parse_request
from data_preparation.preparation import PreparedData
from model_training.blend_choice import MOST_MEMBERS, HeldOutRows, choose_blend
from model_training.folds import Fold
from model_training.training import build_pipeline, describe, fit

Prepare = Callable[..., PreparedData]
MEMBERS = {
    "regression": [
        {"estimator": "ridge", "hyperparameters": {"alpha": 2.0}, "weight": 0.25},
        {"estimator": "hist_gradient_boosting", "hyperparameters": {"max_iter": 5}, "weight": 0.75},
    ],
    "classification": [
        {"estimator": "logistic_regression", "hyperparameters": {}, "weight": 0.25},
        {"estimator": "random_forest", "hyperparameters": {"n_estimators": 3}, "weight": 0.75},
    ],
}


def request(problem: str = "regression", **fields: Any) -> TrainingRequest:
    return parse_request({"dataset_uri": "s3://bucket/x", "target": "y", **fields}).resolve(problem)


def held_out(target: Any, folds: int = 5, weights: Any = None, problem: str = "regression") -> HeldOutRows:
    rows = np.array_split(np.arange(len(target)), folds)
    return HeldOutRows.of([Fold(each, each) for each in rows], np.asarray(target), weights, problem)


@pytest.fixture
def blended(prepared_data: Prepare) -> Callable[[str], tuple[PreparedData, Any, Any, Any]]:
    def make(problem: str) -> tuple[PreparedData, Any, Any, Any]:
        prepared = prepared_data(problem, estimator="blend", hyperparameters={"members": MEMBERS[problem]})
        features, target = load_part(prepared.train, prepared.profile)
        return prepared, features, target, fit(build_pipeline(prepared.request, prepared.profile), features, target)

    return make


@pytest.mark.parametrize("problem", MEMBERS)
def test_a_blend_predicts_the_weighted_mean_of_its_members(blended: Any, problem: str) -> None:
    prepared, features, target, model = blended(problem)
    expected = 0.0
    for member, weight in prepared.request.members():
        alone = fit(build_pipeline(member, prepared.profile), features, target).pipeline
        outputs = alone.predict(features) if problem == "regression" else alone.predict_proba(features)
        expected = expected + weight * outputs
    found = model.pipeline.predict(features) if problem == "regression" else model.pipeline.predict_proba(features)
    assert found == pytest.approx(expected, rel=1e-6)
    if problem == "classification":
        assert model.pipeline.classes_.tolist() == ["high", "low"]
        assert (model.pipeline.predict(features) == model.pipeline.classes_[found.argmax(axis=1)]).all()
    told = describe(model, prepared.request, prepared.profile)
    assert told["parameters"] == {"members": MEMBERS[problem]}


@pytest.mark.parametrize("problem", MEMBERS)
def test_a_saved_blend_is_loaded_and_predicts_the_same_bits(blended: Any, problem: str, tmp_path: Path) -> None:
    prepared, features, _, model = blended(problem)
    path = save_model(model.pipeline, tmp_path / "model.skops")
    loaded = load_model(path)
    assert list(loaded.feature_names_in_) == list(features.columns)
    test, _ = load_part(prepared.test, prepared.profile)
    for name in ["predict"] if problem == "regression" else ["predict", "predict_proba"]:
        assert np.array_equal(getattr(loaded, name)(test), getattr(model.pipeline, name)(test))
    again = save_model(model.pipeline, tmp_path / "again.skops")
    assert again.read_bytes() == path.read_bytes()


def test_the_trees_of_members_are_looked_at(blended: Any, tmp_path: Path) -> None:
    _, _, _, model = blended("regression")
    boosting = model.pipeline["model"].estimators_[1].estimator["model"]
    boosting._predictors[0][0].nodes["left"][0] = 10_000
    with pytest.raises(UntrustedModelError, match="lead out of it"):
        load_model(save_model(model.pipeline, tmp_path / "forged.skops"))


def test_a_blend_holds_trained_pipelines_and_nothing_else(blended: Any, tmp_path: Path) -> None:
    _, _, _, model = blended("regression")
    voting = model.pipeline["model"]
    voting.estimators_[1] = voting.estimators_[1].estimator["model"]
    with pytest.raises(UntrustedModelError, match="a blend of something else"):
        load_model(save_model(model.pipeline, tmp_path / "forged.skops"))


@pytest.mark.parametrize("member", [False, True])
def test_a_blend_among_the_features_would_predict_with_trees_that_nobody_has_looked_at(
    blended: Any, tmp_path: Path, *, member: bool
) -> None:
    """A blend of numbers transforms: it predicts, whatever its trees ask for."""
    _, features, _, model = blended("regression")
    hidden = model.pipeline["model"]
    hidden.estimators_[1].estimator["model"]._predictors[0][0].nodes["feature_idx"] = 1_000_000
    ridge = hidden.estimators_[0].estimator
    ridge["features"].transformers_ = [("hidden", VotingRegressor([]), list(features.columns))]
    vars(ridge["features"].transformers_[0][1]).update(estimators_=hidden.estimators_[1:], weights=None)
    hidden.estimators = hidden.estimators_ = hidden.estimators_[:1]
    forged = model.pipeline if member else ridge
    with pytest.raises(UntrustedModelError, match="a blend where training puts none"):
        load_model(save_model(forged, tmp_path / "forged.skops"))


def test_two_halves_of_the_truth_are_blended_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=1000)
    one, two = truth + random.normal(size=1000), truth + random.normal(size=1000)
    useless = 5 * random.normal(size=1000)
    found = choose_blend({3: one, 7: two, 9: useless}, held_out(truth), request())
    assert found is not None
    assert set(found.weights) == {3, 7}
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.score == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert choose_blend({3: truth + 0.1 * one, 9: useless}, held_out(truth), request()) is None
    assert choose_blend({3: truth, 7: two}, held_out(truth), request()) is None


@pytest.mark.parametrize("metric", ["rmse", "mae", "medae", "mape", "rmsle", "pinball", "r2"])
def test_each_metric_of_a_regression_gains_by_a_blend(metric: str) -> None:
    random = np.random.default_rng(1)
    truth = random.uniform(5, 10, size=2000)
    outputs = {each: truth + random.normal(size=2000) for each in range(3)}
    found = choose_blend(outputs, held_out(truth), request(metric=metric))
    assert found is not None
    assert len(found.weights) == 3


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc", "brier", "f1_macro"])
def test_each_metric_of_a_classification_gains_by_a_blend(metric: str) -> None:
    random = np.random.default_rng(2)
    signal = random.normal(size=3000)
    target = np.where(signal + random.normal(0, 0.1, 3000) > 0, "yes", "no")

    def seen() -> Any:
        positive = 1 / (1 + np.exp(-2 * (signal + random.normal(size=3000))))
        return np.column_stack([1 - positive, positive])

    rows = held_out(target, problem="classification")
    found = choose_blend({0: seen(), 1: seen(), 2: seen()}, rows, request("classification", metric=metric))
    assert found is not None
    assert len(found.weights) == 3


def test_weights_count_and_members_are_few() -> None:
    random = np.random.default_rng(3)
    truth = random.normal(size=600)
    right = np.where(np.arange(600) < 300, truth, truth + 5)
    wrong = np.where(np.arange(600) < 300, truth + 5, truth)
    weights = np.where(np.arange(600) < 300, 1.0, 1e-9)
    # On the rows that count the first is right, whatever the second says of the others.
    assert choose_blend({0: right, 1: wrong}, held_out(truth, weights=weights), request()) is None
    many = {each: truth + random.normal(size=600) for each in range(12)}
    found = choose_blend(many, held_out(truth), request())
    assert found is not None
    assert len(found.weights) <= MOST_MEMBERS


def test_a_blend_is_weighted_by_rows_too(prepared_data: Prepare) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=200), "w": 1.0})
    data["y"] = data["x"]
    members = {"members": MEMBERS["regression"]}
    prepared = prepared_data("regression", data, weight_column="w", estimator="blend", hyperparameters=members)
    features, target = load_part(prepared.train, prepared.profile)
    pipeline = build_pipeline(prepared.request, prepared.profile)
    model = fit(pipeline, features, target, np.linspace(0.5, 1.5, len(target)))
    assert model.pipeline.predict(features).shape == target.shape
