"""How a column writes its values, and what they then are: numbers, times and booleans as people export them.

A notation is settled by all values of a column (`data_preparation.survey`); here it is only applied.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import timestamps

Kind = Literal["null", "boolean", "integer", "float", "timestamp", "text"]

ARROW_TYPES: Mapping[Kind, pa.DataType] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "timestamp": pa.timestamp("us"),
    "text": pa.string(),
}
_KINDS: Mapping[Kind, Sequence[Callable[[pa.DataType], bool]]] = {
    "null": (pa.types.is_null,),
    "boolean": (pa.types.is_boolean,),
    # The upper half of uint64 does not fit int64. Times of the clock and durations are seconds.
    "float": (
        pa.types.is_floating, pa.types.is_decimal, pa.types.is_uint64, pa.types.is_time, pa.types.is_duration,
    ),
    "integer": (pa.types.is_integer,),
    "timestamp": (pa.types.is_timestamp, pa.types.is_date),
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
}  # fmt: skip
# What pandas.read_csv takes for missing, so that a file means here what it means in a notebook.
NULL_VALUES = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
MARKERS = (
    "-", "--", "---", "\u2013", "\u2014", "?", "??", "???", ".", "..", "...", "*", "na", "n.a.", "n/a", "nan", "none",
    "null", "nil", "missing", "unknown", "not available", "not applicable", "undefined", "#div/0!", "#value!",
    "#ref!", "#name?", "#num!", "#null!", "#n/a", "\\n", "(null)", "<null>", "[null]", "(blank)", "(none)", "(empty)",
    "k.a.", "nat",
)  # fmt: skip
"""Further texts, in lower case, that stand for a missing value where the others of the column are no texts."""

SPACE = r"[ \x{a0}\x{2009}\x{202f}]"
_CURRENCY = (
    r"(?:(?i:Rs\.?|US\$|R\$|A\$|C\$|[$€£¥₹₽₩₺₪฿]|USD|EUR|GBP|CHF|JPY|CNY|INR|BRL|AUD|CAD|SEK|NOK|DKK|PLN|CZK|MXN|ZAR"
    r"|kr\.?|zł|Kč|Fr\.))"
)
_APOSTROPHE, _MINUS = "['\u2019]", "\\-\u2212"
"""As people type them, and as word processors write them."""
WHOLE = r"^[+-]?\d{1,300}$"
_EXPONENT = r"(?:[eE][+-]?\d+)?"


@cache
def texts_of(*texts: str) -> pa.StringArray:
    """Return texts as an array, made at its first use: pyarrow looks for pandas when it makes one."""
    return pa.array(texts, pa.string())


def kind_of(type_: pa.DataType) -> Kind | None:
    """Return the kind of a column of a type; None for one that cannot be trained on. What is a category is a text."""
    is_category = pa.types.is_dictionary(type_)
    held = type_.value_type if is_category else type_
    kind = next((kind for kind, checks in _KINDS.items() if any(check(held) for check in checks)), None)
    return "text" if is_category and kind in ("integer", "float", "boolean") else kind


def is_text(type_: pa.DataType) -> bool:
    """Return whether a type is one of texts."""
    return any(check(type_) for check in _KINDS["text"])


def is_null_text(texts: pa.StringArray) -> pa.BooleanArray:
    """Return which texts stand for a missing value wherever pandas reads them."""
    return pc.is_in(texts, value_set=texts_of(*NULL_VALUES))


def is_marker(texts: pa.StringArray) -> pa.BooleanArray:
    """Return which texts, in any case, stand for a missing value among numbers, times and booleans."""
    return pc.is_in(pc.utf8_lower(texts), value_set=texts_of(*MARKERS, *(each.lower() for each in NULL_VALUES)))


@dataclass(frozen=True)
class NumberStyle:
    """The characters that group the digits of a number and that begin its fraction."""

    thousands: str
    decimal: str
    core: str
    """The regular expression of a number without a sign."""

    @property
    def example(self) -> str:
        """A number so written."""
        return f"1{self.thousands}234{self.decimal}5"


def _core(groups: str, decimal: str) -> str:
    point = re.escape(decimal)
    # A number with an exponent has one digit before its point, or a few, and none to group.
    return rf"(?:{groups}(?:{point}\d*)?|\d+(?:{point}\d*)?{_EXPONENT}|{point}\d+{_EXPONENT}|(?i:inf|infinity))"


# The Indian way to group, 12,34,567, is among the first.
NUMBER_STYLES: Mapping[str, NumberStyle] = {
    "1234.5": NumberStyle("", ".", _core(r"\d+", ".")),
    "1,234.5": NumberStyle(",", ".", _core(r"\d{1,3}(?:,\d{2,3})*,\d{3}", ".")),
    "1.234,5": NumberStyle(".", ",", _core(r"\d{1,3}(?:\.\d{3})+", ",")),
    "1 234.5": NumberStyle(" ", ".", _core(rf"\d{{1,3}}(?:{SPACE}\d{{3}})+", ".")),
    "1 234,5": NumberStyle(" ", ",", _core(rf"\d{{1,3}}(?:{SPACE}\d{{3}})+", ",")),
    "1'234.5": NumberStyle("'", ".", _core(rf"\d{{1,3}}(?:{_APOSTROPHE}\d{{3}})+", ".")),
}

PLAIN_NUMBER, AMERICAN, EUROPEAN = "1234.5", "1,234.5", "1.234,5"
"""What any program writes."""

_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<p>[AaPp]\.?[Mm]\.?)?"
_ZONE = r"(?P<z>Z|z|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}(?::?\d{2})?)?"
# After a colon in the logs of web servers, and in SAS.
_TIME = rf"(?:(?:[Tt:]|,?\s+){_CLOCK}\s*{_ZONE})?"
_WEEKDAY = r"(?:[A-Za-z]{2,9}\.?,?\s+)?"
LETTER = r"A-Za-z\x{80}-\x{10ffff}"
"""What a class of characters holds for letters: all of them by their names take milliseconds to be made ready."""
_NAME = rf"(?:de )?(?P<b>[{LETTER}]{{3,10}})\.?"
_SEP = r"(?:[-/]|\. ?)"
DATE_STYLES: Mapping[str, str] = {
    "year-month-day": rf"(?P<Y>\d{{4}}){_SEP}(?P<m>\d{{1,2}}){_SEP}(?P<d>\d{{1,2}}){_TIME}",
    "day/month/year": rf"(?P<d>\d{{1,2}}){_SEP}(?P<m>\d{{1,2}}){_SEP}(?P<Y>\d{{4}}){_TIME}",
    "month/day/year": rf"(?P<m>\d{{1,2}}){_SEP}(?P<d>\d{{1,2}}){_SEP}(?P<Y>\d{{4}}){_TIME}",
    "day/month/yy": rf"(?P<d>\d{{1,2}}){_SEP}(?P<m>\d{{1,2}}){_SEP}(?P<y>\d{{2}}){_TIME}",
    "month/day/yy": rf"(?P<m>\d{{1,2}}){_SEP}(?P<d>\d{{1,2}}){_SEP}(?P<y>\d{{2}}){_TIME}",
    "yy/month/day": rf"(?P<y>\d{{2}}){_SEP}(?P<m>\d{{1,2}}){_SEP}(?P<d>\d{{1,2}}){_TIME}",
    "day month-name year": rf"\[?{_WEEKDAY}(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)?[-/ ]*{_NAME}[-/., ]*(?:de )?"
    rf"(?P<Y>\d{{4}}){_TIME}\]?",
    "day month-name yy": rf"(?P<d>\d{{1,2}})\.?[-/ ]*{_NAME}[-/., ]*(?P<y>\d{{2}}){_TIME}",
    "month-name day year": _WEEKDAY + _NAME + r"[-/ ]+(?P<d>\d{1,2})(?:st|nd|rd|th)?,?[-/ ]+(?P<Y>\d{4})" + _TIME,
    "year-month": r"(?P<Y>1[89]\d\d|2[01]\d\d)[-/](?P<m>\d{1,2})",
    "month/year": r"(?P<m>\d{1,2})[-/](?P<Y>1[89]\d\d|2[01]\d\d)",
    "month.year": r"(?P<m>\d{2})\.(?P<Y>1[89]\d\d|2[01]\d\d)",
    "month-name year": _NAME + r"[-/., ]+(?P<Y>1[89]\d\d|2[01]\d\d)",
    "yyyymmdd": r"(?P<Y>1[89]\d\d|2[01]\d\d)(?P<m>\d{2})(?P<d>\d{2})"
    r"(?:[Tt ]?(?P<H>\d{2}):?(?P<M>\d{2})(?::?(?P<S>\d{2}))?)?",
}
EXCEL = "days of Excel"
"""Numbers that count the days since 1899-12-30."""
EPOCHS: Mapping[str, int] = {"seconds since 1970": 1_000_000, "milliseconds since 1970": 1000}
"""Numbers that count from the beginning of 1970 on, and how many microseconds each counts."""
CLOCK = "hours:minutes"
"""Times of day or durations, which become seconds."""
_CLOCK_TIME = (
    r"(?P<s>[+-])?(?:(?P<D>\d+)\s+days?,?\s+)?(?P<H>\d{1,4}):(?P<M>[0-5]\d)(?::(?P<S>[0-5]\d)(?:[.,](?P<f>\d{1,9}))?)?"
    r"\s*(?P<p>[AaPp]\.?[Mm]\.?)?"
)

BOOLEANS = ("true/false", "yes/no", "y/n", "on/off", "t/f", "1/0")
"""Pairs of words, which count in any case; those of a target are noted as they are written."""
TRUE_FALSE = "true/false"
ONE_ZERO = "1/0"
"""Numbers, unless somebody says that a column holds booleans."""

_MONTHS = (
    "january janvier januar enero gennaio janeiro", "february février fevrier februar febrero febbraio fevereiro",
    "march mars märz maerz mrz marzo março marco", "april avril abril aprile", "may mai mayo maggio maio",
    "june juin juni junio giugno junho", "july juillet juli julio luglio julho",
    "august août aout agosto", "september septembre septiembre settembre setembro",
    "october octobre oktober octubre ottobre outubro", "november novembre noviembre novembro",
    "december décembre decembre dezember diciembre dicembre dezembro",
)  # fmt: skip
"""In English, French, German, Spanish, Italian and Portuguese."""
_DIRECTIVES = {
    "%d": r"(?P<d>\d{1,2})", "%m": r"(?P<m>\d{1,2})", "%Y": r"(?P<Y>\d{4})", "%y": r"(?P<y>\d{2})", "%b": _NAME,
    "%B": _NAME, "%H": r"(?P<H>\d{1,2})", "%I": r"(?P<H>\d{1,2})", "%M": r"(?P<M>\d{1,2})", "%S": r"(?P<S>\d{1,2})",
    "%f": r"(?P<f>\d{1,9})", "%p": r"(?P<p>[AaPp]\.?[Mm]\.?)", "%z": _ZONE, "%Z": _ZONE, "%a": rf"[{LETTER}]+\.?",
    "%A": rf"[{LETTER}]+", "%F": r"(?P<Y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})",
    "%T": r"(?P<H>\d{1,2}):(?P<M>\d{1,2}):(?P<S>\d{1,2})", "%%": "%",
}  # fmt: skip


@dataclass(frozen=True)
class Notation:
    """How the texts of a column are written.

    Attributes
    ----------
    kind
        What they are.
    style
        A key of `NUMBER_STYLES`, `DATE_STYLES` or `BOOLEANS`, `EXCEL`, `CLOCK`, or a format of `strptime`; empty for
        what any program writes: 1234.5, 2024-12-31T12:00:00, true.
    offset
        What was subtracted from whole numbers, so that they fit 64 bits.
    lenient
        Whether a text that is not so written counts as missing.
    unit
        What stands beside numbers: a percent sign, a currency. It changes no value.
    """

    kind: Kind
    style: str = ""
    offset: int = 0
    lenient: bool = False
    unit: str = ""

    def document(self) -> dict[str, Any]:
        """Return what the profile says of it; nothing of what is as always."""
        stated = {"style": self.style, "offset": self.offset, "lenient": self.lenient, "unit": self.unit}
        return {name: value for name, value in stated.items() if value}

    @classmethod
    def of_document(cls, kind: Kind, document: Mapping[str, Any]) -> Notation:
        """Return the notation that a profile states."""
        return cls(kind, **document)


def convert(texts: pa.StringArray, notation: Notation) -> pa.Array:
    """Return the values that texts say, in the Arrow type of the notation's kind.

    Parameters
    ----------
    texts
        Without the spaces around them; what is missing is null.
    notation
        How they are written.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a text is not so written, unless the notation is lenient.
    """
    if notation.kind == "text":
        return texts
    values = read(texts, notation)
    if not notation.lenient and values.null_count > texts.null_count:
        raise pa.ArrowInvalid("a text is not written as the others are")
    return values


def read(texts: pa.StringArray, notation: Notation) -> pa.Array:
    """Return the values that texts say; null for those that are not written so."""
    match notation.kind:
        case "null":
            return pa.nulls(len(texts))
        case "boolean":
            return read_booleans(texts, notation.style or TRUE_FALSE)
        case "timestamp":
            return read_times(texts, notation.style)
        case "integer" if notation.offset:
            return _read_offset(texts, notation.offset)
    if notation.style == CLOCK:
        seconds = read_clock(texts)
        return pc.cast(seconds, ARROW_TYPES[notation.kind])
    return read_numbers(texts, notation.style or PLAIN_NUMBER, notation.kind)


def read_booleans(texts: pa.StringArray, style: str) -> pa.Array:
    """Return the booleans that texts say in one pair of words, in any case; null for others."""
    yes, no = style.lower().split("/")
    lower = pc.utf8_lower(texts)
    known = pc.is_in(lower, value_set=pa.array([yes, no]))
    return pc.if_else(known, pc.equal(lower, yes), pa.scalar(None, pa.bool_()))


@cache
def number_pattern(style: str) -> str:
    """Return the regular expression of a signed number, maybe with a currency or a percent sign."""
    core = NUMBER_STYLES[style].core
    sign = rf"[+{_MINUS}]?{SPACE}?"
    before = rf"^(?P<sign>{sign}(?:{_CURRENCY}{SPACE}*)?{sign})"
    return rf"{before}(?P<core>{core}){SPACE}*(?P<after>[%‰]?{SPACE}*{_CURRENCY}?{SPACE}*[{_MINUS}]?)$"


ACCOUNTING = rf"^({_CURRENCY}?{SPACE}*)\(([^()+{_MINUS}]+)\)({SPACE}*[%‰]?)$"
"""A negative number as accountants write it: (2,200)."""


def read_numbers(texts: pa.StringArray, style: str, kind: Kind) -> pa.Array:
    """Return the numbers that texts say in a style; null for those that do not, or are no whole numbers of 64 bits.

    A percentage is the number in front of the sign.
    """
    plain = pc.replace_substring_regex(texts, ACCOUNTING, r"-\1\2\3")
    parts = pc.extract_regex(plain, number_pattern(style))
    core = pc.struct_field(parts, "core")
    chosen = NUMBER_STYLES[style]
    if chosen.thousands:
        characters = {" ": SPACE, "'": _APOSTROPHE, ".": r"\."}.get(chosen.thousands, chosen.thousands)
        core = pc.replace_substring_regex(core, characters, "")
    if chosen.decimal == ",":
        core = pc.replace_substring(core, ",", ".")
    minus = pc.or_(
        pc.match_substring_regex(pc.struct_field(parts, "sign"), f"[{_MINUS}]"),
        pc.match_substring_regex(pc.struct_field(parts, "after"), f"[{_MINUS}]"),
    )
    if kind == "integer":
        core = pc.replace_substring_regex(core, r"^0+(\d)", r"\1")
        core = pc.replace_substring_regex(core, r"\.0*$", "")
        # 64 bits have 19 digits at most, and not all numbers of so many.
        fits = pc.or_(
            pc.match_substring_regex(core, r"^\d{1,18}$"),
            pc.and_(pc.match_substring_regex(core, r"^\d{19}$"), pc.less_equal(core, str(2**63 - 1))),
        )
        core = pc.if_else(fits, core, pa.scalar(None, pa.string()))
    values = pc.cast(core, ARROW_TYPES[kind])
    return pc.if_else(minus, pc.negate(values), values)


def _read_offset(texts: pa.StringArray, offset: int) -> pa.Array:
    """Return whole numbers of any size less an offset; null where that does not fit 64 bits. Rare, so in Python."""
    whole = pc.fill_null(pc.match_substring_regex(texts, WHOLE), fill_value=False).to_pylist()
    less = [int(text) - offset if fits else None for text, fits in zip(texts.to_pylist(), whole, strict=True)]
    return pa.array([each if each is not None and -(2**63) <= each < 2**63 else None for each in less], pa.int64())


def read_times(texts: pa.StringArray, style: str) -> pa.Array:
    """Return the times that texts say in a style as microseconds in UTC; null for others and for days that are none."""
    if not style:
        try:
            return timestamps(texts)
        except pa.ArrowInvalid:
            style = "year-month-day"
    if style == EXCEL or style in EPOCHS:
        return _read_counted(texts, style)
    return _read_dates(texts, date_pattern(style))


@cache
def date_pattern(style: str) -> str:
    """Return the regular expression, with named groups, of a style's name or of a format of `strptime`.

    Raises
    ------
    ValueError
        If a format has a directive that is not known, or one twice, or no year.
    """
    if style in DATE_STYLES:
        return f"^{DATE_STYLES[style]}$"
    parts = re.split(r"(%.)", style)
    unknown = [each for each in parts if re.fullmatch("%.", each) and each not in _DIRECTIVES]
    if unknown:
        raise ValueError(f"{unknown[0]} is no directive of a date")
    pattern = "".join(_DIRECTIVES.get(each, re.escape(each).replace(r"\ ", r"\s+")) for each in parts)
    groups = re.findall(r"\?P<(\w)>", pattern)
    if len(set(groups)) < len(groups) or not {"Y", "y"} & set(groups):
        raise ValueError("a date needs one year, and each of its parts once")
    return f"^{pattern}$"


@cache
def _date_matcher(style: str) -> re.Pattern[str]:
    return re.compile(date_pattern(style).replace(LETTER, "A-Za-z\x80-\U0010ffff"))


def may_be_date(texts: Iterable[str], style: str) -> bool:
    """Return whether one of a few texts is written as dates of a style are, whatever day it says."""
    return any(_date_matcher(style).match(text) for text in texts)


_Integers = npt.NDArray[np.int64]


def _read_dates(texts: pa.StringArray, pattern: str) -> pa.Array:
    found = pc.extract_regex(texts, pattern)
    parts = {field.name: pc.struct_field(found, field.name) for field in found.type}
    valid = np.asarray(found.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    year = _numbers(parts.get("Y"), len(texts), 0)
    if "y" in parts:
        short = _numbers(parts["y"], len(texts), 0)
        year = np.where(short < 69, short + 2000, short + 1900)  # as POSIX does
    month = _months(parts["b"]) if "b" in parts else _numbers(parts.get("m"), len(texts), 1)
    day = _numbers(parts.get("d"), len(texts), 1)
    valid &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (np.clip(day, 1, 31) - 1)
    valid &= days.astype("datetime64[M]") == months
    seconds, in_day = _seconds(parts, len(texts))
    valid &= in_day
    microseconds = days.astype("datetime64[us]").astype(np.int64) + seconds - _zone(parts.get("z"), len(texts))
    return pa.array(microseconds, pa.int64(), mask=~valid).cast(pa.timestamp("us"))


def _numbers(digits: pa.StringArray | None, rows: int, otherwise: int) -> _Integers:
    """Return a group's digits as numbers; where there are none, another number."""
    if digits is None:
        return np.full(rows, otherwise, np.int64)
    there = pc.if_else(pc.equal(digits, ""), pa.scalar(None, pa.string()), digits)
    return np.asarray(pc.fill_null(pc.cast(there, pa.int64()), otherwise).to_numpy(), np.int64)


