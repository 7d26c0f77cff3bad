"""The metric on rows that a model was fitted on: of all of them where they are few, else of a seeded sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from common.frames import load_part
from data_preparation.preparation import PreparedData
from model_training import own_rows
from model_training.own_rows import OwnRows
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_it_is_the_metric_of_all_rows_though_the_fit_consumes_them(prepared_data: Make, problem: str) -> None:
    prepared = prepared_data(problem)
    features, target = load_part(prepared.train, prepared.profile)
    kept = features.copy()
    own = OwnRows(prepared.request, features, target)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target, consume=True).pipeline
    assert features.empty
    predicted = pipeline.predict(kept)
    regression = problem == "regression"
    value = metrics.root_mean_squared_error(target, predicted) if regression else np.mean(target == predicted)
    assert own.metric(pipeline) == {
        "metric": "rmse" if regression else "accuracy",
        "value": pytest.approx(value),
        "rows": 240,
    }


def test_weighted_rows_count_by_their_weights(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    features, target = load_part(prepared.train, prepared.profile)
    weights = np.r_[np.full(120, 1.0), np.full(120, 9.0)]
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target, weights).pipeline
    expected = metrics.root_mean_squared_error(target, pipeline.predict(features), sample_weight=weights)
    assert OwnRows(prepared.request, features, target, weights).metric(pipeline)["value"] == pytest.approx(expected)


@pytest.mark.parametrize(("most", "values", "rows"), [(50, 10_000, 50), (1000, 500, 100), (1000, 10_000, 240)])
def test_of_many_rows_or_wide_ones_a_sample_is_taken(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, most: int, values: int, rows: int
) -> None:
    monkeypatch.setitem(own_rows.MOST_ROWS, "ridge", most)
    monkeypatch.setattr(own_rows, "MOST_VALUES", values)
    prepared = prepared_data("regression")
    part = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), *part).pipeline
    first, second = (OwnRows(prepared.request, *part).metric(pipeline) for _ in range(2))
    assert first == second
    assert first["rows"] == rows


def test_a_metric_that_the_rows_leave_undefined_is_none(prepared_data: Make) -> None:
    frame = pd.DataFrame({"x": np.arange(100.0), "y": np.arange(100.0) - 50})
    prepared = prepared_data("regression", frame, metric="rmsle")
    part = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), *part).pipeline
    assert OwnRows(prepared.request, *part).metric(pipeline)["value"] is None
