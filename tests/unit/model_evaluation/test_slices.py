"""Weak groups of rows: found where they are, told to be chance where they are that, and never too small."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from common.metric_table import METRICS, Scoring
from model_evaluation.evaluation import HeldOut
from model_evaluation.slices import LEAST_ROWS, MISSING, SHOWN, Slices, find_slices

ROWS = 2000


def profile(features: pd.DataFrame, **roles: str) -> dict[str, dict[str, str]]:
    return {str(name): {"role": roles.get(str(name), "numeric")} for name in features.columns}


def slices(
    features: pd.DataFrame, error: npt.NDArray[Any], metric: str = "rmse", weights: Any = None, **roles: str
) -> Slices:
    part = HeldOut(features, np.zeros(len(features)), weights)
    return find_slices(part, error, None, metric, Scoring(), profile(features, **roles), list(features.columns))


def texts(random: np.random.Generator, levels: str, rows: int = ROWS) -> pd.Categorical:
    return pd.Categorical(random.choice(list(levels), rows))


def test_a_group_on_which_the_errors_are_larger_is_found_with_its_interval() -> None:
    random = np.random.default_rng(0)
    features = pd.DataFrame({"city": texts(random, "abcd"), "other": texts(random, "xy")})
    bad = (features["city"] == "c").to_numpy()
    error = random.normal(size=ROWS) * np.where(bad, 3, 1)
    found = slices(features, error)
    worst = found.worst[0]
    assert (worst.column, worst.group, worst.rows, worst.worse) == ("city", "c", int(bad.sum()), True)
    assert (found.metric, found.looked_at, found.columns) == ("rmse", 6, ["city", "other"])
    assert worst.value == pytest.approx(np.sqrt(np.mean(error[bad] ** 2)))
    assert worst.others == pytest.approx(np.sqrt(np.mean(error[~bad] ** 2)))
    # As wide as six groups ask for.
    squares = error[bad] ** 2
    times = -stats.t.ppf(0.025 / 6, len(squares) - 1)
    ends = squares.mean() + np.array([-1, 1]) * times * squares.std(ddof=1) / np.sqrt(len(squares))
    assert [worst.low, worst.high] == pytest.approx(np.sqrt(ends))
    assert found.weak == [worst]


def test_where_all_groups_are_alike_at_most_one_in_twenty_data_sets_has_a_weak_one() -> None:
    weak = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        features = pd.DataFrame({str(each): texts(random, "abcdefgh", 800) for each in range(4)})
        weak += bool(slices(features, random.normal(size=800)).weak)
    assert weak <= 10


@pytest.mark.parametrize(("small", "looked_at"), [(LEAST_ROWS, 2), (LEAST_ROWS - 1, 0)])
def test_a_group_of_few_rows_is_not_looked_at(small: int, looked_at: int) -> None:
    features = pd.DataFrame({"kind": pd.Categorical(["rare"] * small + ["common"] * (ROWS - small))})
    found = slices(features, np.r_[np.full(small, 9.0), np.ones(ROWS - small)])
    # Without the rare ones there is nothing to compare the common ones with.
    assert found.looked_at == looked_at
    assert len(found.worst) == looked_at // 2


def test_rows_of_one_weight_count_as_many_as_they_are_worth() -> None:
    random = np.random.default_rng(0)
    features = pd.DataFrame({"kind": texts(random, "ab")})
    weights = np.ones(ROWS)
    weights[np.flatnonzero(features["kind"] == "a")[10:]] = 1e-9
    assert slices(features, random.normal(size=ROWS)).looked_at == 2
    assert slices(features, random.normal(size=ROWS), weights=weights).looked_at == 0


def test_numbers_are_looked_at_in_parts_and_what_is_missing_apart() -> None:
    random = np.random.default_rng(0)
    age = random.uniform(0, 100, ROWS)
    age[:100] = np.nan
    found = slices(pd.DataFrame({"age": age}), np.where(age > 75, 5.0, 1.0) + random.normal(size=ROWS) / 9)
    limit = f"{np.quantile(age[100:], 0.75, method='inverted_cdf'):.4g}"
    assert found.worst[0].group == f"above {limit}"
    assert found.looked_at == 5
    missing = slices(pd.DataFrame({"age": age}), np.where(np.isnan(age), 5.0, 1.0))
    assert (missing.worst[0].group, missing.worst[0].rows) == (MISSING, 100)


@pytest.mark.parametrize(("role", "group"), [("boolean", "true"), ("numeric", "1"), ("timestamp", "1970-01-01")])
def test_a_number_of_few_values_is_looked_at_by_value(role: str, group: str) -> None:
    values = np.arange(ROWS) % 2 * 1.0
    found = slices(pd.DataFrame({"x": values}), 1 + values, x=role)
    assert [each.group for each in found.worst] == [group]
    assert found.looked_at == 2


def test_few_rows_make_fewer_parts() -> None:
    random = np.random.default_rng(0)
    assert slices(pd.DataFrame({"x": random.normal(size=88)}), random.normal(size=88)).looked_at == 2
    assert slices(pd.DataFrame({"x": random.normal(size=20)}), random.normal(size=20)).looked_at == 0


def test_a_few_are_shown_and_all_are_counted() -> None:
    random = np.random.default_rng(0)
    features = pd.DataFrame({str(each): texts(random, "ab") for each in range(40)})
    found = slices(features, random.normal(size=ROWS) * (features == "a").sum(axis=1).to_numpy())
    assert len(found.worst) == SHOWN
    assert found.looked_at == 80


@pytest.mark.parametrize("metric", METRICS["classification"])
def test_groups_of_a_classification_are_compared_by_what_rows_add_up_to(metric: str) -> None:
    random = np.random.default_rng(0)
    features = pd.DataFrame({"kind": texts(random, "ab")})
    truth = random.integers(0, 2, ROWS)
    wrong = (features["kind"] == "a").to_numpy() & (random.random(ROWS) < 0.5)
    predicted = np.where(truth ^ wrong, 0.8, 0.2)
    part = HeldOut(features, np.array(["no", "yes"])[truth])
    classes = np.array(["no", "yes"])
    probabilities = np.column_stack([1 - predicted, predicted])
    found = find_slices(part, probabilities, classes, metric, Scoring("yes"), profile(features), [])
    assert [(each.group, each.worse) for each in found.worst] == [("a", True)]
    worst, bad = found.worst[0], (features["kind"] == "a").to_numpy()
    expected = {
        "accuracy": 1 - wrong[bad].mean(),
        "brier": np.mean(np.where(wrong[bad], 0.64, 0.04)),
        "log_loss": -np.mean(np.log(np.where(wrong[bad], 0.2, 0.8))),
    }
    assert worst.value == pytest.approx(expected[found.metric])
    assert worst.low < worst.value < worst.high


@pytest.mark.parametrize("metric", METRICS["regression"])
def test_groups_of_a_regression_are_compared_by_the_metric_or_one_of_its_kind(metric: str) -> None:
    random = np.random.default_rng(0)
    features = pd.DataFrame({"kind": texts(random, "ab")})
    target = random.uniform(1, 2, ROWS)
    predicted = target + 0.1 * random.normal(size=ROWS) * np.where(features["kind"] == "a", 4, 1)
    part = HeldOut(features, target)
    found = find_slices(part, predicted, None, metric, Scoring(), profile(features), [])
    assert found.metric == {"r2": "rmse", "medae": "mae"}.get(metric, metric)
    assert [(each.group, each.worse) for each in found.worst] == [("a", True)]


def test_a_class_that_training_never_saw_counts_as_wrong() -> None:
    features = pd.DataFrame({"kind": pd.Categorical(["a", "b"] * 50)})
    part = HeldOut(features, np.array(["new", "yes"] * 50))
    probabilities = np.tile([0.1, 0.9], (100, 1))
    for metric in ("accuracy", "log_loss", "roc_auc"):
        found = find_slices(part, probabilities, np.array(["no", "yes"]), metric, Scoring(), profile(features), [])
        assert [each.group for each in found.worst] == ["a"], metric
        assert np.isfinite(found.worst[0].value)


def test_errors_whose_squares_no_float_holds_are_compared_with_nothing() -> None:
    features = pd.DataFrame({"kind": pd.Categorical(["a", "b"] * 50)})
    found = slices(features, np.r_[1e200, np.ones(99)])
    assert (found.looked_at, found.worst) == (0, [])


def test_free_texts_are_no_groups() -> None:
    random = np.random.default_rng(0)
    notes = pd.Series([f"remark {n % 3}" for n in range(ROWS)], dtype="str")
    features = pd.DataFrame({"note": notes, "city": texts(random, "ab")})
    assert slices(features, random.normal(size=ROWS), note="text", city="categorical").columns == ["city"]
