"""What the columns of a data set are read as, found out while its files are read.

A column of texts is given the narrowest kind that holds all its values. The first rows tell what to try; where a later
one does not fit, the file is read once more, with what is then known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import timestamps
from common.errors import InvalidDatasetError
from common.reading_options import ReadOptions
from common.request import ColumnKind, TrainingRequest
from data_preparation.decisions import Decision, WholeNumbers, decide, mixed_percentages
from data_preparation.notation import (
    ARROW_TYPES,
    NUMBER_STYLES,
    Kind,
    Notation,
    convert,
    is_marker,
    is_null_text,
    texts_of,
)
from data_preparation.survey import Asked, Survey

# What a column of texts may turn out to be without a closer look at how it is written.
_PLAIN: Mapping[Kind, tuple[Kind, ...]] = {
    "null": ("null", "integer", "boolean", "timestamp"),
    "integer": ("integer",),
    # Only what the first rows have shown to be decimals beyond doubt.
    "float": ("float",),
    "boolean": ("boolean",),
    "timestamp": ("timestamp",),
}
MAX_READINGS = 8
"""How often a file is read at most; three times is what the worst of them need."""
TOTAL = re.compile(
    r"(?i)\W*(grand\s+|overall\s+)?(sub-?)?(total|totals|totale|sum|suma|soma|somme|summe|gesamt|gesamtsumme|insgesamt"
    r"|average|mean|moyenne|durchschnitt|mittelwert|promedio|media|итого|合計|总计|razem)\b.{0,20}$"
)
_TOTAL_ALONE = re.compile(r"(?i)\W*(grand\s+|overall\s+)?(sub-?)?(totals?|sum|summe|gesamt|gesamtsumme|insgesamt)\W*$")
_CODE = r"^-?0[\dxX]"


@dataclass(frozen=True)
class Wishes:
    """What is said beforehand of how columns are to be read.

    Attributes
    ----------
    read
        The request's options.
    kinds
        What it says that columns are.
    label
        The target, of which no value is lost that may be one.
    expected
        How a model's training data were written, by column: other rows are to become the same.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    label: str | None = None
    expected: Mapping[str, Notation] = field(default_factory=dict)

    @classmethod
    def of_request(cls, request: TrainingRequest) -> Wishes:
        """Return what a request says."""
        return cls(request.read, request.columns, request.target)

    def of(self, name: str, hint: str | None) -> Asked:
        """Return those of one column."""
        kind = self.kinds.get(name)
        if name in self.expected:
            kind = _ASKED.get(self.expected[name].kind, "category")
        return Asked(
            None if kind == "ignore" else kind,
            self.read.decimal,
            self.read.thousands,
            self.read.date_format,
            is_label=name == self.label,
            expected=self.expected.get(name),
            hint=hint,
        )

    @cached_property
    def missing_texts(self) -> pa.Array:
        """The texts that stand for a missing value in any column."""
        return pa.array([each.strip() for each in self.read.na_values or ()], pa.string())

    @cached_property
    def missing_times(self) -> pa.Array:
        """The times that stand for a missing value in any column."""
        read = (_try(partial(timestamps, texts_of(each.strip()))) for each in self.read.na_values or ())
        found = [each for each in read if each is not None]
        return pa.concat_arrays(found) if found else pa.array([], ARROW_TYPES["timestamp"])

    @cached_property
    def missing_numbers(self) -> list[float]:
        """The numbers that stand for a missing value in any column."""
        found = []
        for each in self.read.na_values or ():
            try:
                found.append(float(each))
            except ValueError:
                continue
        return found


_ASKED: Mapping[Kind, ColumnKind] = {
    "integer": "number",
    "float": "number",
    "boolean": "boolean",
    "timestamp": "date",
}


