"""XGBoost's trees: what it predicts with them is predicted without it, and batches make no difference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from boosted_tables import CATEGORY, table
from common.boosted import BoostedRegressor
from model_training import boosting
from model_training.boosting import Growth, Rows, Told, XgboostClassifier, XgboostRegressor

LOSSES = ("squared_error", "absolute_error", "quantile", "poisson", "gamma")


def kept_boosters(patch: pytest.MonkeyPatch) -> list[xgboost.Booster]:
    """Return a list of what XGBoost will have grown."""
    found: list[xgboost.Booster] = []
    trees_of = boosting.trees_of
    patch.setattr(boosting, "trees_of", lambda booster: (found.append(booster), trees_of(booster))[1])
    return found


@pytest.fixture
def boosters(monkeypatch: pytest.MonkeyPatch) -> list[xgboost.Booster]:
    return kept_boosters(monkeypatch)


def said_by(booster: xgboost.Booster, model: Any, features: Any) -> Any:
    types = Growth.of(model, Told({})).feature_types(features.shape[1])
    return booster.predict(xgboost.DMatrix(features, feature_types=types, enable_categorical=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_numbers_are_what_xgboost_predicts(boosters: list[xgboost.Booster], loss: str) -> None:
    features, target = table(3000)
    target = np.exp(target) + 1
    model = XgboostRegressor(loss=loss, quantile=0.9, n_estimators=30, categorical_features=[CATEGORY])
    model.fit(features, target)
    said = said_by(boosters[0], model, features).astype(np.float64)
    expected = said * target.mean() if loss in ("poisson", "gamma") else target.mean() + target.std() * said
    np.testing.assert_allclose(model.fitted().predict(features), expected, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("labels", [np.arange(9), np.array([*"abcdefghi"])])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_probabilities_are_what_xgboost_predicts(
    boosters: list[xgboost.Booster], classes: int, labels: Any, class_weight: str | None
) -> None:
    features, target = table(2000)
    codes = np.digitize(target, np.quantile(target, np.linspace(0, 0.9, classes + 1)[1:-1]))
    model = XgboostClassifier(n_estimators=20, categorical_features=[CATEGORY], class_weight=class_weight)
    saved = model.fit(features, labels[codes]).fitted()
    said = said_by(boosters[0], model, features)
    said = np.column_stack([1 - said, said]) if classes == 2 else said
    np.testing.assert_allclose(saved.predict_proba(features), said, atol=2e-6)
    assert saved.classes_.tolist() == labels[:classes].tolist()
    assert (saved.predict(features) == labels[codes]).mean() > 0.8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), categories=st.integers(2, 254), depth=st.integers(1, 8), leaves=st.none() | st.just(5),
    gaps=st.floats(0, 0.9), scale=st.sampled_from([1e-38, 1e-3, 1.0, 1e30]),
)  # fmt: skip
def test_every_row_goes_where_xgboost_sends_it(
    seed: int, categories: int, depth: int, leaves: int | None, gaps: float, scale: float
) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(500, 3)).astype(np.float32)
    features[:, 0] = np.round(features[:, 0])
    features *= np.float32(scale)
    features[:, CATEGORY] = random.integers(0, categories, 500)
    features[random.random((500, 3)) < gaps] = np.nan
    target = random.normal(size=500) + np.nan_to_num(features[:, 0] / np.float32(scale))
    model = XgboostRegressor(
        n_estimators=2, max_depth=depth, max_leaves=leaves, min_child_weight=0, categorical_features=[CATEGORY]
    )
    with pytest.MonkeyPatch.context() as patch:
        boosters = kept_boosters(patch)
        saved = model.fit(features, target).fitted()
    rows = np.vstack([features, at_thresholds(saved)])
    types = Growth.of(model, Told({})).feature_types(3)
    matrix = xgboost.DMatrix(rows, feature_types=types, enable_categorical=True)
    expected = boosters[0].predict(matrix, pred_leaf=True)
    for number in range(len(saved.trees_["sizes"])):
        np.testing.assert_array_equal(leaves_of(saved, number, rows), expected[:, number])


def at_thresholds(model: Any) -> Any:
    """Return rows that hold just what a node compares with, and are missing otherwise."""
    inner = (model.trees_["left"] >= 0) & (model.trees_["category"] < 0)
    rows = np.full((int(inner.sum()), 3), np.nan, np.float32)
    least_to_the_right = np.nextafter(model.trees_["value"][inner], np.float32(np.inf))
    rows[np.arange(len(rows)), model.trees_["feature"][inner]] = least_to_the_right
    return np.vstack([rows, np.nextafter(rows, np.float32(-np.inf))])


def leaves_of(model: Any, number: int, rows: Any) -> Any:
    """Return the leaf of one tree that each row comes to: what a leaf says is made its number."""
    trees = dict(model.trees_)
    sizes = trees["sizes"]
    place = np.arange(len(trees["left"])) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    of_tree = np.repeat(np.arange(len(sizes)) == number, sizes)
    trees["value"] = np.where(trees["left"] < 0, place * of_tree, trees["value"]).astype(np.float32)
    alone = BoostedRegressor()
    alone.trees_, alone.n_features_in_, alone.base_, alone.scale_ = trees, 3, np.zeros(1), 1.0
    return alone.raw(rows)[:, 0]


def cut(features: Any, target: Any, size: int, weights: Any = None) -> Rows:
    edges = [*range(0, len(target), size), len(target)]

    def batches() -> Iterator[Any]:
        for start, end in pairwise(edges):
            yield features[start:end], target[start:end], None if weights is None else weights[start:end]

    return Rows(batches, lambda: ((target, weights) for _, target, weights in batches()))


def same(one: Any, other: Any) -> bool:
    same_trees = all(np.array_equal(one.trees_[name], other.trees_[name]) for name in one.trees_)
    return same_trees and np.array_equal(one.base_, other.base_) and one.scale_ == other.scale_


@pytest.mark.parametrize("kind", [XgboostRegressor, XgboostClassifier])
@pytest.mark.parametrize("weighed", [False, True])
def test_batches_and_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch, kind: Any, *, weighed: bool) -> None:
    features, target = table(20_000)
    target = target if kind is XgboostRegressor else (target > 1).astype(np.int64)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(target)) if weighed else None
    chosen = {"n_estimators": 5, "categorical_features": [CATEGORY], "subsample": 0.7, "colsample_bytree": 0.7}
    found = []
    for threads, size in ((1, 20_000), (2, 20_000), (3, 999), (1, 4_096)):
        monkeypatch.setattr(boosting, "_openmp_effective_n_threads", lambda threads=threads: threads)
        found.append(kind(**chosen).fit_rows(cut(features, target, size, weights)).fitted())
    assert all(same(found[0], each) for each in found[1:])


def test_the_unit_of_a_target_makes_no_difference() -> None:
    """In float32, 10^9 and a small difference would be 10^9."""
    features, target = table(2000)
    small = XgboostRegressor(n_estimators=10).fit(features, target).fitted().predict(features)
    large = XgboostRegressor(n_estimators=10).fit(features, target * 1e-3 + 1e9).fitted().predict(features)
    np.testing.assert_allclose((large - 1e9) * 1e3, small, atol=1e-3)


def test_a_row_of_weight_two_is_the_row_twice() -> None:
    features, target = table(600)
    weights = np.random.default_rng(0).integers(1, 4, len(target)).astype(np.float64)
    twice = np.repeat(np.arange(len(target)), weights.astype(int))
    chosen = {"n_estimators": 10, "max_depth": 3}
    weighed = XgboostRegressor(**chosen).fit(features, target, weights).fitted().predict(features)
    repeated = XgboostRegressor(**chosen).fit(features[twice], target[twice]).fitted().predict(features)
    # Bins follow the weights by a sketch, not by each row.
    assert np.corrcoef(weighed, repeated)[0, 1] > 0.995
    assert np.abs(weighed.mean() - repeated.mean()) < 0.02


def test_one_class_is_refused() -> None:
    features, _ = table(50)
    with pytest.raises(ValueError, match="one class"):
        XgboostClassifier().fit(features, np.zeros(50))


@pytest.mark.parametrize("target", [np.full(50, 7.0), np.full(50, 0.0)])
def test_a_constant_is_predicted_as_it_is(target: Any) -> None:
    features, _ = table(50)
    np.testing.assert_array_equal(XgboostRegressor().fit(features, target).fitted().predict(features), target)


@pytest.mark.slow
def test_a_run_of_another_estimator_loads_neither_xgboost_nor_dask() -> None:
    program = (
        "import sys; import model_training.app, model_training.boosting, common.model_file, common.boosted\n"
        "print(sorted({'xgboost', 'dask', 'distributed'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "AWS_DEFAULT_REGION": "eu-central-1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
