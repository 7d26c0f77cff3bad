"""Preparation as a whole: files in, Parquet and a profile out, and what is said of data that cannot be trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.distributions import of_numbers
from common.errors import InvalidDatasetError, InvalidRequestError
from common.request import parse_request
from data_preparation import parquet_reading, preparation, profiling, text_reading
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile, Table

Prepare = Callable[..., PreparedData]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Return a function that prepares frames, or bytes, each as one file."""

    def prepare_all(*contents: pd.DataFrame | bytes, suffix: str = ".csv", **request: Any) -> PreparedData:
        files, workspace = [], tmp_path / "workspace"
        workspace.mkdir()
        for index, content in enumerate(contents):
            path = tmp_path / f"part-{index}{suffix}"
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif suffix == ".parquet":
                content.to_parquet(path, index=False)
            else:
                content.to_csv(path, index=False)
            files.append(SourceFile(path.name, path))
        document = {"dataset_uri": "s3://bucket/data/", "target": "y", "search_trials": 0, **request}
        return prepare(files, parse_request(document), workspace)

    return prepare_all


def frame(rows: int = 100, **columns: Any) -> pd.DataFrame:
    """Return a frame with two numeric features, a category and a numeric target, or the given columns instead."""
    random = np.random.default_rng(0)
    made = {
        "a": random.normal(size=rows),
        "n": random.integers(-100, 100, rows),
        "c": random.choice(["x", "y", "z"], rows),
        "y": random.normal(size=rows),
    }
    return pd.DataFrame({**made, **columns})


def columns_of(result: PreparedData) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in result.profile["columns"]}


def test_dtypes_and_shapes_of_the_parts(prepared: Prepare) -> None:
    data = frame(big=[2.0**60 * (1 + i) for i in range(100)], tiny=[1e-300 * i for i in range(100)])
    data["flag"] = data["a"] > 0
    data["when"] = pd.date_range("2024-01-01", periods=100, freq="h")
    result = prepared(data)
    train, test = pq.read_table(result.train), pq.read_table(result.test)
    assert (train.num_rows, test.num_rows) == (80, 20)
    assert train.schema.equals(test.schema)
    assert {field.name: str(field.type) for field in train.schema} == {
        "a": "float",
        "n": "int8",
        "c": "dictionary<values=string, indices=int32, ordered=0>",
        "y": "double",
        "big": "float",
        "tiny": "double",
        "flag": "bool",
        "when": "double",
    }
    assert {name: column["dtype"] for name, column in columns_of(result).items()} == {
        "a": "float32",
        "n": "int8",
        "c": "category",
        "y": "float64",
        "big": "float32",
        "tiny": "float64",
        "flag": "bool",
        "when": "float64",
    }
    assert not list(result.train.parent.glob("spool*"))


