"""What a request for predictions is answered with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from common.metrics import PROBABILITY
from scoring.fitted import INTERVAL, FittedModel
from scoring.oddities import Oddities, ignored
from scoring.refusal import MAX_PROBLEMS, Problem, short, wrong_rows

MAX_ROWS = 10_000
"""How many rows one request may have."""
MAX_BYTES = 4 << 20
"""How long a request may be. Lambda takes 6 MB, of which text that it takes for binary has a third more than its own:
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""
_ANSWER_BYTES = 5 << 20
"""How long an answer may be, of 6 MB."""
_NUMBER_BYTES = 26
"""What a number takes in JSON, with what separates it from the next."""
_OTHERS = 20
"""How many columns that the model does not use are named."""
PREDICTION, PROBABILITIES, LOW, HIGH = "prediction", "probabilities", "low", "high"


def most_rows(model: FittedModel) -> int:
    """Return how many rows fit a request and its answer, which is longer the more classes there are."""
    row = sum(len(name.encode()) + _NUMBER_BYTES for name in class_names(model)) + 100
    return max(1, min(MAX_ROWS, _ANSWER_BYTES // row))


def class_names(model: FittedModel) -> list[str]:
    """Return what the probabilities are called, which JSON has texts for alone; nothing for a regression."""
    if model.classes is None:
        return []
    spelled = spelling(model)
    if spelled is not None:
        return [spelled[not label] for label in model.classes.tolist()]
    return [name.removeprefix(PROBABILITY) for name in model.schema.names[1:]]


def spelling(model: FittedModel) -> tuple[str, str] | None:
    """Return what training's file has for true and false, unless it is these words, for which JSON has values."""
    spelled = model.spelled
    is_plain = spelled is None or tuple(each.lower() for each in spelled) == ("true", "false")
    return None if is_plain else spelled


def predictions(model: FittedModel, scored: pa.Table) -> list[dict[str, Any] | None]:
    """Return an object for each row, and null for one that was none.

    Labels are as training's data have them: texts, numbers, true and false, or what these were spelled as.

    Raises
    ------
    RefusedError
        If a prediction is no finite number, which JSON has none of.
    """
    _require_finite(scored)
    columns = {name: scored[name].to_pylist() for name in scored.schema.names}
    first = columns.pop(PREDICTION)
    if model.classes is None:
        limits = [{INTERVAL[0]: LOW, INTERVAL[1]: HIGH}[name] for name in columns]
        return [
            None if value is None else {PREDICTION: value, **dict(zip(limits, row, strict=True))}
            for value, *row in zip(first, *columns.values(), strict=True)
        ]
    names_of_classes, spelled = class_names(model), spelling(model)
    labels = first if spelled is None else [None if each is None else spelled[not each] for each in first]
    return [
        None if label is None else {PREDICTION: label, PROBABILITIES: dict(zip(names_of_classes, row, strict=True))}
        for label, *row in zip(labels, *columns.values(), strict=True)
    ]


def _require_finite(scored: pa.Table) -> None:
    for name in scored.schema.names:
        column = scored[name]
        if not pa.types.is_floating(column.type):
            continue
        infinite = pc.invert(pc.is_finite(column))
        if pc.any(infinite).as_py():
            rows = pc.indices_nonzero(pc.fill_null(infinite, fill_value=False)).to_pylist()[:MAX_PROBLEMS]
            raise wrong_rows([Problem(row + 1, None, "its prediction is no finite number") for row in rows])


def warnings_of(oddities: Oddities, others: Sequence[str], *told: Iterable[str]) -> list[str]:
    """Return what a caller is to know of rows that were scored all the same.

    Parameters
    ----------
    oddities
        Of the rows.
    others
        The columns that the model does not use.
    *told
        What is told besides, first.
    """
    unused = ignored([short(name) for name in others[:_OTHERS]])
    if len(others) > _OTHERS:
        unused += f" and {len(others) - _OTHERS:,} more"
    return [*(each for some in told for each in some), *([unused] if others else []), *filter(None, oddities.told)]


def document(scored: Sequence[Mapping[str, Any] | None], warnings: Sequence[str]) -> dict[str, Any]:
    """Return the answer, without the model's name and version."""
    return {"predictions": list(scored), "warnings": list(warnings)}
