"""Conversion: a prediction sees the very bits that training saw, and nothing that training did not see breaks it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import conversion
from common.conversion import feature_columns, features, is_large
from common.frames import load_part
from common.request import ESTIMATORS, parse_request
from data_preparation import parquet_reading, text_reading
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit
from table_reading import read

ROWS = 2500
WIDTHS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64}


def rows() -> pd.DataFrame:
    """Return rows of every role, type and oddity, marked as training and test rows."""
    random = np.random.default_rng(3)
    data: dict[str, Any] = {}
    for name in WIDTHS:
        limits = np.iinfo(name)
        whole = random.integers(limits.min, limits.max, ROWS, dtype=name, endpoint=True)
        whole[:2] = limits.min, limits.max
        data[name] = pd.array(whole.tolist(), dtype="Int64")
        data[f"{name}_nulls"] = pd.array([None if i % 7 == 3 else v for i, v in enumerate(whole.tolist())], "Int64")
    data["float32"] = random.normal(size=ROWS)
    data["float64"] = random.normal(size=ROWS) * 10.0 ** random.integers(-300, 30, ROWS)
    data["odd"] = random.choice(
        [0.1, -0.0, np.nan, np.inf, -np.inf, 1e300, -1e300, 3.4e38, conversion.MAX_MAGNITUDE], ROWS
    )
    data["flag"] = random.choice([True, False], ROWS)
    data["flag_nulls"] = pd.array(random.choice(np.array([True, False, None]), ROWS), "boolean")
    # Before 1970 too, to the microsecond; with null; with a zone, across a change of the clocks.
    ticks = pd.to_datetime(random.integers(-(10**15), 2 * 10**15, ROWS), unit="us")
    data["time"] = ticks
    data["time_nulls"] = ticks.where(random.random(ROWS) < 0.9)
    data["zoned"] = pd.date_range("2024-03-30", periods=ROWS, freq="37min", tz="Europe/Berlin")
    data["text"] = random.choice(["x", "01", 'y, "z"', "größer"], ROWS)
    # One value of the second row group alone.
    data["text_nulls"] = [None if i % 5 == 0 else "late" if i == ROWS - 4 else f"t{i % 9}" for i in range(ROWS)]
    data["y"] = random.normal(size=ROWS)
    data["split"] = np.where(random.random(ROWS) < 0.9, "train", "test")
    return pd.DataFrame(data)


def prepared_from(folder: Path, data: pd.DataFrame, suffix: str, **request: Any) -> tuple[PreparedData, SourceFile]:
    """Write and prepare a data set."""
    path, workspace = folder / f"data{suffix}", folder / "workspace"
    workspace.mkdir()
    if suffix == ".csv":
        data.to_csv(path, index=False)
    else:
        data.to_parquet(path, index=False)
    document = {
        "dataset_uri": "s3://bucket/data",
        "target": "y",
        "search_trials": 0,
        "problem": "regression",
        **request,
    }
    file = SourceFile(path.name, path)
    return prepare([file], parse_request(document), workspace), file


def predicted_frame(prepared: PreparedData, file: SourceFile) -> pd.DataFrame:
    """Return all rows of a file as a prediction makes them, whatever the batches."""
    names = [column["name"] for column in feature_columns(prepared.profile)]
    _, batches = read(file, wanted=names)
    frames = [features(batch, prepared.profile) for batch in batches]
    return pd.DataFrame({name: joined([frame[name] for frame in frames]) for name in frames[0].columns})


def joined(pieces: list[pd.Series]) -> Any:
    """Return a column's values in all batches; pandas would make strings of its own of different categories."""
    if pieces[0].dtype != "category":
        return np.concatenate([piece.to_numpy() for piece in pieces])
    known = [text for piece in pieces for text in piece.cat.categories]
    assert {piece.cat.categories.dtype for piece in pieces} == {np.dtype(object)}
    return pd.Categorical(
        [text for piece in pieces for text in piece], pd.Index(list(dict.fromkeys(known)), dtype=object)
    )


