"""Boosted trees as arrays: each attack changes one of them, and none is followed anywhere."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from boosted_tables import CATEGORY, table
from common import boosted
from common.boosted import BoostedClassifier, BoostedRegressor
from common.errors import UntrustedModelError
from common.model_file import load_model
from model_training.boosting import XgboostClassifier, XgboostRegressor


def grown(kind: str = "regressor", classes: int = 2, **chosen: Any) -> Any:
    features, target = table()
    chosen = {"n_estimators": 4, "max_depth": 3, "categorical_features": [CATEGORY], **chosen}
    if kind == "regressor":
        return XgboostRegressor(**chosen).fit(features, target).fitted()
    labels = np.digitize(target, np.quantile(target, np.arange(1, classes) / classes))
    return XgboostClassifier(**chosen).fit(features, labels).fitted()


def set_in(name: str, place: int, value: Any) -> Callable[[Any], None]:
    return lambda model: model.trees_[name].__setitem__(place, value)


def replaced(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    return lambda model: model.trees_.__setitem__(name, change(model.trees_[name]))


def leaf_of(model: Any) -> int:
    return int(np.flatnonzero(model.trees_["left"] == -1)[0])


ATTACKS: dict[str, Callable[[Any], Any]] = {
    "a child beyond the end": set_in("left", 0, 2_000_000_000),
    "a child in the next tree": lambda model: set_in("right", 0, int(model.trees_["sizes"][0]))(model),
    "a child before the start": set_in("right", 0, -7),
    "a loop": set_in("left", 1, 0),
    "a node that is its own child": set_in("left", 0, 0),
    "half a leaf": set_in("left", 0, -1),
    "a leaf with a child": lambda model: set_in("right", leaf_of(model), 1)(model),
    "a leaf of categories": lambda model: set_in("category", leaf_of(model), 0)(model),
    "a feature that is none": set_in("feature", 0, 2_000_000_000),
    "a feature below none": set_in("feature", 0, -9),
    "one feature too many": set_in("feature", 0, 3),
    "categories that are not there": set_in("category", 0, 2_000_000_000),
    "categories below none": set_in("category", 0, -2),
    "sets that are too short": replaced("sets", lambda sets: sets[:, :4].copy()),
    "sets of no shape": replaced("sets", np.ravel),
    "an output that is none": set_in("outputs", 0, 5),
    "an output below none": set_in("outputs", 0, -1),
    "a tree of no nodes": lambda model: (set_in("sizes", 0, 0)(model), set_in("sizes", 1, 30)(model)),
    "trees of more nodes than there are": set_in("sizes", 0, 2_000_000_000),
    "trees of less than none": set_in("sizes", 0, -15),
    "fewer outputs than trees": replaced("outputs", lambda outputs: outputs[:-1].copy()),
    "fewer thresholds than nodes": replaced("value", lambda values: values[:-1].copy()),
    "no number": set_in("value", 0, np.nan),
    "another type": replaced("left", lambda left: left.astype(np.int64)),
    "nodes in two dimensions": replaced("left", lambda left: left.reshape(1, -1)),
    "an array too few": lambda model: model.trees_.pop("sets"),
    "an array too many": lambda model: model.trees_.__setitem__("other", np.zeros(1)),
    "trees that are none": lambda model: setattr(model, "trees_", []),
    "columns that are no number": lambda model: setattr(model, "n_features_in_", 3.0),
    "no columns at all": lambda model: setattr(model, "n_features_in_", 0),
    "a base of two": lambda model: setattr(model, "base_", np.zeros(2)),
    "a base that is none": lambda model: setattr(model, "base_", np.array([np.inf])),
    "a scale that is none": lambda model: setattr(model, "scale_", float("nan")),
    "a missing attribute": lambda model: delattr(model, "scale_"),
    "an attribute of another name": lambda model: setattr(model, "predict", "something"),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_forged_trees_are_not_followed(tmp_path: Path, what: str) -> None:
    model = grown()
    ATTACKS[what](model)
    columns = ColumnTransformer([("numeric", StandardScaler(), ["a"])])
    skops.io.dump(Pipeline([("features", columns), ("model", model)]), tmp_path / "model.skops")
    with pytest.raises(UntrustedModelError, match=r"boosted trees that training does not grow|cannot be read"):
        load_model(tmp_path / "model.skops")


@pytest.mark.parametrize("classes", [np.array([1]), np.array([1, 2, 3]), ["a", "b"], np.array([[1, 2]])])
def test_forged_classes_are_refused(classes: Any) -> None:
    model = grown("classifier")
    model.checked()
    model.classes_ = classes
    with pytest.raises(UntrustedModelError):
        model.checked()


def test_what_was_assembled_is_not_saved_and_none_is_taken_from_a_file() -> None:
    model = grown()
    before = set(vars(model))
    model.predict(table()[0])
    assert set(model.__getstate__()) == before
    assert set(vars(pickle.loads(pickle.dumps(model)))) == before  # noqa: S301 - the state that skops asks for, too
    # Its nodes were looked at by nobody.
    with pytest.raises(UntrustedModelError):
        model.checked()


@pytest.mark.parametrize("columns", [2, 4])
def test_rows_of_other_columns_are_not_looked_at(columns: int) -> None:
    with pytest.raises(ValueError, match="the trees know 3"):
        grown().predict(np.zeros((1, columns)))


@pytest.mark.parametrize(("kind", "classes"), [("regressor", 0), ("classifier", 2), ("classifier", 4)])
def test_rows_are_predicted_alike_one_by_one_and_in_blocks(
    monkeypatch: pytest.MonkeyPatch, kind: str, classes: int
) -> None:
    model, (features, _) = grown(kind, classes), table()
    whole = model.raw(features)
    np.testing.assert_array_equal(whole, np.vstack([model.raw(features[[row]]) for row in range(len(features))]))
    monkeypatch.setattr(boosted, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(boosted, "FEW_STEPS", 0)
    np.testing.assert_array_equal(whole, model.raw(features))


def test_a_number_beyond_float32_is_one_without_a_warning() -> None:
    model, row = grown(), np.zeros((1, 3))
    row[0, 0] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.predict(row)).all()


def test_a_fit_of_what_is_fitted_changes_nothing() -> None:
    features, target = table()
    for model in (grown(), grown("classifier")):
        assert isinstance(model, BoostedRegressor | BoostedClassifier)
        before = model.predict(features)
        np.testing.assert_array_equal(model.fit(features, target).predict(features), before)
