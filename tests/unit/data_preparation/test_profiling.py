"""Roles, statistics and hand-over types of single columns."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common import conversion
from data_preparation.notation import ARROW_TYPES, Kind
from data_preparation.profiling import ColumnSummary, feature_type, infer_role, splits_by, statistics


def summarise(values: list[Any], kind: Kind, name: str = "x", batch_rows: int = 1000) -> ColumnSummary:
    summary = ColumnSummary.of(name, kind)
    for at in range(0, len(values), batch_rows):
        summary.add(pa.array(values[at : at + batch_rows], ARROW_TYPES[kind]))
    return summary


DAYS = [dt.datetime(2020, 1, day) for day in range(1, 12)]  # noqa: DTZ001 - timestamps are UTC without a zone here


@pytest.mark.parametrize(
    ("values", "kind", "name", "role"),
    [
        ([1.5, 2.5, None], "float", "x", "numeric"),
        (list(range(20)), "integer", "rooms", "numeric"),
        ([True, False, None], "boolean", "x", "boolean"),
        (DAYS, "timestamp", "x", "timestamp"),
        (["a", "b", "a"], "text", "x", "categorical"),
        ([None, None], "null", "x", "constant"),
        ([1, 1, None], "integer", "x", "constant"),
        ([0.5, 0.5], "float", "x", "constant"),
        (["a", "a"], "text", "x", "constant"),
        ([True, True], "boolean", "x", "constant"),
        (["a", "b", "c"], "text", "x", "identifier"),
        ([f"text {i % 1001}" for i in range(3000)], "text", "x", "categorical"),
        ([f"text {i % 1501}" for i in range(3000)], "text", "x", "identifier"),
        ([f"{i % 1001:0251}" for i in range(3000)], "text", "x", "identifier"),
        ([7, 3, 5], "integer", "customer_id", "identifier"),
        ([7, 3, 5], "integer", "CustomerID", "identifier"),
        ([0, 1, 2], "integer", "Unnamed: 0", "identifier"),
        ([7, 3, 7], "integer", "store_id", "numeric"),
        ([7, 3, 5], "integer", "humid", "numeric"),
        ([7, 3, 5], "integer", "paid", "numeric"),
    ],
)
def test_the_role_follows_from_values_and_identifier_names(values: list[Any], kind: Kind, name: str, role: str) -> None:
    found, reason = infer_role(summarise(values, kind, name))
    assert found == role
    assert (reason is not None) == (role in ("constant", "identifier"))


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=200),
    st.integers(min_value=1, max_value=200),
)
def test_statistics_do_not_depend_on_the_batch_size(values: list[float | None], batch_rows: int) -> None:
    summary = summarise(values, "float", batch_rows=batch_rows)
    present = np.array([value for value in values if value is not None])
    assert summary.nulls == values.count(None)
    if len(present):
        told = statistics(summary)
        assert (told["min"], told["max"]) == (present.min(), present.max())
        assert told["mean"] == pytest.approx(present.mean(), rel=1e-9, abs=1e-6)
        expected = present.std(ddof=1) if len(present) > 1 else 0.0
        assert told["std"] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, unique=True))
def test_integers_are_handed_over_in_the_smallest_type_that_holds_them(values: list[int]) -> None:
    type_ = feature_type(summarise(values, "integer"), "numeric")
    assert pc.cast(pa.array(values, pa.int64()), type_).to_pylist() == values
    smaller = [each for each in conversion.INTEGERS if each.bit_width < type_.bit_width]
    for each in smaller:
        with pytest.raises(pa.ArrowInvalid):
            pc.cast(pa.array(values, pa.int64()), each)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@example([1e-42, 1.0])
@example([-conversion.MAX_MAGNITUDE, 1e38])
@example([1e300, 1.0])
def test_float32_is_chosen_only_where_every_value_keeps_its_own_magnitude(values: list[float]) -> None:
    with np.errstate(over="ignore"):
        back = np.array(values).astype(np.float32).astype(np.float64)
    survives = bool((np.abs(back - values) <= 1e-6 * np.abs(values)).all())
    chosen = feature_type(summarise(values, "float", batch_rows=7), "numeric")
    assert survives or chosen == pa.float64()
    assert not np.array_equal(back, values) or chosen == pa.float32()


@pytest.mark.slow
@settings(max_examples=300)
@given(
    centre=st.floats(-1e15, 1e15),
    scale=st.floats(-45, 30).map(lambda exponent: 10.0**exponent),
    tail=st.sampled_from([0.0, 1.0, 3.0]),
    rows=st.integers(2, 3000),
    seed=st.integers(0, 1000),
)
@example(centre=1.7e9, scale=17.0, tail=0.0, rows=1000, seed=0)
@example(centre=300.0, scale=10.0, tail=0.0, rows=1000, seed=0)
@example(centre=1e15, scale=1.0, tail=0.0, rows=1000, seed=0)
@example(centre=0.0, scale=1e-39, tail=0.0, rows=1000, seed=0)
def test_standardised_values_are_those_of_float64(
    centre: float, scale: float, tail: float, rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    exact = centre + scale * random.normal(size=rows) * np.exp(tail * random.normal(size=rows))
    chosen = feature_type(summarise(exact.tolist(), "float", batch_rows=64), "numeric")
    deviation = exact.std()
    if chosen == pa.float64() or not deviation:
        return
    back = exact.astype(np.float32).astype(np.float64)
    distances = np.maximum(1, np.abs(exact - exact.mean()) / deviation)
    assert (np.abs(back - exact) / deviation <= 2e-6 * distances).all()


SPREADS = {
    "normal": (lambda random: random.normal(size=5000), "float32"),
    "off by ten deviations": (lambda random: random.normal(10, 1, 5000), "float32"),
    "skewed, and far out": (lambda random: np.exp(3 * random.normal(size=5000)), "float32"),
    "one is far out": (lambda random: np.append(random.normal(size=5000), 1e30), "float32"),
    "whole numbers": (lambda random: random.integers(2000, 2026, 5000) * 1.0, "float32"),
    "large whole numbers": (lambda random: 2.0**24 - random.integers(0, 60, 5000), "float32"),
    "zero but one": (lambda _: np.append(np.zeros(5000), 0.1), "float32"),
    "constant but one": (lambda _: np.append(np.full(5000, 1234.1), 1234.2), "float64"),
    "of one second": (lambda random: 1.7e9 + random.random(5000), "float64"),
    "beyond whole numbers": (lambda random: 2.0**24 + random.integers(0, 60, 5000), "float64"),
    "huge": (lambda random: 1e30 * (1 + 1e-9 * random.random(5000)), "float64"),
    "both far out": (lambda random: np.append(1.1e9 + 500 * random.random(5000), -1.0), "float64"),
    "tiny": (lambda random: 1e-300 * random.random(5000), "float64"),
}


@pytest.mark.slow
@pytest.mark.parametrize("batch_rows", [7, 10_000])
@pytest.mark.parametrize("spread", SPREADS)
def test_the_spread_of_a_column_decides_whether_float32_does(spread: str, batch_rows: int) -> None:
    make, expected = SPREADS[spread]
    values = make(np.random.default_rng(0))
    for ordered in (values, np.sort(values), np.sort(values)[::-1]):
        summary = summarise(ordered.tolist(), "float", batch_rows=batch_rows)
        assert conversion.dtype_name(feature_type(summary, "numeric")) == expected


def test_whole_numbers_of_another_file_count_where_a_column_is_of_floats() -> None:
    merged = ColumnSummary.of("x", "float")
    merged.merge(summarise([1_700_000_000 + second for second in range(60)], "integer"))
    merged.merge(summarise([1_700_000_060.0], "float"))
    assert feature_type(merged, "numeric") == pa.float64()


def test_timestamps_stay_exact_and_texts_become_categories() -> None:
    assert feature_type(summarise(DAYS, "timestamp"), "timestamp") == pa.float64()
    assert feature_type(summarise(["a", "b"], "text"), "categorical") == pa.dictionary(pa.int32(), pa.string())
    assert feature_type(summarise([True, False], "boolean"), "boolean") == pa.bool_()


def test_the_most_frequent_values_are_told() -> None:
    assert statistics(summarise(["a", "b", "a", None], "text")) == {
        "distinct": 2,
        "top": [{"value": "a", "rows": 2}, {"value": "b", "rows": 1}],
    }
    many = summarise([f"text {i % 2000}" for i in range(5000)], "text")
    assert many.counts is None
    assert statistics(many) == {"distinct": 2000}
    assert statistics(summarise(DAYS, "timestamp"))["min"] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([str(i) for i in range(1500)], "each of its texts occurs once only"),
        ([str(i % 1490) for i in range(1500)], "its texts hardly repeat: 1,490 different ones in 1,500 rows"),
        ([str(i) for i in range(25_000)], "its texts hardly repeat: more than 20,000 different ones in 25,000 rows"),
        (["a" * 300_000, "b"] * 2, "its texts are too long to be categories: 150,000 characters on average"),
    ],
)
def test_why_texts_are_no_feature_is_true(texts: list[str], reason: str) -> None:
    assert infer_role(summarise(texts, "text")) == ("identifier", reason)


def test_few_texts_of_many_characters_are_counted_and_many_are_told_as_more() -> None:
    assert statistics(summarise([f"{i % 300:01000}" for i in range(900)], "text")) == {"distinct": 300}
    assert statistics(summarise([str(i) for i in range(20_001)], "text")) == {"distinct": "more than 20,000"}


def test_a_column_of_many_texts_may_be_what_rows_belong_to() -> None:
    assert splits_by(summarise([f"user {i % 1200}" for i in range(3000)], "text"), "categorical") == "key"


def test_a_deviation_that_overflows_is_told_as_unknown() -> None:
    assert statistics(summarise([1e308, -1e308], "float"))["std"] is None


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=50),
    st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), max_size=50),
)
@example([-0.0], [0])
def test_files_are_summed_up_as_if_they_were_one(floats: list[float | None], integers: list[int | None]) -> None:
    merged = ColumnSummary.of("x", "float", count_values=True)
    for kind, values in (("float", floats), ("integer", integers), ("null", [None, None])):
        one = ColumnSummary.of("x", kind, count_values=True)  # type: ignore[arg-type]
        one.add(pa.array(values, ARROW_TYPES[kind]))  # type: ignore[index]
        merged.merge(one)
    whole = ColumnSummary.of("x", "float", count_values=True)
    whole.add(pa.array([*floats, *integers, None, None], pa.float64()))
    assert (merged.rows, merged.nulls, merged.counts) == (whole.rows, whole.nulls, whole.counts)
    assert (merged.minimum, merged.maximum, merged.integral) == (whole.minimum, whole.maximum, whole.integral)
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-6)
    assert merged.std == pytest.approx(whole.std, rel=1e-6, abs=1e-6)


def test_an_identifier_that_repeats_in_another_file_is_none() -> None:
    first, second = summarise([1, 2], "integer", "shop_id"), summarise([2, 3], "integer", "shop_id")
    merged = ColumnSummary.of("shop_id", "integer")
    merged.merge(first)
    assert infer_role(merged)[0] == "identifier"
    merged.merge(second)
    assert infer_role(merged)[0] == "numeric"


def test_a_dictionary_is_counted_as_its_texts_are() -> None:
    values = ["1", None, "x", "1"]
    plain, encoded = ColumnSummary.of("x", "text"), ColumnSummary.of("x", "text")
    plain.add(pa.array(values))
    encoded.add(pa.array(values).dictionary_encode())
    assert plain == encoded


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("city", [f"c{number % 20}" for number in range(100)], "key"),
        ("colour", [f"c{number % 19}" for number in range(100)], None),
        ("note", [f"c{number % 60}" for number in range(100)], None),
        ("customer_id", [number % 30 for number in range(100)], "key"),
        ("rooms", [number % 30 for number in range(100)], None),
        ("year", [2000 + number % 20 for number in range(100)], "time"),
        ("yearly", list(range(100)), None),
        ("seen", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number) for number in range(100)], "time"),
    ],
)
def test_columns_by_which_rows_may_belong_together(name: str, values: list[Any], expected: str | None) -> None:
    array = pa.array(values)
    kinds = {pa.string(): "text", pa.int64(): "integer"}
    summary = ColumnSummary.of(name, kinds.get(array.type, "timestamp"))  # type: ignore[arg-type]
    summary.add(array)
    assert splits_by(summary, infer_role(summary)[0]) == expected
