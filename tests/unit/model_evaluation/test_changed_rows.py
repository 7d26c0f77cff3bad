"""Rows that are made ready once are predicted as rows that are changed as they are, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures, StandardScaler

from common.frames import load_part
from common.request import ESTIMATORS
from data_preparation.preparation import PreparedData
from model_evaluation import changed_rows
from model_evaluation.changed_rows import predict_changed
from model_training import features as model_features
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


def table(problem: str) -> pd.DataFrame:
    """Return columns of every role that becomes something else for one estimator or another, free texts apart."""
    random = np.random.default_rng(0)
    rows = 400
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, rows),
            "wide": random.normal(1e9, 1, rows),
            "few": pd.array(random.integers(0, 5, rows), dtype="Int64"),
            "count": random.integers(0, 3000, rows),
            "kind": random.choice(["x", "y", "z"], rows),
            "many": random.choice([f"level {each}" for each in range(120)], rows),
            "flag": pd.array(random.choice([True, False], rows), dtype="boolean"),
            "when": pd.date_range("2022-01-01", periods=rows, freq="61h"),
        }
    )
    signal = data["amount"] + 5 * (data["kind"] == "x") + random.normal(0, 0.5, rows)
    data["y"] = signal if problem == "regression" else np.array(["low", "middle", "high"])[np.digitize(signal, [9, 12])]
    for name in ("amount", "few", "kind", "when"):
        data.loc[random.random(rows) < 0.1, name] = None
    return data


def changes(features: pd.DataFrame) -> list[tuple[str, Any]]:
    random = np.random.default_rng(1)
    shuffled = [(str(name), random.permutation(len(features))[:30]) for name in features.columns for _ in range(2)]
    return [*shuffled, *((str(name), np.full(30, 7)) for name in features.columns)]


CASES = [
    (problem, estimator, features)
    for problem, names in ESTIMATORS.items()
    for estimator in names
    for features in ("auto", "plain")
    if estimator not in ("custom", "blend")
]


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator", "more"), CASES)
def test_the_predictions_are_the_same_to_the_last_bit(
    prepared_data: Make, problem: str, estimator: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One-hot columns of all levels would make the rest sparse.
    for name in ("MAX_OWN_COLUMNS", "MAX_NATIVE_CATEGORIES"):
        monkeypatch.setattr(model_features, name, 50)
    hyperparameters = {"n_estimators": 5} if estimator == "random_forest" else {}
    fields = {"estimator": estimator, "hyperparameters": hyperparameters, "features": more}
    prepared = prepared_data(problem, table(problem), **fields)
    pipeline = fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline
    features, _ = load_part(prepared.test, prepared.profile)
    classes = None if problem == "regression" else 3
    rows = np.arange(10, 40)
    places = changed_rows._places(pipeline)
    assert places is not None
    assert sorted(each for found in places.values() for each in found) == list(range(pipeline[-1].n_features_in_))
    for cells in (1, 7000, 1 << 22):
        monkeypatch.setattr(changed_rows, "BLOCK_CELLS", cells)
        fast = list(predict_changed(pipeline, features, classes, rows, changes(features)))
        with monkeypatch.context() as patch:
            patch.setattr(changed_rows, "_places", lambda _: None)
            slow = list(predict_changed(pipeline, features, classes, rows, changes(features)))
        assert len(fast) == len(slow) == len(changes(features))
        assert all(np.array_equal(one, other) for one, other in zip(fast, slow, strict=True))


@pytest.mark.parametrize(
    "first",
    [
        StandardScaler(),
        ColumnTransformer([("all", PolynomialFeatures(), ["a", "b"])]),
        ColumnTransformer([("bins", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), ["a", "b"])]),
        Pipeline([("features", ColumnTransformer([("all", StandardScaler(), ["a"])], remainder="drop"))]),
    ],
    ids=["no columns", "products", "unknown", "nested"],
)
def test_a_pipeline_that_is_not_known_gets_the_rows_themselves(first: Any) -> None:
    random = np.random.default_rng(0)
    features = pd.DataFrame(random.normal(size=(50, 2)), columns=["a", "b"])
    pipeline = Pipeline([("features", first), ("model", Ridge())]).fit(features, features["a"] + features["b"])
    assert changed_rows._places(pipeline) is None
    order = random.permutation(50)
    (found,) = predict_changed(pipeline, features, None, np.arange(50), [("a", order)])
    expected = pipeline.predict(features.assign(a=features["a"].to_numpy()[order]))
    np.testing.assert_allclose(found, expected)


def test_a_column_that_is_dropped_changes_nothing() -> None:
    features = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])
    first = ColumnTransformer([("all", StandardScaler(), ["a"])])
    pipeline = Pipeline([("features", first), ("model", Ridge())]).fit(features, features["a"])
    order = np.arange(50)[::-1]
    one, other = predict_changed(pipeline, features, None, np.arange(50), [("a", order), ("b", order)])
    assert np.array_equal(other, pipeline.predict(features))
    assert not np.array_equal(one, other)
