"""What the names of files tell: whether they are data, and what the folders of a partitioned data set hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import unquote

from common.errors import InvalidDatasetError, first_few

FileKind = Literal["text", "json", "excel", "parquet"]
Compression = Literal["gzip", "zip", "zstd", "bz2"]

KINDS: dict[str, FileKind] = {
    **dict.fromkeys(("csv", "tsv", "tab", "txt", "psv", "dat", "data"), "text"),
    **dict.fromkeys(("json", "jsonl", "ndjson"), "json"),
    **dict.fromkeys(("xlsx", "xlsm", "xlsb", "xls", "ods"), "excel"),
    **dict.fromkeys(("parquet", "pq"), "parquet"),
}
COMPRESSIONS: dict[str, Compression] = {"gz": "gzip", "zip": "zip", "zst": "zstd", "bz2": "bz2"}
READABLE = "CSV, TSV or other delimited text, JSON lines, Excel or Parquet, each as it is or as .gz, .zip, .zst or .bz2"
"""The formats, for people."""
# What is said about the data, in files whose names may end as data's do.
_ABOUT = re.compile(r"(readme|licen[cs]e|copying|changelog)([._-].*)?", re.IGNORECASE)
_HIVE_MISSING = "__HIVE_DEFAULT_PARTITION__"


def kind_by_name(name: str) -> FileKind | None:
    """Return what a file is by its name, in whatever it is packed; None where the name does not tell."""
    return KINDS.get(_extensions(name)[0])


def compression_by_name(name: str) -> Compression | None:
    """Return what a file is packed in by its name."""
    return COMPRESSIONS.get(_extensions(name)[1])


def is_data_name(name: str) -> bool:
    """Return whether a file in a folder is data by its name, which may hold folders.

    Markers are none: what begins with `_` or `.`, and whatever is in a folder that does; Hive's folders (`_day=1`) are
    no markers.

    Examples
    --------
    >>> [is_data_name(name) for name in ("a.CSV", "day=1/b.json.gz", "README.txt", "_delta_log/0.json", "c.pdf")]
    [True, True, False, False, False]
    """
    return not is_about_data(name) and kind_by_name(name) is not None


def is_about_data(name: str) -> bool:
    """Return whether a file is a marker, or says something about the data, by its name."""
    *folders, last = name.split("/")
    is_marker = last.startswith(("_", ".")) or any(
        folder.startswith((".", "_")) and "=" not in folder for folder in folders
    )
    return is_marker or _ABOUT.fullmatch(last) is not None or last.lower().endswith(".md")


def data_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return, in the order of names, those of data in a folder, and those that are ignored.

    Raises
    ------
    InvalidDatasetError
        If the folder is a Delta table, of which only its log says which files count.
    """
    data, ignored = list[str](), list[str]()
    for name in sorted(names):
        (data if is_data_name(name) else ignored).append(name)
    if any("_delta_log" in name.split("/")[:-1] for name in ignored):
        raise InvalidDatasetError(
            "The folder holds a Delta table, and with it files that may be part of it no longer: export it as Parquet."
        )
    return data, ignored


def no_data_name(ignored: Iterable[str]) -> str:
    """Return why there is nothing to read in a folder, as half a sentence."""
    others = first_few(f'"{name}"' for name in ignored)
    return f"in a folder, data are what is named as {READABLE}" + (f"; ignored: {others}" if others else "")


def hive_columns(relative_name: str) -> dict[str, str | None]:
    """Return the columns that the folders of a partitioned data set stand for.

    Parameters
    ----------
    relative_name
        The file's name within the data set's folder.

    Returns
    -------
    dict
        The value of each column, as text; None where it is missing.

    Examples
    --------
    >>> hive_columns("year=2024/city=K%C3%B6ln/part-0.parquet")
    {'year': '2024', 'city': 'Köln'}
    """
    pairs = [folder.partition("=") for folder in relative_name.split("/")[:-1]]
    return {
        unquote(name): None if value == _HIVE_MISSING else unquote(value)
        for name, equal, value in pairs
        if name and equal
    }


def _extensions(name: str) -> tuple[str, str]:
    """Return the extension that tells the format, and the one that tells the compression; each may be empty."""
    rest, _, last = name.rpartition("/")[2].lower().rpartition(".")
    if last not in COMPRESSIONS:
        return last if rest else "", ""
    inner, _, before = rest.rpartition(".")
    return before if inner else "", last
