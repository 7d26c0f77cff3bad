"""How good predictions were, once the truth is known: the metric on joined rows against the test part's.

Labels come late, and rarely for all rows: what has none is counted, and so is what cannot be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtri

from common.bootstrap import Interval, interval
from common.errors import InvalidDatasetError
from common.hashing import Hashes, column_hashes, label_codes, mix
from common.metric_table import LOWER_IS_BETTER, METRIC_TABLE, Label, Scoring
from common.metrics import PROBABILITY, Predictions, Weights, label_texts, metrics_of
from common.validation import did_you_mean
from common.words import estimate, limits, rows_in_words

ALPHA = 0.01
"""Of live metrics of a model that is as good as ever this share is told to have dropped, at most."""
LEAST_DROP = 0.05
"""By which share of the test part's loss, the metric or what it lacks to 1, the live one has to be larger."""
PREDICTION = "prediction"

Document = dict[str, Any]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Joined:
    """Which rows of predictions have which rows of labels, and what was left out.

    Attributes
    ----------
    predictions, labels
        The places of the rows that belong together, shape (rows,).
    unmatched, unmatched_labels
        Predictions without a label, and labels without a prediction, of those that have a key.
    duplicates
        Rows of either that share their key with another one, so that nobody knows which is meant. A label that is there
        twice, and the same, counts once.
    missing_keys
        Rows of either without a value in one of the key's columns.
    told
        Sentences on keys that are numbers in one table and texts in the other.
    """

    predictions: Places
    labels: Places
    unmatched: int
    unmatched_labels: int
    duplicates: int
    missing_keys: int
    told: tuple[str, ...]


