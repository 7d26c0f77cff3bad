"""What is made of a model by what held-out folds teach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.errors import InvalidRequestError
from common.frames import load_part
from common.metrics import metrics_of, predict
from common.model_file import load_model, save_model
from data_preparation.preparation import PreparedData
from model_training.adjustment import interval_width, learn
from model_training.folds import Part
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


def imbalanced(rows: int = 1500) -> pd.DataFrame:
    """Return rows of which few are of one class, and a forest is far too sure."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(random.normal(size=(rows, 3)), columns=["a", "b", "c"])
    chance = 1 / (1 + np.exp(3 - 1.5 * data["a"] - data["b"]))
    return data.assign(y=np.where(random.random(rows) < chance, "yes", "no"))


def learned(make: Make, **fields: Any) -> tuple[Any, Any, PreparedData]:
    """Return what was learned, a fitted pipeline, and what it was fitted on."""
    fields = {"estimator": "random_forest", "hyperparameters": {"n_estimators": 30}, **fields}
    prepared = make("classification", imbalanced(), **fields)
    features, target = load_part(prepared.train, prepared.profile)
    adjustment = learn(prepared.request, prepared.profile, Part(features, target), 100)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    return adjustment, pipeline, prepared


def test_probabilities_and_decision_are_better_on_the_test_part_and_saved_as_they_are(
    prepared_data: Make, tmp_path: Path
) -> None:
    adjustment, plain, prepared = learned(prepared_data, metric="f1")
    record = adjustment.record
    assert (record["rows"], record["folds"], record["told"]) == (prepared.profile["rows"]["train"], 5, None)
    assert record["calibration"]["kept"]
    assert record["decision"]["kept"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    pipeline = adjustment.applied(plain)
    loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
    features, target = load_part(prepared.test, prepared.profile)
    np.testing.assert_array_equal(loaded.predict_proba(features), pipeline.predict_proba(features))
    np.testing.assert_array_equal(
        loaded.predict(features) == "yes", loaded.predict_proba(features)[:, 1] > record["multipliers"][0]
    )
    scoring = prepared.request.scoring
    before, after = (
        metrics_of(predict(each, features, "classification"), target, None, scoring)[0] for each in (plain, loaded)
    )
    assert after["log_loss"] < before["log_loss"] - 0.05  # type: ignore[operator]
    assert after["f1"] > before["f1"]  # type: ignore[operator]


@pytest.mark.parametrize("metric", ["precision", "recall"])
def test_a_calibration_leaves_the_decision_where_it_was(prepared_data: Make, metric: str) -> None:
    adjustment, plain, prepared = learned(prepared_data, metric=metric)
    assert adjustment.record["calibration"]["offsets"][1] != 0
    assert adjustment.record["decision"] is None
    features, _ = load_part(prepared.test, prepared.profile)
    pipeline = adjustment.applied(plain)
    np.testing.assert_array_equal(pipeline.predict(features), plain.predict(features))
    # A forest of 30 trees has ties, which the first class still has.
    halves = plain.predict_proba(features)[:, 1] == 0.5
    assert halves.any()
    assert (pipeline.predict(features)[halves] == "no").all()
    assert (pipeline.predict(features) != pipeline.classes_[pipeline.predict_proba(features).argmax(axis=1)]).any()


def test_where_probabilities_decide_the_most_probable_class_is_predicted(prepared_data: Make) -> None:
    adjustment, plain, prepared = learned(prepared_data, metric="log_loss")
    assert adjustment.record["calibration"]["kept"]
    assert adjustment.record["multipliers"] is None
    features, _ = load_part(prepared.test, prepared.profile)
    pipeline = adjustment.applied(plain)
    most = pipeline.classes_[pipeline.predict_proba(features).argmax(axis=1)]
    np.testing.assert_array_equal(pipeline.predict(features), most)


def test_a_model_that_learns_nothing_is_the_same(prepared_data: Make) -> None:
    adjustment, plain, _ = learned(
        prepared_data, metric="accuracy", estimator="logistic_regression", hyperparameters={}
    )
    assert not adjustment.record["calibration"]["kept"]
    assert not adjustment.record["decision"]["kept"]
    assert adjustment.applied(plain) is plain


def test_the_same_data_teach_the_same(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    adjustment, _, prepared = learned(prepared_data, metric="f1_macro")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    part = Part(*load_part(prepared.train, prepared.profile))
    again = learn(prepared.request, prepared.profile, part, 100).record
    assert {**again, "seconds": 0} == {**adjustment.record, "seconds": 0}


def test_what_cannot_be_learned_is_told_and_changes_nothing(prepared_data: Make) -> None:
    prepared = prepared_data("classification", metric="f1_macro")
    part = Part(*load_part(prepared.train, prepared.profile))
    adjustment = learn(prepared.request, prepared.profile, part, 1e-9)
    assert adjustment.apply is None
    assert adjustment.record["told"].startswith("Nothing was learned of held-out folds: 5 fits would take more")


@pytest.mark.parametrize(("rows", "share"), [(100, 0.9), (19, 0.95), (19, 0.5), (1000, 0.123)])
def test_an_interval_reaches_as_far_as_so_many_errors(rows: int, share: float) -> None:
    errors = np.random.default_rng(0).permutation(rows) + 1.0
    # The one of this rank; of n + 1 rows of which one is yet to come.
    expected = float(np.ceil(np.round(share * (rows + 1), 9)))
    assert interval_width(errors, np.ones(rows), share) == expected
    assert interval_width(errors, np.full(rows, 7.0), share) == expected
    # What weighs next to nothing is as if it was not there.
    more = np.concatenate([errors, np.full(rows, 1e6)])
    assert interval_width(more, np.repeat([1.0, 1e-12], rows), share) <= expected


def test_an_interval_of_too_few_rows_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidRequestError, match=r'"interval" is 0\.95, and 18 held-out rows are too few'):
        interval_width(np.ones(18), np.ones(18), 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_interval_holds_the_target_of_its_share_of_new_rows(
    prepared_data: Make, tmp_path: Path, share: float
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(3000, 3)), columns=["a", "b", "c"])
    # Skewed errors, which follow no normal distribution.
    frame["y"] = frame["a"] * 3 + random.exponential(2, 3000)
    prepared = prepared_data("regression", frame, estimator="hist_gradient_boosting", interval=share)
    features, target = load_part(prepared.train, prepared.profile)
    adjustment = learn(prepared.request, prepared.profile, Part(features, target), 100)
    plain = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    loaded = load_model(save_model(adjustment.applied(plain), tmp_path / "model.skops"))
    test_features, test_target = load_part(prepared.test, prepared.profile)
    predicted = loaded.predict(test_features)
    np.testing.assert_array_equal(predicted, plain.predict(test_features))
    width = adjustment.record["interval"]["width"]
    # Of 600 rows the share's standard error is 2 points at most.
    assert np.mean(np.abs(test_target - predicted) <= width) == pytest.approx(share, abs=0.05)
    assert json.loads(json.dumps(adjustment.record)) == adjustment.record
