"""What a file is, whatever its name says; the files are real ones, made here."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import pickle
import shutil
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from common.errors import InvalidDatasetError
from data_preparation.formats import EmptyFileError, Format, open_text, readable, recognise, unpacked
from data_preparation.reading import SourceFile

CSV = b"a,b\n1,x\n2,y\n"
TABLE = pa.table({"a": [1, 2], "b": ["x", "y"]})
Stored = Callable[[str, bytes], SourceFile]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Return a function that writes a file and names it."""

    def store(name: str, content: bytes) -> SourceFile:
        path = tmp_path / "source"
        path.write_bytes(content)
        return SourceFile(name, path)

    return store


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


def parquet() -> bytes:
    content = io.BytesIO()
    pq.write_table(TABLE, content)
    return content.getvalue()


def excel() -> bytes:
    content, workbook = io.BytesIO(), openpyxl.Workbook()
    for row in (("a", "b"), (1, "x"), (2, "y")):
        workbook.active.append(row)
    workbook.save(content)
    return content.getvalue()


JSON = b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'
# What stands in the same table's place under each name.
FORMS = {
    "a.csv": CSV,
    "a.CSV": CSV,
    "a.csv.gz": gzip.compress(CSV),
    "parts.csv.gz": gzip.compress(CSV[:4]) + gzip.compress(CSV[4:]),
    "a.csv.bz2": bz2.compress(CSV),
    "a.csv.zst": zstd(CSV),
    "a.csv.zip": zipped({"a.csv": CSV}),
    "lzma.zip": zipped({"a.csv": CSV}, zipfile.ZIP_LZMA),
    "mac.zip": zipped({"a.csv": CSV, "__MACOSX/._a.csv": b"\0\5\x16\7"}),
    "a.jsonl": JSON,
    "a.json": b'[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]',
    "a.ndjson.GZ": gzip.compress(JSON),
    "b.jsonl.zip": zipped({"b.jsonl": JSON}),
    "a.xlsx": excel(),
    "a.xlsx.gz": gzip.compress(excel()),
    "book.zip": zipped({"a.xlsx": excel()}),
    "a.parquet": parquet(),
    "a.pq": parquet(),
    "a.parquet.zst": zstd(parquet()),
    "b.parquet.zip": zipped({"b.parquet": parquet()}),
    # No extension, or one that says nothing: the content alone tells.
    "part-00000": CSV,
    "a.export": excel(),
    "b": parquet(),
}


def table(file: SourceFile, folder: Path) -> tuple[pa.Table, Format]:
    """Return what a file holds, as whoever reads text and Parquet finds it."""
    with readable(file, folder) as (source, found):
        if found.kind == "parquet":
            return pq.read_table(source.path), found
        return pa.csv.read_csv(open_text(source, found)), found


@pytest.mark.parametrize("name", FORMS)
def test_the_same_table_comes_from_every_format(name: str, stored: Stored, tmp_path: Path) -> None:
    read, found = table(stored(name, FORMS[name]), tmp_path)
    assert read.to_pydict() == TABLE.to_pydict()
    assert found.told == ()
    # Copies go.
    assert [each.name for each in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("name", "form", "told"),
    [
        ("a.csv", "a.xlsx", "is an Excel workbook, whatever its name says"),
        ("a.xls", "a.csv", "is delimited text, whatever its name says"),
        ("a.csv", "a.csv.gz", "is delimited text compressed by gzip, whatever its name says"),
        ("a.csv.gz", "a.csv", "is delimited text that is not compressed, whatever its name says"),
        ("a.csv", "a.csv.zip", "is delimited text in a ZIP archive, whatever its name says"),
        ("a.csv.gz", "a.csv.zst", "is delimited text compressed by zstd, whatever its name says"),
        ("a.csv", "a.parquet", "is a Parquet file, whatever its name says"),
        ("a.parquet", "a.csv", "is delimited text, whatever its name says"),
        ("a.csv", "a.json", "is JSON, whatever its name says"),
        ("a.txt", "a.jsonl", "is JSON, whatever its name says"),
        ("a.zip", "a.xlsx", "is an Excel workbook that is not compressed, whatever its name says"),
    ],
)
def test_a_wrong_name_is_told_and_the_file_read(
    name: str, form: str, told: str, stored: Stored, tmp_path: Path
) -> None:
    read, found = table(stored(name, FORMS[form]), tmp_path)
    assert read.to_pydict() == TABLE.to_pydict()
    assert found.told == (f'"{name}" {told}',)


