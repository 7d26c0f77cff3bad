"""Decides how a column of texts is written: by all its values (`survey`), which no late one then contradicts.

Where the values leave it open, the likelier reading is taken, and what is doubtful is said with the option that
changes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_preparation.notation import (
    AMERICAN,
    CLOCK,
    EPOCHS,
    EUROPEAN,
    EXCEL,
    NUMBER_STYLES,
    ONE_ZERO,
    PLAIN_NUMBER,
    TRUE_FALSE,
    Kind,
    Notation,
    read,
)
from data_preparation.survey import FEW_DATES, FEW_WORDS, Asked, Fit, Survey

LARGEST_EXACT = 2**53
"""Up to here a float holds every whole number."""
MOST = 0.9
"""From this share of values on that look like something, a column of texts is told to do so."""
_LOOKS = {
    "dates": '"{name}" has texts that look like dates and are none that is known: kept as texts. '
    'READ=\'{{"date_format": "%Y-%m-%d"}}\' with how they are written reads them.',
    "numbers": '"{name}" has numbers with dots and numbers with commas: kept as texts. Write all in one way.',
    "measures": '"{name}" has numbers that a unit follows: kept as texts. Write the numbers alone, all in one unit.',
}
_DATE_NAME = re.compile(
    r"(?i)(^|[\W_])(date|datum|fecha|when|day|dob|birthday|birthdate)s?([\W_]|$)|(?:[a-z])(Date|Day)$"
)


@dataclass(frozen=True)
class Decision:
    """How a column is read, what is told of it, what is doubtful, and why it cannot be read at all."""

    notation: Notation
    told: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    problem: str | None = None
    is_code: bool = False


def decide(name: str, survey: Survey, asked: Asked) -> Decision:
    """Return how a column is read.

    Parameters
    ----------
    name
        Of the column.
    survey
        Of all its values.
    asked
        What the request says.
    """
    survey = survey.so_far()
    if asked.is_expected:
        return _as_expected(name, survey, asked)
    if asked.kind is not None:
        return _as_asked(name, survey, asked)
    if asked.is_typed:
        return _as_typed(name, survey, asked)
    if not survey.values:
        return Decision(Notation("text" if survey.markers and asked.is_label else "null"))
    return _as_found(name, survey, asked)


def _as_found(name: str, survey: Survey, asked: Asked) -> Decision:
    """Return what the values tell: booleans, numbers or times if all are, else texts."""
    booleans = [style for style in survey.fitting("boolean") if style != ONE_ZERO]
    if asked.is_label:
        # Labels stay as they are written, so that predictions are written as they were.
        booleans = [style for style in booleans if style == TRUE_FALSE]
    # One word alone is no answer to a question, unless it is true or false.
    if booleans and (len(survey.words) > 1 or asked.is_label or TRUE_FALSE in booleans):
        return Decision(Notation("boolean", _unless(TRUE_FALSE, _spelled(survey) if asked.is_label else booleans[0])))
    numbers = survey.fitting("float")
    if (times := _times_like_numbers(survey, asked)) is not None:
        told = f'"{name}" holds numbers that are dates, written as {times}. {_options(name, "number")}'
        decision = _time(name, survey, asked, [times])
        return replace(decision, told=(*decision.told, told)) if PLAIN_NUMBER in numbers else decision
    if styles := [style for style in numbers if style in NUMBER_STYLES]:
        return _number(name, survey, asked, styles)
    if styles := survey.fitting("timestamp"):
        return _time(name, survey, asked, styles)
    if CLOCK in numbers:
        told = f'"{name}" holds times of the clock, read as seconds: 12:30 is 45,000. {_options(name, "category")}'
        return Decision(Notation("float", CLOCK), told=(told,))
    return _text(name, survey)


def _spelled(survey: Survey) -> str:
    """Return the words for true and false as they are written, where each is written in one way."""
    words = {each.lower(): each for each in survey.spelled}
    return f"{words['true']}/{words['false']}" if len(survey.spelled) == len(words) == FEW_WORDS else TRUE_FALSE


def _times_like_numbers(survey: Survey, asked: Asked) -> str | None:
    """Return the style of dates that might be numbers, too: what the request says, or 01.2024 in all rows."""
    styles, wanted = survey.fitting("timestamp"), asked.date_format
    # All whole numbers of four digits are years.
    if wanted is not None and wanted in styles and re.search("%[mbBF]", wanted):
        return wanted
    return "month.year" if "month.year" in styles and survey.counts["zero-led months"] else None


def _unless(usual: str, style: str) -> str:
    """Return a style by the name that a notation has for it: none for the usual one."""
    return "" if style == usual else style


def _as_typed(name: str, survey: Survey, asked: Asked) -> Decision:
    """Return a text, unless all are times, or numbers with decimals: codes have none."""
    decision = decide(name, survey, replace(asked, is_typed=False))
    kind = decision.notation.kind
    if kind in ("float", "timestamp") and not asked.is_label:
        words = {"float": "numbers", "timestamp": "dates"}[kind]
        told = f'"{name}" is a column of texts that are {words}: read as {words}. {_options(name, "category")}'
        return replace(decision, told=(told, *decision.told))
    if kind == "integer":
        told = f'"{name}" is a column of texts that are whole numbers: kept as texts. {_options(name, "number")}'
        return Decision(Notation("text"), told=(told,))
    options = _options(name, "number", "date")
    doubt = f'"{name}" is a column of texts, most of which are numbers or dates: kept as texts. {options}'
    looks = decision.doubts if kind == "text" else ()
    return Decision(Notation("text"), doubts=(doubt,) if decision.problem and not asked.is_label else looks)


def _options(name: str, *kinds: str) -> str:
    """Return the words that set a column's kind."""
    return " or ".join(f'COLUMNS=\'{{"{name}": "{kind}"}}\'' for kind in kinds) + " changes that."


