"""What the first bytes of a file tell: what it is packed in, and whether it is something that is no table.

Signatures are from https://www.iana.org/assignments/media-types and, where a format is not registered there, from what
its own library writes.
"""

from __future__ import annotations

import codecs
import re

from data_preparation.file_names import Compression

HEAD_BYTES = 1 << 16
"""How much of a file's beginning is looked at."""
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The container of .xls, and of workbooks with a password."""
PARQUET = b"PAR1"

_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_JSON = re.compile(rb'\s*(\[\s*(\]|(\{\s*["}]))|\{\s*["}])')
_UNPACK = "unpack it and name the files in it"
_TABLE = "write its table as CSV or Parquet"
_MODEL = "it may run code when it is loaded, so it is not: write its table as CSV or Parquet"
_DOWNLOAD = "download the file itself"
# Where each begins, how, what it is, and the way out.
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the data",
        "`git lfs pull` fetches them",
    ),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "compressed by xz", "unpack it, or compress it by gzip or zstd"),
    (0, b"\x04\x22\x4d\x18", "compressed by LZ4", "unpack it, or compress it by gzip or zstd"),
    (0, b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (0, b"SQLite format 3\0", "an SQLite database", _TABLE),
    (0, b"%PDF-", "a PDF document", "export the table in it as CSV or Excel"),
    (0, b"ARROW1\0\0", "an Arrow or Feather file", _TABLE),
    (0, b"FEA1", "a Feather file", _TABLE),
    (0, b"Obj\x01", "an Avro file", _TABLE),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", _TABLE),
    (0, b"\x93NUMPY", "a NumPy array", _TABLE),
    *(
        (0, b"\x80" + bytes([version]) + mark, "a pickle", _MODEL)
        for version in (2, 3)
        for mark in (b"c", b"]", b"}", b"(")
    ),
    *((0, b"\x80" + bytes([version, 0x95]), "a pickle", _MODEL) for version in (4, 5)),
    *((0, mark, "an R file", _TABLE) for mark in (b"X\n\0\0\0", b"A\n2\n", b"A\n3\n", b"RDX2\n", b"RDX3\n", b"RDA3\n")),
    *((0, mark, "an SPSS file", _TABLE) for mark in (b"$FL2", b"$FL3")),
    (0, bytes(12) + bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011"), "a SAS file", _TABLE),
    (0, b"HEADER RECORD*******LIB", "a SAS transport file", _TABLE),
    (0, b"<stata_dta>", "a Stata file", _TABLE),
    *(
        (0, b"\x89PNG\r\n", "an image", _TABLE),
        (0, b"\xff\xd8\xff", "an image", _TABLE),
        (0, b"GIF8", "an image", _TABLE),
    ),
    *((0, b"II*\0", "an image", _TABLE), (0, b"MM\0*", "an image", _TABLE), (8, b"WEBPVP8", "an image", _TABLE)),
)
_HTML = re.compile(
    # A comment is taken as it is (?>), or a file of comments would be tried in every way to divide it.
    rb"((?>\s*<!--.*?-->)|\s*<\?xml[^>]*>)*\s*<(!doctype\s+html|(html|head|body|meta)[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_PATTERNS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (_HTML, "an HTML page, not data", f"it was probably saved from a browser or a login page; {_DOWNLOAD}"),
    (re.compile(rb"\s*<\?xml\s"), "XML, not a table", f"it may be an error of whoever serves the file; else {_TABLE}"),
    # Letters alone may be a column's name; what no text holds soon after them is not.
    (re.compile(rb"(?s)ORC.{0,16}[\x00\x02-\x08\x0e-\x1f]"), "an ORC file", _TABLE),
    # Versions 8 to 12 of Stata: the version, the order of bytes, the kind of file.
    (re.compile(rb"[\x69-\x73][\x01\x02]\x01\x00"), "a Stata file", _TABLE),
)
_CONFLICT = re.compile(rb"^<{7} ", re.MULTILINE)
# What no text holds in any encoding that has ASCII's characters; NUL is in UTF-16, and \x01 Hive's delimiter.
_BINARY = bytes([*range(2, 9), *range(0x0E, 0x1A)])
_BINARY_SHARE, _BINARY_LEAST = 0.01, 3
# Files in a ZIP archive that tell a document of another kind, and what it is.
DOCUMENTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"word/document\.xml"), "a Word document", "export the table in it as CSV or Excel"),
    (re.compile(r"ppt/presentation\.xml"), "a PowerPoint presentation", "export the table in it as CSV or Excel"),
    (re.compile(r"Index/.*\.iwa|Index\.zip"), "a document of Apple's iWork", "export it as CSV or Excel"),
    (re.compile(r".*\.npy"), "a NumPy archive", _TABLE),
    (re.compile(r"[^/]*/data\.pkl"), "a model of PyTorch", _MODEL),
)


def compression_of(head: bytes) -> Compression | None:
    """Return what a file is packed in by its first bytes; workbooks are ZIP archives, too."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", head):
        return "bz2"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    return "zip" if head.startswith(ZIP) else None


def is_blank(head: bytes) -> bool:
    """Return whether there is nothing but white space."""
    return not _without_bom(head).strip(b" \t\r\n")


def is_json(head: bytes) -> bool:
    """Return whether a text begins as JSON objects do, one after another or in an array."""
    return _JSON.match(_without_bom(head)) is not None


def may_be_json(head: bytes) -> bool:
    """Return whether a text that is said to be JSON may be."""
    return _without_bom(head).lstrip().startswith((b"{", b"["))


def what_it_is(head: bytes) -> tuple[str, str] | None:
    """Return what a file is that cannot be read, and the way out; None for what may be a table."""
    for start, mark, what, way_out in _SIGNATURES:
        if head.startswith(mark, start):
            return what, way_out
    text = _without_bom(head)
    for pattern, what, way_out in _PATTERNS:
        if pattern.match(text):
            return what, way_out
    # In quotes it is a text of somebody who writes about Git.
    if (conflict := _CONFLICT.search(text)) and text.count(b'"', 0, conflict.start()) % 2 == 0:
        return "left with the marks of a conflict of Git (<<<<<<<)", "resolve the conflict"
    controls = sum(head.count(bytes([each])) for each in _BINARY)
    if not head.startswith(_BOMS[1:]) and controls >= max(_BINARY_LEAST, _BINARY_SHARE * len(head)):
        return "binary data of a format that cannot be read", _TABLE
    return None


def _without_bom(head: bytes) -> bytes:
    return next((head.removeprefix(bom) for bom in _BOMS if head.startswith(bom)), head)