def _months(names: pa.StringArray) -> _Integers:
    known = _month_names()
    numbers: _Integers = np.array([*known.values(), 0], np.int64)
    found = pc.index_in(pc.utf8_lower(names), value_set=texts_of(*known))
    return np.asarray(numbers[pc.fill_null(found, len(known)).to_numpy()])


@cache
def _month_names() -> Mapping[str, int]:
    """Return the number of each month by its names, and by their beginnings that are no other month's."""
    numbers = defaultdict[str, set[int]](set)
    for number, names in enumerate(_MONTHS, 1):
        for name in names.split():
            for end in range(3, len(name) + 1):
                numbers[name[:end]].add(number)
    return {name: number for name, (number, *others) in numbers.items() if not others}


def _seconds(parts: Mapping[str, pa.StringArray], rows: int) -> tuple[_Integers, npt.NDArray[np.bool_]]:
    """Return the microseconds since midnight, and where the clock knows such a time."""
    hour, minute, second = (_numbers(parts.get(each), rows, 0) for each in "HMS")
    half = np.full(rows, "")
    if "p" in parts:
        half = np.asarray(pc.fill_null(pc.utf8_lower(parts["p"]), "").to_numpy(zero_copy_only=False)).astype(str)
    afternoon, twelve = np.char.startswith(half, "p"), np.char.str_len(half) > 0
    in_day = (hour < 24) & (minute < 60) & (second < 61) & (~twelve | ((hour >= 1) & (hour <= 12)))
    hour = np.where(twelve, hour % 12 + 12 * afternoon, hour)
    fraction = np.zeros(rows, np.int64)
    if "f" in parts:
        padded = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(parts["f"], ""), 6, "0"), 0, 6)
        fraction = pc.cast(padded, pa.int64()).to_numpy()
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction, in_day


