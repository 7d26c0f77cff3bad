"""What one pass over the data tells about a column: its statistics, its role and the type that it is handed over in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common import distributions
from common.conversion import FLOAT32_INTEGERS, MAX_LEVELS, TEXTS, fits_float32, float32_error, narrow_integer
from common.distributions import Bounds
from data_preparation.distinct import DistinctTexts
from data_preparation.notation import Kind
from data_preparation.prose import LEAST_TEXTS, SEEN_CHARACTERS, SEEN_TEXTS, Words, words_of

Role = Literal["numeric", "categorical", "boolean", "timestamp", "text", "constant", "identifier"]

MAX_CATEGORIES = 1000
"""Of a column with more different values than this it is not counted how often each occurs."""
MAX_CATEGORY_CHARACTERS = 250_000
"""How long the texts that are counted may be altogether."""
MAX_MEAN_CHARACTERS = 250
"""How long texts may be on average that are too many, or too long, to be counted: a model holds those it has met."""
ROWS_PER_TEXT = 2
"""On how many rows such texts have to occur on average, for what is learnt of a text to be of use on another row."""
SPOOLED_CHARACTERS = 1 << 22
"""How much is kept on disk of texts that hardly repeat so far, in case that they do later."""
UNIQUENESS_SAMPLE = 1 << 16
"""How many values an integer column with an identifier's name is looked at for a repetition."""
TOP_VALUES = 10

# customer_id, CustomerID, uuid, key, "Unnamed: 0" (a data frame's index in a CSV file), __index_level_0__ (in Parquet).
_IDENTIFIER_NAME = re.compile(
    r"(?i:(^|[\W_])(id|uuid|guid|key|index|row|rownum|rowid)$)|[a-z](Id|ID)$|^Unnamed: \d+$|^__index_level_\d+__$"
)
_TIME_NAME = re.compile(r"(?i)(^|[\W_])(date|time|datetime|timestamp|year)$")
Moments = tuple[int, np.float64, np.float64]
PLACEHOLDERS = (
    -1, -9, -99, -999, -9999, -99999, -999999, 99, 999, 9999, 99999, 999999,
    -99.9, -999.9, -9999.9, 99.9, 999.9, 9999.9,
)  # fmt: skip
"""Numbers that people write for a value that they do not have."""
FAR = 5.0
"""How many standard deviations of the others such a number is away from the nearest of them."""
FEWEST_KEYS = 20
"""A column of fewer texts sorts rows into kinds; one of more may name the things that rows are about."""


