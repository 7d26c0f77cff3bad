"""How numbers and names are written for people: with the digits that the rows bear, and in a width that fits."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.metric_table import GUESSES, LOWER_IS_BETTER, METRIC_TABLE

MANY_MISSING = 0.2
"""From this share of missing values on, a feature is named."""
GB_SECOND = 0.0000166667
"""What a second of a function with 1 GB of memory costs in USD: x86, N. Virginia, https://aws.amazon.com/lambda/pricing/."""

# Numbers


def number(value: Any) -> str:
    """Return a number with separators; one that is not whole with six digits.

    It is for what is known to the last digit, such as counts, parameters and the least value of a column; what rows
    estimate is `rounded`.

    Examples
    --------
    >>> number(1234567), number(12345.678), number(0.123456789), number(1e-9), number(None)
    ('1,234,567', '12,345.7', '0.123457', '1e-09', 'undefined')
    """
    if value is None:
        return "undefined"
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool | str):
        return str(plain)
    if isinstance(plain, int):
        return f"{plain:,}"
    if not 1e-4 <= abs(plain) < 1e12:
        return f"{plain:.6g}"
    digits = f"{plain:,.{max(0, 5 - math.floor(math.log10(abs(plain))))}f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def rounded(value: float, width: float) -> str:
    """Return a number with the digits that an interval of this width bears: as far as the width's own second one.

    Examples
    --------
    >>> rounded(54.8337, 16.7), rounded(123456.7, 16000.0), rounded(0.00012345, 1e-5), rounded(1.0, 0.0)
    ('55', '123,000', '0.000123', '1')
    """
    if not math.isfinite(value) or not math.isfinite(width) or width <= 0:
        return f"{value:,.6g}"
    decimals = 1 - math.floor(math.log10(width))
    if not -12 <= decimals <= 8:
        return f"{value:.3g}"
    # Adding zero turns -0.0 into 0.0, which reads better.
    return f"{round(value, decimals) + 0.0:,.{max(0, decimals)}f}"


def cost_in_words(seconds: float, memory_mb: int) -> str:
    """Return what so many seconds of a function with this memory cost by the list price.

    Examples
    --------
    >>> cost_in_words(60.0, 3008)
    'about $0.003 of Lambda by its list price'
    """
    return f"about ${seconds * memory_mb / 1024 * GB_SECOND:.1g} of Lambda by its list price"


def with_spread(score: float, deviation: float | None) -> str:
    """Return a score and its spread over the folds, if it has one, with as many digits as that bears.

    Examples
    --------
    >>> with_spread(0.81234, 0.0213), with_spread(0.5, None)
    ('0.812 ± 0.021', '0.5')
    """
    spread = deviation or 0.0
    return rounded(score, spread) + (f" \N{PLUS-MINUS SIGN} {rounded(spread, spread)}" if spread else "")


def difference(value: float) -> str:
    """Return the difference of two figures of the same rows, which is known better than either: two digits.

    Examples
    --------
    >>> difference(0.012345), difference(1234.5), difference(0.0)
    ('0.012', '1,200', '0')
    """
    return rounded(value, abs(value))


def likely_width(metric: str, value: float, rows: int) -> float:
    """Return about how wide an interval of four standard errors is that nobody has measured."""
    if metric in LOWER_IS_BETTER:
        return 4 * abs(value) / math.sqrt(rows)
    # What a metric lacks to 1 is known as well as the metric itself, and no better than to a row.
    return max(4 * min(abs(value), abs(1 - value)) / math.sqrt(rows), 4 / rows)


def share_of(value: float, rows: int) -> str:
    """Return a share of so many rows with the digits that they bear, by the standard error of a share.

    Examples
    --------
    >>> share_of(0.9499, 439), share_of(0.61, 161), share_of(1.0, 20)
    ('0.950', '0.61', '1.00')
    """
    return rounded(value, max(4 * math.sqrt(value * (1 - value) / rows), 4 / rows))