def test_no_row_is_lost_or_doubled_and_values_are_kept(prepared: Prepare) -> None:
    data = frame(1000)
    result = prepared(data, seed=7)
    both = pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)])
    assert len(both) == 1000
    merged = both.sort_values("y", ignore_index=True)
    expected = data.sort_values("y", ignore_index=True)
    pd.testing.assert_series_equal(merged["y"], expected["y"])
    np.testing.assert_allclose(merged["a"], expected["a"], rtol=1e-6)
    assert (merged["c"].astype(str) == expected["c"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_the_batch_size_does_not_change_the_parts(
    prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    data = frame(3000)
    if problem == "classification":
        data["y"] = np.random.default_rng(1).choice(["p", "q", "r"], 3000)
    one = prepared(data)
    first = [pq.read_table(one.train).to_pylist(), pq.read_table(one.test).to_pylist()]
    (tmp_path / "workspace").rename(tmp_path / "first")
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 512)
    monkeypatch.setattr("data_preparation.parts.ROW_GROUP_VALUES", 100)
    other = prepared(data)
    assert pq.ParquetFile(other.train).num_row_groups > 1
    assert [pq.read_table(other.train).to_pylist(), pq.read_table(other.test).to_pylist()] == first
    # Counts and extremes are the same to the bit, means to rounding.
    assert one.profile["rows"] == other.profile["rows"]
    assert one.profile["fingerprint"] == other.profile["fingerprint"]


def test_classes_are_split_in_proportion(prepared: Prepare) -> None:
    data = frame(1000, y=["rare"] * 50 + ["common"] * 950)
    result = prepared(data)
    assert result.request.problem == "classification"
    assert pd.read_parquet(result.test)["y"].value_counts().to_dict() == {"common": 190, "rare": 10}
    assert result.profile["classes"] == [{"label": "common", "rows": 950}, {"label": "rare", "rows": 50}]


def test_a_split_column_is_used_as_it_is(prepared: Prepare) -> None:
    data = frame(split=["test"] * 30 + ["train"] * 70)
    result = prepared(data, split_column="split")
    np.testing.assert_array_equal(pd.read_parquet(result.test)["y"], data["y"][:30])
    assert columns_of(result)["split"]["use"] == "split"
    assert "split" not in pq.read_schema(result.train).names


def test_what_cannot_be_trained_on_is_dropped_and_counted(prepared: Prepare) -> None:
    data = frame(
        nothing=[None] * 100,
        constant=[7] * 100,
        customer_id=range(100),
        name=[f"person {i}" for i in range(100)],
    )
    data.loc[0:4, "y"] = None
    data.loc[5, "y"] = np.inf
    data.loc[10:12, "a"] = np.inf
    data.loc[13, "a"] = None
    result = prepared(data)
    assert result.profile["rows"] == {"in": 100, "used": 94, "dropped": 6, "train": 75, "test": 19, "left_out": 0}
    columns = columns_of(result)
    dropped = {name: column["role"] for name, column in columns.items() if column["use"] == "dropped"}
    assert dropped == {
        "nothing": "constant",
        "constant": "constant",
        "customer_id": "identifier",
        "name": "identifier",
    }
    assert all(columns[name]["reason"] for name in dropped)
    assert (columns["a"]["infinities"], columns["a"]["nulls"]) == (3, 4)
    assert pq.read_schema(result.train).names == ["a", "n", "c", "y"]


def test_files_of_a_folder_are_one_data_set(prepared: Prepare) -> None:
    whole = frame(60, n=[1.5, *range(59)])
    # The first file alone has whole numbers in n; columns may be in any order.
    result = prepared(whole[30:], whole[:30][["y", "c", "n", "a"]])
    assert result.profile["rows"]["in"] == 60
    assert columns_of(result)["n"]["kind"] == "float"
    assert [source["name"] for source in result.profile["sources"]] == ["part-0.csv", "part-1.csv"]


def test_parquet_and_csv_mean_the_same(prepared: Prepare, tmp_path: Path) -> None:
    data = frame(200)
    csv = prepared(data)
    rows = pq.read_table(csv.train).to_pylist()
    (tmp_path / "workspace").rename(tmp_path / "csv")
    parquet = prepared(data, suffix=".parquet")
    assert pq.read_table(parquet.train).to_pylist() == rows


def test_a_late_float_is_no_trouble(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 256)
    result = prepared(frame(n=[*range(99), 0.5]))
    assert columns_of(result)["n"] | {"kind": "float", "max": 98.0} == columns_of(result)["n"]
    assert result.profile["rows"]["in"] == 100


def test_column_names_may_be_anything(prepared: Prepare) -> None:
    names = ['with "quotes"', "with space", "ünïcode", "1st", "<script>alert(1)</script>"]
    data = pd.concat([frame(50), pd.DataFrame(np.random.default_rng(0).normal(size=(50, 5)), columns=names)], axis=1)
    assert set(names) <= set(pq.read_schema(prepared(data).train).names)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["a", "b"] * 50, "classification"),
        ([True, False] * 50, "classification"),
        ([0, 1, 2, 3] * 25, "classification"),
        ([0.0, 1.0, None, 1.0] * 25, "classification"),
        (list(range(100)), "regression"),
        ([*range(18)] * 5 + [18] * 10, "classification"),
        ([0.5, 1.5] * 50, "regression"),
    ],
)
def test_the_problem_follows_from_the_target(prepared: Prepare, target: list[Any], expected: str) -> None:
    assert prepared(frame(y=target)).request.problem == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({"metric": "rmse"}, "regression"), ({"estimator": "logistic_regression"}, "classification")],
)
def test_the_problem_follows_from_the_other_choices_first(
    prepared: Prepare, choice: dict[str, str], expected: str
) -> None:
    assert prepared(frame(y=[0, 1, 2, 3] * 25), **choice).request.problem == expected