def _as_expected(name: str, survey: Survey, asked: Asked) -> Decision:
    """Return how a column is read that is to be of a kind; a text if any value is none of that kind."""
    decision = _as_before(name, survey, asked) or _as_asked(name, survey, replace(asked, expected=None))
    notation = decision.notation
    kind = "float" if notation.kind == "integer" else notation.kind
    style = notation.style or {"boolean": TRUE_FALSE, "timestamp": "year-month-day"}.get(kind, PLAIN_NUMBER)
    fit = survey.fits.get((kind, style))
    fits = kind == "text" or not survey.values or (fit is not None and not fit.misfits) or style in (EXCEL, *EPOCHS)
    return replace(decision, notation=replace(notation, lenient=False) if fits else Notation("text"))


def _as_before(name: str, survey: Survey, asked: Asked) -> Decision | None:
    """Return the way in which training's values were written, if these are written so, whatever else they may be."""
    before = asked.expected
    if before is None or before.kind not in ("integer", "float", "timestamp"):
        return None
    is_time = before.kind == "timestamp"
    style = before.style or ("year-month-day" if is_time else PLAIN_NUMBER)
    if style == CLOCK or style not in survey.fitting("timestamp" if is_time else "float"):
        return None
    decision = (_time if is_time else _number)(name, survey, replace(asked, expected=None), [style])
    return decision if decision.notation.kind != "text" else None


def _as_number(name: str, survey: Survey, asked: Asked) -> Decision:
    styles = [each for each in survey.fitting("float") if each in NUMBER_STYLES]
    near, _ = survey.nearest("float") or (PLAIN_NUMBER, None)
    if not styles and near == CLOCK:
        return Decision(Notation("float", CLOCK, lenient=True))
    decision = _number(name, survey, asked, styles or [near])
    if decision.notation.kind == "text":
        # Codes, or what is of different sorts, are numbers if the request says so.
        return Decision(Notation("float", _unless(PLAIN_NUMBER, styles[0] if styles else near), lenient=True))
    return replace(decision, notation=replace(decision.notation, lenient=True))


