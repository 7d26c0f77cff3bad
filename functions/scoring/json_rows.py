"""Rows in JSON: read strictly, so that what a caller has mistaken is told and not guessed.

A value has the type that its column had in training. What training took for missing is missing here, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import Profile, feature_columns, timestamps
from data_preparation.notation import Kind, is_null_text
from scoring.refusal import MAX_PROBLEMS, Problem, RefusedError, short, wrong_rows

ROWS = "rows"
"""The member of a request that holds the rows."""
_EXAMPLE = '{"rows": [{"column": value, …}, …]}'
_INT64 = range(-(2**63), 2**63)


class _NoJsonError(ValueError):
    """What Python reads, and JSON does not have."""


class _Repeated(dict[str, Any]):
    """An object with a key that it has more than once."""

    key: str


@dataclass(frozen=True)
class Rows:
    """Rows as `scoring.champion.Champion.predict` takes them.

    Attributes
    ----------
    batch
        The features.
    kinds
        Of the columns.
    others
        The names that the rows have besides, in the order of their appearance.
    sent
        The rows as they came.
    """

    batch: pa.RecordBatch
    kinds: Mapping[str, Kind]
    others: Sequence[str]
    sent: Sequence[Mapping[str, Any]]

    def besides(self) -> list[dict[str, Any]]:
        """Return of each row what is no feature."""
        return [{name: row[name] for name in self.others if name in row} for row in self.sent]


def read_rows(body: bytes, profile: Profile, known: Mapping[str, frozenset[Any]], most: int) -> Rows:
    """Return the rows of a request.

    Parameters
    ----------
    body
        Of the request, as it came.
    profile
        Of the model's training data.
    known
        The texts that training has seen, by column.
    most
        How many rows there may be.

    Raises
    ------
    RefusedError
        If it is no JSON (400), has too many rows (413), or a row does not fit the model (422).
    """
    rows = _rows(_document(body), most)
    features = feature_columns(profile)
    others = _check_keys(rows, {column["name"]: None for column in features})
    problems: list[Problem] = []
    missing = pa.array([each.strip() for each in _named_missing(profile)], pa.string())
    arrays, kinds = list[pa.Array](), dict[str, Kind]()
    for column in features:
        name, values = column["name"], [row[column["name"]] for row in rows]
        array = READERS[column["role"]](name, values, problems)
        if array is None:
            continue
        if pa.types.is_string(array.type):
            array = _without_missing(array, missing, known.get(name, frozenset()))
        arrays.append(array)
        kinds[name] = _KINDS[column["role"]]
    if problems:
        raise wrong_rows(sorted(problems, key=lambda each: each.row))
    return Rows(pa.RecordBatch.from_arrays(arrays, names=list(kinds)), kinds, others, rows)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise RefusedError(400, "The body is not UTF-8, as JSON has to be.") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno:,}, column {error.colno:,}"
        raise RefusedError(400, f"The body is not JSON ({error.msg} at {at}): write {_EXAMPLE}.") from error
    except RecursionError as error:
        raise RefusedError(400, f"The body nests deeper than can be read: write {_EXAMPLE}.") from error
    except _NoJsonError as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from error
    except ValueError as error:
        # Python refuses to read thousands of digits: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
        raise RefusedError(400, "The body holds a whole number with too many digits to be read.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated, seen = _Repeated(found), set[str]()
    repeated.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value] # it notes
    return repeated


def _refuse_constant(name: str) -> None:
    raise _NoJsonError(f"{name} is no number of its own; null says that a value is missing.")


def _rows(document: Any, most: int) -> list[Any]:
    if not isinstance(document, dict) or isinstance(document, _Repeated) or list(document) != [ROWS]:
        raise RefusedError(422, f'The body is no object with one member, "{ROWS}": write {_EXAMPLE}.')
    rows = document[ROWS]
    if not isinstance(rows, list) or not rows:
        raise RefusedError(422, f'"{ROWS}" is no list of one row or more: write {_EXAMPLE}.')
    if len(rows) > most:
        raise too_many_rows(most)
    return rows


def too_many_rows(most: int) -> RefusedError:
    """Return the refusal of more rows than are scored at once."""
    return RefusedError(413, f"There are more than {most:,} rows, which is what one request may have: send several.")


def _check_keys(rows: Iterable[Any], names: Mapping[str, None]) -> list[str]:
    """Return the keys of rows that are no features."""
    problems, others = list[Problem](), dict[str, None]()
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            problems.append(Problem(number, None, "it is no object of columns and values"))
        elif isinstance(row, _Repeated):
            problems.append(Problem(number, short(row.key), "the row has it more than once"))
        elif not names.keys() <= row.keys():
            missing = (name for name in names if name not in row)
            problems += [
                Problem(number, name, "it is not there; null says that a value is missing")
                for name, _ in zip(missing, range(MAX_PROBLEMS), strict=False)
            ]
        elif len(row) > len(names):
            others.update(dict.fromkeys(name for name in row if name not in names))
        # Whoever sends a row of nothing a thousand times is told of the first ones.
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise wrong_rows(problems)
    return list(others)


def _named_missing(profile: Profile) -> list[str]:
    named: list[str] = profile.get("read", {}).get("options", {}).get("na_values") or []
    return named


def _without_missing(texts: pa.StringArray, named: pa.StringArray, known: frozenset[Any]) -> pa.StringArray:
    """Return texts without those that training takes for missing: blanks, NA and the like, and what its request named.

    Where training has met NA as a category, as in data whose file says that they are texts, it is one.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    categories = pa.array(sorted(str(each) for each in known), pa.string())
    is_null = pc.and_(is_null_text(trimmed), pc.invert(pc.is_in(texts, value_set=categories)))
    is_missing = pc.or_(pc.or_(pc.equal(trimmed, ""), is_null), pc.is_in(trimmed, value_set=named))
    return pc.if_else(pc.fill_null(is_missing, fill_value=False), pa.scalar(None, pa.string()), texts)