def test_few_rows_of_different_whole_numbers_are_no_classes(prepared: Prepare) -> None:
    assert prepared(frame(12, y=range(100, 112))).request.problem == "regression"


def test_the_profile_is_strict_json(prepared: Prepare) -> None:
    json.dumps(prepared(frame()).profile, allow_nan=False)


@pytest.mark.parametrize(
    ("data", "request_fields", "message"),
    [
        (b"a,y\n", {}, '"part-0.csv" has a header but no rows'),
        (frame(), {"target": "z"}, 'The target "z" is not a column'),
        (frame(price=1.0), {"target": "prise"}, 'Did you mean "price"?'),
        (frame(), {"split_column": "splitt"}, 'The split column "splitt" is not a column'),
        (b"a;y\n1;2\n", {}, "has 1 usable rows of 1; at least 10 are needed"),
        (frame(y=None), {}, 'The target "y" has no value in any of the 100 rows'),
        (frame(y=1.5), {}, 'The target "y" has the same value in all 100 usable rows'),
        (frame(y="a"), {}, 'The target "y" has the same value'),
        (frame(y=pd.date_range("2024", periods=100)), {}, 'The target "y" holds timestamps'),
        (frame(9), {}, "has 9 usable rows of 9; at least 10 are needed"),
        (frame(y=["a", "b"] * 50), {"problem": "regression"}, "holds text, and regression needs numbers"),
        (frame(), {"problem": "classification"}, "too many for classification"),
        (frame(c=["1", "2", "3", "oops"] * 25), {}, 'Column "c" mixes numbers and text: 75 of 100'),
        (frame(y=["1", "2", "3", "oops"] * 25), {}, 'Column "y" mixes numbers and text'),
        (
            frame(s=["train", "validation"] * 50),
            {"split_column": "s"},
            'may hold "train" and "test" only, and holds 1 other value',
        ),
        (frame(s=["train", None] * 50), {"split_column": "s"}, "missing ones among them"),
        (frame(s="train"), {"split_column": "s"}, "The split leaves 0 rows to the test part"),
        (frame(20), {"test_fraction": 0.01}, "The split leaves 0 rows to the test part"),
        (
            frame(y=["a", "b"] * 50, s=["train", "test"] * 50),
            {"split_column": "s"},
            "The training part has one class only",
        ),
        (frame()[["y"]].assign(k=1), {}, 'No column is left to train on ("k": it has one value only)'),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused_in_one_sentence(
    prepared: Prepare, data: pd.DataFrame | bytes, request_fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidDatasetError) as caught:
        prepared(data, **request_fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (frame(), frame().rename(columns={"a": "b"}), '"a" (only in "part-0.csv"), "b" (only in "part-1.csv")'),
        (frame(), frame(a="text"), 'Column "a" mixes types: text in "part-1.csv", float in the files before it'),
    ],
)
def test_files_that_do_not_fit_together_are_named(
    prepared: Prepare, first: pd.DataFrame, second: pd.DataFrame, message: str
) -> None:
    with pytest.raises(InvalidDatasetError) as caught:
        prepared(first, second)
    assert message in str(caught.value)


def test_a_metric_that_does_not_fit_the_problem_found_is_the_requests_fault(prepared: Prepare) -> None:
    with pytest.raises(InvalidRequestError, match='The metric "rmse" does not fit classification'):
        prepared(frame(y=["a", "b"] * 50), metric="rmse", problem="classification")


def test_a_full_disk_is_named(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_stream", full)
    with pytest.raises(InvalidDatasetError, match="raise the parameter FunctionStorage"):
        prepared(frame())


def test_timestamps_after_the_year_9999_are_numbers_like_others(prepared: Prepare) -> None:
    data = frame(when=pd.Series(range(100)).astype("datetime64[us]") + np.timedelta64(4_000_000, "D"))
    result = prepared(data, suffix=".parquet")
    assert columns_of(result)["when"]["max"].startswith("12921-")


def test_what_float32_cannot_hold_counts_as_infinite(prepared: Prepare) -> None:
    data = frame()
    data.loc[0, "a"], data.loc[1, "a"], data.loc[2, "y"] = 1e39, -1e300, 1e154
    result = prepared(data)
    assert columns_of(result)["a"]["infinities"] == 2
    assert result.profile["rows"]["dropped"] == 1


def test_a_large_whole_number_in_one_file_and_a_float_in_the_other_are_floats(prepared: Prepare) -> None:
    result = prepared(frame(n=[2**60 + i for i in range(100)]), frame(n=[0.5] * 100))
    assert columns_of(result)["n"]["kind"] == "float"


def test_class_labels_that_no_float_holds_stay_whole_numbers(prepared: Prepare) -> None:
    result = prepared(frame(y=[2**53, 2**53 + 1] * 50), problem="classification")
    assert pq.read_schema(result.train).field("y").type == pa.int64()
    assert len(result.profile["classes"] or ()) == 2


def test_texts_of_a_parquet_file_are_codes_if_they_say_so(prepared: Prepare) -> None:
    result = prepared(frame(c=["250", "251", "252", "V57"] * 25), suffix=".parquet")
    assert columns_of(result)["c"]["role"] == "categorical"


def test_columns_of_a_wide_file_are_named_a_few_at_a_time(prepared: Prepare) -> None:
    wide = pd.DataFrame({f"column {i}": ["1", "2", "oops"] * 10 for i in range(50)}).assign(y=range(30))
    with pytest.raises(InvalidDatasetError, match="and 45 more") as caught:
        prepared(wide)
    assert len(str(caught.value)) < 2000


def test_a_wide_part_has_small_row_groups(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_preparation.parts.ROW_GROUP_VALUES", 1)
    result = prepared(frame(5000))
    assert pq.ParquetFile(result.train).metadata.row_group(0).num_rows <= 5000
    assert pq.read_table(result.train).num_rows == 4000


def test_a_late_value_that_float32_does_not_hold_keeps_the_early_ones_exact(
    prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 512)
    data = frame(1000)
    data.loc[999, "a"] = 1e-42
    result = prepared(data)
    both = pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)])
    assert columns_of(result)["a"]["dtype"] == "float64"
    assert set(both["a"]) == set(data["a"])