def _as_asked(name: str, survey: Survey, asked: Asked) -> Decision:
    match asked.kind:
        case "number":
            return _as_number(name, survey, asked)
        case "date":
            styles, near = survey.fitting("timestamp"), survey.nearest("timestamp")
            if not styles and near is None and PLAIN_NUMBER in survey.fitting("float") and survey.values:
                counted = next((each for each in EPOCHS if survey.counts[each] == survey.values), EXCEL)
                told = f'"{name}" holds numbers, read as {counted}.'
                return Decision(Notation("timestamp", counted, lenient=True), told=(told,))
            decision = _time(name, survey, asked, styles or [near[0] if near else "year-month-day"])
            return Decision(replace(decision.notation, lenient=True), decision.told, decision.doubts)
        case "boolean":
            near = survey.nearest("boolean")
            style = near[0] if near else TRUE_FALSE
            return Decision(Notation("boolean", _unless(TRUE_FALSE, style), lenient=True))
    return Decision(Notation("text"))


def _number(name: str, survey: Survey, asked: Asked, styles: list[str]) -> Decision:
    if (otherwise := _no_measure(name, survey, styles)) is not None:
        return otherwise
    style, doubts = _style_of_numbers(name, survey, asked, styles)
    counts = survey.counts
    low, high = survey.smallest, survey.largest
    if max(high, -low) > LARGEST_EXACT and counts["whole"] == survey.values and style == PLAIN_NUMBER:
        # Shorter ones are not looked at, but are about nothing.
        low = low if counts["long"] == survey.values else min(low, 0)
        return _large(name, low, high, is_label=asked.is_label)
    has_fractions = counts["point" if NUMBER_STYLES[style].decimal == "." else "comma"] or counts["exponents"]
    unit = "%" if counts["percent"] else next(iter(survey.symbols), "")
    notation = Notation("float" if has_fractions else "integer", _unless(PLAIN_NUMBER, style), unit=unit)
    return Decision(notation, _told_of_numbers(name, survey), doubts)


def _no_measure(name: str, survey: Survey, styles: list[str]) -> Decision | None:
    """Return what values are that look like numbers and are codes, or measure different things."""
    counts, values = survey.counts, survey.values
    if PLAIN_NUMBER in styles and counts["zero-led"] and counts["whole"] == values:
        told = f'"{name}" has zeros in front: its numbers are kept as codes. {_options(name, "number")}'
        return Decision(Notation("text"), told=(told,), is_code=True)
    if counts["exponent codes"] and counts["exponent codes"] + counts["whole"] == values:
        doubt = f'"{name}" has values such as 1E5 among whole numbers: kept as codes. {_options(name, "number")}'
        return Decision(Notation("text"), doubts=(doubt,), is_code=True)
    if 0 < counts["percent"] < values - counts["zeros"]:
        return _problem(name, f"percentages, {counts['percent']:,} of {values:,} values, and other numbers")
    if len(survey.symbols) > 1:
        return _problem(name, f"amounts in {len(survey.symbols)} currencies")
    return None


def mixed_percentages(name: str) -> Decision:
    """Return how a column is read that holds percentages in one file and plain numbers in another: not at all."""
    return _problem(name, "percentages in one file, and other numbers in another")


def _told_of_numbers(name: str, survey: Survey) -> tuple[str, ...]:
    told = {
        f'"{name}" holds percentages: 12 % is read as 12.': survey.counts["percent"],
        f'"{name}" holds amounts of money, read without the currency.': survey.symbols,
        f'"{name}" has numbers in brackets, read as negative.': survey.counts["accounting"],
    }
    return tuple(sentence for sentence, holds in told.items() if holds)


def _large(name: str, smallest: int, largest: int, *, is_label: bool) -> Decision:
    """Return how whole numbers are read of which no float holds all digits: less what they have in common.

    Labels stay what they are.
    """
    unit = 1 << 40
    offset = smallest // unit * unit
    if smallest > 0 and largest - offset < LARGEST_EXACT and not is_label:
        told = f'"{name}" has whole numbers beyond those that a float holds: {offset} is subtracted from each.'
        return Decision(Notation("integer", offset=offset), told=(told,))
    kind: Kind = "integer" if smallest > -(2**63) and largest < 2**63 else "float"
    return Decision(Notation(kind), doubts=(rounded(name),))


