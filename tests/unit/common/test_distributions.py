"""Distributions of columns: what is drawn of a stream, what bins and categories hold, and how large it all may be."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.distributions import (
    FEWEST_BINS,
    LEAST_BIN_ROWS,
    MOST_BINS,
    Bounds,
    RowSample,
    codes_of,
    measured,
    of_booleans,
    of_numbers,
    of_texts,
    text_codes,
    texts_by_code,
)

NAN = float("nan")


def batch(rows: int, start: int = 0) -> pa.RecordBatch:
    numbers = np.arange(start, start + rows)
    texts = pa.array([None if each % 7 == 0 else f"text {each % 5}" for each in numbers.tolist()])
    return pa.record_batch({"n": pa.array(numbers), "c": texts.dictionary_encode()})


def codes(texts: list[str | None]) -> np.ndarray:
    return text_codes(pa.array(texts, pa.string()).dictionary_encode())


@pytest.mark.parametrize("most", [100, 5000])
@given(cuts=st.lists(st.integers(0, 1000), max_size=5))
def test_the_same_rows_are_drawn_however_the_stream_is_cut(most: int, cuts: list[int]) -> None:
    whole, pieces = RowSample(["n", "c"], most), RowSample(["n", "c"], most)
    whole.add(batch(1000))
    ends = sorted({0, *cuts, 1000})
    for start, end in itertools.pairwise(ends):
        pieces.add(batch(end - start, start))
    assert len(whole.values("n")) == min(most, 1000)
    for name in ("n", "c"):
        np.testing.assert_array_equal(whole.values(name), pieces.values(name))


def test_rows_of_all_places_are_drawn_alike() -> None:
    sample = RowSample(["n"], 2000)
    for start in range(0, 100_000, 1000):
        sample.add(batch(1000, start))
    drawn = sample.values("n")
    assert len(drawn) == len(set(drawn.tolist())) == 2000
    # An even step would meet the same hour of each day.
    for period, places in ((10, drawn // 10_000), (24, drawn % 24)):
        counts = np.bincount(places.astype(int), minlength=period)
        assert abs(counts - 2000 / period).max() < 5 * np.sqrt(2000 / period)


def test_bins_hold_all_values_and_about_as_many_each() -> None:
    values = np.append(np.random.default_rng(0).lognormal(sigma=2, size=5000), [NAN] * 10)
    found = of_numbers(values)
    assert (found["rows"], found["missing"]) == (5010, 10)
    assert (found["edges"][0], found["edges"][-1]) == (np.nanmin(values), np.nanmax(values))
    assert found["counts"] == [250] * MOST_BINS
    assert found["edges"] == sorted(found["edges"])


def test_a_frequent_value_is_alone_and_the_others_are_still_told_apart() -> None:
    random = np.random.default_rng(0)
    values = np.where(random.random(20_000) < 0.9, 0.0, random.exponential(size=20_000))
    found = of_numbers(values)
    assert found["edges"][:2] == [0.0, 0.0]
    assert found["counts"][0] == int((values == 0).sum())
    assert len(found["counts"]) == MOST_BINS
    middle = of_numbers(np.where(random.random(20_000) < 0.5, 3.0, random.normal(3, 1, 20_000)))
    place = middle["edges"].index(3.0)
    assert middle["edges"].count(3.0) == 1
    assert 9_900 < middle["counts"][place - 1] < 10_200


@given(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6) | st.just(NAN), max_size=300))
def test_bins_never_lose_a_value(values: list[float]) -> None:
    array = np.array(values, np.float64)
    found = of_numbers(array)
    present = array[~np.isnan(array)]
    assert sum(found["counts"]) == len(present) == found["rows"] - found["missing"]
    assert len(found["edges"]) == (len(found["counts"]) + 1 if len(present) else 0)
    assert (
        found["counts"]
        == np.bincount(np.searchsorted(found["edges"][1:-1], present), minlength=len(found["counts"])).tolist()
    )
    least = min(LEAST_BIN_ROWS, max(1, len(present) // FEWEST_BINS))
    assert min(found["counts"], default=least) >= least


def test_texts_are_known_by_code_and_named_where_they_may_be() -> None:
    texts = ["a"] * 5 + ["b"] * 3 + ["c", None]
    found = of_texts(codes(texts), texts_by_code(["a", "b", "c"]))
    assert (found["rows"], found["missing"]) == (10, 1)
    assert (found["values"], found["counts"], found["other"]) == (["a", "b", "c"], [5, 3, 1], 0)
    assert (found["once"], found["twice"], found["complete"]) == (1, 0, True)
    assert codes_of(found).tolist() == codes(["a", "b", "c"]).tolist()
    assert of_texts(codes(texts), None) == {**found, "values": None}
    long = "x" * 10_000
    assert len(of_texts(codes([long]), texts_by_code([long]))["values"][0]) == 100


def test_an_empty_text_is_none_that_is_missing() -> None:
    found = of_texts(codes(["", "", None]), texts_by_code([""]))
    assert (found["missing"], found["counts"]) == (1, [2])


def test_the_frequent_ones_of_many_texts_are_counted_on_rows_that_did_not_choose_them() -> None:
    random = np.random.default_rng(0)
    texts = [f"text {each}" for each in random.integers(0, 300, 6000).tolist()]
    found = of_texts(codes(texts), None)
    assert len(found["counts"]) == 50
    assert sum(found["counts"]) + found["other"] == 3000
    # Ten of each are expected; chosen and counted on the same rows they would be seventeen.
    assert np.mean(found["counts"]) == pytest.approx(10, abs=1.5)


def test_what_is_kept_is_bounded_for_any_number_of_columns() -> None:
    bounds = Bounds.of(10_000)
    assert bounds.rows * 10_000 <= 4_000_000
    assert Bounds.of(30) == Bounds()
    random = np.random.default_rng(0)
    number = of_numbers(random.normal(size=bounds.rows), bounds.bins)
    texts = [str(each) * 1000 for each in random.integers(0, 10**9, bounds.rows).tolist()]
    text = of_texts(codes(texts), texts_by_code(texts), bounds)
    assert len(json.dumps(number)) < 400
    assert len(json.dumps(text)) < 2000
    assert not text["complete"]
    most = of_texts(codes([str(each) for each in range(20_000)]), None)
    assert len(json.dumps(most)) < 20_000


def test_booleans_and_columns_without_a_value() -> None:
    assert of_booleans(np.array([0, 1, 1, NAN])) == {
        "rows": 4,
        "missing": 1,
        "values": ["false", "true"],
        "counts": [1, 2],
    }
    assert of_numbers(np.array([NAN, NAN])) == {"rows": 2, "missing": 2, "edges": [], "counts": []}
    assert of_texts(codes([None, None]), {})["counts"] == []


def test_of_a_free_text_it_is_how_long_it_is() -> None:
    found = measured(pa.array(["", "Grüße", None, "a b c"]))
    assert found.dtype == np.float64
    assert np.array_equal(found, [0.0, 5.0, np.nan, 5.0], equal_nan=True)