def test_a_late_file_that_float32_does_not_hold_keeps_the_early_ones_exact(prepared: Prepare) -> None:
    early, late = frame(50), frame(50)
    late.loc[49, "a"] = 1e-42
    result = prepared(early, late)
    both = pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)])
    assert columns_of(result)["a"]["dtype"] == "float64"
    assert set(both["a"]) == {*early["a"], *late["a"]}
    assert result.profile["rows"]["in"] == 100
    assert [source["name"] for source in result.profile["sources"]] == ["part-0.csv", "part-1.csv"]


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gains the name of each file that is read."""
    reads = list[str]()

    batches = Table.batches

    def noting(table: Table, *others: Any, **options: Any) -> Any:
        reads.append(table.file.name)
        return batches(table, *others, **options)

    monkeypatch.setattr(Table, "batches", noting)
    return reads


SECONDS = 1_100_000_000 + np.random.default_rng(2).integers(0, 500_000, 1000) / 1000
LINE = np.linspace(-1, 1, 500)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("early", "late", "dtype", "reads_of_one", "reads_of_two"),
    [
        # Near zero first, and then so far away that the few first ones do not count.
        ([0.1, -0.2], SECONDS, "float64", 2, 4),
        (SECONDS, [0.1, -0.2], "float64", 1, 4),
        (LINE, [1e-300], "float64", 2, 4),
        ([1e-300, 2e-300], LINE, "float64", 1, 4),
        # What float32 holds is not rounded by it; in one file the first rows are of a batch with some of the others.
        ([0.5, -0.5], SECONDS, "float64", 2, 2),
        (SECONDS[:1], SECONDS[1:], "float64", 1, 2),
        # Too near each other for float32, until the others come: what is wider on disk needs no second look.
        (40.7 + LINE / 10, 90 * LINE, "float32", 1, 2),
        (np.full(500, 0.1), LINE, "float32", 1, 2),
        (LINE, np.full(500, 0.1), "float32", 1, 2),
        # Once more to see how all are written, and once more for the kind.
        (np.full(500, np.nan), SECONDS, "float64", 2, 2),
    ],
)
def test_files_are_read_again_just_where_early_rows_were_rounded(  # noqa: PLR0917
    prepared: Prepare,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    early: Any,
    late: Any,
    dtype: str,
    reads_of_one: int,
    reads_of_two: int,
) -> None:
    reads = reads_of(monkeypatch)
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 512)
    values = np.concatenate([early, late])
    # A second column that does the same: both are found out at once.
    data = frame(len(values), y=np.arange(len(values)) / 7, a=values, b=values)
    for contents, expected in (([data], reads_of_one), ([data[: len(early)], data[len(early) :]], reads_of_two)):
        result = prepared(*contents)
        assert [columns_of(result)[name]["dtype"] for name in ("a", "b")] == [dtype] * 2
        both = pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)]).sort_values("y")
        np.testing.assert_array_equal(both["a"], values.astype(dtype))
        assert len(reads) == expected
        reads.clear()
        (tmp_path / "workspace").rename(tmp_path / f"workspace-of-{len(contents)}")


def test_the_spool_is_narrow(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, int] = {}
    write = preparation._write_parts

    def weigh(spools: Any, *others: Any) -> Any:
        sizes["spool"] = spools[0].path.stat().st_size
        return write(spools, *others)

    monkeypatch.setattr(preparation, "_write_parts", weigh)
    prepared(frame(20_000))
    # Four bytes for a, one for n, four for the code of c, eight for y; the rest is what a batch says of itself.
    assert sizes["spool"] < 20_000 * (4 + 1 + 4 + 8) * 1.05


def test_two_files_are_as_good_as_one(prepared: Prepare, tmp_path: Path) -> None:
    data = frame(2000)
    one = prepared(data)
    (tmp_path / "workspace").rename(tmp_path / "one")
    two = prepared(data[:700], data[700:])
    for part in ("train", "test"):
        first = pq.read_table(tmp_path / "one" / f"{part}.parquet").to_pylist()
        assert pq.read_table(getattr(two, part)).to_pylist() == first
    assert two.profile["rows"] == one.profile["rows"]
    for single, double in zip(one.profile["columns"], two.profile["columns"], strict=True):
        # The same rows are drawn of one file and of two, and so nothing of them differs.
        assert double.pop("distribution", None) == single.pop("distribution", None)
        assert double == pytest.approx(single) if "mean" in single else double == single


def test_more_rows_than_the_disk_has_room_for_are_refused_before_they_are_read(
    prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a few KB may hold 2^40 rows, of which each value is missing."""
    monkeypatch.setattr("data_preparation.scanning.ROW_BYTES", 2**50)
    monkeypatch.setattr(Table, "batches", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(
        InvalidDatasetError, match=r'"part-0\.parquet" has 100 rows, which take .* raise the parameter F'
    ):
        prepared(frame(), suffix=".parquet")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_names_that_the_registry_has_no_room_for_are_refused(prepared: Prepare, suffix: str) -> None:
    random = np.random.default_rng(0)
    names = [random.bytes(500).hex() for _ in range(200)]
    with pytest.raises(InvalidDatasetError, match=r"The names of the 201 columns take 1\d\d KB .* room for 100 KB"):
        prepared(frame(20, **dict.fromkeys(names, 1))[[*names, "y"]], suffix=suffix)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_long_texts_are_no_category_however_few(prepared: Prepare, suffix: str) -> None:
    texts = [f"{number % 40:02}{'x' * 9_998}" for number in range(100)]
    long = columns_of(prepared(frame(t=texts), suffix=suffix))["t"]
    assert long["use"] == "dropped"
    assert long["reason"] == "its texts are too long to be categories: 10,000 characters on average"
    assert "x" * 100 not in json.dumps(long)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_texts_of_many_values_are_handed_over(prepared: Prepare, suffix: str) -> None:
    texts = [f"user {number % 1400}" for number in range(3000)]
    result = prepared(frame(3000, t=texts), suffix=suffix)
    described = columns_of(result)["t"]
    assert {name: described[name] for name in ("role", "use", "distinct", "splits_by")} == {
        "role": "categorical",
        "use": "feature",
        "distinct": 1400,
        "splits_by": "key",
    }
    both = pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)])
    assert sorted(both["t"]) == sorted(texts)