@dataclass
class Column:
    """One column of a file while it is read.

    Attributes
    ----------
    notation
        What it is taken for so far.
    is_settled
        Whether all values have told, or nothing is to be told.
    survey
        Of its texts, once they need one.
    numbers
        Whether its whole numbers may be days.
    markers
        Texts among its first rows that stand for missing values, where converters take them.
    """

    name: str
    asked: Asked
    notation: Notation = field(default_factory=lambda: Notation("null"))
    decision: Decision | None = None
    is_settled: bool = False
    survey: Survey | None = None
    is_surveyed_whole: bool = True
    numbers: WholeNumbers = field(default_factory=WholeNumbers)
    used: set[Notation] = field(default_factory=set)
    has_failed: bool = False
    markers: set[str] = field(default_factory=set)
    unread: int = 0
    seen: int = 0

    def begin(self) -> None:
        """Start over with the first row."""
        self.used, self.unread, self.seen, self.numbers = set(), 0, 0, WholeNumbers()
        self.has_failed = False
        if not self.is_settled and self.survey is not None:
            self.survey, self.is_surveyed_whole = Survey.of(self.asked), True

    def end(self) -> bool:
        """Settle what the column is; return whether it was read so from the first row on."""
        if self.is_settled and self.has_failed:
            # What other files have told does not hold in this one.
            self.decision, self.is_settled = None, False
            self.survey = Survey.of(self.asked)
            return False
        if self.is_settled or self.survey is None:
            if not self.is_settled and self.notation.kind == "integer" and self.asked.kind != "number":
                is_open, is_label = self.asked.kind is None, self.asked.is_label
                days = self.numbers.decide(self.name, is_label=is_label) if is_open else None
                if days is not None:
                    self.settle(days)
            return self.used <= {self.notation} and not self.has_failed
        if not self.is_surveyed_whole:
            return False
        self.survey = self.survey.so_far()
        self.settle(decide(self.name, self.survey, self.asked))
        return self.used <= {self.notation} and not self.has_failed

    def follow(self, other: Column) -> None:
        """Take in what the next part of a file tells, which was read as this one was."""
        both = {self.notation, other.notation}
        if not self.is_settled:
            self._follow_survey(other, both)
        kinds = {each for each in both if each.kind != "null"}
        if len(kinds) == 1:
            (self.notation,) = kinds
        # A part without a value is of each kind.
        none = {Notation("null")} if kinds else set()
        self.used = (self.used if self.used != none else set()) | (other.used if other.used != none else set())
        self.has_failed = self.has_failed or other.has_failed
        self.markers |= other.markers
        self.unread += other.unread
        self.seen += other.seen
        self.numbers.follow(other.numbers)

    def _follow_survey(self, other: Column, both: set[Notation]) -> None:
        if self.survey is not None and other.survey is not None and self.is_surveyed_whole and other.is_surveyed_whole:
            self.survey.follow(other.survey, self.seen)
        elif self.survey or other.survey or len({each for each in both if each.kind != "null"}) > 1:
            # To be looked at from the first row on.
            self.survey, self.is_surveyed_whole = Survey.of(self.asked), False
        self.asked = replace(self.asked, is_typed=self.asked.is_typed or other.asked.is_typed)

    def settle(self, decision: Decision) -> None:
        """Take a decision for this column's."""
        self.decision, self.notation, self.is_settled = decision, decision.notation, True