@dataclass
class ColumnSummary:
    """Statistics of one column, updated batch by batch; its size does not grow with the number of rows.

    Attributes
    ----------
    minimum, maximum
        Of the values that are there: numbers, or microseconds since 1970 in UTC; None for booleans and texts.
    counts
        How often each value occurs; None once there are more than `MAX_CATEGORIES` of them, or more than
        `MAX_CATEGORY_CHARACTERS` in them, or where nobody asked.
    characters
        In all values of a text column.
    float32_error
        By how much float32 changes a number at most (`common.conversion.float32_error`).
    """

    name: str
    kind: Kind
    counts: Counter[Any] | None = None
    rows: int = 0
    nulls: int = 0
    minimum: Any = None
    maximum: Any = None
    mean: np.float64 = field(default_factory=np.float64)
    float32_error: float = 0.0
    integral: bool = True
    repeats: bool = False
    others: list[float] = field(default_factory=list)
    last: float = 0.0
    """The last number."""
    _held: dict[float, int] = field(default_factory=dict)
    characters: int = 0
    trace: list[Moments] | None = None
    """The moments of each batch, where they are to be merged in another order than they come in (`replay`)."""
    _distinct: DistinctTexts = field(default_factory=DistinctTexts, compare=False)
    _squares: np.float64 = field(default_factory=np.float64)
    _head: list[pa.Array] = field(default_factory=list)
    _seen: list[str] = field(default_factory=list)
    """The beginnings of the first texts."""
    _words: tuple[int, Words] | None = field(default=None, compare=False)
    """Of how many of them words were counted, and these."""

    @classmethod
    def of(cls, name: str, kind: Kind, *, count_values: bool = False) -> ColumnSummary:
        """Return an empty summary; values are counted for texts and booleans, and for others on demand."""
        return cls(name, kind, Counter() if count_values or kind in ("text", "boolean") else None)

    @property
    def values(self) -> int:
        """The number of values that are not missing."""
        return self.rows - self.nulls

    @property
    def std(self) -> np.float64:
        """The sample standard deviation (n - 1 in the denominator), 0 for a single value."""
        return np.sqrt(self._squares / (self.values - 1)) if self.values > 1 else np.float64(0)

    @property
    def placeholders(self) -> list[tuple[float, int]]:
        """The least or the largest number, if it is one that people write for a missing value, and how many there are.

        It lies so far from all others that it hardly is one of them.
        """
        found = []
        for value, rows in self._held.items():
            if value not in (self.minimum, self.maximum) or not self.others or not 0 < rows < self.values / 2:
                continue
            low, high = self.others
            gap = low - value if value < low else value - high
            if gap > FAR / 2 * max(high - low, 1e-300) / 2 and gap > 0:
                found.append((float(value), rows))
        return found

    @property
    def fits_float32(self) -> bool:
        """Whether float32 does for the numbers seen so far; more of them may change that either way."""
        return fits_float32(self.float32_error, float(self.mean), float(self.std))

    @property
    def distinct(self) -> int:
        """The number of different texts, within a percent where it is beyond `MAX_LEVELS`."""
        return len(self._distinct if self.counts is None else self.counts)

    @property
    def is_exact(self) -> bool:
        """Whether `distinct` is no estimate."""
        return self.counts is not None or self._distinct.exact

    @property
    def hardly_repeats(self) -> bool:
        """Whether too few of the texts seen so far occur again for a model to learn anything of them."""
        return self.counts is None and ROWS_PER_TEXT * self.distinct > self.values

    @property
    def is_too_long(self) -> bool:
        """Whether the texts are too many or too long to be counted, and too long to be learnt apart."""
        return self.counts is None and self.characters > MAX_MEAN_CHARACTERS * self.values

    @property
    def words(self) -> Words:
        """Those of the first texts."""
        if self._words is None or self._words[0] != len(self._seen):
            self._words = len(self._seen), words_of(self._seen)
        return self._words[1]

    @property
    def is_free_text(self) -> bool:
        """Whether the texts seen so far are written to be read, and most are on one row only or as long as pages."""
        if self.kind != "text" or self.values < LEAST_TEXTS:
            return False
        differ = ROWS_PER_TEXT * self.distinct > self.values
        return (differ or self.is_too_long) and self.words.are_read

    @property
    def need_not_be_spooled(self) -> bool:
        """Whether the texts seen so far are nothing to learn from, and much; more of them may change that."""
        much = self.kind == "text" and self.characters > SPOOLED_CHARACTERS
        return much and (self.hardly_repeats or self.is_too_long) and not self.is_free_text

    @property
    def bears_narrowing(self) -> bool:
        """Whether nothing is missed that was not spooled: the last digits of floats, or texts that are no feature."""
        if self.kind != "text":
            return self.fits_float32
        return (self.hardly_repeats or self.is_too_long) and not self.is_free_text

    def add(self, column: pa.Array) -> None:
        """Take in the column's values of one more batch; floats must be finite or null, texts may be a dictionary."""
        present = column.drop_null() if column.null_count else column
        if len(present):
            if self.kind in ("integer", "float"):
                self._add_numbers(present.to_numpy())
            if self.kind == "timestamp":
                # The microseconds are kept: Python's own timestamps end with the year 9999.
                self._add_range(pc.cast(present, pa.int64()).to_numpy())
            if self.kind == "integer" and not self.repeats and _IDENTIFIER_NAME.search(self.name):
                self._look_for_repeats(present)
            if self.counts is not None or self.kind == "text":
                self._add_counts(present)
        self.rows += len(column)
        self.nulls += column.null_count

    def merge(self, other: ColumnSummary) -> None:
        """Take in what is known of the column's values in another file, whose kind is this one's or holds in it."""
        if other.values:
            as_own = float if self.kind == "float" else lambda value: value
            if other.minimum is not None:
                self._widen_range(as_own(other.minimum), as_own(other.maximum))
            self._add_moments(other.mean, other._squares, other.values, self.values)
            self.float32_error = max(self.float32_error, other.float32_error)
            self.integral = self.integral and other.integral
            for value, rows in other._held.items():
                self._held[value] = self._held.get(value, 0) + rows
            if other.others:
                own = self.others or other.others
                self.others = [min(own[0], other.others[0]), max(own[1], other.others[1])]
            self.repeats = self.repeats or other.repeats
            for head in () if self.repeats else other._head:
                self._look_for_repeats(head)
            self.characters += other.characters
            self._seen = [*self._seen, *other._seen][:SEEN_TEXTS]
            if self.counts is not None:
                self._count(None if other.counts is None else ((as_own(k), n) for k, n in other.counts.items()))
            if self.kind == "text" and self.counts is None:
                self._distinct.merge(other._distinct)
                self._distinct.add(pa.array(list(other.counts or ()), pa.string()))
        self.rows += other.rows
        self.nulls += other.nulls

    def _add_range(self, values: npt.NDArray[Any]) -> None:
        self._widen_range(values.min().item(), values.max().item())

    def _look_for_placeholders(self, values: npt.NDArray[Any]) -> None:
        """Count numbers that may stand for a missing value, and note the range of all others."""
        held = np.isin(values, PLACEHOLDERS) if values.min() in PLACEHOLDERS or values.max() in PLACEHOLDERS else None
        rest = values if held is None else values[~held]
        if held is not None:
            for value, rows in zip(*np.unique(values[held], return_counts=True), strict=True):
                self._held[float(value)] = self._held.get(float(value), 0) + int(rows)
        if len(rest):
            low, high = float(rest.min()), float(rest.max())
            self.others = [min(low, *self.others[:1]), max(high, *self.others[1:])] if self.others else [low, high]

    def _widen_range(self, minimum: Any, maximum: Any) -> None:
        self.minimum = minimum if self.minimum is None else min(self.minimum, minimum)
        self.maximum = maximum if self.maximum is None else max(self.maximum, maximum)

    def _add_numbers(self, values: npt.NDArray[Any]) -> None:
        self._add_range(values)
        self.last = float(values[-1])
        self._look_for_placeholders(values)
        # Squares of the largest floats overflow: such a mean or deviation is told as unknown.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = values.mean(dtype=np.float64)
            deviations = values - mean
            # Not a dot product, which BLAS would spread over threads that wait for each other.
            squares = np.square(deviations, out=deviations).sum()
            self._add_moments(mean, squares, len(values), self.values)
        if self.trace is not None:
            self.trace.append((len(values), mean, squares))
        if self.kind == "float" or max(abs(self.minimum), abs(self.maximum)) > FLOAT32_INTEGERS:
            # Whole numbers, too, for those of another file may be floats.
            self.float32_error = max(self.float32_error, float32_error(values.astype(np.float64, copy=False)))
        if self.kind == "float":
            self.integral = self.integral and bool((values == np.floor(values)).all())

    def _add_moments(self, mean: np.float64, squares: np.float64, new: int, old: int) -> None:
        """Merge mean and squared deviations of other values (Chan, Golub and LeVeque 1979, equations 2.1)."""
        with np.errstate(over="ignore", invalid="ignore"):
            delta = mean - self.mean
            self.mean += delta * new / (old + new)
            self._squares += squares + delta * delta * (old * new / (old + new))

    def replay(self, moments: Iterable[Moments]) -> None:
        """Take mean and deviation from those of the parts of all values, in their order.

        Sums of floats depend on the order in which they are made: merged in another one, they differ in the last digit.
        """
        self.mean, self._squares, old = np.float64(0), np.float64(0), 0
        for new, mean, squares in moments:
            self._add_moments(mean, squares, new, old)
            old += new

    @property
    def moments(self) -> Moments:
        """How many values there are, their mean and the sum of their squared deviations from it."""
        return self.values, self.mean, self._squares

    def _look_for_repeats(self, present: pa.Array) -> None:
        seen = sum(map(len, self._head))
        if seen < UNIQUENESS_SAMPLE:
            self._head.append(present[: UNIQUENESS_SAMPLE - seen])
            head = pa.chunked_array(self._head)
            self.repeats = pc.count_distinct(head).as_py() < len(head)

    def _add_counts(self, present: pa.Array) -> None:
        values, counts = _value_counts(present)
        if self.kind == "text":
            self.characters += pc.sum(pc.multiply(pc.cast(pc.utf8_length(values), pa.int64()), counts)).as_py()
            if len(self._seen) < SEEN_TEXTS:
                new = pc.utf8_slice_codeunits(values[: SEEN_TEXTS - len(self._seen)], 0, SEEN_CHARACTERS)
                self._seen += new.to_pylist()
        if self.counts is not None:
            few = len(values) <= MAX_CATEGORIES and _characters(values) <= MAX_CATEGORY_CHARACTERS
            self._count(zip(values.to_pylist(), counts.to_pylist(), strict=True) if few else None)
        if self.kind == "text" and self.counts is None:
            self._distinct.add(values)

    def _count(self, counts: Iterable[tuple[Any, int]] | None) -> None:
        """Add counts; None, for too many different values, makes the sum None."""
        if self.counts is None:
            return
        # One by one: what Arrow tells apart, such as both zeros, may be one key.
        for value, count in counts or ():
            self.counts[value] += count
        long = self.kind == "text" and sum(map(len, self.counts)) > MAX_CATEGORY_CHARACTERS
        if counts is None or len(self.counts) > MAX_CATEGORIES or long:
            if self.kind == "text":
                self._distinct.add(pa.array(list(self.counts), pa.string()))
            self.counts = None


