"""Writes one sheet of a workbook as CSV, in a process of its own.

    python -m data_preparation.spreadsheet_rows JOB

`JOB` is a JSON object: `source`, `target`, `sheet` (a name, a number from 1, or null) and `memory` (bytes). What was
found is printed as a JSON object, in which `refused` says why nothing was written.

calamine makes an array of all cells between the first and the last, and ends its process where memory does not hold
it; two cells at the corners of a sheet are enough for that: https://github.com/tafia/calamine/issues/693
"""

from __future__ import annotations

import datetime as dt
import json
import resource
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as ET

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetMetadata,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from data_preparation.delimited import line, plain

_EXACT = 1e15
"""Excel's numbers have fifteen digits."""


def write_sheet(source: Path, target: Path, sheet: str | int | None) -> dict[str, Any]:
    """Write a sheet as CSV, from its first row and column that hold anything.

    Returns
    -------
    dict
        `sheets`, the names of all of them, and either `refused` (`sheet`: there is no such one; `empty`) or what was
        found: `read`, the sheet's name, `merged`, how many ranges of cells are one, `errors`, how many cells hold one,
        and `durations`, the columns that
        hold some, as seconds.
    """
    with source.open("rb") as stream, CalamineWorkbook.from_filelike(stream) as workbook:
        sheets = [each for each in workbook.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
        found: dict[str, Any] = {"sheets": [each.name for each in sheets]}
        chosen = _chosen(sheets, sheet)
        if chosen is None:
            return {**found, "refused": "sheet"}
        cells = workbook.get_sheet_by_name(chosen)
        found |= {"read": chosen, "merged": len(cells.merged_cell_ranges or ()), "errors": _errors(source, chosen)}
        durations = _write(cells, target)
        return {**found, **({"refused": "empty"} if durations is None else {"durations": durations})}


def _chosen(sheets: Sequence[SheetMetadata], sheet: str | int | None) -> str | None:
    names = [each.name for each in sheets]
    if sheet is None:
        visible = [each.name for each in sheets if each.visible == SheetVisibleEnum.Visible]
        return next(iter(visible or names), None)
    if isinstance(sheet, int):
        return names[sheet - 1] if 1 <= sheet <= len(names) else None
    if sheet not in names and sheet.isdecimal():
        # What comes from a command line is a text.
        return _chosen(sheets, int(sheet))
    return sheet if sheet in names else None


def _write(cells: CalamineSheet, target: Path) -> list[str] | None:
    """Write all rows, and return the columns that hold durations; None where there is no row."""
    header, durations = list[str](), set[int]()
    with target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        for row in cells.iter_rows():
            texts = [_text(value) for value in row]
            if header:
                durations.update(index for index, value in enumerate(row) if isinstance(value, dt.timedelta))
                # An empty row keeps its place as a blank line of CSV does.
                stream.write(line(map(plain, texts)) if any(texts) else "\n")
            elif any(texts):
                header = texts
                stream.write(line(map(plain, texts)))
    return [header[index] for index in sorted(durations)] if header else None


def _errors(source: Path, sheet: str) -> int:
    """Return how many cells of a sheet of an .xlsx hold an error, for calamine says that they are empty."""
    if not zipfile.is_zipfile(source):
        return 0
    with zipfile.ZipFile(source) as archive, suppress(KeyError, StopIteration):
        # What XML may do to a process, it does to this one, whose memory is bounded.
        workbook = ET.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314
        links = ET.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
        entry = next(each for each in workbook.iterfind(".//{*}sheet") if each.attrib["name"] == sheet)
        link = next(value for name, value in entry.items() if name.endswith("}id"))
        path = next(each.attrib["Target"] for each in links if each.attrib["Id"] == link)
        with archive.open(path.removeprefix("/") if path.startswith("/") else f"xl/{path}") as stream:
            return _count(stream, b' t="e"')
    return 0


def _count(stream: IO[bytes], mark: bytes) -> int:
    found, end = 0, b""
    while content := stream.read(1 << 20):
        found += (end + content).count(mark)
        end = content[1 - len(mark) :]
    return found


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
        case dt.datetime():
            return value.isoformat(sep=" ")
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return _text(value.total_seconds())
    return str(value)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job within its memory, and return what was found."""
    # Elsewhere than on Linux it may not be bounded, and functions run on Linux.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    try:
        return write_sheet(Path(job["source"]), Path(job["target"]), job["sheet"])
    except PasswordError:
        return {"refused": "password"}
    except CalamineError:
        return {"refused": "damaged"}
    except MemoryError:
        return {"refused": "memory"}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