class Columns:
    """The columns of one file.

    Parameters
    ----------
    wishes
        What is said of them beforehand.
    decided
        What other files have told of columns, which holds in this one, too.
    """

    def __init__(self, wishes: Wishes | None = None, decided: Mapping[str, Decision] | None = None) -> None:
        self.wishes = wishes or Wishes()
        self._decided = decided or {}
        self._columns: dict[str, Column] = {}
        self.hint: str | None = None
        self.footer = self.wishes.read.skip_footer or 0
        self.trims = self.wishes.read.trim
        # Not of a format that is no export for people, whose last row nobody leaves out.
        self.may_end_in_totals = True
        self._told: list[str] = []
        self._last: dict[str, str | None] = {}
        self._is_lost = False

    @property
    def told(self) -> list[str]:
        """What is told of the file's rows."""
        totals = self.footer if self.wishes.read.skip_footer is None else 0
        found = f"{_rows(totals)} of totals at the end: left out. READ='{{\"skip_footer\": 0}}' keeps all rows."
        return [*self._told, *([found] if totals else [])]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each column, as far as it is known."""
        return {name: column.notation.kind for name, column in self._columns.items()}

    @property
    def notations(self) -> dict[str, Notation]:
        """How each column is written, as far as it is known."""
        return {name: column.notation for name, column in self._columns.items()}

    def __getitem__(self, name: str) -> Column:
        """Return a column, which is new at its first call."""
        if name not in self._columns:
            column = Column(name, self.wishes.of(name, self.hint))
            self._columns[name] = column
            if name in self._decided:
                column.settle(self._decided[name])
            elif column.asked.kind in ("category", "text") and name not in self.wishes.expected:
                column.settle(Decision(Notation("text")))
            elif name in self.wishes.expected:
                column.notation = self.wishes.expected[name]
                if column.notation.kind == "text" or column.notation.lenient:
                    column.settle(Decision(column.notation))
            elif column.asked.kind not in (None, "identifier"):
                column.survey = Survey.of(column.asked)
        return self._columns[name]

    def adopt(self, wishes: Wishes, decided: Mapping[str, Decision]) -> Columns:
        """Take what is said beforehand, which a document of the columns does not repeat, and return itself."""
        self.wishes, self._decided = wishes, decided
        return self

    def follow(self, other: Columns) -> None:
        """Take in what the next part of a file tells, which was read as this one was."""
        for name, column in other._columns.items():
            if name in self._columns:
                self._columns[name].follow(column)
            else:
                self._columns[name] = column
        self._last, self.footer = other._last, other.footer

    def start_over(self, *, told: str) -> None:
        """Forget all, for the file is to be read otherwise from its first row on."""
        self._columns, self._is_lost = {}, True
        self._told.append(told)

    def readings(self, file: str) -> Iterator[None]:
        """Yield for each reading of a file that there has to be until its columns are what they were read as.

        Raises
        ------
        InvalidDatasetError
            If they turn out to be something else each time.
        """
        for _ in range(MAX_READINGS):
            yield
            if self.end():
                return
        raise InvalidDatasetError(f'"{file}" cannot be read: say what its columns are by `columns`.')

    def begin(self) -> None:
        """Start over with the first row of the file."""
        self._last, self._is_lost = {}, False
        for column in self._columns.values():
            column.begin()

    def end(self) -> bool:
        """Return whether all rows were read as the columns turned out to be; else they are to be read once more."""
        if self._is_lost:
            return False
        if self._is_total():
            self.footer += 1
            self._columns = {}
            return False
        # Each of them, for each has something to settle.
        are_settled = [column.end() for column in self._columns.values()]
        return all(are_settled)

    @property
    def must_be_read_again(self) -> bool:
        """Whether rows were read already as what their column is not."""
        return any(column.has_failed or len(column.used) > 1 for column in self._columns.values())

    def _is_total(self) -> bool:
        """Return whether the last row is a total of those before it."""
        if self.wishes.read.skip_footer is not None or self.wishes.expected or not self.may_end_in_totals:
            return False
        words = [name for name, text in self._last.items() if text and TOTAL.match(text)]
        if len(words) != 1 or len(self._columns) == 1:
            return False
        (name,) = words
        if any(
            text and self._columns[each].notation.kind == "text" for each, text in self._last.items() if each != name
        ):
            return False
        column = self._columns[name]
        is_of_texts = column.notation.kind == "text" and (column.survey is None or not column.survey.is_mostly_numbers)
        # Among texts, Total is a value like others, unless it stands alone, there and as a word.
        return not is_of_texts or self._is_alone(column, str(self._last[name]))

    def _is_alone(self, column: Column, text: str) -> bool:
        is_first = column.name in list(self._columns)[:2]
        is_once = column.survey is not None and column.survey.rows_of(text.strip()) == 1
        return is_first and is_once and _TOTAL_ALONE.match(text) is not None

    def read_as(self, name: str, kind: Kind) -> None:
        """Say what a column is that is not made of texts."""
        self[name].notation = Notation(kind)
        self[name].is_settled = True

    def note_converted(self, name: str, rows: int) -> None:
        """Note that rows of a column were read as what it is taken for, without a look at their texts."""
        column = self[name]
        column.seen += rows
        column.used.add(column.notation)

    def is_fixed(self, name: str, kind: Kind) -> bool:
        """Return whether nothing is to be found out about a column, which is of the kind."""
        return self[name].is_settled and self[name].decision is None and self[name].notation == Notation(kind)

    def add(self, name: str, texts: pa.Array, *, is_typed: bool = False) -> pa.Array:
        """Return a batch's texts of a column as the values that they are, so far as is known.

        Parameters
        ----------
        name
            Of the column.
        texts
            Of the type string, or a dictionary of them.
        is_typed
            Whether the file says that they are texts: then what looks like a code stays one.
        """
        column = self[name]
        if is_typed and not column.asked.is_typed:
            column.asked = replace(column.asked, is_typed=True)
        if len(texts):
            self._last[name] = texts[-1].as_py()
        first, column.seen = column.seen, column.seen + len(texts)
        # What looks like a number or a date may be a date of the format that the request says.
        is_plain = not is_typed and self.wishes.read.date_format is None
        if not column.is_settled and column.survey is None and is_plain:
            plain = self._as_plain(column, texts)
            if plain is not None:
                return plain
        if not column.is_settled and column.survey is None:
            column.survey, column.is_surveyed_whole = Survey.of(column.asked), first == 0
        if not column.is_settled and column.survey is not None:
            self._survey(column, column.survey, texts, first)
        column.used.add(column.notation)
        return self._converted(column, texts)

    def _as_plain(self, column: Column, texts: pa.Array) -> pa.Array | None:
        """Return values that are written as programs do it, in the narrowest kind from the column's on, else None."""
        # Percentages and plain numbers are not the same for certain, and a survey tells them apart.
        if pa.types.is_dictionary(texts.type) or column.notation.unit:
            return None
        if column.notation.style or column.notation.offset:
            return _try(lambda: convert(self._without_missing(column, texts), column.notation))
        for missing in (_without_blanks, self._without_nulls):
            there = missing(texts)
            for kind in _PLAIN.get(column.notation.kind, ()):
                if kind == "boolean" and column.asked.is_label:
                    # How its words are spelled is to be known.
                    return None
                array = _as_kind(there, kind)
                if array is None or (kind == "integer" and _has_codes(there)):
                    continue
                if kind == "integer":
                    column.numbers.add(array.drop_null().to_numpy())
                column.notation = Notation(kind)
                column.used.add(column.notation)
                if there.null_count > texts.null_count and kind != "null":
                    column.markers |= set(texts.filter(pc.is_null(there)).unique().to_pylist()) - {"", None}
                return array
        return None

    def _without_nulls(self, texts: pa.Array) -> pa.Array:
        trimmed = pc.utf8_trim_whitespace(texts)
        return _nulled(trimmed, pc.or_(is_null_text(trimmed), self._is_named(trimmed)))

    def _is_named(self, trimmed: pa.Array) -> pa.Array:
        return pc.is_in(trimmed, value_set=self.wishes.missing_texts)

    def _survey(self, column: Column, survey: Survey, texts: pa.Array, first: int) -> None:
        if survey.add(self._trimmed(texts), first):
            column.notation = decide(column.name, survey, column.asked).notation

    def _trimmed(self, texts: pa.Array) -> pa.Array:
        """Return texts without the spaces around them, and without those that are missing whatever the column is."""
        if pa.types.is_dictionary(texts.type):
            trimmed = pc.utf8_trim_whitespace(texts.dictionary)
            is_missing = self._is_missing(trimmed).take(texts.indices)
            return pa.DictionaryArray.from_arrays(_nulled(texts.indices, is_missing), trimmed)
        trimmed = pc.utf8_trim_whitespace(texts)
        return _nulled(trimmed, self._is_missing(trimmed))

    def _is_missing(self, trimmed: pa.StringArray) -> pa.BooleanArray:
        """Return which texts are missing whatever their column is: blanks, and what the request names."""
        return pc.or_(pc.equal(trimmed, ""), self._is_named(trimmed))

    def _converted(self, column: Column, texts: pa.Array) -> pa.Array:
        notation = column.notation
        if notation.kind == "text":
            return self._as_text(column, texts)
        if not pa.types.is_dictionary(texts.type):
            values, missing = self._values(column, texts)
            column.unread += values.null_count - missing.null_count
            return values
        values, missing = self._values(column, texts.dictionary)
        array = values.take(texts.indices)
        if values.null_count > missing.null_count:
            column.unread += array.null_count - missing.take(texts.indices).null_count
        return array

    def _values(self, column: Column, texts: pa.StringArray) -> tuple[pa.Array, pa.StringArray]:
        """Return the values that texts say, null where one says none, and the texts but for those that are missing."""
        there = self._without_missing(column, texts)
        array = _try(lambda: convert(there, column.notation))
        if array is None:
            # Read again, once it is known what the column is.
            column.has_failed = True
            return pa.nulls(len(texts), ARROW_TYPES[column.notation.kind]), there
        return array, there

    def _without_missing(self, column: Column, texts: pa.StringArray) -> pa.Array:
        trimmed = self._trimmed(texts)
        if column.asked.is_label:
            return _nulled(trimmed, is_null_text(trimmed))
        return _nulled(trimmed, is_marker(trimmed))

    def _as_text(self, column: Column, texts: pa.Array) -> pa.Array:
        different = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
        trimmed = pc.utf8_trim_whitespace(different)
        is_missing = self._is_missing(trimmed)
        if not self.keeps_markers(column):
            is_missing = pc.or_(is_missing, is_null_text(trimmed))
        kept = trimmed if self.trims else different
        if not pa.types.is_dictionary(texts.type):
            return _nulled(kept, is_missing)
        encoded = _without_texts(texts.indices, kept, pc.fill_null(is_missing, pa.scalar(value=True)))
        return encoded.dictionary_decode().dictionary_encode() if self.trims else encoded

    def keeps_markers(self, column: Column) -> bool:
        """Return whether texts such as NA are values of a column of texts, not missing ones."""
        return (
            column.asked.is_label or column.asked.is_typed or self.wishes.kinds.get(column.name) in ("category", "text")
        )

    def without_missing_numbers(self, array: pa.Array) -> pa.Array:
        """Return numbers or times without those that the request takes for missing."""
        if pa.types.is_timestamp(array.type) and len(times := self.wishes.missing_times):
            return _nulled(array, pc.is_in(array, value_set=times))
        numbers = self.wishes.missing_numbers
        if not numbers or not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
            return array
        return _nulled(array, pc.is_in(pc.cast(array, pa.float64(), safe=False), value_set=pa.array(numbers)))


