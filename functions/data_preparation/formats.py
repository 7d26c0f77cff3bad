"""Recognises what a file is by its content, whatever its name says, and turns it into what `reading` reads.

Text and Parquet are read as they are, the former through its compression; JSON lines and sheets of Excel are written
as CSV first. What is none of these is refused with what it is instead.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from common.errors import InvalidDatasetError, first_few
from data_preparation.archives import Member, data_member, is_workbook, open_archive, too_large
from data_preparation.file_names import Compression, FileKind, compression_by_name, kind_by_name
from data_preparation.signatures import (
    HEAD_BYTES,
    OLD_EXCEL,
    PARQUET,
    compression_of,
    is_blank,
    is_json,
    may_be_json,
    what_it_is,
)

if TYPE_CHECKING:
    from data_preparation.reading import SourceFile

_COPY_BYTES = 1 << 20
_KINDS: dict[FileKind, str] = {
    "text": "delimited text",
    "json": "JSON",
    "excel": "an Excel workbook",
    "parquet": "a Parquet file",
}
_PACKED: dict[Compression, str] = {
    "gzip": "compressed by gzip",
    "zip": "in a ZIP archive",
    "zstd": "compressed by zstd",
    "bz2": "compressed by bzip2",
}


class EmptyFileError(InvalidDatasetError):
    """A file holds nothing at all, which a part of a folder may.

    The state machine knows errors by the names of their classes: nothing of this name may leave a function.
    """


@dataclass(frozen=True)
class Format:
    """What a file is.

    Attributes
    ----------
    kind
        `text` is delimited text, whatever delimits it.
    compression
        What the file as a whole is packed in.
    told
        Sentences for people about what was found otherwise than the name says.
    """

    kind: FileKind
    compression: Compression | None
    told: tuple[str, ...] = ()


def recognise(file: SourceFile) -> Format:
    """Return what a file is by its content; its name counts only where that leaves it open.

    Raises
    ------
    EmptyFileError
        If it holds nothing, or nothing but white space.
    InvalidDatasetError
        If it is no table that can be read: the message says what it is, and the way out.
    """
    with file.path.open("rb") as stream:
        compression = compression_of(stream.read(HEAD_BYTES))
    inner, about = file.name, list[str]()
    if compression == "zip":
        with open_archive(file) as archive:
            if is_workbook(file, archive):
                return _format(file, "excel", None, file.name, about)
            member, ignored = data_member(file, archive)
            inner = member.filename
        if ignored:
            about.append(f'"{file.name}" holds other files than the data, which are ignored: {first_few(ignored)}')
    with _damage_named(file), _opened(file, compression) as stream:
        head = stream.read(HEAD_BYTES)
    if is_blank(head) and len(head) < HEAD_BYTES:
        raise EmptyFileError(f'"{file.name}" is empty: it needs a header line and rows.')
    if compression and (again := compression_of(head)):
        return _packed_twice(file, compression, again, inner)
    kind = _kind(head, kind_by_name(inner) or kind_by_name(file.name))
    if kind in ("text", "json") and (refused := what_it_is(head)):
        what, way_out = refused
        raise InvalidDatasetError(f'"{file.name}" is {what}: {way_out}.')
    return _format(file, kind, compression, inner, about)


def open_text(file: SourceFile, known: Format) -> BinaryIO:
    """Open a file of text or JSON for its decompressed bytes, which are read as a stream.

    What is found to be damaged while it is read is an `OSError`, whatever it is packed in.

    Raises
    ------
    InvalidDatasetError
        If it is in a ZIP archive that cannot be read.
    """
    return _opened(file, known.compression)


def as_delimited(
    file: SourceFile,
    known: Format,
    target: Path,
    sheet: str | int | None = None,
) -> tuple[SourceFile, tuple[str, ...]]:
    """Write JSON lines or a sheet of Excel as CSV: UTF-8, commas, quotes where a value needs them.

    Parameters
    ----------
    file
        The file.
    known
        What it was recognised as, `json` or `excel`.
    target
        Where to write; its folder is used for temporary files as well.
    sheet
        The name of the sheet or its number, from 1; the first one that is not hidden, if not given.

    Returns
    -------
    tuple
        The file that was written, under the same name for people, and sentences on what was left out or chosen.

    Raises
    ------
    EmptyFileError
        If there is no row, or the sheet is empty.
    InvalidDatasetError
        If it cannot be read, or there is no such sheet.
    """
    # Neither is paid for by those who bring CSV.
    if known.kind == "json":
        from data_preparation.json_lines import write_json_as_csv  # noqa: PLC0415

        with _damage_named(file):
            told = write_json_as_csv(file.name, lambda: _opened(file, known.compression), target)
    else:
        from data_preparation.spreadsheets import write_sheet_as_csv  # noqa: PLC0415

        with unpacked(file, known, target.parent) as workbook:
            told = write_sheet_as_csv(file.name, workbook.path, target, sheet)
    return replace(file, path=target), tuple(told)


@contextmanager
def unpacked(file: SourceFile, known: Format, folder: Path) -> Iterator[SourceFile]:
    """Yield a file without its compression, for readers that go to and fro in it; a copy goes with the `with` block.

    Raises
    ------
    InvalidDatasetError
        If it is damaged, or larger than the room that the folder has.
    """
    if known.compression is None:
        yield file
        return
    free = shutil.disk_usage(folder).free
    with tempfile.NamedTemporaryFile(dir=folder, prefix="unpacked-") as copy:
        with _damage_named(file), _opened(file, known.compression) as stream:
            while content := stream.read(_COPY_BYTES):
                free -= len(content)
                if free < 0:
                    raise too_large(file)
                copy.write(content)
        copy.flush()
        yield replace(file, path=Path(copy.name))


@contextmanager
def readable(file: SourceFile, folder: Path, sheet: str | int | None = None) -> Iterator[tuple[SourceFile, Format]]:
    """Yield a file as text, which may be compressed, or as Parquet, which is not; copies go with the `with` block.

    Parameters
    ----------
    file
        Any file.
    folder
        Where copies lie that had to be made.
    sheet
        Of Excel, as in `as_delimited`.

    Yields
    ------
    tuple
        The file to read and its format, in which everything is told that is to be told of the original one.

    Raises
    ------
    EmptyFileError, InvalidDatasetError
        As `recognise` and `as_delimited`.
    """
    found = recognise(file)
    with ExitStack() as stack:
        if found.kind == "parquet":
            yield stack.enter_context(unpacked(file, found, folder)), replace(found, compression=None)
        elif found.kind == "text":
            yield file, found
        else:
            target = Path(stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, suffix=".csv")).name)
            written, told = as_delimited(file, found, target, sheet)
            yield written, Format("text", None, found.told + told)


def _kind(head: bytes, said: FileKind | None) -> FileKind:
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith(OLD_EXCEL):
        return "excel"
    return "json" if is_json(head) or (said == "json" and may_be_json(head)) else "text"


def _format(
    file: SourceFile, kind: FileKind, compression: Compression | None, inner: str, about: Sequence[str]
) -> Format:
    """Return a format, and tell what is otherwise than the name says, if it says anything."""
    said, said_compression = kind_by_name(inner) or kind_by_name(file.name), compression_by_name(file.name)
    differs = (said is not None and said != kind) or (
        compression != said_compression and (said is not None or said_compression is not None)
    )
    packed = f" {_PACKED[compression]}" if compression else " that is not compressed" if said_compression else ""
    told = [f'"{file.name}" is {_KINDS[kind]}{packed}, whatever its name says'] if differs else []
    return Format(kind, compression, (*told, *about))


def _packed_twice(file: SourceFile, outer: Compression, inner: Compression, member: str) -> Format:
    """Return the format of a workbook in something else; anything else that is packed twice is refused."""
    if inner == "zip" and kind_by_name(member) == "excel":
        return _format(file, "excel", outer, member, ())
    raise InvalidDatasetError(
        f'"{file.name}" is {_PACKED[outer]}, and what is in it is packed once more ({inner}): unpack it once.'
    )


def _opened(file: SourceFile, compression: Compression | None) -> BinaryIO:
    if compression == "zip":
        return io.BufferedReader(Member(file), _COPY_BYTES)
    stream: BinaryIO = pa.input_stream(str(file.path), compression=compression)
    return stream


@contextmanager
def _damage_named(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # What the machine lacks is nothing of the file's.
        if error.errno is not None:
            raise
        raise InvalidDatasetError(
            f'"{file.name}" cannot be decompressed: it is damaged, or was not downloaded to its end.'
        ) from error
