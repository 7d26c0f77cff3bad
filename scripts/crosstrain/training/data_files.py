"""The data files that a command's argument names: one, those of a folder, or what comes on stdin."""

from __future__ import annotations

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
    if not path.exists():
        raise BadInputError(f'"{path}" does not exist.')
    if path.is_dir():
        # As data preparation does: names that begin with _ or . are markers, not data.
        found = [each for each in sorted(path.rglob("*")) if each.is_file() and not each.name.startswith(("_", "."))]
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
    return [SourceFile(each.relative_to(path).as_posix() if path.is_dir() else each.name, each) for each in found]


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
