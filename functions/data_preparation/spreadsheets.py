"""Turns a sheet of Excel or OpenDocument into CSV, by a process that may fail alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.errors import InvalidDatasetError, first_few
from data_preparation.formats import EmptyFileError
from data_preparation.parquet_pages import memory_bytes

MEMORY_SHARE = 0.5
"""The share of the memory that a workbook may take; what is left is this process's own."""
_ROWS = "data_preparation.spreadsheet_rows"


def write_sheet_as_csv(name: str, source: Path, target: Path, sheet: str | int | None) -> list[str]:
    """Write one sheet of a workbook as CSV.

    Parameters
    ----------
    name
        The file's, for people.
    source, target
        Where the workbook is, and where to write.
    sheet
        The sheet's name or its number, from 1; the first one that is not hidden, if not given.

    Returns
    -------
    list of str
        Sentences on what was chosen, and on what a sheet has that a table has not.

    Raises
    ------
    EmptyFileError
        If the sheet is empty.
    InvalidDatasetError
        If there is no such sheet, or the workbook cannot be read or needs a password or too much memory.
    """
    found = _found(source, target, sheet)
    if refused := found.get("refused"):
        raise _error(name, refused, found, sheet)
    told = []
    if len(found["sheets"]) > 1 and sheet is None:
        others = first_few(f'"{each}"' for each in found["sheets"] if each != found["read"])
        told.append(f'the sheet "{found["read"]}" of "{name}" is read; it has others: {others}')
    if found["merged"]:
        told.append(
            f'"{name}" has merged cells (ranges: {found["merged"]:,}), of which the first has the value and the others '
            "are empty"
        )
    if found["errors"]:
        told.append(f'"{name}" has errors such as #DIV/0! (cells: {found["errors"]:,}), which are read as empty')
    if found["durations"]:
        columns = first_few(f'"{column}"' for column in found["durations"])
        told.append(f'durations in "{name}" are read as seconds: {columns}')
    return told


def _found(source: Path, target: Path, sheet: str | int | None) -> dict[str, Any]:
    job = {"source": str(source), "target": str(target), "sheet": sheet, "memory": _memory()}
    done = subprocess.run(  # noqa: S603, every word of it is this project's
        [sys.executable, "-P", "-m", _ROWS, json.dumps(job)],
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # What libraries say may quote data.
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        return {"refused": "memory" if done.returncode < 0 else "damaged"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _memory() -> int:
    return int(MEMORY_SHARE * memory_bytes())


def _error(name: str, refused: str, found: dict[str, Any], sheet: str | int | None) -> InvalidDatasetError:
    names = first_few(f'"{each}"' for each in found.get("sheets", ()))
    match refused:
        case "sheet":
            wanted = f"no sheet {sheet}" if isinstance(sheet, int) else f'no sheet "{sheet}"' if sheet else "no sheet"
            return InvalidDatasetError(f'"{name}" has {wanted}; it has {names or "none"}.')
        case "empty":
            others = f"; the sheets of this workbook are {names}" if len(found["sheets"]) > 1 else ""
            return EmptyFileError(f'The sheet "{found["read"]}" of "{name}" is empty{others}.')
        case "password":
            return InvalidDatasetError(f'"{name}" has a password: save it without one, or as CSV.')
        case "memory":
            return InvalidDatasetError(
                f'"{name}" takes more memory as a workbook than there is for it ({_memory() >> 20:,} MB): delete cells '
                "far away from the table, or save it as CSV or Parquet."
            )
    return InvalidDatasetError(f'"{name}" cannot be read as a workbook: open and save it again, or save it as CSV.')