def limits(interval: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Return the ends of an interval of the evaluation, or None where it has none."""
    if interval is None or interval["low"] is None:
        return None
    return {"low": interval["low"], "high": interval["high"]}


def figure(metric: str, value: float | None, interval: Mapping[str, float] | None, rows: int) -> str:
    """Return a metric of some test rows, with no more digits than they bear."""
    if value is None:
        return "undefined"
    return rounded(value, _width(metric, value, interval, rows))


def range_of(interval: Mapping[str, float]) -> str:
    """Return an interval in words.

    Examples
    --------
    >>> range_of({"low": 46.4198, "high": 63.1405})
    '95 % interval 46 to 63'
    """
    width = interval["high"] - interval["low"]
    return f"95 % interval {rounded(interval['low'], width)} to {rounded(interval['high'], width)}"


def estimate(metric: str, value: float, interval: Mapping[str, float] | None, rows: int) -> str:
    """Return a metric with its interval, if there is one, and no more digits than the rows bear."""
    told = figure(metric, value, interval, rows)
    return told if interval is None else f"{told} ({range_of(interval)})"


def _width(metric: str, value: float, interval: Mapping[str, float] | None, rows: int) -> float:
    return likely_width(metric, value, rows) if interval is None else interval["high"] - interval["low"]


# What a guess without any feature reaches


def baseline(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the best guess without features reaches, by an evaluation.

    Returns
    -------
    dict, optional
        The `value` that the metric takes for the `guess`, and the model's `improvement` over it with its `interval`;
        None where the test part leaves the metric undefined.
    """
    over = evaluation["over_constant"]
    if over is None:
        return None
    loss = over["loss"]
    return {
        "guess": GUESSES[METRIC_TABLE[evaluation["metric"]].constant],
        "value": loss if evaluation["metric"] in LOWER_IS_BETTER else 1 - loss,
        "improvement": over["value"],
        "interval": limits(over),
    }


def guess_in_words(metric: str, found: Mapping[str, Any], rows: int) -> str:
    """Return what a guess reaches, as `baseline` has it."""
    width = _width(metric, found["value"], found["interval"], rows)
    return f"a guess of {found['guess']} has {metric} {rounded(found['value'], width)}"


def baseline_in_words(metric: str, found: Mapping[str, Any], rows: int) -> str:
    """Return what a guess reaches, as `baseline` has it, and what the model does on so many rows."""
    interval, improvement = found["interval"], found["improvement"]
    told = f"{guess_in_words(metric, found, rows)}; the model is "
    if improvement <= 0:
        return told + "not better"
    told += f"better by {estimate(metric, improvement, interval, rows)}"
    if interval is not None and interval["low"] <= 0:
        told += ", which may be chance"
    return told


# Names


def in_words(names: Sequence[str]) -> str:
    """Return several names, the last one after an "and".

    Examples
    --------
    >>> in_words(("f1", "recall", "brier"))
    'f1, recall and brier'
    """
    return f"{', '.join(names[:-1])} and {names[-1]}"


def shorten(text: Any, width: int) -> str:
    """Return a text that takes at most `width` columns, with an ellipsis where it was cut.

    Control characters, and those that turn the direction of writing around, become visible as the replacement
    character; a wide character (Chinese, Japanese, Korean) takes two columns.

    Examples
    --------
    >>> shorten("a long name", 6)
    'a lon…'
    """
    start = ["\N{REPLACEMENT CHARACTER}" if _unsafe(each) else each for each in str(text)[: width + 1]]
    ends = list(itertools.accumulate(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in start))
    if not ends or ends[-1] <= width:
        return "".join(start)
    return "".join(start[: sum(end < width for end in ends)]) + "…"


def _unsafe(character: str) -> bool:
    turning = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return turning or unicodedata.category(character) in ("Cc", "Cs")


def label_of(value: Any) -> str:
    """Return a class label as the data set has it: labels that are whole numbers may be stored as floats."""
    plain = value.item() if hasattr(value, "item") else value
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def value_in_words(value: float, role: str) -> str:
    """Return a feature's value, a number to the model, as people know it by the column's role.

    Examples
    --------
    >>> value_in_words(1.7e9, "timestamp"), value_in_words(1.0, "boolean"), value_in_words(12.5, "numeric")
    ('2023-11-14', 'true', '12.5')
    """
    if role == "timestamp":
        return str(np.datetime64(int(value), "s").astype("datetime64[D]"))
    if role == "boolean":
        return "true" if value else "false"
    return number(float(f"{value:.4g}"))


def rows_in_words(count: int) -> str:
    """Return a number of rows.

    Examples
    --------
    >>> rows_in_words(1), rows_in_words(2345)
    ('1 row', '2,345 rows')
    """
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