def _rows(count: int) -> str:
    return f"{count} rows" if count > 1 else "one row"


def _nulled(array: pa.Array, mask: pa.Array) -> pa.Array:
    if not pc.any(mask).as_py():
        return array
    return pc.if_else(pc.fill_null(mask, fill_value=False), pa.scalar(None, array.type), array)


def _without_texts(indices: pa.Array, texts: pa.Array, mask: pa.Array) -> pa.DictionaryArray:
    """Return a dictionary without texts that are missing: a category that no row has is one too many for a model."""
    kept = pc.invert(mask)
    places = np.cumsum(kept.to_numpy(zero_copy_only=False)) - 1
    renumbered = pa.array(places, pa.int32(), mask=mask.to_numpy(zero_copy_only=False))
    return pa.DictionaryArray.from_arrays(renumbered.take(indices), texts.filter(kept))


def _without_blanks(texts: pa.Array) -> pa.Array:
    return _nulled(texts, pc.equal(texts, ""))


def _try(convert_: Callable[[], pa.Array]) -> pa.Array | None:
    try:
        return convert_()
    except pa.ArrowInvalid:
        return None


def _has_codes(texts: pa.Array) -> bool:
    """Return whether a whole number has zeros in front, or is hexadecimal: 007 and 0x1F are codes.

    Few texts begin with a zero, so few are looked at.
    """
    led = texts.filter(pc.fill_null(pc.or_(pc.starts_with(texts, "0"), pc.starts_with(texts, "-0")), fill_value=False))
    return bool(pc.any(pc.match_substring_regex(led, _CODE)).as_py())


