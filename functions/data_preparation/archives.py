"""ZIP archives: the one file in them that is data, and the documents that are archives themselves."""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from lzma import LZMAError
from typing import TYPE_CHECKING

from common.errors import InvalidDatasetError
from data_preparation.file_names import data_names, is_about_data
from data_preparation.signatures import DOCUMENTS

if TYPE_CHECKING:
    from data_preparation.reading import SourceFile

# More than this at more than this many times its packed size is no table, but a bomb.
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 200
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@contextmanager
def open_archive(file: SourceFile) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive.

    Raises
    ------
    InvalidDatasetError
        If it is none, or not a whole one.
    """
    try:
        with zipfile.ZipFile(file.path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InvalidDatasetError(
            f'"{file.name}" begins like a ZIP archive or an Excel workbook and is no whole one: it is damaged, or was '
            "not downloaded to its end; download or save it again."
        ) from error


def is_workbook(file: SourceFile, archive: zipfile.ZipFile) -> bool:
    """Return whether an archive is a workbook of Excel or OpenDocument.

    Raises
    ------
    InvalidDatasetError
        If it is a document of another kind, or a workbook that unpacks to more than any table.
    """
    names = archive.namelist()
    if any(name in ("xl/workbook.xml", "xl/workbook.bin") for name in names):
        _check_size(file, archive.infolist())
        return True
    if "mimetype" in names and "content.xml" in names:
        with archive.open("mimetype") as stream:
            if stream.read(64).startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
                _check_size(file, archive.infolist())
                return True
        raise InvalidDatasetError(f'"{file.name}" is a document of OpenOffice, no sheet: export its table as CSV.')
    for pattern, what, way_out in DOCUMENTS:
        if any(pattern.fullmatch(name) for name in names):
            raise InvalidDatasetError(f'"{file.name}" is {what}: {way_out}.')
    return False


def data_member(file: SourceFile, archive: zipfile.ZipFile) -> tuple[zipfile.ZipInfo, list[str]]:
    """Return the one file of an archive that is data, and the names of those that are none.

    Raises
    ------
    InvalidDatasetError
        If there are none or several, or if it cannot be unpacked here.
    """
    members = {each.filename: each for each in archive.infolist() if not each.is_dir()}
    data, others = data_names(members)
    if not data:
        # One file whose name says nothing may be data all the same.
        data = [name for name in others if not is_about_data(name)]
    if len(data) != 1:
        found = f"{len(data):,} files that may be data" if data else "no file that may be data"
        raise InvalidDatasetError(
            f'"{file.name}" is a ZIP archive with {found}, and it needs one: unpack it, and name the file or the '
            "folder of files to read."
        )
    member = members[data[0]]
    _check_member(file, member)
    return member, [name for name in members if name != member.filename and not name.startswith("__MACOSX/")]


def _check_member(file: SourceFile, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise InvalidDatasetError(f'"{file.name}" is a ZIP archive with a password: unpack it, and name what is in it.')
    if member.compress_type not in _METHODS:
        raise InvalidDatasetError(
            f'"{file.name}" is a ZIP archive of a method that cannot be unpacked here (number {member.compress_type}): '
            "unpack it, and name what is in it."
        )
    _check_size(file, [member])
    if member.file_size > shutil.disk_usage(file.path.parent).free:
        raise too_large(file)


def _check_size(file: SourceFile, members: Sequence[zipfile.ZipInfo]) -> None:
    packed, size = sum(each.compress_size for each in members), sum(each.file_size for each in members)
    if size > max(_BOMB_BYTES, _BOMB_RATIO * packed):
        raise InvalidDatasetError(
            f'"{file.name}" unpacks to {size // max(1, packed):,} times its size, as no table does: bring it unpacked, '
            "as CSV or Parquet."
        )


def too_large(file: SourceFile) -> InvalidDatasetError:
    """Return what to raise for a file that is too large once it is unpacked."""
    return InvalidDatasetError(
        f'"{file.name}" unpacks to more than there is room for on the temporary disk: raise the parameter '
        "FunctionStorage or split the file."
    )


class Member(io.RawIOBase):
    """The data in a ZIP archive; what is wrong with them is an `OSError`, as it is with every other compression."""

    def __init__(self, file: SourceFile) -> None:
        with ExitStack() as stack:
            archive = stack.enter_context(open_archive(file))
            self._stream = stack.enter_context(archive.open(data_member(file, archive)[0]))
            self._both = stack.pop_all()

    def readable(self) -> bool:
        """Return that it may be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as much as the buffer holds, or as there is."""
        try:
            content = self._stream.read(len(buffer))
        except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError) as error:
            raise OSError(str(error)) from error
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the archive, too."""
        if not self.closed:
            self._both.close()
        super().close()
