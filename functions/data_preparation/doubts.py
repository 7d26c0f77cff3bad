"""What is said of a column's values that may not mean what they seem to, with the option that changes it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from common.errors import first_few
from common.request import TrainingRequest
from data_preparation.columns import TOTAL, Column
from data_preparation.decisions import LARGEST_EXACT, rounded
from data_preparation.notation import NULL_VALUES
from data_preparation.profiling import ColumnSummary

_SHOWN = 5
_FEW, _SMALL = 5, 100
"""Few rows or small numbers add up by chance."""
_ROUNDING = 1e-6


def doubts_of(summary: ColumnSummary) -> Iterator[str]:
    """Yield what is doubtful about the values of a column."""
    name = summary.name
    for value, rows in summary.placeholders:
        yield (
            f'"{name}" holds {value:g} in {_rows(rows)}, far from all other values: if it stands for a missing one, '
            f'READ=\'{{"na_values": ["{value:g}"]}}\' says so.'
        )
    if summary.kind == "integer" and max(summary.maximum or 0, -(summary.minimum or 0)) > LARGEST_EXACT:
        yield rounded(name)
    if summary.kind == "timestamp" and summary.values and (far := _far_times(summary)):
        yield (
            f'"{name}" has times as far away as {far}: if such a one stands for a missing or an open one, '
            f'READ=\'{{"na_values": ["{far}"]}}\' says so.'
        )
    if totals := _totals(summary):
        yield (
            f'"{name}" has texts such as Total in {_rows(totals)}: if these are sums of other rows, take them out of '
            "the file."
        )
    if padded := _padded(summary):
        yield (
            f'"{name}" has texts that differ by the spaces around them alone, in {_rows(padded)}: '
            "READ='{\"trim\": true}' makes them one."
        )


def told_of_last_row(file: str, summaries: Mapping[str, ColumnSummary]) -> Iterator[str]:
    """Yield that the last row of a file seems to hold the sums of the others, without a word that says so."""
    sums = [each for each in summaries.values() if each.kind in ("integer", "float") and _ends_with_sum(each)]
    if len(sums) > 1 and max(abs(each.last) for each in sums) > _SMALL:
        names = first_few(f'"{each.name}"' for each in sums)
        yield (
            f'"{file}" ends with a row that seems to hold the sums of those above it: {names}. '
            "READ='{\"skip_footer\": 1}' leaves it out."
        )


def _ends_with_sum(summary: ColumnSummary) -> bool:
    total = float(summary.mean) * summary.values
    return summary.values > _FEW and summary.last != 0 and abs(total - 2 * summary.last) < _ROUNDING * abs(total)


def told_of_missing(name: str, columns: Sequence[Column], request: TrainingRequest) -> Iterator[str]:
    """Yield which texts of a column were taken for missing, or might have been."""
    if unread := sum(column.unread for column in columns):
        said = request.columns.get(name)
        yield f'"{name}" has {_rows(unread)} of which the request says {said}, and that are none: taken for missing.'
    markers: Counter[str] = Counter()
    for column in columns:
        if column.survey is not None:
            markers += column.survey.markers
    if not markers and (seen := sorted({text for column in columns for text in column.markers})):
        yield f'"{name}" has {_texts(dict.fromkeys(seen, 0))} for missing values.'
    if not markers:
        return
    kind = columns[0].notation.kind
    known = {text: rows for text, rows in markers.items() if text in NULL_VALUES}
    if kind != "text":
        yield f'"{name}" has {_texts(markers)} for a missing value in {_rows(markers.total())}.'
    elif known and (name == request.target or request.columns.get(name) in ("category", "text")):
        if name == request.target:
            yield (
                f'"{name}" has {_texts(known)} as a class of its own, in {_rows(sum(known.values()))}: '
                f'READ=\'{{"na_values": ["{next(iter(known))}"]}}\' takes it for missing.'
            )
    elif known and not columns[0].asked.is_typed:
        yield (
            f'"{name}" has {_texts(known)}, taken for missing, in {_rows(sum(known.values()))}: '
            f'COLUMNS=\'{{"{name}": "category"}}\' makes it a category.'
        )


def told_of_free_text(summary: ColumnSummary, request: TrainingRequest) -> Iterator[str]:
    """Yield that a column is read as free text, where its texts alone say so."""
    name = summary.name
    if request.columns.get(name) != "text":
        yield (
            f'"{name}" is read as free text. COLUMNS=\'{{"{name}": "category"}}\' takes its texts for names, and '
            '"ignore" leaves it out.'
        )


def _far_times(summary: ColumnSummary) -> str | None:
    """Return the first or last day if it is in a year that people write for none: 9999-12-31, 0001-01-01."""
    days = [str(np.datetime64(int(each), "us").astype("datetime64[D]")) for each in (summary.maximum, summary.minimum)]
    return next((day for day in days if not "1600" < day < "2200"), None)


def _totals(summary: ColumnSummary) -> int:
    """Return how many rows have a text that names a total."""
    if summary.kind != "text" or not summary.counts:
        return 0
    return sum(rows for text, rows in summary.counts.items() if TOTAL.match(text))


def _padded(summary: ColumnSummary) -> int:
    """Return how many rows have a text that is another one's but for spaces around it."""
    if summary.kind != "text" or not summary.counts:
        return 0
    alike = defaultdict[str, list[int]](list)
    for text, rows in summary.counts.items():
        alike[text.strip()].append(rows)
    return sum(sum(rows) - max(rows) for rows in alike.values() if len(rows) > 1)


def _texts(texts: Counter[str] | dict[str, int]) -> str:
    shown = [f'"{text}"' for text in list(texts)[:_SHOWN]]
    return ", ".join(shown) + (" and others" if len(texts) > _SHOWN else "")


def _rows(count: int) -> str:
    return f"{count:,} rows" if count != 1 else "1 row"
