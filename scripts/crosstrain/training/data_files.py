"""The data files that a command's argument names: one, those of a folder, or what comes on stdin."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from crosstrain.command import BadInputError, OperationFailedError, check_name, reason_of
from data_preparation.file_names import data_names, no_data_name
from data_preparation.reading import SourceFile

STDIN = "-"
"""What stands for stdin, as in most commands."""


class DataFiles(list[SourceFile]):
    """The data files that were found.

    Attributes
    ----------
    ignored : list of str
        What lies beside them in their folder and is no data by its name.
    """

    def __init__(self, files: Iterable[SourceFile], ignored: Iterable[str] = ()) -> None:
        super().__init__(files)
        self.ignored = list(ignored)


def find_data_files(name: str) -> DataFiles:
    """Return the file of a name, whatever it is, or those of a folder that are data, by their names within it.

    Raises
    ------
    BadInputError
        If there is none.
    """
    check_name(name, "the data")
    path = Path(name)
    # Unlike Path's own, it takes what may not be looked at for what is not there.
    if not os.path.exists(path):  # noqa: PTH110
        raise BadInputError(f'"{path}" does not exist.')
    if path.is_dir():
        found = _files_in(path)
    elif path.is_file():
        found = DataFiles([SourceFile(path.name, path)])
    else:
        raise BadInputError(f'"{path}" is neither a file nor a folder.')
    for each in found:
        check_name(each.path, "a data file")
        _check_readable(each.path, os.R_OK)
    return found


def _files_in(folder: Path) -> DataFiles:
    """Return the data files in a folder and those in it, each of which must be open: a search skips what is not."""
    _check_readable(folder, os.R_OK | os.X_OK)
    found = sorted(folder.rglob("*"))
    for each in found:
        if each.is_dir():
            _check_readable(each, os.R_OK | os.X_OK)
    # As data preparation does.
    names, ignored = data_names(each.relative_to(folder).as_posix() for each in found if each.is_file())
    if not names:
        raise BadInputError(f'"{folder}" is a folder without a data file: {no_data_name(ignored)}.')
    return DataFiles([SourceFile(name, folder / name) for name in names], ignored)


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