def rounded(name: str) -> str:
    """Return what is told of whole numbers that no float holds."""
    return (
        f'"{name}" has whole numbers of more digits than a float holds, and they lie far apart: each is rounded to the '
        f"nearest float. {_options(name, 'category', 'ignore')}"
    )


def _style_of_numbers(name: str, survey: Survey, asked: Asked, styles: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the style of numbers and what is doubtful about it, where dots or commas may be either."""
    is_asked = asked.decimal is not None or asked.thousands is not None
    if is_asked and (wanted := [each for each in styles if _agrees(each, asked)]):
        return wanted[0], ()
    # All dots and commas stand before three digits: 6.221 and 6,221 are thousands to some and fractions to others.
    is_open = AMERICAN in styles and EUROPEAN in styles
    has_dots = survey.counts["dots"] > 0 and PLAIN_NUMBER in styles
    if not is_open or not (has_dots or survey.counts["commas"]):
        return styles[0], ()
    mark = "." if has_dots else ","
    # What other columns have for decimals this one has, too; else a dot is a program's, and a comma a person's.
    is_decimal = (asked.hint or ".") == mark
    style = EUROPEAN if is_decimal == (mark == ",") else PLAIN_NUMBER if has_dots else AMERICAN
    taken, other = ("decimals", "thousands") if is_decimal else ("thousands", "decimals")
    option = {"thousands" if is_decimal else "decimal": mark}
    return style, (_doubt(name, {".": "a dot", ",": "a comma"}[mark], taken, other, option),)


def _agrees(style: str, asked: Asked) -> bool:
    chosen = NUMBER_STYLES[style]
    return asked.decimal in (None, chosen.decimal) and asked.thousands in (None, chosen.thousands)


def _doubt(name: str, what: str, taken: str, other: str, option: Mapping[str, str]) -> str:
    ((key, value),) = option.items()
    return (
        f'"{name}" has {what} before three digits wherever it has one: taken for {taken}, and may mean {other}. '
        f'READ=\'{{"{key}": "{value}"}}\' reads it so.'
    )


def _time(name: str, survey: Survey, asked: Asked, styles: list[str]) -> Decision:
    if asked.date_format is not None and asked.date_format in styles:
        return Decision(Notation("timestamp", asked.date_format))
    style, other = styles[0], None
    if "yy/month/day" in styles and len(styles) > 1:
        style, other = _short_years(styles, survey)
    for long in ("year", "yy"):
        day, month = f"day/month/{long}", f"month/day/{long}"
        if day in styles and month in styles and style != "yy/month/day":
            # Slashes are American as often as not, and what pandas takes them for; dots never are.
            style, other = (month, day) if survey.counts["slashes"] else (day, month)
    if other is not None:
        mark = "/" if survey.counts["slashes"] else "." if survey.counts["full stops"] else "-"
        doubt = (
            f'"{name}" has dates in which day, month and year may be one or the other: read as {style}. '
            f'READ=\'{{"date_format": "{_FORMATS[other].replace("/", mark)}"}}\' reads them as {other}.'
        )
    doubts = (doubt,) if other is not None else ()
    told = (f'"{name}" has years of two digits: 69 to 99 are read as 19.., others as 20..',) if "yy" in style else ()
    return Decision(Notation("timestamp", _unless("year-month-day", style)), told, doubts)


def _short_years(styles: list[str], survey: Survey) -> tuple[str, str | None]:
    """Return whether dates such as 21-03-04 begin or end with their year, and the other if that is not clear."""
    firsts, lasts = map(len, survey.ends)
    others = [each for each in styles if each != "yy/month/day"]
    if firsts < lasts:
        return "yy/month/day", others[0]
    return others[0], "yy/month/day" if firsts < 2 * lasts else None


def _text(name: str, survey: Survey) -> Decision:
    """Return a text, and why it should not be one where most values are, or look like, something else."""
    for kind, words, option in (("float", "numbers", "number"), ("timestamp", "dates", "date")):
        near = survey.nearest(kind)  # type: ignore[arg-type]
        # INF and Infinity may be words.
        if near is None or near[0] == CLOCK or not survey.counts["digits"]:
            continue
        _, fit = near
        problem = (
            f'Column "{name}" mixes {words} and text: {survey.values - fit.misfits:,} of {survey.values:,} values are '
            f"{words}, and {_others(fit)}. Leave unknown values empty, or say "
            f'what the column is: COLUMNS=\'{{"{name}": "{option}"}}\' takes the others for missing, '
            f'"category" keeps all as texts.'
        )
        return Decision(Notation("text"), problem=problem)
    looks = next((word for word, count in survey.looks.items() if count > MOST * survey.values), None)
    return Decision(Notation("text"), doubts=(_LOOKS[looks].format(name=name),) if looks else ())


def _others(fit: Fit) -> str:
    if fit.misfits == 1:
        return f"that in row {fit.first:,} is none"
    return f"{fit.misfits:,} are not, the first in row {fit.first:,}"


def _problem(name: str, what: str) -> Decision:
    problem = (
        f'Column "{name}" mixes {what}: write them in one way, or say what the column is: '
        f'COLUMNS=\'{{"{name}": "number"}}\' reads all as they are, "category" keeps them as texts.'
    )
    return Decision(Notation("text"), problem=problem)


_FORMATS = {"day/month/year": "%d/%m/%Y", "month/day/year": "%m/%d/%Y", "day/month/yy": "%d/%m/%y",
            "month/day/yy": "%m/%d/%y", "yy/month/day": "%y/%m/%d"}  # fmt: skip


@dataclass
class WholeNumbers:
    """What whole numbers tell of whether they are days: 20241231, or Excel's under the name of a date.

    Attributes
    ----------
    is_compact : bool
        Whether all are days of a calendar so written, or minutes or seconds of one.
    is_excel : bool
        Whether all are days of Excel between 1954 and 2119.
    """

    values: int = 0
    is_compact: bool = True
    is_excel: bool = True
    low: int = 0
    high: int = 0

    def add(self, numbers: npt.NDArray[np.int64]) -> None:
        """Take in numbers; as long as all are days it costs little, and nothing from the first that is none."""
        if not len(numbers):
            return
        low, high = int(numbers.min()), int(numbers.max())
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self.values else (low, high)
        self.values += len(numbers)
        self.is_excel = self.is_excel and low >= 20_000 and high <= 80_000
        self.is_compact = self.is_compact and low >= 18_000_101 and high <= 22_001_231_235_959
        for few in (FEW_DATES, len(numbers)) if self.is_compact else ():
            texts = pa.array(np.unique(numbers[:few])).cast(pa.string())
            self.is_compact = self.is_compact and read(texts, Notation("timestamp", "yyyymmdd")).null_count == 0

    def follow(self, other: WholeNumbers) -> None:
        """Take in what others tell."""
        if other.values:
            self.low = min(self.low, other.low) if self.values else other.low
            self.high = max(self.high, other.high) if self.values else other.high
        self.values += other.values
        self.is_compact = self.is_compact and other.is_compact
        self.is_excel = self.is_excel and other.is_excel

    def decide(self, name: str, *, is_label: bool) -> Decision | None:
        """Return how the column is read if it holds days, or numbers that no float holds, else None."""
        if self.values and self.is_compact:
            told = f'"{name}" holds days written as 20241231: read as dates. {_options(name, "number")}'
            return Decision(Notation("timestamp", "yyyymmdd"), told=(told,))
        if self.high > LARGEST_EXACT and self.low > 0:
            return _large(name, self.low, self.high, is_label=is_label)
        if self.values and self.is_excel and _DATE_NAME.search(name):
            doubt = f'"{name}" has the name of a date and holds days as Excel counts them: read as dates. '
            return Decision(Notation("timestamp", EXCEL), doubts=(doubt + _options(name, "number"),))
        return None