def _as_kind(texts: pa.Array, kind: Kind) -> pa.Array | None:
    """Return texts in a kind, or None where one does not fit."""
    if kind == "null":
        return pa.nulls(len(texts)) if texts.null_count == len(texts) else None
    if kind == "boolean":
        # 0 and 1 are numbers, wherever in the file they stand.
        return _try(lambda: convert(texts, Notation(kind)))
    if kind == "timestamp":
        return _try(lambda: timestamps(texts))
    return _try(lambda: pc.cast(texts, ARROW_TYPES[kind]))


def decimal_hint(samples: Mapping[str, pa.StringArray]) -> str | None:
    """Return the decimal character that a file's numbers have beyond doubt by its first rows; None if none is."""
    votes: Counter[str] = Counter()
    for texts in samples.values():
        survey = Survey()
        survey.add(_without_blanks(pc.utf8_trim_whitespace(texts)), 0)
        survey = survey.so_far()
        styles = {NUMBER_STYLES[style].decimal for style in survey.fitting("float") if style in NUMBER_STYLES}
        if survey.values and len(styles) == 1 and survey.counts["comma"] + survey.counts["point"]:
            votes.update(styles)
    return votes.most_common(1)[0][0] if votes else None


def _is_plain_number(column: Column) -> bool:
    """Return whether a column's numbers are written as programs write them, with nothing beside them."""
    return column.survey is None and column.decision is None and column.notation.kind in ("integer", "float")


def merged(files: Sequence[Columns]) -> dict[str, Decision]:
    """Return what all files together tell of each column that one of them takes for something else.

    What was read as programs write it needs no other file's word, unless the column holds codes.
    """
    found: dict[str, Decision] = {}
    for name in {each: None for file in files for each in file.kinds}:
        columns = [file[name] for file in files if name in file.kinds]
        decision = next((each.decision for each in columns if each.decision and each.decision.is_code), None)
        surveys = [each.survey for each in columns if each.survey is not None]
        if decision is None and len(surveys) > 1:
            whole = Survey.of(columns[0].asked)
            for survey in surveys:
                whole.merge(survey)
            decision = decide(name, whole, columns[0].asked)
        if any(each.notation.unit == "%" for each in columns) and any(map(_is_plain_number, columns)):
            found[name] = mixed_percentages(name)
            continue
        others = [each for each in columns if decision and (each.survey or decision.is_code)]
        if decision is not None and any(each.notation != decision.notation for each in others):
            found[name] = decision
    return found
