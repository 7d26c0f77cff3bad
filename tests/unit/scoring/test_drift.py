"""Drift: nothing alarms where nothing has changed, and what has changed is found and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from common.distributions import Distribution, of_numbers, of_texts, text_codes, texts_by_code
from scoring.counts import ColumnCounts, Counts
from scoring.drift import ALPHA, LEAST_ROWS, _merged, _p_of_cells, _p_of_shares, compare, in_short, told_of

Draw = Callable[[np.random.Generator, int], pa.Array]


def _texts(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(str)).dictionary_encode()


def _zipf(random: np.random.Generator, rows: int) -> pa.Array:
    shares = 1 / np.arange(1, 1001) ** 1.2
    return _texts(random.choice(1000, rows, p=shares / shares.sum()))


DRAWS: dict[str, Draw] = {
    "normal": lambda random, rows: pa.array(random.normal(size=rows)),
    "skewed": lambda random, rows: pa.array(random.lognormal(sigma=2, size=rows)),
    "nine tenths zeros": lambda random, rows: pa.array(np.where(random.random(rows) < 0.9, 0.0, random.random(rows))),
    "few whole numbers": lambda random, rows: pa.array(random.poisson(3, rows).astype(float)),
    "some missing": lambda random, rows: pa.array(random.normal(size=rows), mask=random.random(rows) < 0.05),
    "three texts": lambda random, rows: _texts(random.choice(3, rows, p=[0.7, 0.25, 0.05])),
    "many equal texts": lambda random, rows: _texts(random.integers(0, 300, rows)),
    "a thousand texts, most of them rare": _zipf,
}


def distribution(column: pa.Array) -> Distribution:
    if pa.types.is_dictionary(column.type):
        return of_texts(text_codes(column), texts_by_code(column.dictionary.to_pylist()))
    return of_numbers(np.asarray(column.to_numpy(zero_copy_only=False), np.float64))


def counted(training: pa.Array, now: pa.Array) -> ColumnCounts:
    counts = ColumnCounts(distribution(training))
    counts.add(now)
    return counts


def told(training: pa.Array, now: pa.Array) -> dict[str, Any]:
    (column,) = told_of([("a", counted(training, now))])
    return column


def batch_of(draw: Draw, training_rows: int, rows: int, seed: int, shift: float = 0.0) -> list[dict[str, Any]]:
    """Return what is told of ten columns, the first of them shifted."""
    random = np.random.default_rng([seed, training_rows, rows])
    columns = [(draw(random, training_rows), draw(random, rows)) for _ in range(10)]
    if shift:
        columns[0] = columns[0][0], pa.array(columns[0][1].to_numpy() + shift)
    return told_of([(str(place), counted(*each)) for place, each in enumerate(columns)])


@pytest.mark.slow
@pytest.mark.parametrize(("training_rows", "rows"), [(300, 100), (300, 1000), (20_000, 1000)])
@pytest.mark.parametrize("name", DRAWS)
def test_undisturbed_batches_hardly_ever_alarm(name: str, training_rows: int, rows: int) -> None:
    alarms = sum(any(c["drifted"] for c in batch_of(DRAWS[name], training_rows, rows, seed)) for seed in range(20))
    # More than two of twenty have a chance of one in a thousand, if one of a hundred alarms.
    assert alarms <= 2


def test_a_shift_is_found_and_the_other_columns_are_not_blamed() -> None:
    for seed in range(10):
        columns = batch_of(DRAWS["normal"], 300, 1000, seed, shift=3)
        assert [column["drifted"] for column in columns] == [True] + [False] * 9
        assert columns[0]["psi"] > columns[0]["threshold"]
        assert columns[0]["p"] < ALPHA


def test_a_difference_that_nobody_cares_about_is_none_however_many_rows_have_it() -> None:
    random = np.random.default_rng(0)
    training = pa.array(random.normal(size=20_000))
    now = told(training, pa.array(random.normal(0.1, 1, 1_000_000)))
    assert now["p"] < 1e-10
    assert now["psi"] < 0.05 == now["threshold"]
    assert not now["drifted"]
    assert told(training, pa.array(random.normal(0.3, 1, 1_000_000)))["drifted"]


def test_a_value_that_stands_for_a_missing_one_is_found_where_no_bin_has_changed() -> None:
    random = np.random.default_rng(0)
    training = DRAWS["nine tenths zeros"](random, 5000)
    now = DRAWS["nine tenths zeros"](random, 1000).to_numpy(zero_copy_only=False).copy()
    now[np.flatnonzero(now == 0)[:300]] = -999
    found = told(training, pa.array(now))
    assert found["unseen"]["share"] == pytest.approx(0.3)
    assert found["why"] == "30.0% values that training has not seen"


def test_missing_values_are_compared_both_ways() -> None:
    random = np.random.default_rng(0)
    holes = DRAWS["some missing"](random, 5000)
    whole = DRAWS["normal"](random, 1000)
    assert told(holes, whole)["why"] == f"0.0% missing instead of {holes.null_count / 5000:.1%}"
    assert "100.0% missing instead of 0.0%" in told(whole, pa.nulls(100, pa.float64()))["why"]
    assert told(pa.nulls(100, pa.float64()), whole)["drifted"]


def test_a_new_category_and_one_that_became_frequent_are_found() -> None:
    random = np.random.default_rng(0)
    training = DRAWS["three texts"](random, 20_000)
    now = DRAWS["three texts"](random, 1000).dictionary_decode().to_pylist()
    new = told(training, pa.array([*now[:950], *["Essen"] * 50]).dictionary_encode())
    assert new["unseen"] == {"share": 0.05, "expected": 0.0, "p": pytest.approx(0, abs=1e-10)}
    assert "5.0% values that training has not seen" in new["why"]
    rarest = told(training, pa.array([*now[:850], *["2"] * 150]).dictionary_encode())
    assert rarest["why"].startswith("distributed otherwise")
    assert rarest["unseen"]["share"] == 0


def test_p_values_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    table = random.integers(20, 50, (2, 6)).astype(float)
    assert _p_of_cells(*table) == pytest.approx(chi2_contingency(table, correction=False).pvalue)
    assert _p_of_shares(0, 20_000, 2, 100) == pytest.approx(2 * fisher_exact([[0, 20_000], [2, 98]], "less").pvalue)
    assert _p_of_shares(500, 1000, 10, 20) == pytest.approx(1.0)


@pytest.mark.parametrize("in_order", [True, False])
def test_cells_are_put_together_until_each_is_large_enough(*, in_order: bool) -> None:
    was, now = np.array([100, 1, 0, 50, 2, 0]), np.array([10, 0, 0, 5, 1, 0])
    old, new = _merged(was, now, in_order=in_order)
    assert (old.sum(), new.sum()) == (153, 16)
    assert ((old + new) * 16 / 169 >= 5).all()
    assert len(old) == 2


def profile(columns: dict[str, pa.Array]) -> dict[str, Any]:
    roles = {"dictionary": ("categorical", "category"), "double": ("numeric", "float64")}
    return {
        "fingerprint": "f",
        "columns": [
            {"name": name, "use": "feature", "role": role, "dtype": dtype, "distribution": distribution(column)}
            for name, column in columns.items()
            for role, dtype in [roles[str(column.type).partition("<")[0]]]
        ],
    }


def document(rows: int = 1000, **shifts: float) -> dict[str, Any]:
    random = np.random.default_rng(1)
    training = {name: pa.array(random.normal(size=5000)) for name in "abc"} | {"t": DRAWS["three texts"](random, 5000)}
    counts = Counts(profile(training), {"of": "prediction", **of_numbers(random.normal(size=2000))})
    now = {name: pa.array(random.normal(shifts.get(name, 0), 1, rows)) for name in "abc"}
    now["t"] = DRAWS["three texts"](random, rows)
    predicted = {"prediction": pa.array(random.normal(shifts.get("prediction", 0), 1, rows))}
    counts.add(pa.record_batch(now), pa.record_batch(predicted))
    return json.loads(json.dumps(compare(counts), allow_nan=False))


def test_a_document_names_what_has_moved_most_first() -> None:
    found = document(b=3, c=1, prediction=2)
    assert found["drifted"]
    assert [column["name"] for column in found["columns"]][:2] == ["b", "c"]
    assert [column["drifted"] for column in found["columns"]] == [True, True, False, False]
    assert found["prediction"]["name"] == "prediction"
    assert found["prediction"]["drifted"]
    assert found["reason"].startswith('Since training 2 of 4 columns have changed: "b" (distributed otherwise, PSI ')
    assert "; and the predictions have changed (" in found["reason"]
    for column in [*found["columns"], found["prediction"]]:
        assert sum(column["distribution"]["was"]) == pytest.approx(1)
        assert sum(column["distribution"]["now"]) == pytest.approx(1)
    short = in_short(found)
    assert (short["name"], short["psi"], short["drifted"]) == ("b", found["columns"][0]["psi"], True)


def test_a_document_of_rows_like_training_s_says_so() -> None:
    found = document()
    assert not found["drifted"]
    assert found["reason"] == (
        "Nothing of 4 columns and the predictions has changed by more than chance, or by as much as counts."
    )


def test_too_few_rows_are_not_compared() -> None:
    found = document(rows=LEAST_ROWS - 1, a=100)
    assert not found["drifted"]
    assert found["columns"] == []
    assert found["reason"] == "29 rows are too few to be compared with training's: 30 are needed."
    assert in_short(found) == {"rows": 29, "drifted": False, "psi": None, "name": None, "threshold": None}
    assert document(rows=LEAST_ROWS, a=100)["drifted"]