def written(write: Callable[[Path], object]) -> bytes:
    """Return what a library writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        write(path)
        return path.read_bytes()


def numpy(save: Callable[..., None], array: object) -> bytes:
    content = io.BytesIO()
    save(content, array)
    return content.getvalue()


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table a (b)")
    connection.close()


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = len(CSV)
        archive.addfile(info, io.BytesIO(CSV))


FRAME = TABLE.to_pandas()
REFUSED = {
    "is an HTML page, not data": b"\xef\xbb\xbf \n<!DOCTYPE html><html><body>log in</body></html>",
    "is an HTML page, not data: it was probably saved": b"<html>\n<table><tr><td>1</td></tr></table></html>",
    "is XML, not a table": b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
    "is a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n",
    "is left with the marks of a conflict of Git": b"a,b\n1,2\n<<<<<<< HEAD\n3,4\n=======\n5,6\n>>>>>>> other\n",
    "is a pickle: it may run code": pickle.dumps(FRAME),
    "is a pickle": pickle.dumps(FRAME, protocol=2),
    "is an SQLite database": written(_sqlite),
    "is a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "is an Arrow or Feather file": written(lambda path: pyarrow.feather.write_feather(TABLE, str(path))),
    "is a Feather file": b"FEA1" + bytes(100),
    "is an ORC file": written(lambda path: pyarrow.orc.write_table(TABLE, str(path))),
    "is an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "is an R file": gzip.compress(b"X\n\0\0\0\3\0\4\3\0"),
    "is a NumPy array": numpy(np.save, np.eye(3)),
    "is a NumPy archive": numpy(np.savez, np.eye(3)),
    "is an SPSS file": b"$FL2@(#) SPSS DATA FILE",
    "is a SAS file": bytes(12) + bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011") + bytes(100),
    "is a Stata file": written(lambda path: FRAME.to_stata(path, version=118)),
    "is a Stata file: write its table": written(lambda path: FRAME.to_stata(path, version=114)),
    "is an image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "is a tar archive": gzip.compress(written(_tar)),
    "is compressed by xz": b"\xfd7zXZ\0\0\4" + bytes(20),
    "is binary data of a format that cannot be read": bytes(range(256)) * 4,
    "is a Word document": zipped({"[Content_Types].xml": b"", "word/document.xml": b"<document/>"}),
    "is a document of OpenOffice, no sheet": zipped(
        {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b""}
    ),
    "begins like a ZIP archive or an Excel workbook and is no whole one": b"PK\3\4fake",
    "and is no whole one: it is damaged": zipped({"a.csv": CSV})[:-10],
    "with 2 files that may be data, and it needs one": zipped({"a.csv": CSV, "b.csv": CSV}),
    "with no file that may be data": zipped({"README.md": b"about", "LICENSE": b"MIT"}),
    "what is in it is packed once more (gzip): unpack it once": zipped({"a.csv.gz": gzip.compress(CSV)}),
    "is compressed by gzip, and what is in it is packed once more (zip)": gzip.compress(zipped({"a.csv": CSV})),
    "cannot be decompressed: it is damaged": gzip.compress(CSV)[:-10],
    "cannot be decompressed: it is damaged, or": bz2.compress(CSV)[:-10],
    "cannot be decompressed: it": zstd(CSV * 100)[:-10],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_table_is_refused_with_what_it_is_in_one_sentence(message: str, stored: Stored) -> None:
    with pytest.raises(InvalidDatasetError) as caught:
        recognise(stored("data.csv", REFUSED[message]))
    assert str(caught.value).startswith('"data.csv" ')
    assert message in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "content",
    [
        b"<TICKER>,<PER>,<DATE>\nA,1,20240101\n",
        b'text,"diff"\n1,"\n<<<<<<< HEAD\n"\n',
        b"ORC,PDF\n1,2\n",
        "stadt,größe\nKöln,1\n".encode("utf-16"),
        "имя,город\nКиев,Львов\n".encode("utf-16"),  # noqa: RUF001
        "größe\n1\n".encode("cp1252"),
        b"a\x01b\n1\x012\n",
        b"[a],[b]\n1,2\n",
        b"BZh,x\n1,2\n",
        b"a\x08b\n1\n",
        # Looked at in every way to divide it into comments, it would take for ever.
        b"<!---->" * 9000 + b"<a>,b\n1,2\n",
    ],
)
def test_texts_that_begin_unusually_are_texts(content: bytes, stored: Stored) -> None:
    assert recognise(stored("data.csv", content)) == Format("text", None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b" \r\n\n"),
        ("a.csv", b"\xef\xbb\xbf"),
        ("a.csv.gz", gzip.compress(b"")),
        ("a.zip", zipped({"a.csv": b""})),
        ("a.json", b"[]"),
        ("a.json", b" [ ]\n"),
        ("a.parquet", b""),
    ],
    # Archives hold the time of day, and processes that share the tests have to call them the same.
    ids=itertools.count(),
)
def test_a_file_with_nothing_in_it_is_told_apart_from_one_that_is_bad(
    name: str, content: bytes, stored: Stored, tmp_path: Path
) -> None:
    with pytest.raises(EmptyFileError, match="is empty"), readable(stored(name, content), tmp_path):
        pass


def test_what_an_archive_holds_beside_the_data_is_told(stored: Stored, tmp_path: Path) -> None:
    members = {"set/a.csv": CSV, "set/README.md": b"about", "set/LICENSE": b"MIT", "__MACOSX/set/._a.csv": b"\0"}
    read, found = table(stored("a.zip", zipped(members)), tmp_path)
    assert read.num_rows == 2
    assert found.told == ('"a.zip" holds other files than the data, which are ignored: set/README.md, set/LICENSE',)


def test_an_archive_of_one_file_whose_name_says_nothing_is_read(stored: Stored, tmp_path: Path) -> None:
    assert table(stored("a.zip", zipped({"export": CSV})), tmp_path)[0].num_rows == 2


def test_an_archive_with_a_password_is_refused(stored: Stored) -> None:
    content = bytearray(zipped({"a.csv": CSV}))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    with pytest.raises(InvalidDatasetError, match="with a password"):
        recognise(stored("a.zip", bytes(content)))


def test_a_method_that_is_not_known_is_named(stored: Stored) -> None:
    content = bytearray(zipped({"a.csv": CSV}))
    for mark, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(mark) + place] = 9
    with pytest.raises(InvalidDatasetError, match=r"of a method that cannot be unpacked here \(number 9\)"):
        recognise(stored("a.zip", bytes(content)))


def test_a_bomb_is_refused_before_anything_is_unpacked(stored: Stored) -> None:
    content = bytearray(zipped({"a.csv": CSV}))
    # The size that the archive says it unpacks to.
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = (3 << 30).to_bytes(4, "little")
    with pytest.raises(InvalidDatasetError, match=r"unpacks to [\d,]+ times its size"):
        recognise(stored("a.zip", bytes(content)))


def test_a_copy_is_never_larger_than_the_disk(stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = stored("a.parquet.gz", gzip.compress(parquet() + bytes(1 << 22)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(InvalidDatasetError, match="raise the parameter FunctionStorage"):  # noqa: SIM117
        with unpacked(file, Format("parquet", "gzip"), tmp_path):
            pass
    assert [each.name for each in tmp_path.iterdir()] == ["source"]


def test_damage_after_the_beginning_of_an_archive_is_an_error_while_it_is_read(stored: Stored) -> None:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(20_000, 3))).to_csv().encode()
    content = bytearray(zipped({"a.csv": rows}))
    content[len(content) // 2] ^= 0xFF
    file = stored("a.zip", bytes(content))
    with open_text(file, recognise(file)) as stream, pytest.raises(OSError, match=r".+"):
        stream.read()
