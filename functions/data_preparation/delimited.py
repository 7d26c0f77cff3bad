"""Writes the CSV that files of other formats are turned into."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

# csv.writer leaves a carriage return without quotes, and readers take it for the end of a line.
_NEEDS_QUOTES = re.compile('[",\r\n]')


def quoted(text: str) -> str:
    """Return a value in quotes."""
    return '"' + text.replace('"', '""') + '"'


def plain(text: str) -> str:
    """Return a value as it is where it can stand so, else in quotes."""
    return quoted(text) if _NEEDS_QUOTES.search(text) else text


def line(values: Iterable[str]) -> str:
    """Return a line of values, each of them quoted where it needs to be; a row is never a blank line."""
    return (",".join(values) or '""') + "\n"


def rewrite(text: TextIO, separator: str, quote: str, target: Path) -> None:
    """Write text with a separator that pyarrow does not take, of several characters or beyond ASCII, with commas.

    Raises
    ------
    csv.Error
        If a value is longer than Python's reader takes.
    UnicodeError
        If the text is in another encoding.
    """
    parted = (each.rstrip("\r\n").split(separator) if each.rstrip("\r\n") else [] for each in text)
    rows = csv.reader(text, delimiter=separator, quotechar=quote) if len(separator) == 1 else parted
    with target.open("w", encoding="utf-8", newline="") as file:
        # A blank line keeps its place.
        file.writelines(line(map(plain, row)) if row else "\n" for row in rows)
