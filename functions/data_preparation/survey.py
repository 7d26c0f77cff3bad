"""Takes in all values of a column of texts, and counts which ways of writing numbers, times and booleans they fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.request import ColumnKind
from data_preparation.notation import (
    ACCOUNTING,
    BOOLEANS,
    CLOCK,
    DATE_STYLES,
    LETTER,
    NUMBER_STYLES,
    WHOLE,
    Kind,
    Notation,
    is_marker,
    is_null_text,
    may_be_date,
    number_pattern,
    read,
)

FEW_VALUES = 1000
"""After so many values a notation that less than half of them have is given up."""
_PATTERNS = {
    "dates": rf"(?i)^\d{{1,4}}[-/. ](?:\d{{1,2}}|[{LETTER}]{{3,9}})[-/. ]\d{{1,4}}|\b\d\d?:\d\d\b"
    rf"|^(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[{LETTER}]{{0,6}}[-/. ]'?\d\d$",
    "numbers": r"^[+-]?\d+[.,]\d+$",
    "measures": rf"^[+-]?[\d.,]+\s?[{LETTER}][{LETTER}/]{{0,9}}$",
}
FEW_WORDS = 2
"""A column of one word holds no booleans."""
FEW_DATES = 20
"""If none of so many texts is a date in a style, none is taken for one: to read them all takes milliseconds."""
_MAYBE_NUMBER = r"(?i)\d|^[+-]?inf(inity)?$"
_LETTERS = rf"[{LETTER}]{{2}}"
_MAYBE_DATE = (
    rf"\d[-/.] ?\d\d?[-/.] ?\d|\d{{4}}[-/]\d|\d[-/]\d{{4}}|{_LETTERS}.*\d|\d.*{_LETTERS}|\d{{8}}"
    r"|^[01]\d\.[12][0189]\d\d$"
)
_ENDS = r"^(?P<first>\d\d)[-/.] ?\d\d?[-/.] ?(?P<last>\d\d)\b"
_ZERO_LED = r"^[+-]?0\d+$"
_EXPONENT_CODE = r"^\d+[eE]\d+$"
_SYMBOL = r"(?P<symbol>Rs\.?|(?:US|R|A|C)?\$|[€£¥₹₽₩₺₪฿]|[A-Z]{3}|kr\.?|zł|Kč|Fr\.)"
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """What a request says of how one column is to be read; None where it says nothing.

    Attributes
    ----------
    kind
        What the column is.
    decimal, thousands
        The characters of numbers.
    date_format
        Of `strptime`.
    is_label
        Whether the column is the target: no text of it is taken for missing but for those that the request names.
    is_typed
        Whether the file says that the column is made of texts, as Parquet does.
    expected
        How the column was written that a model was trained on: no other kind will do.
    hint
        The decimal character that other columns of the file have beyond doubt.
    """

    kind: ColumnKind | None = None
    decimal: str | None = None
    thousands: str | None = None
    date_format: str | None = None
    is_label: bool = False
    is_typed: bool = False
    expected: Notation | None = None
    hint: str | None = None

    @property
    def is_expected(self) -> bool:
        """Whether a model was trained on such a column."""
        return self.expected is not None


@dataclass
class Fit:
    """How many values are not written in a style."""

    misfits: int = 0
    first: int = -1
    """The row of the first value that does not fit, counted from 1."""


def _candidates(date_format: str | None) -> Iterator[tuple[Kind, str]]:
    for style in BOOLEANS:
        yield "boolean", style
    for style in NUMBER_STYLES:
        yield "float", style
    for style in DATE_STYLES:
        yield "timestamp", style
    if date_format is not None:
        yield "timestamp", date_format
    yield "float", CLOCK


@dataclass
class Survey:
    """What the texts of a column tell of how they are written, batch by batch.

    Attributes
    ----------
    values : int
        How many are neither missing nor a marker of a missing value.
    markers : collections.Counter
        The texts that may stand for a missing value, as they are written.
    fits : dict
        The notations that are not given up yet, and which values do not have them.
    """

    date_format: str | None = None
    is_label: bool = False
    values: int = 0
    markers: Counter[str] = field(default_factory=Counter)
    fits: dict[tuple[Kind, str], Fit] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    ends: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    """The two digits that dates begin with, and those that they end with: the fewer are their years."""
    given_up: dict[tuple[Kind, str], Fit] = field(default_factory=dict)
    """What did not have the others so far, when they were given up."""
    words: set[str] = field(default_factory=set)
    spelled: set[str] = field(default_factory=set)
    largest: int = 0
    smallest: int = 0
    _maybe_numbers: int = 0
    _waiting: dict[str, tuple[int, int]] | None = field(default_factory=dict)
    """The rows of each text and the first of them, as long as texts are few: then a look at each is enough."""
    _told: Survey | None = None
    """What these tell, once that was asked."""

    @classmethod
    def of(cls, asked: Asked) -> Survey:
        """Return a survey that has seen nothing yet."""
        return cls(asked.date_format, asked.is_label)

    def __post_init__(self) -> None:
        self.fits = {each: Fit() for each in _candidates(self.date_format)}

    def add(self, texts: pa.StringArray | pa.DictionaryArray, first: int) -> bool:
        """Take in texts without the spaces around them; missing ones are null.

        Parameters
        ----------
        texts
            Of one batch.
        first
            How many rows came before.

        Returns
        -------
        bool
            Whether there were texts that were not there before; if not, what a column is remains the same.
        """
        encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        indices, different = encoded.indices, encoded.dictionary
        rows = np.bincount(indices.drop_null().to_numpy(), minlength=len(different))
        if self._waiting is not None:
            if len(self._waiting) + np.count_nonzero(rows) <= FEW_VALUES:
                return self._wait(indices, different.to_pylist(), rows, first)
            waiting, self._waiting = self._waiting, None
            self._take_waiting(waiting)

        def first_of(chosen: _Mask) -> int:
            filled = pc.fill_null(indices, 0).to_numpy()
            return first + int(np.argmax(chosen[filled] & _as_mask(indices.is_valid()))) + 1

        self._take(different, rows, first_of)
        return True

    def _wait(self, indices: pa.Int32Array, different: list[str], rows: npt.NDArray[np.int64], first: int) -> bool:
        """Keep how often each of few texts occurs; return whether one of them is new."""
        assert self._waiting is not None  # noqa: S101 (for the checker of types)
        known, self._told = len(self._waiting), None
        there = _as_mask(indices.is_valid())
        # Of several rows of a text the last that is noted stays: from the end on, the first.
        places = np.zeros(len(different), np.int64)
        places[indices.drop_null().to_numpy()[::-1]] = np.flatnonzero(there)[::-1]
        for at in np.flatnonzero(rows).tolist():
            before, where = self._waiting.get(different[at], (0, first + int(places[at]) + 1))
            self._waiting[different[at]] = (before + int(rows[at]), where)
        return len(self._waiting) > known

    def _take_waiting(self, waiting: Mapping[str, tuple[int, int]]) -> None:
        rows = np.array([count for count, _ in waiting.values()], np.int64)
        places = np.array([where for _, where in waiting.values()], np.int64)
        self._take(pa.array(list(waiting), pa.string()), rows, lambda chosen: int(places[chosen].min()))

    def rows_of(self, text: str) -> int | None:
        """Return how many rows hold a text; None where texts are too many to tell."""
        return None if self._waiting is None else self._waiting.get(text, (0, 0))[0]

    @property
    def is_mostly_numbers(self) -> bool:
        """Whether more than half of the values are numbers."""
        return self.so_far().nearest("float") is not None

    def so_far(self) -> Survey:
        """Return what all texts so far tell."""
        if self._waiting is None:
            return self
        if self._told is None:
            self._told = Survey(self.date_format, self.is_label, _waiting=None)
            self._told._take_waiting(self._waiting)
        return self._told

    def _take(self, different: pa.StringArray, rows: npt.NDArray[np.int64], first_of: Callable[[_Mask], int]) -> None:
        is_missing = _as_mask(is_null_text(different) if self.is_label else is_marker(different)) & (rows > 0)
        for text, count in zip(different.filter(pa.array(is_missing)).to_pylist(), rows[is_missing], strict=True):
            self.markers[text] += int(count)
        values = rows * ~is_missing
        self.values += int(values.sum())
        if len(self.words) <= FEW_WORDS:
            self.spelled.update(different.filter(pa.array(values > 0))[:3].to_pylist())
            self.words.update(map(str.lower, self.spelled))
        self._look_for_digits(different, values)
        # The patterns of dates take milliseconds each, and columns are many.
        unfit = frozenset() if _matches(different, _MAYBE_DATE).any() else frozenset(DATE_STYLES)
        if not unfit and ("timestamp", "yy/month/day") in self.fits:
            for ends, part in zip(self.ends, pc.extract_regex(different, _ENDS).drop_null().flatten(), strict=True):
                ends.update(part.unique().to_pylist())
        for candidate in list(self.fits):
            misfit = (values > 0) & (candidate[1] in unfit or _misfits(different, *candidate))
            self._count_misfits(candidate, misfit, values, first_of)
        if any(kind == "float" for kind, _ in self.fits):
            self._look_at_numbers(different, values)
        if any(kind == "timestamp" for kind, _ in self.fits):
            self._count(different, values, "slashes", "/")
            self._count(different, values, "full stops", r"\.")

    def _look_for_digits(self, different: pa.StringArray, rows: npt.NDArray[np.int64]) -> None:
        """Give up numbers and times where most values can be neither: names and words, for the most part."""
        maybe_numbers = int(rows[_matches(different, _MAYBE_NUMBER)].sum())
        if self.values and 2 * maybe_numbers < self.values and not self._maybe_numbers:
            self._give_up(each for each in self.fits if each[0] != "boolean")
        self._maybe_numbers += maybe_numbers
        self._count(different, rows, "digits", r"\d")
        if maybe_numbers:
            for name, pattern in _PATTERNS.items():
                self.looks[name] += int(rows[_matches(different, pattern)].sum())

    def _count_misfits(
        self,
        candidate: tuple[Kind, str],
        misfit: _Mask,
        rows: npt.NDArray[np.int64],
        first_of: Callable[[_Mask], int],
    ) -> None:
        """Count the values that are not written in a style, and give it up where that are too many."""
        fit, wrong = self.fits[candidate], int(rows[misfit].sum())
        if wrong and not fit.misfits:
            fit.first = first_of(misfit)
        fit.misfits += wrong
        if self.values > FEW_VALUES and 2 * fit.misfits > self.values:
            self._give_up([candidate])

    def _give_up(self, candidates: Iterable[tuple[Kind, str]]) -> None:
        for candidate in list(candidates):
            self.given_up[candidate] = self.fits.pop(candidate)

    def _look_at_numbers(self, different: pa.StringArray, rows: npt.NDArray[np.int64]) -> None:
        for name, pattern in (
            ("zero-led", _ZERO_LED), ("exponent codes", _EXPONENT_CODE), ("percent", "[%‰]"),
            ("accounting", ACCOUNTING), ("zero-led months", r"^0\d\.\d{4}$"),
            ("seconds since 1970", r"^\d{9,10}(\.\d+)?$"), ("milliseconds since 1970", r"^\d{12,13}(\.\d+)?$"),
            ("whole", WHOLE), ("zeros", r"^0+$"),
            ("dots", r"\d\.\d{3}$"), ("commas", r"\d,\d{3}$"), ("point", r"\."), ("comma", ","),
            ("exponents", r"(?i)\de|inf"),
        ):  # fmt: skip
            self._count(different, rows, name, pattern)
        symbols = pc.struct_field(pc.extract_regex(different, _SYMBOL), "symbol")
        for symbol, count in zip(symbols.to_pylist(), rows.tolist(), strict=True):
            if symbol not in (None, "INF") and count:
                self.symbols[symbol] += count
        is_long = _matches(different, r"^[+-]?\d{16,}$") & (rows > 0)
        self.counts["long"] += int(rows[is_long].sum())
        long = different.filter(pa.array(is_long))
        if self.counts["whole"] == self.values and len(long):
            numbers = [int(each) for each in long.to_pylist()]
            self.smallest, self.largest = min(self.smallest or numbers[0], *numbers), max(self.largest, *numbers)

    def _count(self, different: pa.StringArray, rows: npt.NDArray[np.int64], name: str, pattern: str) -> None:
        found = _matches(different, pattern) & (rows > 0)
        self.counts[name] += int(rows[found].sum())

    def follow(self, other: Survey, rows: int) -> None:
        """Take in what the next part of a file tells of the column, before which there are so many rows.

        What one part alone gives up is looked at as if no other value of it were amiss: rather it is told that a column
        mixes numbers and texts than that it is taken for texts without a word.
        """
        if self._waiting is not None and other._waiting is not None:
            for text, (count, first) in other._waiting.items():
                before, where = self._waiting.get(text, (0, first + rows))
                self._waiting[text] = (before + count, where)
            self._told = None
            if len(self._waiting) > FEW_VALUES:
                waiting, self._waiting = self._waiting, None
                self._take_waiting(waiting)
            return
        for each in (self, other):
            if each._waiting is not None:
                waiting, each._waiting = each._waiting, None
                each._take_waiting(waiting)
        for mine, theirs in ((self, other), (other, self)):
            for candidate in set(mine.given_up) & set(theirs.fits):
                mine.fits[candidate] = mine.given_up.pop(candidate)
        for fit in other.fits.values():
            fit.first += rows if fit.misfits else 0
        # In the order of candidates, of which the first ones are taken.
        self.fits = {each: self.fits[each] for each in _candidates(self.date_format) if each in self.fits}
        self.merge(other)

    def merge(self, other: Survey) -> None:
        """Take in what another file tells of the column; neither of both holds texts back (`so_far`)."""
        self._waiting = None
        for candidate in list(self.fits):
            if candidate not in other.fits:
                del self.fits[candidate]
                continue
            mine, theirs = self.fits[candidate], other.fits[candidate]
            mine.first = theirs.first if not mine.misfits else mine.first
            mine.misfits += theirs.misfits
        self.values += other.values
        self.markers += other.markers
        self.counts += other.counts
        self.symbols += other.symbols
        self.looks += other.looks
        self.words |= other.words
        self.spelled |= other.spelled
        for mine_, theirs_ in zip(self.ends, other.ends, strict=True):
            mine_.update(theirs_)
        if other.largest:
            self.smallest = min(self.smallest or other.smallest, other.smallest)
            self.largest = max(self.largest, other.largest)

    def fitting(self, kind: Kind) -> list[str]:
        """Return the styles of a kind that all values have."""
        return [style for (each, style), fit in self.fits.items() if each == kind and not fit.misfits]

    def nearest(self, kind: Kind) -> tuple[str, Fit] | None:
        """Return the style of a kind that most values have, if it is more than half of them."""
        near = [(style, fit) for (each, style), fit in self.fits.items() if each == kind]
        style, fit = min(near, key=lambda each: each[1].misfits, default=("", Fit(self.values)))
        return (style, fit) if 2 * fit.misfits < self.values else None


def _as_mask(found: pa.BooleanArray) -> _Mask:
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _matches(different: pa.StringArray, pattern: str) -> _Mask:
    return _as_mask(pc.match_substring_regex(different, pattern))


def _misfits(different: pa.StringArray, kind: Kind, style: str) -> _Mask:
    if kind == "float" and style in NUMBER_STYLES:
        plain = pc.replace_substring_regex(different, ACCOUNTING, r"-\1\2\3")
        return ~_matches(plain, number_pattern(style))
    if kind == "timestamp" and not may_be_date(different[:FEW_DATES].to_pylist(), style):
        return np.ones(len(different), np.bool_)
    return _as_mask(read(different, Notation(kind, style)).is_null())