# The values of one column, by its role; None where some are wrong.

Reader = Callable[[str, Sequence[Any], list[Problem]], "pa.Array | None"]


def _misfits(
    name: str, values: Iterable[Any], fits: Callable[[Any], bool], reason: str, problems: list[Problem]
) -> bool:
    """Note values that do not fit, but for what nobody reads; return whether there are any."""
    found = ((number, value) for number, value in enumerate(values, 1) if value is not None and not fits(value))
    wrong = [Problem(number, name, f"it is {_what(value)}, and {reason}") for number, value in _few(found)]
    problems += wrong
    return bool(wrong)


def _few(found: Iterable[tuple[int, Any]]) -> Iterable[tuple[int, Any]]:
    return (each for each, _ in zip(found, range(MAX_PROBLEMS), strict=False))


def _what(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number" if _is_in_range(value) else "a number beyond what can be computed with"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def _is_in_range(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _numbers(name: str, values: Sequence[Any], problems: list[Problem]) -> pa.Array | None:
    types = set(map(type, values))
    if types <= {int, type(None)} and all(value is None or value in _INT64 for value in values):
        return pa.array(values, pa.int64())
    if not types <= {int, float, type(None)} or not all(value is None or _is_in_range(value) for value in values):
        _misfits(name, values, _is_number, "the model takes a number", problems)
        return None
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and _is_in_range(value)


def _booleans(name: str, values: Sequence[Any], problems: list[Problem]) -> pa.Array | None:
    if _misfits(name, values, lambda value: isinstance(value, bool), "the model takes true or false", problems):
        return None
    return pa.array(values, pa.bool_())


def _texts(name: str, values: Sequence[Any], problems: list[Problem]) -> pa.Array | None:
    if _misfits(name, values, lambda value: isinstance(value, str), "the model takes a text", problems):
        return None
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        _misfits(name, values, _is_whole, "the model takes one of whole characters", problems)
        return None


def _is_whole(text: str) -> bool:
    """Return whether a text has no half of a character, which JSON can write."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _times(name: str, values: Sequence[Any], problems: list[Problem]) -> pa.Array | None:
    texts = _texts(name, values, problems)
    if texts is None:
        return None
    try:
        return timestamps(texts)
    except pa.ArrowInvalid:
        _misfits(name, values, _is_time, "the model takes a time such as 2024-01-31T12:00:00Z", problems)
        return None


def _is_time(text: str) -> bool:
    try:
        timestamps(pa.array([text], pa.string()))
    except pa.ArrowInvalid:
        return False
    return True


READERS: Mapping[str, Reader] = {
    "numeric": _numbers,
    "boolean": _booleans,
    "categorical": _texts,
    "text": _texts,
    "timestamp": _times,
}
"""By the role of a column; what they note, they leave out."""
_KINDS: Mapping[str, Kind] = {
    "numeric": "float",
    "boolean": "boolean",
    "categorical": "text",
    "text": "text",
    "timestamp": "timestamp",
}
