"""A table says the same in whatever dialect, locale and words for missing values it is written."""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.request import parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile

ROWS = 60
DATES = {"iso": "%Y-%m-%d", "german": "%d.%m.%Y", "british": "%d/%m/%Y", "american": "%m/%d/%Y", "named": "%d %b %Y",
         "compact": "%Y%m%d"}  # fmt: skip
BOOLEANS = ("true/false", "yes/no", "Y/N", "on/off", "T/F")


@dataclass(frozen=True)
class Written:
    """How a table is written."""

    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    money: str = ""
    date: str = "iso"
    boolean: str = "true/false"
    missing: str = ""
    encoding: str = "utf-8"
    newline: str = "\n"
    quoting: int = csv.QUOTE_MINIMAL
    title: str = ""

    def number(self, value: float, digits: int) -> str:
        """Return a number as text."""
        grouped = f"{value:,.{digits}f}".replace(",", "\0").replace(".", self.decimal).replace("\0", self.thousands)
        return f"{self.money}{grouped}" if value >= 0 else f"-{self.money}{grouped.removeprefix('-')}"

    def row(self, values: dict[str, Any]) -> list[str]:
        """Return a row as texts."""
        yes, no = self.boolean.split("/")
        texts = {
            "amount": lambda value: self.number(value, 2),
            "count": lambda value: self.number(value, 0),
            "city": str,
            "day": lambda value: value.strftime(DATES[self.date]),
            "member": lambda value: yes if value else no,
            "price": lambda value: self.number(value, 1),
        }
        return [self.missing if value is None else texts[name](value) for name, value in values.items()]

    def content(self, rows: list[dict[str, Any]]) -> bytes:
        """Return a file."""
        file = io.StringIO()
        writer = csv.writer(file, delimiter=self.separator, quoting=self.quoting, lineterminator=self.newline)
        writer.writerow(rows[0])
        writer.writerows(self.row(each) for each in rows)
        return (self.title + file.getvalue()).encode(self.encoding)


def table(seed: int) -> list[dict[str, Any]]:
    """Return rows that leave no doubt: days beyond the twelfth, decimals that are no thousands."""
    draw = random.Random(seed)  # noqa: S311 (made-up data)
    first = {"amount": 1234567.25, "count": 7_654_321, "city": "Köln", "day": dt.date(2021, 1, 31), "member": True,
             "price": 99.5}  # fmt: skip
    second = {**first, "amount": -0.75, "count": 7, "city": "Orléans", "day": dt.date(1999, 12, 13), "member": False,
              "price": 12_345.5}  # fmt: skip
    rows = [first, second]
    for _ in range(ROWS):
        row = {
            "amount": round(draw.uniform(-5e4, 5e6), 2),
            "count": draw.randrange(8_000_000),
            "city": draw.choice(("Rome", "Paris", "Köln", "Orléans")),
            "day": dt.date(2020, 1, 1) + dt.timedelta(days=draw.randrange(900)),
            "member": draw.random() < 0.5,
            "price": round(draw.uniform(1, 20_000), 1),
        }
        rows.append({name: None if name != "price" and draw.random() < 0.05 else value for name, value in row.items()})
    return rows


def profile_of(content: bytes) -> dict[str, Any]:
    """Return what the profile says of the values, whatever it says of how they were written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.csv")
        path.write_bytes(content)
        request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": "price", "search_trials": 0})
        profile = prepare([SourceFile("data.csv", path)], request, Path(folder)).profile
    of_writing = ("notation", "told", "doubts")
    columns = [{key: value for key, value in each.items() if key not in of_writing} for each in profile["columns"]]
    return {"rows": profile["rows"], "split": profile["split"], "columns": columns}


@cache
def plain_profile(seed: int) -> dict[str, Any]:
    return profile_of(Written().content(table(seed)))


LOCALES = [(".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (".", "'"), (",", "\u202f")]


@st.composite
def written(draw: st.DrawFn) -> Written:
    decimal, thousands = draw(st.sampled_from(LOCALES))
    separators = [",", ";", "\t", "|"]
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    narrow = thousands == "\u202f"
    return Written(
        separator=draw(st.sampled_from(separators)),
        decimal=decimal,
        thousands=thousands,
        money=draw(st.sampled_from(["", "$", "€ "] if not narrow else [""])),
        date=draw(st.sampled_from(list(DATES))),
        boolean=draw(st.sampled_from(BOOLEANS)),
        missing=draw(st.sampled_from(["", "NA", "N/A", "NULL", "None", "nan", "#N/A"])),
        encoding=draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"] + ([] if narrow else ["cp1252"]))),
        newline=draw(st.sampled_from(["\n", "\r\n"])),
        quoting=quoting,
        title=draw(st.sampled_from(["", "Sales of the year\n\n", "# exported by hand\n"])),
    )


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True)
@given(written=written(), seed=st.integers(0, 5))
def test_a_table_says_the_same_however_it_is_written(written: Written, seed: int) -> None:
    assert profile_of(written.content(table(seed))) == plain_profile(seed)


@pytest.mark.parametrize(
    "marker", ["-", "--", "?", ".", "none", "missing", "n/a", "#DIV/0!", "#VALUE!", "\\N", "(null)", " "]
)
def test_a_marker_of_missing_numbers_times_and_booleans_is_known(marker: str) -> None:
    rows = [{name: value for name, value in row.items() if name != "city"} for row in table(1)]
    assert profile_of(Written(missing=marker).content(rows)) == profile_of(Written().content(rows))


def test_a_comma_is_no_separator_where_semicolons_are() -> None:
    preamble = 'Account:;DE00 1234\nFrom:;01.01.2024\nBalance:;"1.234,56 EUR"\n\n'
    rows = "\n".join(f"{number},5;{number},25;{number},1" for number in range(ROWS))
    columns = profile_of(f"{preamble}amount;other;price\n{rows}\n".encode())["columns"]
    assert [each["name"] for each in columns] == ["amount", "other", "price"]
    assert columns[0]["max"] == ROWS - 0.5