@pytest.mark.slow
@pytest.mark.parametrize("files", [1, 2])
def test_texts_that_repeat_late_are_all_there(prepared: Prepare, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.setattr(profiling, "SPOOLED_CHARACTERS", 10_000)
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1 << 14)
    reads = reads_of(monkeypatch)
    texts = [f"user {number % 2000}" for number in range(4000)]
    data = frame(4000, t=texts)
    rows = 4000 // files
    result = prepared(*(data[at : at + rows] for at in range(0, 4000, rows)))
    both = pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)])
    assert sorted(both["t"]) == sorted(texts)
    assert len(reads) == 2 * files


@pytest.mark.slow
def test_texts_that_never_repeat_take_no_disk(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SPOOLED_CHARACTERS", 10_000)
    monkeypatch.setattr(text_reading, "BLOCK_BYTES", 1 << 14)
    sizes: dict[str, int] = {}
    write = preparation._write_parts

    def weigh(spools: Any, *others: Any) -> Any:
        sizes["spool"] = spools[0].path.stat().st_size
        return write(spools, *others)

    monkeypatch.setattr(preparation, "_write_parts", weigh)
    prepared(frame(5000, t=[f"{number:0100}" for number in range(5000)]))
    assert sizes["spool"] < 250_000


@pytest.mark.parametrize(
    ("fields", "left_open"),
    [
        ({}, ["problem", "metric"]),
        ({"search_trials": None}, ["problem", "metric", "search"]),
        ({"search_trials": None, "search_seconds": 60}, ["problem", "metric"]),
        ({"problem": "regression"}, ["metric"]),
        ({"metric": "r2"}, []),
        ({"estimator": "ridge"}, ["metric"]),
        ({"estimator": "random_forest"}, ["problem", "metric"]),
        ({"target": "c", "metric": "roc_auc"}, ["pos_label"]),
        ({"target": "c", "metric": "f1", "pos_label": "x"}, []),
    ],
)
def test_what_the_request_leaves_open_is_told(prepared: Prepare, fields: dict[str, Any], left_open: list[str]) -> None:
    assert prepared(frame(50), **fields).profile["left_open"] == left_open


def test_labels_that_are_too_long_are_refused(prepared: Prepare) -> None:
    with pytest.raises(InvalidDatasetError, match='The target "y" has labels of more than 256 characters'):
        prepared(frame(y=["a" * 257, "b"] * 50))


def test_dictionaries_of_a_parquet_file_change_nothing(prepared: Prepare, tmp_path: Path) -> None:
    data = frame(y=["yes", "no", None, "perhaps"] * 25)
    data["c"] = data["c"].where(data.index % 7 > 0)
    results = []
    for use_dictionary in (True, False):
        path = tmp_path / "data.parquet"
        pq.write_table(pa.Table.from_pandas(data), path, use_dictionary=use_dictionary, row_group_size=30)
        results.append(prepared(path.read_bytes(), suffix=".parquet"))
        tables = [pq.read_table(part).to_pylist() for part in (results[-1].train, results[-1].test)]
        results[-1] = ({**results[-1].profile, "sources": None, "fingerprint": None}, tables)
        (tmp_path / "workspace").rename(tmp_path / f"workspace-{use_dictionary}")
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_as_many_columns_as_are_admitted_are_prepared(prepared: Prepare, suffix: str) -> None:
    """At first each column looked through the names of all."""
    rows = 20
    numbers = np.random.default_rng(0).normal(size=(rows, parquet_reading.MAX_COLUMNS - 1)).round(3)
    data = pd.DataFrame(numbers, columns=[f"c{number}" for number in range(numbers.shape[1])]).assign(y=range(rows))
    assert len(prepared(data, suffix=suffix).profile["columns"]) == parquet_reading.MAX_COLUMNS


def test_rows_without_a_weight_are_left_out_and_weights_are_handed_over_with_all_digits(prepared: Prepare) -> None:
    weights = np.random.default_rng(1).uniform(0.5, 1.5, 100)
    weights[:12] = [0, 0, 0, 0, np.nan, np.nan, np.inf, 1, 1, 1, 1, 1]
    result = prepared(frame(w=weights), weight_column="w", problem="regression")
    assert result.profile["rows"]["used"] == 93
    assert result.profile["dropped_rows"] == {"missing or infinite target or weight, or a weight of 0": 7}
    assert columns_of(result)["w"]["use"] == "weight"
    handed_over = [*pq.read_table(result.train)["w"].to_pylist(), *pq.read_table(result.test)["w"].to_pylist()]
    assert sorted(handed_over) == sorted(weights[7:])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-1.0, 'The weight column "w" may hold numbers from 0 on only'),
        ("heavy", 'The weight column "w" may hold numbers from 0 on only'),
        (0, 'No row has a target, and in the weight column "w" a number above 0.'),
        (None, 'No row has a target, and in the weight column "w" a number above 0.'),
    ],
)
def test_weights_that_are_none_are_named(prepared: Prepare, weights: Any, message: str) -> None:
    with pytest.raises(InvalidDatasetError, match=message):
        prepared(frame(w=weights), weight_column="w", problem="regression")


