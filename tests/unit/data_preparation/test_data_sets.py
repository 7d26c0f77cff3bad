"""What several files say together, what folders say, and what the options of a request change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import InvalidDatasetError
from common.request import parse_request
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile

Prepare = Callable[..., PreparedData]
ROWS = 60


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Return a function that prepares files, by their names within a folder."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def prepare_all(contents: dict[str, str | bytes], target: str = "y", **request: Any) -> PreparedData:
        files = []
        for name, content in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            files.append(SourceFile(name, path))
        document = {"dataset_uri": "s3://bucket/data/", "target": target, "search_trials": 0, **request}
        return prepare(files, parse_request(document), workspace)

    return prepare_all


def lines(*columns: list[Any], header: str, separator: str = ",") -> str:
    rows = zip(*columns, strict=True)
    return "\n".join([header, *(separator.join(map(str, row)) for row in rows)]) + "\n"


def column(result: PreparedData, name: str) -> dict[str, Any]:
    return {each["name"]: each for each in result.profile["columns"]}[name]


def whole(result: PreparedData) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(result.train), pd.read_parquet(result.test)]).sort_values("y", ignore_index=True)


def test_folders_are_columns(prepared: Prepare) -> None:
    numbers = list(range(ROWS))
    files = {
        f"year={year}/city=K%C3%B6ln {year}/part.csv": lines(numbers, [year + n / 100 for n in numbers], header="a,y")
        for year in (2023, 2024, 2025)
    }
    result = prepared(files)
    assert (column(result, "year")["kind"], column(result, "year")["min"]) == ("integer", 2023)
    assert {each["value"] for each in column(result, "city")["top"]} == {f"Köln {year}" for year in (2023, 2024, 2025)}
    handed_over = whole(result)
    assert list(handed_over["year"]) == list(handed_over["y"].astype(int))


def test_folders_of_parquet_are_columns_whose_missing_value_is_missing(prepared: Prepare) -> None:
    table = pa.table({"a": range(ROWS), "y": [n / 7 for n in range(ROWS)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    result = prepared(
        {"k=x/p.parquet": content, "k=__HIVE_DEFAULT_PARTITION__/p.parquet": content, "k=z/p.pq": content}
    )
    assert (column(result, "k")["kind"], column(result, "k")["nulls"]) == ("text", ROWS)


def test_one_file_tells_what_another_leaves_open(prepared: Prepare) -> None:
    early = [f"{1 + n % 12:02}/{1 + n % 11:02}/2024" for n in range(ROWS)]
    late = [f"{13 + n % 15:02}/{1 + n % 11:02}/2024" for n in range(ROWS)]
    numbers = [n / 7 for n in range(ROWS)]
    result = prepared(
        {
            "1.csv": lines(early, numbers, header="day,y"),
            "2.csv": lines(late, [100 + n for n in numbers], header="day,y"),
        }
    )
    assert column(result, "day")["notation"] == {"style": "day/month/year"}
    assert "doubts" not in column(result, "day")
    assert column(result, "day")["max"] == "2024-11-26T00:00:00Z"


def test_codes_of_one_file_are_codes_in_all(prepared: Prepare) -> None:
    numbers = [n / 7 for n in range(ROWS)]
    result = prepared(
        {
            "1.csv": lines([101 + n % 5 for n in range(ROWS)], numbers, header="code,y"),
            "2.csv": lines([f"{n % 5:03}" for n in range(ROWS)], [100 + n for n in numbers], header="code,y"),
        }
    )
    assert column(result, "code")["kind"] == "text"
    assert {each["value"] for each in column(result, "code")["top"]} >= {"101", "001"}


def test_files_with_other_columns_are_united_when_asked(prepared: Prepare) -> None:
    numbers = [n / 7 for n in range(ROWS)]
    files = {
        "1.csv": lines(numbers, numbers, header="a,y"),
        "2.csv": lines(["u", "v"] * (ROWS // 2), numbers, [200 + n for n in numbers], header="b,a,y"),
        "3.csv": lines(numbers, [n + 400 for n in numbers], header="c,y"),
    }
    with pytest.raises(InvalidDatasetError, match=r'"b" \(only in "2.csv"\)'):
        prepared(files)
    result = prepared(files, read={"unite": True})
    assert [column(result, name)["nulls"] for name in "abc"] == [ROWS, 2 * ROWS, 2 * ROWS]
    assert list(whole(result)["c"].dropna()) == pytest.approx(numbers)


def test_a_late_letter_shows_the_encoding(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_preparation.dialect.HEAD_BYTES", 200)
    numbers = [n / 7 for n in range(ROWS)]
    content = lines(["Rome"] * (ROWS - 1) + ["Köln"], numbers, header="city,y").encode("cp1252")
    result = prepared({"1.csv": content})
    assert {each["value"] for each in column(result, "city")["top"]} == {"Rome", "Köln"}
    assert any("Windows-1252" in each for each in result.profile["read"]["told"])


KINDS = {
    "number": ("float", "numeric", "feature"),
    "category": ("text", "categorical", "feature"),
    "identifier": ("text", "identifier", "dropped"),
}


@pytest.mark.parametrize(("kind", "expected"), KINDS.items())
def test_the_request_says_what_a_column_is(prepared: Prepare, kind: str, expected: tuple[str, str, str]) -> None:
    texts = ["x" if n % 10 == 0 else f"{n % 7}.5" for n in range(ROWS)]
    content = lines(texts, [n / 7 for n in range(ROWS)], [n % 5 for n in range(ROWS)], header="a,y,b")
    result = prepared({"1.csv": content}, columns={"a": kind})
    found = column(result, "a")
    assert (found["kind"], found["role"], found["use"]) == expected
    if kind == "number":
        assert found["nulls"] == ROWS // 10
        assert f"{ROWS // 10} rows of which the request says number" in found["told"][0]


def test_what_the_request_ignores_is_not_looked_at(prepared: Prepare) -> None:
    texts = ["1", "x"] * (ROWS // 2)
    content = lines(texts, [n / 7 for n in range(ROWS)], [n % 5 for n in range(ROWS)], header="a,y,b")
    result = prepared({"1.csv": content}, columns={"a": "ignore"})
    assert (column(result, "a")["use"], column(result, "a")["reason"]) == ("dropped", "the request says so")
    assert "a" not in pq.read_schema(result.train).names


OPTIONS = {
    "decimal": ({"decimal": ","}, "6,221", 6.221),
    "thousands": ({"thousands": "."}, "6.221", 6221),
    "separator": ({"separator": "\\t"}, "6.221", 6.221),
    "na_values": ({"na_values": ["-1", "7,5"]}, "6.221", 6.221),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_heard(prepared: Prepare, name: str) -> None:
    read, text, value = OPTIONS[name]
    separator = "\t" if name == "separator" else ";"
    texts = [text, *(f"{1 + n}{text[1]}{100 + n}" for n in range(ROWS - 2)), "-1" if name == "na_values" else text]
    result = prepared({"1.csv": lines(texts, range(ROWS), header=f"a{separator}y", separator=separator)}, read=read,
                      problem="regression")  # fmt: skip
    handed_over = whole(result)["a"]
    assert handed_over[0] == pytest.approx(value)
    assert handed_over.isna().sum() == (name == "na_values")


def test_a_format_of_dates_is_heard(prepared: Prepare) -> None:
    texts = [f"{1 + n % 12:02}/{1 + n % 12:02}/2024" for n in range(ROWS - 1)] + ["02/03/2024"]
    content = {"1.csv": lines(texts, [n / 7 for n in range(ROWS)], header="day,y")}
    for read, month in (({"date_format": "%d/%m/%Y"}, 3), ({}, 2)):
        result = prepared(content, read=read)
        assert pd.to_datetime(whole(result)["day"].iloc[-1], unit="s").month == month
        assert ("doubts" in column(result, "day")) == (not read)
        for path in (result.train, result.test):
            path.unlink()


NUMBERS = [n / 7 for n in range(ROWS)]
LAST_ROWS = {
    "a total": (lines(["Rome", "Paris"] * (ROWS // 2), NUMBERS, header="city,y") + "Total,17\n", ROWS),
    "a name": (lines(["Rome", "Paris"] * (ROWS // 2), NUMBERS, header="city,y") + "Total Wine,17\n", ROWS + 1),
    "a value": (lines(["Rome", "Total"] * (ROWS // 2), NUMBERS, header="city,y") + "Total,17\n", ROWS + 1),
    "a total below numbers that repeat": (
        lines([str(number % 7) for number in range(ROWS)], NUMBERS, header="a,y") + "Total,17\n",
        ROWS,
    ),
    "two totals": (lines(NUMBERS, NUMBERS, header="a,y") + "Subtotal,17\nGrand total,18\n", ROWS),
    "a remark": (lines(NUMBERS, NUMBERS, header="a,y") + "(60 rows affected)\n", ROWS),
}


@pytest.mark.parametrize("name", LAST_ROWS)
def test_a_last_row_is_a_total_only_beyond_doubt(prepared: Prepare, name: str) -> None:
    content, rows = LAST_ROWS[name]
    result = prepared({"1.csv": content})
    assert result.profile["rows"]["in"] == rows
    assert bool(result.profile["read"]["told"]) == (name not in ("a name", "a value"))


def test_parquet_has_no_totals_that_anybody_would_leave_out(tmp_path: Path) -> None:
    texts = [str(number % 7) for number in range(ROWS - 1)] + ["Total"]
    pq.write_table(pa.table({"a": texts, "y": NUMBERS}), tmp_path / "x.parquet")
    request = parse_request({"dataset_uri": "s3://bucket/x.parquet", "target": "y"})
    folder = tmp_path / "work"
    folder.mkdir()
    result = prepare([SourceFile("x.parquet", tmp_path / "x.parquet")], request, folder)
    assert result.profile["rows"]["in"] == ROWS
    assert column(result, "a")["kind"] == "text"


def test_a_remark_among_rows_is_no_remark(prepared: Prepare) -> None:
    rows = lines(NUMBERS, NUMBERS, header="a,y").splitlines()
    with pytest.raises(InvalidDatasetError, match="a row of another length among the others: row 12"):
        prepared({"1.csv": "\n".join([*rows[:11], "Source: somebody", *rows[11:]])})


def told(result: PreparedData) -> str:
    columns = result.profile["columns"]
    of_columns = [each for column in columns for key in ("told", "doubts") for each in column.get(key, ())]
    return "\n".join([*result.profile["read"]["told"], *of_columns])


LATE = {
    "a marker": ("?", '"a" has "?" for a missing value in 1 row'),
    "a marker of pandas": ("-1.#IND", '"a" has "-1.#IND" for missing values'),
    "a placeholder": ("-999.9", '"a" holds -999.9 in 1 row, far from all other values'),
    "two stray quotes": ('"c,1,2\nc,3,4\nc"', "has values that hold whole rows"),
}


@pytest.mark.parametrize("name", LATE)
def test_what_a_late_row_has_is_told(prepared: Prepare, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("data_preparation.text_reading.SAMPLE_BYTES", 200)
    text, sentence = LATE[name]
    others = ["c" if "quotes" in name else f"{n % 50}.25" for n in range(ROWS - 1)]
    numbers = [n / 7 for n in range(ROWS)]
    result = prepared({"1.csv": lines([*others, text], numbers, numbers, header="a,b,y")})
    assert sentence in told(result)


def test_a_row_of_sums_without_a_word_is_told(prepared: Prepare) -> None:
    numbers = [n / 7 for n in range(ROWS)]
    content = lines([*"cd" * (ROWS // 2), ""], *[[*numbers, sum(numbers)]] * 2, header="a,b,y")
    assert 'seems to hold the sums of those above it: "b", "y"' in told(prepared({"1.csv": content}))


SUSPECTS = {
    "subtotals": (["Total", "c", "d"], '"a" has texts such as Total in 20 rows'),
    "a day for none": (["9999-12-31", "2024-01-31", "2024-02-01"], '"a" has times as far away as 9999-12-31'),
    "whole numbers that no float holds": ([1, 2**60, 2**60 + 1], '"a" has whole numbers of more digits'),
}


@pytest.mark.parametrize("name", SUSPECTS)
def test_what_may_not_mean_what_it_seems_to_is_told(prepared: Prepare, name: str) -> None:
    texts, sentence = SUSPECTS[name]
    content = lines((texts * ROWS)[:ROWS], [n / 7 for n in range(ROWS)], header="a,y")
    assert sentence in told(prepared({"1.csv": content}))


def test_parquet_is_told_of_in_the_same_way(prepared: Prepare) -> None:
    numbers = [n / 7 for n in range(ROWS)]
    large = pa.array([2**60 + n for n in range(ROWS)])
    mixed = pa.array([f"{n}.5" if n else "none of them" for n in range(ROWS)])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"large": large, "mixed": mixed, "x": numbers, "y": numbers}), sink)
    result = prepared({"1.parquet": sink.getvalue().to_pybytes()})
    assert '"large" has whole numbers of more digits' in told(result)
    assert '"mixed" is a column of texts, most of which are numbers' in told(result)


FORMATS = {
    "whole numbers": ("%d%m%Y", ["31012024", "01022024"]),
    "whole numbers of months": ("%Y%m", ["202401", "202402"]),
    "what is a date in another way": ("%Y-%d-%m", ["2024-01-02", "2024-02-01"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_of_dates_is_heard_by_all_that_fits_it(prepared: Prepare, name: str) -> None:
    format_, texts = FORMATS[name]
    content = lines(texts * (ROWS // 2), [n / 7 for n in range(ROWS)], header="day,y")
    result = prepared({"1.csv": content}, read={"date_format": format_})
    assert column(result, "day")["notation"] == {"style": format_}


def test_a_time_stands_for_a_missing_one_if_the_request_says_so(prepared: Prepare) -> None:
    content = lines(["9999-12-31", "2024-01-31", "2024-02-01"] * 20, [n / 7 for n in range(ROWS)], header="day,y")
    result = prepared({"1.csv": content}, read={"na_values": ["9999-12-31"]})
    assert (column(result, "day")["nulls"], column(result, "day")["max"]) == (20, "2024-02-01T00:00:00Z")


def test_percentages_of_one_file_are_not_mixed_with_numbers_of_another(prepared: Prepare) -> None:
    numbers = [n / 7 for n in range(ROWS)]
    files = {
        "1.csv": lines([f"{n}%" for n in range(ROWS)], numbers, header="a,y"),
        "2.csv": lines(range(ROWS), [100 + n for n in numbers], header="a,y"),
    }
    with pytest.raises(InvalidDatasetError, match='"a" mixes percentages in one file, and other numbers in another'):
        prepared(files)
    assert column(prepared(files, columns={"a": "number"}), "a")["max"] == ROWS - 1


SEPARATORS = {
    "two bars": ("||", True),
    "a sign": ("§", True),
    "a broken bar": ("¦", False),
    "three letters": ("<->", True),
}


@pytest.mark.parametrize("name", SEPARATORS)
def test_a_separator_is_any_characters(prepared: Prepare, name: str) -> None:
    separator, is_said = SEPARATORS[name]
    numbers = [n / 7 for n in range(ROWS)]
    two = ["a, b" if is_said else "a b", "c 'd'"]
    content = lines(two * (ROWS // 2), numbers, header=f"a{separator}y", separator=separator)
    result = prepared({"1.txt": content}, read={"separator": separator} if is_said else {})
    assert {each["value"] for each in column(result, "a")["top"]} == set(two)
    assert list(whole(result)["y"]) == pytest.approx(numbers)
    assert f"is separated by {separator!r}" in told(result)
