"""The data files that a command's argument names: one, those of a folder, or what comes on stdin."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from crosstrain.command import BadInputError, OperationFailedError, check_name, reason_of
from data_preparation.reading import SUFFIXES, SourceFile

STDIN = "-"
"""What stands for stdin, as in most commands."""


def find_data_files(name: str) -> list[SourceFile]:
    """Return the file of a name, or all files of a folder, by their names within it.

    Raises
    ------
    BadInputError
        If there is none, or one that is no data file.
    """
    check_name(name, "the data")
    path = Path(name)
    # Unlike Path's own, it takes what may not be looked at for what is not there.
    if not os.path.exists(path):  # noqa: PTH110
        raise BadInputError(f'"{path}" does not exist.')
    if path.is_dir():
        found = _files_in(path)
    elif path.is_file():
        found = [path]
    else:
        raise BadInputError(f'"{path}" is neither a file nor a folder.')
    if not found:
        raise BadInputError(f'"{path}" is a folder without a data file.')
    for each in found:
        check_name(each, "a data file")
        if not each.name.endswith(SUFFIXES):
            raise BadInputError(
                f'"{each}" cannot be read: the name of a data file must end in {" or ".join(SUFFIXES)}.'
            )
        _check_readable(each, os.R_OK)
    return [SourceFile(each.relative_to(path).as_posix() if path.is_dir() else each.name, each) for each in found]


def _files_in(folder: Path) -> list[Path]:
    """Return the data files in a folder and those in it, each of which must be open: a search skips what is not."""
    _check_readable(folder, os.R_OK | os.X_OK)
    found = sorted(folder.rglob("*"))
    for each in found:
        if each.is_dir():
            _check_readable(each, os.R_OK | os.X_OK)
    # As data preparation does: names that begin with _ or . are markers, not data.
    return [each for each in found if each.is_file() and not each.name.startswith(("_", "."))]


def _check_readable(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise BadInputError(f'"{path}" cannot be read: you have no right to.')


def store_stdin(folder: Path) -> SourceFile:
    """Return the CSV that comes on stdin as a file, for a file is read more than once.

    Raises
    ------
    OperationFailedError
        If there is no room for it.
    """
    path = folder / "stdin.csv"
    try:
        with path.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
    except OSError as error:
        raise OperationFailedError(f"What comes on stdin cannot be stored in {folder} ({reason_of(error)}).") from error
    return SourceFile("stdin", path)