def _characters(values: pa.Array) -> int:
    return (pc.sum(pc.utf8_length(values)).as_py() or 0) if pa.types.is_string(values.type) else 0


def _value_counts(present: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the different values in the order of their first row, and how often each occurs."""
    if pa.types.is_dictionary(present.type):
        counted = pc.value_counts(present.indices)
        return present.dictionary.take(counted.field("values")), counted.field("counts")
    counted = pc.value_counts(present)
    return counted.field("values"), counted.field("counts")


def infer_role(summary: ColumnSummary, *, free_texts: bool = True) -> tuple[Role, str | None]:
    """Infer what a column is to a model from its values and, for identifiers, its name.

    Parameters
    ----------
    summary
        Of the column.
    free_texts
        Whether it may be a free text, if it reads as one.

    Returns
    -------
    role, reason
        The role, and why the column cannot be trained on (None where it can).
    """
    if reason := _constant(summary):
        return "constant", reason
    if free_texts and summary.is_free_text:
        return "text", None
    if reason := _identifier(summary):
        return "identifier", reason
    roles: Mapping[Kind, Role] = {"boolean": "boolean", "timestamp": "timestamp", "text": "categorical"}
    return roles.get(summary.kind, "numeric"), None


def _constant(summary: ColumnSummary) -> str | None:
    if summary.values == 0:
        return "every value is missing"
    one_number = summary.minimum is not None and summary.minimum == summary.maximum
    one_value = summary.counts is not None and len(summary.counts) == 1
    return "it has one value only" if one_number or one_value else None


def _identifier(summary: ColumnSummary) -> str | None:
    if summary.kind == "integer" and _IDENTIFIER_NAME.search(summary.name) and not summary.repeats:
        return "it has an identifier's name and no number twice"
    if summary.kind != "text":
        return None
    if summary.distinct == summary.values and summary.is_exact:
        return "each of its texts occurs once only"
    if summary.hardly_repeats:
        different = f"{summary.distinct:,}" if summary.is_exact else f"more than {MAX_LEVELS:,}"
        return f"its texts hardly repeat: {different} different ones in {summary.values:,} rows"
    if summary.is_too_long:
        mean = summary.characters // summary.values
        return f"its texts are too long to be categories: {mean:,} characters on average"
    return None


def splits_by(summary: ColumnSummary, role: Role) -> Literal["time", "key"] | None:
    """Return whether rows that are alike may belong together by a column: as of one time, or of one thing."""
    if role == "timestamp" or (role == "numeric" and _TIME_NAME.search(summary.name)):
        return "time"
    named = summary.kind == "integer" and summary.repeats and _IDENTIFIER_NAME.search(summary.name)
    texts = summary.distinct if role == "categorical" else 0
    return "key" if named or FEWEST_KEYS <= texts <= summary.values / 2 else None


def feature_type(summary: ColumnSummary, role: Role) -> pa.DataType:
    """Return the smallest Arrow type that a feature column is handed over in without harm.

    Integers take the smallest type that holds them; floats float32 where it keeps what sets them apart
    (`common.conversion.fits_float32`), else float64; timestamps seconds since 1970-01-01 UTC as float64; texts a
    dictionary, but free texts, of which each row has its own, themselves.
    """
    if role == "text":
        return pa.string()
    if role == "timestamp":
        return pa.float64()
    match summary.kind:
        case "integer":
            return narrow_integer(summary.minimum, summary.maximum)
        case "float":
            return pa.float32() if summary.fits_float32 else pa.float64()
        case "boolean":
            return pa.bool_()
        case _:
            return TEXTS


def statistics(summary: ColumnSummary, role: Role | None = None) -> Mapping[str, Any]:
    """Return what the profile says of a column's values: min, max, mean and std, or the most frequent values.

    Of free texts it holds none: how many characters and words they have, on average, is all that is told.
    """
    if summary.values == 0:
        return {}
    if summary.kind in ("integer", "float"):
        return {
            "min": summary.minimum,
            "max": summary.maximum,
            "mean": _finite(summary.mean),
            "std": _finite(summary.std),
        }
    if summary.kind == "timestamp":
        return {"min": _iso(summary.minimum), "max": _iso(summary.maximum)}
    distinct = summary.distinct if summary.is_exact else f"more than {MAX_LEVELS:,}"
    if role == "text":
        words = round(summary.words.mean, 1)
        return {"distinct": distinct, "characters": round(summary.characters / summary.values, 1), "words": words}
    if summary.counts is None:
        return {"distinct": distinct}
    top = [{"value": value, "rows": rows} for value, rows in summary.counts.most_common(TOP_VALUES)]
    return {"distinct": len(summary.counts), "top": top}


def distribution(summary: ColumnSummary, values: npt.NDArray[Any], bounds: Bounds) -> dict[str, Any]:
    """Return what the profile says of how a column's values are distributed (`common.distributions`).

    Texts are named where the profile names the most frequent ones anyway.

    Parameters
    ----------
    summary
        Of all rows.
    values
        Of the rows that were drawn (`RowSample.values`).
    bounds
        How much is kept.
    """
    if summary.kind == "boolean":
        return distributions.of_booleans(values)
    if summary.kind != "text" or values.dtype == np.float64:
        # Of free texts it is how long they are.
        return distributions.of_numbers(values, bounds.bins)
    names = None if summary.counts is None else distributions.texts_by_code(list(summary.counts))
    return distributions.of_texts(values, names, bounds)


def _finite(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None


def _iso(microseconds: int) -> str:
    return str(np.datetime64(microseconds, "us").astype("datetime64[s]")) + "Z"
