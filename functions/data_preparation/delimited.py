"""Writes the CSV that files of other formats are turned into."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
