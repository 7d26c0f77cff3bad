"""Predictions of held-out folds: each row by a pipeline that has not seen it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, cross_val_predict

from common.errors import InvalidDatasetError
from common.frames import load_order, load_part, load_weights
from data_preparation.preparation import PreparedData
from model_training.folds import Part
from model_training.held_out import predict_folds
from model_training.training import build_pipeline

Prepare = Callable[..., PreparedData]


def part_of(prepared: PreparedData) -> Part:
    path, profile = prepared.train, prepared.profile
    return Part(*load_part(path, profile), load_weights(path, profile), load_order(path, profile))


def test_the_predictions_are_those_of_scikit_learns_cross_validation(prepared_data: Prepare) -> None:
    prepared = prepared_data("regression")
    part = part_of(prepared)
    found = predict_folds(prepared.request, prepared.profile, part, 100)
    folds = KFold(5, shuffle=True, random_state=prepared.request.seed)
    expected = cross_val_predict(
        build_pipeline(prepared.request, prepared.profile), part.features, part.target, cv=folds
    )
    rows = np.concatenate([scored for _, scored in folds.split(part.features)])
    np.testing.assert_allclose(found.outputs, expected[rows], rtol=1e-12)
    np.testing.assert_array_equal(found.target, part.target[rows])
    assert np.bincount(found.folds).tolist() == [48] * 5
    assert (found.weights == 1).all()
    assert found.classes is None


def test_a_class_that_a_fold_lacks_has_a_probability_of_0_there(prepared_data: Prepare) -> None:
    prepared = prepared_data("classification")
    part = part_of(prepared)
    target = np.where(np.arange(len(part.target)) == 7, "lone", part.target.astype("<U4"))
    found = predict_folds(prepared.request, prepared.profile, Part(part.features, target), 100)
    assert np.asarray(found.classes).tolist() == ["high", "lone", "low"]
    assert found.outputs.shape == (len(target), 3)
    np.testing.assert_allclose(found.outputs.sum(axis=1), 1)
    lone = found.folds[found.target == "lone"][0]
    assert (found.outputs[found.folds == lone, 1] == 0).all()
    np.testing.assert_array_equal(np.asarray(found.classes)[found.codes], found.target)


def test_weights_and_times_are_those_of_the_rows(prepared_data: Prepare) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=300), "w": np.arange(1.0, 301), "t": range(300)})
    data["y"] = data["w"] / 10
    prepared = prepared_data("regression", data, weight_column="w", split_time="t")
    found = predict_folds(prepared.request, prepared.profile, part_of(prepared), 100)
    np.testing.assert_allclose(found.weights, found.target * 10)
    # What comes first is held out of no fold, and later folds are of later times.
    assert found.target.min() > 3
    assert (np.diff(found.folds) >= 0).all()


def test_where_there_is_no_time_nothing_is_predicted(prepared_data: Prepare) -> None:
    prepared = prepared_data("regression")
    with pytest.raises(InvalidDatasetError, match="5 fits would take more than the 0 s"):
        predict_folds(prepared.request, prepared.profile, part_of(prepared), 1e-9)
