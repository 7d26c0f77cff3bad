"""Sheets of workbooks as CSV, read by a process of its own."""

from __future__ import annotations

import datetime as dt
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from common.errors import InvalidDatasetError
from data_preparation import spreadsheets
from data_preparation.formats import EmptyFileError
from data_preparation.spreadsheets import write_sheet_as_csv

Sheet = Callable[[Worksheet], None]


def workbook(folder: Path, **sheets: Sheet) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, fill in sheets.items():
        fill(book.create_sheet(name))
    book.save(folder / "source")
    return folder / "source"


def filled(*rows: tuple[object, ...]) -> Sheet:
    def fill(sheet: Worksheet) -> None:
        for row in rows:
            sheet.append(row)

    return fill


def read(source: Path, sheet: str | int | None = None) -> tuple[str, list[str]]:
    target = source.with_name("target.csv")
    told = write_sheet_as_csv("book.xlsx", source, target, sheet)
    return target.read_bytes().decode(), told


def test_cells_are_written_as_csv_has_them(tmp_path: Path) -> None:
    rows = (
        ("whole", "part", "text", "yes", "day", "moment", "time", 2024),
        (3, 0.1, "007", True, dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 3, 4, 5), dt.time(14, 30), None),  # noqa: DTZ001
        (-1e14, 1e300, 'a,"b"\nc', False, None, None, None, 12.5),
    )
    written, told = read(workbook(tmp_path, data=filled(*rows)))
    assert written == (
        "whole,part,text,yes,day,moment,time,2024\n"
        "3,0.1,007,true,2024-01-02,2024-01-02 03:04:05,14:30:00,\n"
        '-100000000000000,1e+300,"a,""b""\nc",false,,,,12.5\n'
    )
    assert told == []


def test_a_table_may_begin_anywhere_and_its_rows_are_padded(tmp_path: Path) -> None:
    def fill(sheet: Worksheet) -> None:
        for cell, value in {"C4": "a", "D4": "b", "C5": 1, "D7": 2, "E7": 3}.items():
            sheet[cell] = value

    # A blank line keeps the place of an empty row.
    assert read(workbook(tmp_path, data=fill))[0] == "a,b,\n1,,\n\n,2,3\n"


def test_what_a_table_cannot_hold_is_told(tmp_path: Path) -> None:
    def fill(sheet: Worksheet) -> None:
        filled(("a", "elapsed"), (1, dt.timedelta(hours=26)), ("#DIV/0!", None), ("#N/A", None), ("m", None))(sheet)
        sheet.merge_cells("A5:B5")

    written, told = read(workbook(tmp_path, data=fill))
    assert written == "a,elapsed\n1,93600\n\n\nm,\n"
    assert told == [
        '"book.xlsx" has merged cells (ranges: 1), of which the first has the value and the others are empty',
        '"book.xlsx" has errors such as #DIV/0! (cells: 2), which are read as empty',
        'durations in "book.xlsx" are read as seconds: "elapsed"',
    ]


def hidden(sheet: Worksheet) -> None:
    sheet.sheet_state = "hidden"
    sheet.append(("hidden",))


def test_a_sheet_is_chosen_by_name_or_number_and_else_the_first_that_is_seen(tmp_path: Path) -> None:
    source = workbook(tmp_path, notes=hidden, one=filled(("a",)), two=filled(("b",)), **{"1": filled(("c",))})
    chosen = {sheet: read(source, sheet)[0] for sheet in (None, "two", 3, "3", "1", 1, "notes")}
    assert chosen == {
        None: "a\n", "two": "b\n", 3: "b\n", "3": "b\n", "1": "c\n", 1: "hidden\n", "notes": "hidden\n"
    }  # fmt: skip
    assert read(source)[1] == ['the sheet "one" of "book.xlsx" is read; it has others: "notes", "two", "1"']
    assert read(source, "two")[1] == []


@pytest.mark.parametrize(("sheet", "wanted"), [("tow", 'no sheet "tow"'), (3, "no sheet 3"), (0, "no sheet 0")])
def test_a_sheet_that_is_not_there_is_named_with_those_that_are(sheet: str | int, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match=f'"book.xlsx" has {wanted}; it has "one", "two".'):
        read(workbook(tmp_path, one=filled(("a",)), two=filled(("b",))), sheet)


def test_an_empty_sheet_is_told_apart_from_one_that_is_bad(tmp_path: Path) -> None:
    with pytest.raises(EmptyFileError, match=r'"one" of "book.xlsx" is empty; the sheets .* are "one", "two".'):
        read(workbook(tmp_path, one=filled(), two=filled(("b",))))


def test_a_sheet_that_does_not_fit_the_memory_ends_its_own_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corners(sheet: Worksheet) -> None:
        sheet["A1"], sheet["XFD1048576"] = "a", 1

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
    with pytest.raises(InvalidDatasetError, match="takes more memory as a workbook than there is for it"):
        read(workbook(tmp_path, data=corners))


def test_a_workbook_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    with pytest.raises(InvalidDatasetError, match="cannot be read as a workbook"):
        read(source)
    source.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    with pytest.raises(InvalidDatasetError, match="cannot be read as a workbook"):
        read(source)


def test_the_process_that_reads_has_none_of_the_functions_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = dict[str, str]()
    run = spreadsheets.subprocess.run

    def noting(*arguments: object, env: dict[str, str], **options: object) -> object:
        seen.update(env)
        return run(*arguments, env=env, **options)  # type: ignore[call-overload]

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(spreadsheets.subprocess, "run", noting)
    read(workbook(tmp_path, data=filled(("a",))))
    assert seen
    assert not [name for name in seen if name.startswith("AWS_")]
    assert "AWS_SECRET_ACCESS_KEY" in os.environ