def join(predictions: pa.Table, labels: pa.Table, keys: Sequence[str], target: str) -> Joined:
    """Find the label of each prediction by the columns of a key.

    Numbers are equal to texts that say them, as long as one of the two tables has numbers.

    Parameters
    ----------
    predictions, labels
        Both have the key's columns.
    keys
        The names of the key's columns, one at least.
    target
        The column of the labels, without missing values.

    Raises
    ------
    InvalidDatasetError
        If a table lacks a column.
    """
    for what, table, names in (("predictions", predictions, keys), ("labels", labels, [*keys, target])):
        for name in names:
            if name not in table.column_names:
                hint = did_you_mean(name, table.column_names)
                raise InvalidDatasetError(f'The {what} have no column "{name}".{hint}')
    told = []
    codes = [np.zeros(table.num_rows, np.uint64) for table in (predictions, labels)]
    missing = [np.zeros(table.num_rows, np.bool_) for table in (predictions, labels)]
    for name in keys:
        columns = [_whole(table[name]) for table in (predictions, labels)]
        texts = [pa.types.is_string(column.type) or pa.types.is_large_string(column.type) for column in columns]
        if texts[0] != texts[1]:
            types = " and ".join(str(column.type) for column in columns)
            told.append(f'The key "{name}" is of two types ({types}): texts that say a number are taken for it.')
        for side, column in enumerate(columns):
            # As texts, "7" and "007" are two.
            hashes = label_codes(column) if all(texts) else column_hashes(name, column, exact=True)
            codes[side] = mix(codes[side] + hashes)
            missing[side] |= column.is_null().to_numpy(zero_copy_only=False)
    left, right = (np.flatnonzero(~each) for each in missing)
    own, other = codes[0][left], codes[1][right]
    # The same label twice is one label.
    both = np.stack([other, label_codes(_whole(labels[target]))[right]], axis=1)
    once = np.unique(both, axis=0, return_index=True)[1]
    right, other = right[once], other[once]
    single, single_other = _single(own), _single(other)
    duplicates = int((~single).sum() + (~single_other).sum())
    left, own, right, other = left[single], own[single], right[single_other], other[single_other]
    _, at, at_other = np.intersect1d(own, other, assume_unique=True, return_indices=True)
    order = np.argsort(at)
    return Joined(
        left[at][order],
        right[at_other][order],
        len(own) - len(at),
        len(other) - len(at),
        duplicates,
        int(sum(each.sum() for each in missing)),
        tuple(told),
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _single(codes: Hashes) -> npt.NDArray[np.bool_]:
    _, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    found: npt.NDArray[np.bool_] = counts[places] == 1
    return found


def live_metric(
    predictions: pa.Table, labels: pa.Table, keys: Sequence[str], target: str, evaluation: Mapping[str, Any]
) -> Document:
    """Return the metric that decided about a model, on rows whose truth is known by now, against the test part's.

    Parameters
    ----------
    predictions
        The key's columns and those of a file of predictions: `prediction` and, of a classification,
        `probability_<label>`.
    labels
        The key's columns and the target; where the rows of the test part were weighted, their weights, too.
    keys
        What rows are told apart by.
    target
        The column of what turned out to be true.
    evaluation
        The model's `evaluation.json`.

    Returns
    -------
    dict
        In types of JSON: `rows` that count, and why others do not: `unmatched` predictions and `unmatched_labels`,
        `duplicates`, `missing_keys` and `missing_labels`; the `metric`, its `value` and `interval`, None where the rows
        leave it undefined or are too few; `test_value` and `test_interval`; whether it has `dropped`, the `reason` in
        one sentence, and what is `told` of keys, labels and weights.

    Raises
    ------
    InvalidDatasetError
        If a table lacks a column, or the labels are of another type than the predictions.
    """
    if target not in labels.column_names:
        raise InvalidDatasetError(f'The labels have no column "{target}".{did_you_mean(target, labels.column_names)}')
    known = labels.filter(_is_known(_whole(labels[target])))
    joined = join(predictions, known, keys, target)
    rows = predictions.take(pa.array(joined.predictions))
    truths = known.take(pa.array(joined.labels))
    weights, told = _weights(truths, evaluation)
    if weights is not None:
        counts = weights > 0
        rows, truths, weights = rows.filter(counts), truths.filter(counts), weights[counts]
    found = _measured(rows, _whole(truths[target]), weights, evaluation) if rows.num_rows else None
    metric, test = str(evaluation["metric"]), evaluation["interval"]
    dropped, reason = _verdict(metric, found, test, rows.num_rows, int(evaluation["rows"]))
    return {
        "rows": rows.num_rows,
        "unmatched": joined.unmatched,
        "unmatched_labels": joined.unmatched_labels,
        "duplicates": joined.duplicates,
        "missing_keys": joined.missing_keys,
        "missing_labels": labels.num_rows - known.num_rows,
        "metric": metric,
        "value": None if found is None else found.value,
        "interval": None if found is None else vars(found),
        "test_value": evaluation["value"],
        "test_interval": test,
        "dropped": dropped,
        "reason": reason,
        "told": [*joined.told, *told],
    }


def _is_known(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        return pc.fill_null(pc.is_finite(column), False)
    return column.is_valid()


def _weights(truths: pa.Table, evaluation: Mapping[str, Any]) -> tuple[Weights, list[str]]:
    name = evaluation["weight_column"]
    if name is None:
        return None, []
    if name not in truths.column_names:
        return None, [f'The labels have no weights "{name}": all rows count alike, and those of the test part did not.']
    weights = np.nan_to_num(np.asarray(_whole(truths[name]).to_numpy(zero_copy_only=False), np.float64))
    return np.maximum(weights, 0.0), []


def _measured(rows: pa.Table, labels: pa.Array, weights: Weights, evaluation: Mapping[str, Any]) -> Interval | None:
    """Return the metric with its interval; None where the rows leave it undefined."""
    metric = str(evaluation["metric"])
    predicted = _whole(rows[PREDICTION])
    try:
        truth = pc.cast(labels, predicted.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidDatasetError(
            f"The labels are of type {labels.type}, and the predictions of type {predicted.type}: bring labels as the "
            "model was trained on."
        ) from error
    if evaluation["problem"] == "regression":
        outputs = Predictions(np.asarray(predicted.to_numpy(), np.float64))
        target: npt.NDArray[Any] = np.asarray(truth.to_numpy(zero_copy_only=False), np.float64)
        scoring = Scoring(quantile=evaluation["quantile"])
    else:
        outputs = _classified(metric, rows, predicted)
        target = _as_texts(truth)
        scoring = Scoring(_text_of(evaluation["pos_label"], predicted.type), evaluation["quantile"])
    values, _ = metrics_of(outputs, target, weights, scoring)
    if values[metric] is None:
        return None
    return interval(metric, target, outputs.outputs, outputs.classes, 0, weights=weights, scoring=scoring)


def _classified(metric: str, rows: pa.Table, predicted: pa.Array) -> Predictions:
    """Return what a metric looks at: the probabilities, or 1 for the predicted class, whatever has decided for it."""
    names = [name for name in rows.column_names if name.startswith(PROBABILITY)]
    classes = np.array([name.removeprefix(PROBABILITY) for name in names])
    order = np.argsort(classes)
    if METRIC_TABLE[metric].of_labels:
        outputs = (_as_texts(predicted)[:, None] == classes[order]).astype(np.float64)
    else:
        columns = [np.asarray(_whole(rows[names[place]]).to_numpy(), np.float64) for place in order.tolist()]
        outputs = np.stack(columns, axis=1)
    return Predictions(outputs, classes[order])


def _as_texts(labels: pa.Array) -> npt.NDArray[np.str_]:
    return np.asarray(pc.cast(labels, pa.string()).to_pylist(), np.str_)


def _text_of(label: Label | None, type_: pa.DataType) -> str | None:
    if label is None:
        return None
    plain = pc.cast(pa.array([label]), type_).to_pylist()
    return label_texts(np.array(plain))[0]


def _verdict(
    metric: str, live: Interval | None, test: Mapping[str, Any] | None, rows: int, test_rows: int
) -> tuple[bool, str]:
    """Return whether the live metric is worse than the test part's by more than chance, and by as much as counts."""
    if live is None:
        return False, f"{metric} is undefined on {rows_in_words(rows)} with a label, so nothing is known of it yet."
    told = f"{metric} is {estimate(metric, live.value, limits(vars(live)), rows)} on {rows_in_words(rows)}"
    if test is None:
        return False, f"{told}; the test part left it undefined, so there is nothing to compare it with."
    told += f", and was {estimate(metric, test['value'], limits(test), test_rows)} on the test part"
    if live.deviation is None or test["deviation"] is None:
        return False, f"{told}: too few rows to say whether it has dropped."
    lower = metric in LOWER_IS_BETTER
    loss, was = (value if lower else 1 - value for value in (live.value, test["value"]))
    # Two samples of rows that have nothing in common.
    sure = loss - was > float(ndtri(1 - ALPHA)) * math.hypot(live.deviation, test["deviation"])
    if not sure:
        return False, f"{told}: not worse by more than chance."
    if loss - was < LEAST_DROP * was:
        return False, f"{told}: worse beyond chance, but by less than {LEAST_DROP:.0%} of the loss."
    return True, f"{told}: worse beyond chance."
