"""A model that knows rows' kin is told to be worse where it does not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.frames import load_part
from common.request import parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_evaluation.fairness import doubts
from model_training import other_splits
from model_training.other_splits import OtherSplits
from model_training.training import _empty


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time."""
    monkeypatch.setattr(other_splits, "MOST_SECONDS", 1000.0)


def houses(rows: int = 1500, *, of_cities: float = 5.0, of_days: float = 0.3) -> pd.DataFrame:
    """Return prices that hang on the city and on the day, by how much, beside a size."""
    random = np.random.default_rng(0)
    city, day = random.integers(0, 40, rows), np.sort(random.integers(0, 1000, rows))
    price = random.normal(0, of_cities, 40)[city] + np.cumsum(random.normal(0, of_days, 1000))[day]
    return pd.DataFrame(
        {
            "city": [f"c{each}" for each in city],
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(day, unit="D"),
            "size": (size := random.normal(0, 1, rows)),
            "price": price + size + random.normal(0, 0.5, rows),
        }
    )


def tried(frame: pd.DataFrame, folder: Path, *, fit_seconds: float = 1.0, **fields: Any) -> list[dict[str, Any]]:
    frame.to_csv(folder / "data.csv", index=False)
    # The columns alone: of 320 rows of noise, the more features there are, the likelier chance is taken for a finding.
    estimator = {"estimator": "hist_gradient_boosting", "hyperparameters": {"max_iter": 30}, "features": "plain"}
    request = parse_request(
        {"dataset_uri": "s3://bucket/data.csv", "target": "price", "search_trials": 0, **estimator, **fields}
    )
    prepared = prepare([SourceFile("data.csv", folder / "data.csv")], request, folder)
    features, target = load_part(prepared.train, prepared.profile)
    before = features.copy()
    splits = OtherSplits(prepared.request, prepared.profile, features, target)
    # The model itself is fitted on what it would have been, and consumes it.
    pd.testing.assert_frame_equal(features, before)
    _empty(features)
    return splits.metrics(fit_seconds)


def test_rows_that_belong_together_make_a_model_look_better_than_it_is(tmp_path: Path) -> None:
    found = {each["by"]: each for each in tried(houses(), tmp_path)}
    assert {by: (each["column"], each["metric"]) for by, each in found.items()} == {
        "key": ("city", "rmse"), "time": ("date", "rmse")
    }  # fmt: skip
    for each in found.values():
        assert each["rows"] == 1200
        assert each["by_column"] > 1.5 * each["by_rows"]
    told = doubts(found.values())
    for words, advice in (
        ('whole values of "city"', 'split_key "city"'),
        ('the last rows of "date"', 'split_time "date"'),
    ):
        assert any(f"With {words} held out, rmse is" in each and f"Say {advice}" in each for each in told)


def test_where_nothing_hangs_together_nothing_is_told(tmp_path: Path) -> None:
    found = tried(houses(of_cities=0, of_days=0), tmp_path)
    assert len(found) == 2
    assert doubts(found) == []


@pytest.mark.parametrize("fields", [{"split_key": ["city"]}, {"split_time": "date"}])
def test_a_split_that_keeps_kin_together_is_not_doubted(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert tried(houses(), tmp_path, **fields) == []


def test_what_takes_too_long_is_left_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_splits, "MOST_SECONDS", 0.0)
    found = tried(houses(), tmp_path)
    assert [(each["by_rows"], each["by_column"]) for each in found] == [(None, None)] * 2
    assert all("could not be tried" in each for each in doubts(found))


def test_a_long_fit_has_one_on_a_tenth_of_the_rows_tell_what_others_take(tmp_path: Path) -> None:
    assert tried(houses(), tmp_path, fit_seconds=math.inf) == tried(houses(), tmp_path)


MOST = other_splits.MOST_ROWS


def test_the_last_rows_are_those_that_sorting_all_would_give() -> None:
    times = pd.Series(np.random.default_rng(0).integers(0, 9, 1000).astype(float)).mask(lambda each: each == 4)
    sorted_ = times.dropna().sort_values(kind="stable").index
    for most in (1, 250, 999, 1000):
        assert other_splits._hold_out(times, "time", 0, most)[0].tolist() == sorted_[-most:].tolist()


def test_a_sample_keeps_kin_whole() -> None:
    times = pd.Series(np.repeat(np.arange(50_000.0), 2))
    rows, held_out = other_splits._hold_out(times, "time", 0, MOST)
    assert rows.min() == len(times) - MOST
    assert times[rows[held_out]].min() > times[rows[~held_out]].max()
    keys = pd.Series(np.random.default_rng(0).integers(0, 5000, 100_000))
    rows, held_out = other_splits._hold_out(keys, "key", 0, MOST)
    assert 0.8 * MOST < len(rows) <= MOST
    assert not set(keys[rows[held_out]]) & set(keys[rows[~held_out]])
    assert set(np.flatnonzero(keys.isin(keys[rows]))) == set(rows)
    assert held_out.mean() == pytest.approx(0.2, abs=0.02)


def test_a_key_that_has_most_rows_is_trained_on() -> None:
    keys = pd.Series(["big"] * 900 + [f"k{number % 50}" for number in range(100)])
    rows, held_out = other_splits._hold_out(keys, "key", 0, MOST)
    assert len(rows) == 1000
    assert "big" not in set(keys[rows[held_out]])


@pytest.mark.parametrize(
    ("values", "by"),
    [([None] * 400, "key"), ([float("nan")] * 400, "time"), ([2024.0] * 400, "time"), (["a"] * 400, "key")],
)
def test_a_column_that_holds_nothing_apart_is_not_tried(values: list[Any], by: str) -> None:
    rows, held_out = other_splits._hold_out(pd.Series(values), by, 0, MOST)
    assert not len(rows) or held_out.all() or not held_out.any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_no_doubt(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    frame = houses(400, of_cities=0, of_days=0).assign(price=random.normal(size=400))
    assert doubts(tried(frame, tmp_path)) == []


def test_of_few_rows_nothing_is_told(tmp_path: Path) -> None:
    assert tried(houses(200), tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"metric": "r2", "by_rows": 0.94, "by_column": 0.28}, True),
        ({"metric": "r2", "by_rows": 0.94, "by_column": 0.935}, False),
        ({"metric": "accuracy", "by_rows": 0.8, "by_column": 0.9}, False),
        ({"metric": "rmse", "by_rows": 1.0, "by_column": 1.15}, False),
        ({"metric": "rmse", "by_rows": 1.0, "by_column": 1.3}, True),
    ],
)
def test_only_what_is_notably_worse_is_told(changed: dict[str, Any], told: bool) -> None:
    assert bool(doubts([{"column": "c", "by": "key", "rows": 100, **changed}])) == told