def _zone(offsets: pa.StringArray | None, rows: int) -> _Integers:
    """Return the microseconds that times are ahead of UTC."""
    if offsets is None:
        return np.zeros(rows, np.int64)
    found = pc.extract_regex(offsets, r"(?P<s>[+-])(?P<h>\d{2})(?::?(?P<m>\d{2}))?")
    sign: _Integers = np.where(
        np.asarray(pc.fill_null(pc.equal(pc.struct_field(found, "s"), "-"), fill_value=False)), -1, 1
    )
    minutes = _numbers(pc.struct_field(found, "h"), rows, 0) * 60 + _numbers(pc.struct_field(found, "m"), rows, 0)
    return sign * minutes * 60_000_000


def _read_counted(texts: pa.StringArray, style: str) -> pa.Array:
    numbers = read_numbers(texts, PLAIN_NUMBER, "float")
    if style == EXCEL:
        numbers = pc.multiply(pc.subtract(numbers, 25_569.0), 86_400e6)
    else:
        numbers = pc.multiply(numbers, float(EPOCHS[style]))
    # What lies beyond the year 9999 counts something else.
    is_time = pc.less(pc.abs(numbers), 253_402_300_800e6)
    microseconds = pc.round(pc.if_else(is_time, numbers, pa.scalar(None, pa.float64())))
    return pc.cast(microseconds, pa.int64()).cast(pa.timestamp("us"))


def read_clock(texts: pa.StringArray) -> pa.Array:
    """Return times of day, or durations, as seconds in float64; null for others."""
    found = pc.extract_regex(texts, f"^{_CLOCK_TIME}$")
    parts = {field.name: pc.struct_field(found, field.name) for field in found.type}
    valid = np.asarray(found.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    rows = len(texts)
    hours = _numbers(parts["H"], rows, 0)
    clock, in_day = _seconds({**parts, "H": pc.if_else(pa.array(hours < 24), parts["H"], "0")}, rows)
    valid &= in_day
    more = _numbers(parts["D"], rows, 0) * 24 + np.where(hours < 24, 0, hours)
    seconds = clock / 1e6 + more * 3600.0
    minus = np.asarray(pc.fill_null(pc.equal(parts["s"], "-"), fill_value=False))
    return pa.array(np.where(minus, -seconds, seconds), mask=~valid)
