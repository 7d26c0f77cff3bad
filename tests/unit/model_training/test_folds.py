"""Folds are split as the test part was split off, and never part what belongs together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidDatasetError
from model_training.folds import FEW_ROWS, Fold, draw_rows, make_folds


def profile(by: str, problem: str = "regression") -> dict[str, Any]:
    return {"split": {"by": by}, "problem": problem}


def orders(most: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    return st.lists(st.integers(0, most), min_size=8, max_size=60).map(lambda each: np.array(each, np.uint64))


def assert_folds(folds: list[Fold]) -> None:
    assert folds
    for fold in folds:
        assert len(fold.fitted)
        assert len(fold.scored)
        assert not set(fold.fitted) & set(fold.scored)


@pytest.mark.parametrize(("rows", "count"), [(40, 5), (FEW_ROWS, 3)])
@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_each_row_is_scored_once(rows: int, count: int, problem: str) -> None:
    target = np.arange(rows) % 4
    folds = make_folds(target, None, profile("rows", problem), seed=1)

    assert_folds(folds)
    assert len(folds) == count
    assert sorted(np.concatenate([fold.scored for fold in folds])) == list(range(rows))
    if problem == "classification":
        assert all(set(target[fold.scored]) == {0, 1, 2, 3} for fold in folds)


@settings(max_examples=60)
@given(order=orders(9), classes=st.booleans())
def test_rows_of_one_key_are_in_one_fold(order: np.ndarray[Any, Any], *, classes: bool) -> None:
    if len(set(order)) < 2:
        order[0] += 1
    described = profile("key", "classification" if classes else "regression")
    folds = make_folds(np.arange(len(order)) % 2, order, described, seed=2)

    assert len(folds) >= 2
    for fold in folds:
        assert not set(order[fold.fitted]) & set(order[fold.scored])
    assert sorted(np.concatenate([fold.scored for fold in folds])) == list(range(len(order)))


@settings(max_examples=60)
@given(order=orders(30))
def test_by_time_what_is_scored_comes_later(order: np.ndarray[Any, Any]) -> None:
    if len(set(order)) < 2:
        order[0] += 1
    folds = make_folds(np.zeros(len(order)), order, profile("time"), seed=3)

    assert_folds(folds)
    for fold in folds:
        # Of ties, too: rows of one time are on one side.
        assert order[fold.fitted].max() < order[fold.scored].min()


@pytest.mark.parametrize(("by", "told"), [("key", "one key only"), ("time", "one time only")])
def test_one_key_or_time_is_too_few(by: str, told: str) -> None:
    with pytest.raises(InvalidDatasetError, match=told):
        make_folds(np.arange(20), np.zeros(20, np.uint64), profile(by), seed=0)


def test_a_class_of_few_rows_makes_fewer_folds() -> None:
    target = np.array(["a", "b"] * 2 + ["c"])
    assert len(make_folds(target, None, profile("rows", "classification"), seed=0)) == 2
    with pytest.raises(InvalidDatasetError, match="No class has two rows"):
        make_folds(np.arange(5), None, profile("rows", "classification"), seed=0)


def test_rows_are_drawn_in_their_order_and_keys_are_drawn_whole() -> None:
    keys = np.repeat(np.arange(50, dtype=np.uint64), 10)
    drawn = draw_rows(500, keys, "key", 205, seed=0)
    assert len(drawn) == 200
    assert np.unique(keys[drawn], return_counts=True)[1].tolist() == [10] * 20

    drawn = draw_rows(500, None, "rows", 205, seed=0)
    assert len(set(drawn)) == 205
    assert (np.diff(drawn) > 0).all()
    assert draw_rows(100, None, "rows", 205, seed=0).tolist() == list(range(100))


def test_classes_that_are_numbers_with_decimals_are_classes() -> None:
    target = np.where(np.arange(40) % 2, 0.5, 1.5)
    folds = make_folds(target, None, profile("rows", "classification"), seed=1)
    assert all(set(target[fold.scored]) == {0.5, 1.5} for fold in folds)


def test_a_fold_of_few_rows_has_two_for_a_metric_to_tell_apart() -> None:
    folds = make_folds(np.arange(8.0), None, profile("rows"), seed=1)
    assert [len(fold.scored) for fold in folds] == [2, 2, 2, 2]
