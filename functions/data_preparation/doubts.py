"""What is said of a column's values that may not mean what they seem to, with the option that changes it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from common.request import TrainingRequest
from data_preparation.columns import Column
from data_preparation.notation import NULL_VALUES
from data_preparation.profiling import ColumnSummary

_SHOWN = 5


def doubts_of(summary: ColumnSummary) -> Iterator[str]:
    """Yield what is doubtful about the values of a column."""
    name = summary.name
    for value, rows in summary.placeholders:
        yield (
            f'"{name}" holds {value:g} in {_rows(rows)}, far from all other values: if it stands for a missing one, '
            f'READ=\'{{"na_values": ["{value:g}"]}}\' says so.'
        )
    if padded := _padded(summary):
        yield (
            f'"{name}" has texts that differ by the spaces around them alone, in {_rows(padded)}: '
            "READ='{\"trim\": true}' makes them one."
        )


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
