"""Hashes of values: equal for what is equal, however it is said, and different for all else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import hashing
from common.hashing import column_hashes, forget_texts, label_codes, row_hashes

MOMENT = datetime(2026, 11, 28, 12, 30, 15, tzinfo=UTC)
# Each way to say one value, by the value.
SAYINGS: dict[str, list[pa.Array]] = {
    "one": [
        pa.array([1], pa.int8()), pa.array([1], pa.uint64()), pa.array([1.0]), pa.array([1.0], pa.float32()),
        pa.array([True]), pa.array(["1"]), pa.array([" 1.0 "]), pa.array(["+1e0"]), pa.array(["true"]),
        pa.array(["1"]).dictionary_encode(), pa.array(["1"], pa.large_string()),
    ],
    "nothing": [
        pa.array([None], pa.null()), pa.array([None], pa.int64()), pa.array([float("nan")]), pa.array([float("inf")]),
        pa.array(["-Infinity"]), pa.array([None], pa.string()), pa.array([None], pa.string()).dictionary_encode(),
        pa.array([1e39]), pa.array(["1e39"]),
    ],
    "zero": [pa.array([0]), pa.array([-0.0]), pa.array(["-0"]), pa.array([False]), pa.array(["FALSE"])],
    "a moment": [
        pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("us")), pa.array([MOMENT], pa.timestamp("ms", "UTC")),
        pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ns")), pa.array(["2026-11-28 12:30:15"]),
        pa.array(["2026-11-28T14:30:15+02:00"]), pa.array(["2026-11-28T12:30:15Z"]).dictionary_encode(),
    ],
    "a word": [pa.array(["größe"]), pa.array(["größe"]).dictionary_encode()],
    "no moment": [pa.array(["2026-13-28"])],
    "an empty text": [pa.array([""])],
    "a long text": [pa.array(["0123456789abcdef" * 3]), pa.array(["x", "0123456789abcdef" * 3])[1:]],
}  # fmt: skip


def test_each_way_to_say_a_value_has_its_hash_and_no_other_value_has() -> None:
    found = {}
    for name, ways in SAYINGS.items():
        hashes = {int(column_hashes("c", way)[0]) for way in ways}
        assert len(hashes) == 1, name
        found[name] = hashes.pop()
    assert found["nothing"] == 0
    assert len(set(found.values())) == len(found)


@pytest.mark.slow
@given(st.lists(st.text(max_size=40), max_size=30))
def test_texts_have_the_hash_of_their_bytes_wherever_they_stand(texts: list[str]) -> None:
    whole = column_hashes("c", pa.array(texts, pa.string()))
    alone = [column_hashes("c", pa.array([text], pa.string()))[0] for text in texts]
    assert whole.tolist() == [int(each) for each in alone]
    sliced = column_hashes("c", pa.array(["before", *texts, "behind"], pa.string())[1:-1])
    assert (sliced == whole).all()


def test_many_texts_and_many_numbers_have_hashes_of_their_own() -> None:
    names = [f"{prefix}{number}" for number in range(30_000) for prefix in ("", "customer ", "x" * 7, "x" * 8)]
    assert len(set(column_hashes("c", pa.array(names)).tolist())) == len(names)
    numbers = np.arange(-50_000, 50_000, dtype=np.int64)
    assert len(set(column_hashes("c", pa.array(numbers)).tolist())) == len(numbers)


@given(st.lists(st.none() | st.floats(allow_nan=False, width=32, min_value=-(2.0**100), max_value=2.0**100)))
def test_numbers_have_the_hash_of_what_float32_keeps_of_them(values: list[float | None]) -> None:
    wide = column_hashes("c", pa.array(values, pa.float64()))
    assert (column_hashes("c", pa.array(values, pa.float32())) == wide).all()
    texts = [None if value is None else repr(value) for value in values]
    assert (column_hashes("c", pa.array(texts, pa.string())) == wide).all()


@pytest.mark.parametrize("value", [2**53 + 1, 2**62 + 1, -(2**62) - 1, 2**24 + 1])
def test_a_key_tells_whole_numbers_apart_by_all_their_digits(value: int) -> None:
    def exact(said: Any, type_: Any = None) -> int:
        return int(column_hashes("c", pa.array([said], type_), exact=True)[0])

    assert exact(value) == exact(str(value)) != exact(value + 1)
    assert exact("007") == exact(7) == exact(7.0) == exact(7, pa.int8())
    assert exact(0.1) != exact(0.1 + 1e-9)
    assert exact(2**40) == exact(float(2**40)) == exact("1099511627776.0")


def test_a_name_is_part_of_the_hash_and_the_order_of_columns_is_not() -> None:
    batch = pa.record_batch({"a": pa.array([1, 2]), "b": pa.array([2, 1])})
    sums = row_hashes(batch, ["a", "b"])
    assert sums[0] != sums[1]
    assert (row_hashes(batch, ["b", "a", "gone"]) == sums).all()
    assert (row_hashes(batch, ["a"]) == column_hashes("a", batch["a"])).all()


def test_times_of_any_zone_and_unit_are_the_same_microseconds() -> None:
    moments = [MOMENT + timedelta(microseconds=step) for step in range(3)]
    one = column_hashes("c", pa.array(moments, pa.timestamp("us", "Europe/Berlin")))
    texts = column_hashes("c", pa.array([moment.isoformat() for moment in moments]))
    assert (one == texts).all()
    assert len(set(one.tolist())) == 3


def test_a_date_that_is_none_costs_little_among_many() -> None:
    """The zero date of MySQL once made each of a million texts a call of its own."""
    texts = [f"2026-01-{day % 28 + 1:02} 12:00:00" for day in range(20_000)]
    odd = [*texts, "0000-00-00 00:00:00", "2026-02-30 00:00:00", "2026-13-01"]
    hashes = column_hashes("c", pa.array(odd))
    moments = pa.array([datetime.fromisoformat(text) for text in texts], pa.timestamp("us"))
    assert (hashes[: len(texts)] == column_hashes("c", moments)).all()
    assert len(set(hashes[len(texts) :].tolist())) == 3


def test_no_text_of_a_data_set_stays_behind() -> None:
    column_hashes("c", pa.array(["short", "text"]).dictionary_encode())
    assert hashing._known_texts
    hashing.forget_texts()
    assert not hashing._known_texts
    column_hashes("c", pa.array(["long" * 5000]).dictionary_encode())
    assert not hashing._known_texts


@pytest.mark.parametrize("exact", [True, False])
def test_texts_are_known_in_whatever_order_a_batch_brings_them(exact: bool) -> None:
    """Known texts are hashed once; so many of them are let go of that a file cannot fill memory."""
    random = np.random.default_rng(0)
    texts = [None, "1", "01", "true", *(f"text {number}" for number in range(2 * hashing._KNOWN_TEXTS))]
    for name in ("a", "b"):
        for _ in range(40):
            batch = random.choice(np.array(texts, object), 100).tolist()
            found = column_hashes(name, pa.array(batch, pa.string()).dictionary_encode(), exact=exact)
            assert found.tolist() == column_hashes(name, pa.array(batch, pa.string()), exact=exact).tolist()
            assert len(hashing._known_texts[name, exact]) <= hashing._KNOWN_TEXTS
    hashing.forget_texts()


def test_slices_of_long_texts_hash_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array(["", "7", "x" * 500, None, "2026-01-31", "true", "y" * 90, None, "inf"] * 5)
    for column in (texts, texts[3:17], texts.cast(pa.large_string()), texts.dictionary_encode()):
        whole, labels = column_hashes("a", column), label_codes(column)
        for size in (1, 64, 700):
            with monkeypatch.context() as patch:
                patch.setattr(hashing, "_SLICE_BYTES", size)
                forget_texts()
                np.testing.assert_array_equal(column_hashes("a", column), whole)
                np.testing.assert_array_equal(label_codes(column), labels)


def test_labels_of_a_dictionary_have_the_codes_of_their_texts() -> None:
    texts = pa.array(["a", None, "b", "a", ""])
    np.testing.assert_array_equal(label_codes(texts.dictionary_encode()), label_codes(texts))
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 100_000]))
    assert len(set(label_codes(many).tolist())) == 1