def test_new_weights_leave_all_rows_in_their_parts(tmp_path: Path) -> None:
    parts = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        data = frame(w=np.random.default_rng(seed).uniform(size=100))
        data.to_csv(folder / "data.csv", index=False)
        request = parse_request(
            {"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, "weight_column": "w"}
        )
        result = prepare([SourceFile("data.csv", folder / "data.csv")], request, folder)
        parts.append(pq.read_table(result.test)["a"].to_pylist())
    assert parts[0] == parts[1]


def test_the_positive_class_is_the_rarer_one_as_the_data_have_it(prepared: Prepare) -> None:
    made = prepared(frame(50, y=[0, 1, 1, 1, 1] * 10), metric="recall")
    assert (made.request.pos_label, made.request.metric) == (0, "recall")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "c", "metric": "precision"}, 'The metric "precision" is of one class, and "c" has 3'),
        ({"target": "c", "pos_label": "w"}, "is 'w', which is none of the 3 classes of \"c\""),
        # That the target is no class shows in the data.
        ({"pos_label": "x"}, '"pos_label" names a class, and a regression has none'),
    ],
)
def test_a_positive_class_that_does_not_fit_the_data_is_the_requests_fault(
    prepared: Prepare, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        prepared(frame(60), **fields)
    assert message in str(caught.value)


def test_the_profile_says_how_the_training_part_is_distributed_and_nothing_of_the_test_part(
    prepared: Prepare, tmp_path: Path
) -> None:
    part = np.where(np.arange(400) % 4 == 0, "test", "train")
    data = frame(400, part=part)
    first = columns_of(prepared(data, split_column="part"))
    trained = data[part == "train"]
    assert first["a"]["distribution"] == json.loads(
        json.dumps(of_numbers(trained["a"].astype("float32").to_numpy(float)))
    )
    assert dict(zip(first["c"]["distribution"]["values"], first["c"]["distribution"]["counts"], strict=True)) == (
        trained["c"].value_counts().to_dict()
    )
    assert first["y"]["distribution"]["rows"] == 300
    assert "distribution" not in first["part"]
    (tmp_path / "workspace").rename(tmp_path / "one")
    other = data.copy()
    for name in ("a", "n", "y"):
        other.loc[part == "test", name] = 0
    other.loc[part == "test", "c"] = "only in the test part"
    second = columns_of(prepared(other, split_column="part"))
    for name in ("a", "n", "c", "y"):
        assert second[name]["distribution"] == first[name]["distribution"]


def test_texts_are_named_where_the_profile_names_them_anyway(prepared: Prepare) -> None:
    many = [f"text {each}" for each in np.random.default_rng(0).integers(0, 1500, 6000).tolist()]
    columns = columns_of(prepared(frame(6000, many=many)))
    assert "top" not in columns["many"]
    assert columns["many"]["distribution"]["values"] is None
    assert "text " not in json.dumps(columns["many"])
    assert set(columns["c"]["distribution"]["values"]) == {each["value"] for each in columns["c"]["top"]}