def assert_same_bits(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare dtypes, bits and the places of missing values; a category's code says nothing, its text does."""
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        one, other = found[name], expected[name]
        if other.dtype == "category":
            assert one.dtype == "category"
            assert one.cat.categories.dtype == other.cat.categories.dtype == object, name
            assert set(other.cat.categories) <= set(one.cat.categories), name
            assert one.astype(object).where(one.notna(), None).tolist() == (
                other.astype(object).where(other.notna(), None).tolist()
            ), name
        else:
            assert one.dtype == other.dtype, name
            missing = np.isnan(other.to_numpy())
            assert np.array_equal(np.isnan(one.to_numpy()), missing), name
            assert one.to_numpy()[~missing].tobytes() == other.to_numpy()[~missing].tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("batches", ["whole", "small"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_prediction_sees_the_bits_that_training_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, large: bool, batches: str
) -> None:
    data = rows()
    if large:
        monkeypatch.setattr(conversion, "EXACT_VALUES", 1)
    if batches == "small":
        monkeypatch.setattr("data_preparation.parts.ROW_GROUP_VALUES", 1)
        monkeypatch.setattr(text_reading, "BLOCK_BYTES", 20_000)
        monkeypatch.setattr(parquet_reading, "BATCH_VALUES", 1)
    prepared, file = prepared_from(tmp_path, data, suffix, split_column="split")
    described = {column["name"]: column["dtype"] for column in feature_columns(prepared.profile)}
    # Nothing was dropped, and each type is there.
    assert list(described) == [name for name in data.columns if name not in ("y", "split")]
    assert {*WIDTHS, "float32", "float64", "bool", "category"} == set(described.values())
    assert is_large(prepared.profile) == large

    found = predicted_frame(prepared, file)

    for part, path in (("train", prepared.train), ("test", prepared.test)):
        expected, _ = load_part(path, prepared.profile)
        assert_same_bits(found[(data["split"] == part).to_numpy()].reset_index(drop=True), expected)


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    suffix=st.sampled_from([".csv", ".parquet"]),
    values=st.one_of(
        st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=12, max_size=30),
        st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), min_size=12, max_size=30),
        st.lists(st.one_of(st.none(), st.booleans()), min_size=12, max_size=30),
    ),
    most=st.sampled_from([1, 10**7]),
)
def test_whatever_the_values_both_paths_agree(data: st.DataObject, suffix: str, values: list[Any], most: int) -> None:
    kind = next((type(value) for value in values if value is not None), float)
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    split = data.draw(st.permutations(["train", "train", "test", "test", *["train"] * (len(values) - 4)]))
    frame = pd.DataFrame(
        {
            "value": pa.array(values, types[kind]).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get),
            "base": np.arange(len(values)) % 3,
            "y": np.arange(len(values)) / 7,
            "split": split,
        }
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "EXACT_VALUES", most)
        prepared, file = prepared_from(Path(folder), frame, suffix, split_column="split")
        expected, _ = load_part(prepared.train, prepared.profile)
        found = predicted_frame(prepared, file)
    assert_same_bits(found[(frame["split"] == "train").to_numpy()].reset_index(drop=True), expected)


def test_two_files_of_different_kinds_are_predicted_as_they_were_trained_on(tmp_path: Path) -> None:
    # Whole numbers that float64 rounds already, and fractions.
    whole, rest = [2**62 + 2**37 + 1, 3, 2**60 + 2**36 + 2**7 - 1] * 10, [0.1, 1e-9, -2.5] * 10
    for index, values in enumerate([whole, rest]):
        pd.DataFrame({"a": values, "b": range(30), "y": range(30)}).to_csv(tmp_path / f"{index}.csv", index=False)
    files = [SourceFile(f"{index}.csv", tmp_path / f"{index}.csv") for index in range(2)]
    (tmp_path / "workspace").mkdir()
    request = parse_request(
        {"dataset_uri": "s3://bucket/data/", "target": "y", "search_trials": 0, "problem": "regression"}
    )
    prepared = prepare(files, request, tmp_path / "workspace")
    trained = set(load_part(prepared.train, prepared.profile)[0]["a"]) | set(
        load_part(prepared.test, prepared.profile)[0]["a"]
    )
    assert {value for file in files for value in predicted_frame(prepared, file)["a"]} == trained


SEEN = {
    "small": [1, 2, -128, 127] * 10,
    "count": [1, 2, 300, 70_000] * 10,
    "amount": [0.5, 1.25, -3.0, 1e10] * 10,
    "flag": [True, False, False, True] * 10,
    "when": [pd.Timestamp(f"2024-01-0{day}") for day in (1, 2, 3, 4)] * 10,
    "kind": ["a", "b", "c", "a"] * 10,
    "y": np.arange(40) / 7,
}


@pytest.fixture
def seen(tmp_path: Path) -> PreparedData:
    """Return training data without any missing value."""
    prepared, _ = prepared_from(tmp_path, pd.DataFrame(SEEN), ".parquet")
    assert not any(column["nulls"] for column in prepared.profile["columns"])
    return prepared


def batch(**columns: Any) -> pa.RecordBatch:
    """Return two rows as training saw them, but for the given columns."""
    known = {name: pa.array(values[:2]) for name, values in SEEN.items()}
    return pa.record_batch({**known, **{name: pa.array(values) for name, values in columns.items()}})


