"""How the files of a data set are written, where a request says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from common.errors import InvalidRequestError
from common.validation import Strict

# What each directive of `strptime` says of a date, of those that data preparation reads.
_DATE_PARTS: Mapping[str, str] = {
    "%d": "d", "%m": "m", "%b": "b", "%B": "b", "%Y": "Y", "%y": "y", "%F": "Ymd", "%a": "", "%A": "", "%H": "H",
    "%I": "H", "%M": "M", "%S": "S", "%f": "f", "%p": "p", "%T": "HMS", "%z": "z", "%Z": "z", "%%": "",
}  # fmt: skip


class ReadOptions(Strict):
    """How the files of a data set are to be read; what is open is found out from the files, and told."""

    separator: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="the characters between two values of a row"
    )
    decimal: Literal[".", ","] | None = Field(default=None, description="the character before the decimals of a number")
    thousands: Literal[",", ".", " ", "'", ""] | None = Field(
        default=None, description="the character between the thousands of a number; an empty text for none"
    )
    encoding: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the encoding of text files, as Python calls it: utf-8, cp1252, utf-16"
    )
    na_values: list[str] | None = Field(
        default=None, description="more texts or numbers that stand for a missing value, in all columns"
    )
    skip_rows: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="how many lines stand above the header"
    )
    skip_footer: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="how many rows at the end are no data, such as a total"
    )
    header: bool | list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="false for files without a header, or the names of the columns"
    )
    date_format: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="how dates are written, as strptime has it: %d/%m/%Y"
    )
    sheet: Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="the sheet of a workbook, by its name or its number"
    )
    trim: bool = Field(default=False, description="whether texts that differ by spaces around them are the same")
    unite: bool = Field(
        default=False, description="whether files with different columns are united; what one lacks is missing there"
    )


def check_read(read: ReadOptions) -> None:
    """Refuse what no file can be read by; what the files themselves have to show is found out with them."""
    if read.encoding is not None:
        try:
            # Python's other codecs, such as base64, are no encodings of text, and this refuses them too.
            "a".encode(read.encoding)
        except (LookupError, ValueError) as error:
            raise InvalidRequestError(
                f'"read.encoding" is "{read.encoding}", which Python does not know: utf-8, cp1252 and utf-16 are some '
                "that it does."
            ) from error
    if read.date_format is not None:
        _check_date_format(read.date_format)
    if read.decimal is not None and read.decimal == read.thousands:
        raise InvalidRequestError(
            f'"read.decimal" and "read.thousands" are both "{read.decimal}": they have to differ.'
        )
    names = read.header if isinstance(read.header, list) else []
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise InvalidRequestError(f'"read.header" names "{twice}" twice: each column needs a name of its own.')


def _check_date_format(format_: str) -> None:
    directives = re.findall("%.", format_)
    unknown = next((each for each in directives if each not in _DATE_PARTS), None)
    if unknown is not None:
        known = ", ".join(_DATE_PARTS)
        raise InvalidRequestError(f'"read.date_format" has {unknown}, which is not known. Known: {known}.')
    parts = "".join(_DATE_PARTS[each] for each in directives)
    if len(set(parts)) < len(parts) or not {"Y", "y"} & set(parts):
        raise InvalidRequestError(
            f'"read.date_format" is "{format_}": a date needs one year, %Y or %y, and each of its parts once.'
        )
