"""Effects of features: scikit-learn's numbers for the same rows, at values that the data have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import partial_dependence as of_scikit

from common.conversion import feature_columns
from common.frames import load_part
from data_preparation.preparation import PreparedData
from free_texts import table
from model_evaluation import effects
from model_evaluation.effects import Effects, partial_dependence
from model_evaluation.evaluation import HeldOut
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


def measured(prepared: PreparedData, output: int | None = None, weights: Any = None) -> tuple[Effects, Any, HeldOut]:
    pipeline = fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline
    part = HeldOut(*load_part(prepared.test, prepared.profile), weights)
    predictions = pipeline.predict(part.features) if output is None else pipeline.predict_proba(part.features)
    profile = {column["name"]: column for column in feature_columns(prepared.profile)}
    found = partial_dependence(pipeline, part, predictions, list(profile), profile, output, 42)
    assert found is not None
    return found, pipeline, part


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting", "xgboost"])
def test_they_are_those_of_scikit_learn(prepared_data: Make, estimator: str) -> None:
    found, pipeline, part = measured(prepared_data("regression", estimator=estimator))
    assert [each.name for each in found.effects] == ["amount", "count", "kind", "flag", "when"]
    assert found.rows == len(part.target) == 60
    assert found.mean == pytest.approx(pipeline.predict(part.features).mean())
    for each in found.effects:
        # It takes no missing category.
        values = [value for value in each.points if value is not None]
        expected = of_scikit(
            pipeline, part.features, [each.name], custom_values={each.name: np.array(values)}, kind="average"
        )
        predicted = [value for value, at in zip(each.predicted, each.points, strict=True) if at is not None]
        np.testing.assert_allclose(predicted, expected["average"][0], rtol=1e-9)


def test_probabilities_are_of_the_class_that_is_asked_for(prepared_data: Make) -> None:
    prepared = prepared_data("classification")
    first, pipeline, part = measured(prepared, 0)
    expected = of_scikit(
        pipeline, part.features, ["flag"], custom_values={"flag": np.array([0.0, 1.0])}, kind="average"
    )
    flag = next(each for each in first.effects if each.name == "flag")
    # scikit-learn tells of two classes the second one.
    np.testing.assert_allclose(1 - flag.predicted, expected["average"][0])


def test_texts_are_at_the_most_frequent_ones_with_what_is_missing(prepared_data: Make) -> None:
    found, _, part = measured(prepared_data("regression"))
    kind = next(each for each in found.effects if each.name == "kind")
    column = part.features["kind"]
    counts = [int(column.isna().sum() if value is None else (column == value).sum()) for value in kind.points]
    assert kind.edges is None
    assert kind.density.tolist() == counts == sorted(counts, reverse=True)
    assert sum(counts) == len(column)


def test_numbers_are_at_values_that_rows_have_between_the_tails(prepared_data: Make) -> None:
    found, _, part = measured(prepared_data("regression"))
    amount, when = (next(each for each in found.effects if each.name == name) for name in ("amount", "when"))
    assert len(amount.points) == effects.POINTS
    assert len(when.points) > effects.POINTS
    assert set(amount.points) <= set(part.features["amount"].dropna())
    assert amount.points == sorted(amount.points)
    low, high = np.nanquantile(part.features["amount"], [0.01, 0.99])
    assert low <= amount.points[0] < amount.points[-1] <= high
    assert amount.edges is not None
    assert (amount.edges[0], amount.edges[-1]) == (amount.points[0], amount.points[-1])
    assert amount.density.sum() == part.features["amount"].between(amount.points[0], amount.points[-1]).sum()


def test_a_number_of_few_values_is_at_each_of_them(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.integers(1, 4, 300), "z": random.normal(size=300)})
    found, _, part = measured(prepared_data("regression", frame.assign(y=frame["x"] + random.normal(size=300))))
    x = found.effects[0]
    assert (x.name, x.points, x.edges) == ("x", [1.0, 2.0, 3.0], None)
    assert x.density.tolist() == [int((part.features["x"] == each).sum()) for each in (1, 2, 3)]


def test_weighted_rows_count_by_their_weights(prepared_data: Make) -> None:
    weights = np.r_[np.full(30, 1.0), np.full(30, 5.0)]
    prepared = prepared_data("regression", estimator="hist_gradient_boosting")
    found, pipeline, part = measured(prepared, weights=weights)
    flag = next(each for each in found.effects if each.name == "flag")
    yes = pipeline.predict(part.features.assign(flag=1.0))
    assert flag.predicted[1] == pytest.approx(np.average(yes, weights=weights))


def test_what_has_one_value_in_the_test_part_has_no_effect(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": random.normal(size=200), "only": np.where(np.arange(200) < 150, random.normal(size=200), 1.0)}
    )
    frame = frame.assign(y=frame["x"], split=["train"] * 150 + ["test"] * 50)
    found, _, _ = measured(prepared_data("regression", frame, split_column="split"))
    assert [each.name for each in found.effects] == ["x"]


def test_where_a_prediction_costs_too_much_nothing_is_predicted(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepared_data("regression")
    part = HeldOut(*load_part(prepared.test, prepared.profile))
    profile = {column["name"]: column for column in feature_columns(prepared.profile)}
    # A pipeline that is none: nobody asks it.
    pipeline: Any = object()
    many = np.ones((60, 200))
    assert partial_dependence(pipeline, part, many, list(profile), profile, 0, 42) is None
    monkeypatch.setattr(effects, "MOST_COST", 1e12)
    with pytest.raises(AttributeError):
        partial_dependence(pipeline, part, many, list(profile), profile, 0, 42)


def test_as_many_rows_are_predicted_as_can_be_afforded(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(2000, 3)), columns=list("abc"))
    prepared = prepared_data("regression", frame.assign(y=frame["a"]))
    assert measured(prepared)[0].rows == effects.ROWS
    monkeypatch.setattr(effects, "PREDICTED_ROWS", 3 * effects.POINTS * 77)
    assert measured(prepared)[0].rows == 77
    monkeypatch.setattr(effects, "PREDICTED_ROWS", 1)
    assert measured(prepared)[0].rows == effects.LEAST_ROWS


@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting"])
def test_a_free_text_is_left_out_and_that_is_told(prepared_data: Make, estimator: str) -> None:
    found, _, _ = measured(prepared_data("regression", table(), estimator=estimator))
    assert [each.name for each in found.effects] == ["a", "kind"]
    assert found.free_texts == ["note"]