def array(values: list[Any], dtype: str) -> npt.NDArray[Any]:
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("column", "values", "small", "large"),
    [
        ("small", [1, -1], "int8", "int8"),
        ("small", [1, 128], "int64", "float32"),
        ("small", [1, 2**40], "int64", "float64"),
        ("small", [1, 2**62], "int64", "float64"),
        ("small", [1, None], "float64", "float32"),
        ("small", [2**40, None], "float64", "float64"),
        ("small", [1.0, 2.0], "int8", "int8"),
        ("small", [1.5, 2.0], "float64", "float64"),
        ("small", [1e300, 2.0], "float64", "float32"),
        ("small", [float("nan"), float("-inf")], "float64", "float32"),
        ("small", [None, None], "float64", "float32"),
        ("count", [2**31, 1], "int64", "float64"),
        ("count", [-(2**31), 1], "int32", "float32"),
        ("amount", [1, 2**62], "float64", "float32"),
        ("amount", [1e39, None], "float64", "float32"),
        ("flag", [None, True], "float64", "float32"),
        ("flag", [None, None], "float64", "float32"),
        ("when", [None, pd.Timestamp("2300-01-01")], "float64", "float64"),
        ("when", [None, None], "float64", "float64"),
    ],
)
def test_what_training_did_not_see_is_held_by_a_wider_type(
    seen: PreparedData, monkeypatch: pytest.MonkeyPatch, column: str, values: list[Any], small: str, large: str
) -> None:
    expected = [
        np.nan if value is None or (isinstance(value, float) and not abs(value) <= conversion.MAX_MAGNITUDE)
        else value.timestamp() if isinstance(value, pd.Timestamp) else float(value)
        for value in values
    ]  # fmt: skip
    for most, dtype in ((10**7, small), (1, large)):
        monkeypatch.setattr(conversion, "EXACT_VALUES", most)
        found = features(batch(**{column: values}), seen.profile)[column]
        assert str(found.dtype) == dtype
        np.testing.assert_array_equal(found.astype(np.float64), expected)


def test_an_unknown_text_is_a_category_and_a_missing_one_is_missing(seen: PreparedData) -> None:
    unknown = features(batch(kind=["a", "never seen"]), seen.profile)["kind"]
    assert (unknown.dtype, unknown.tolist()) == ("category", ["a", "never seen"])
    for values in (["a", None], [None, None]):
        missing = features(batch(kind=values), seen.profile)["kind"]
        assert missing.dtype == "category"
        assert missing.isna().tolist() == [value is None for value in values]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS["regression"])
def test_every_estimator_scores_what_training_did_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str, large: bool
) -> None:
    monkeypatch.setattr(conversion, "EXACT_VALUES", 1 if large else 10**7)
    prepared, _ = prepared_from(tmp_path, pd.DataFrame(SEEN), ".parquet", estimator=estimator)
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    for odd in (
        {"small": [2**62, 128], "count": [2**40, 1], "amount": [1e300, 2.0**62], "kind": ["new", "a"]},
        {name: [None, SEEN[name][1]] for name in SEEN if name != "y"},
        {name: [None, None] for name in SEEN if name != "y"},
    ):
        predicted = model.pipeline.predict(features(batch(**odd), prepared.profile))
        assert predicted.shape == (2,)
        assert np.isfinite(predicted).all()


def test_any_type_of_the_same_values_makes_the_same_frame(seen: PreparedData) -> None:
    # What other readers and JSON make of the rows.
    expected = features(batch(), seen.profile)
    other = pa.record_batch(
        {
            "small": pa.array([1, 2], pa.uint64()),
            "count": pa.array([1.0, 2.0], pa.float32()),
            "amount": pa.array([0.5, 1.25], pa.float16()),
            "flag": pa.array([True, False]),
            "when": pa.array(SEEN["when"][:2], pa.timestamp("ns", "UTC")),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    assert_same_bits(features(other, seen.profile), expected)


def test_texts_are_no_numbers(seen: PreparedData) -> None:
    with pytest.raises(pa.ArrowInvalid):
        features(batch(flag=["maybe", "no"]), seen.profile)


def test_the_training_part_decides_for_the_test_part_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, _ = prepared_from(tmp_path, pd.DataFrame(SEEN), ".parquet")
    values = prepared.profile["rows"]["train"] * len(feature_columns(prepared.profile))
    for most, dtype in ((values, np.float64), (values - 1, np.float32)):
        monkeypatch.setattr(conversion, "EXACT_VALUES", most)
        for part in (prepared.train, prepared.test):
            assert load_part(part, prepared.profile)[0]["amount"].dtype == dtype


def test_a_function_that_holds_no_preparation_can_convert() -> None:
    # Nor does preparation, which converts to parts alone, pay for pandas.
    hidden = "import sys; sys.modules.update(data_preparation=None, pandas=None, pydantic=None)"
    subprocess.run([sys.executable, "-c", f"{hidden}; import common.conversion"], check=True)
