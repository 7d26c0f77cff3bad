"""Draws what a report shows of predictions, of the data and of features, each figure with what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from common.conversion import described_rows
from common.metric_table import LOWER_IS_BETTER
from common.metrics import Codes, Weights, class_codes
from common.pages import LABEL_WIDTH, VALUE_WIDTH, Picture
from common.svg import Numbers, limits
from common.words import label_of, rounded, rows_in_words, share_of, shorten, value_in_words
from model_evaluation import figures
from model_evaluation.figures import CURVE_CLASSES, SCATTER_ROWS, Curve
from model_evaluation.importance import Importance

if TYPE_CHECKING:
    from model_evaluation.analysis import ReportData
    from model_evaluation.effects import Effect, Effects

# What bounds the size of a report, whatever the data set is.
CONFUSION_CLASSES = 12
CALIBRATION_BINS = 10
FEW_ROWS = 10
"""A calibration bin with fewer rows is drawn hollow: its share says little."""
SHOWN_FEATURES = 20
SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Confusion:
    """How often each class was predicted for each: counts and shares of the actual class, both (classes, classes).

    Weighted rows are counted by their weights.
    """

    labels: list[str]
    counts: Sequence[Sequence[float]]
    shares: list[list[float]]
    finding: str
    note: str


# What the figures show


def of_regression(data: ReportData) -> list[Picture]:
    """Return what predictions of a number and their errors are like."""
    actual = np.asarray(data.target, dtype=np.float64)
    predicted = np.asarray(data.predictions, dtype=np.float64)
    return [
        _predicted_against_actual(actual, predicted, data.model["target"], data.weights),
        _residuals_against_predicted(actual - predicted, predicted, data.weights),
        _residual_histogram(actual - predicted, data.weights),
    ]


def _digits_of(values: Numbers) -> Callable[[float], str]:
    """Return how to write figures of such values: with the digits that the mean of them has."""
    width = 4 * float(values.std()) / math.sqrt(len(values))
    return lambda value: rounded(float(value), width)


def _quantile(values: Numbers, share: float, weights: Weights) -> float:
    if weights is None:
        return float(np.quantile(values, share))
    # By weights NumPy does not look between two rows.
    return float(np.quantile(values, share, weights=weights, method="inverted_cdf"))


def _moments(values: Numbers, weights: Weights) -> tuple[float, float]:
    """Return mean and standard deviation."""
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _predicted_against_actual(actual: Numbers, predicted: Numbers, target: str, weights: Weights) -> Picture:
    error = np.abs(actual - predicted)
    told = _digits_of(actual - predicted)
    svg, fullest = figures.predicted_against_actual(actual, predicted, shorten(target, VALUE_WIDTH))
    return Picture(
        "Predicted against actual",
        svg,
        f"Predictions run from {told(predicted.min())} to {told(predicted.max())} where the actual values run "
        f"from {told(actual.min())} to {told(actual.max())}. Half of them are off by at most "
        f"{told(_quantile(error, 0.5, weights))}, nine in ten by at most {told(_quantile(error, 0.9, weights))}.",
        f"{_density_note(len(actual), fullest)} On the dashed line a prediction is right.",
    )


def _residuals_against_predicted(residuals: Numbers, predicted: Numbers, weights: Weights) -> Picture:
    svg, fullest = figures.residuals_against_predicted(residuals, predicted)
    told = _digits_of(residuals)
    order = np.argsort(predicted, kind="stable")
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    below, above = (_moments(residuals[rows], None if weights is None else weights[rows]) for rows in halves)
    return Picture(
        "Residuals against predicted",
        svg,
        f"The mean residual is {told(below[0])} in the lower half of the predictions and "
        f"{told(above[0])} in the upper half; their standard deviations are {told(below[1])} and "
        f"{told(above[1])}.",
        _density_note(len(residuals), fullest),
    )


def _density_note(rows: int, fullest: int | None) -> str:
    if fullest is None:
        return "One point for each test row."
    return (
        f"All {rows_in_words(rows)}, counted in squares: the stronger the colour the more rows (log scale), "
        f"{fullest:,} at the most."
    )


def _residual_histogram(residuals: Numbers, weights: Weights) -> Picture:
    # Among many rows a few far residuals would leave one bar of the rest.
    tail = 0.005 if len(residuals) > SCATTER_ROWS else 0
    low, high = (float(each) for each in np.quantile(residuals, [tail, 1 - tail]))
    beyond = int(np.sum((residuals < low) | (residuals > high)))
    bins = int(np.clip(np.sqrt(len(residuals)), 5, 40))
    mean, deviation = _moments(residuals, weights)
    told = _digits_of(residuals)
    return Picture(
        "Distribution of the residuals",
        figures.residual_histogram(np.clip(residuals, low, high), bins, weights),
        f"The residuals have mean {told(mean)} and standard deviation {told(deviation)}; "
        f"they run from {told(residuals.min())} to {told(residuals.max())}.",
        f"{rows_in_words(len(residuals)).capitalize()} in {bins} bins"
        + (f"; the outermost bins hold the {rows_in_words(beyond)} beyond the axis, too." if beyond else "."),
    )


def of_classification(data: ReportData, output: int) -> tuple[list[Picture], Confusion, list[str]]:
    """Return the curves, the confusion matrix, and what could not be drawn and why."""
    classes = list(data.pipeline.classes_)
    actual, unseen = class_codes(data.pipeline.classes_, data.target)
    labels = [label_of(each) for each in [*classes, *unseen]]
    confusion = _confusion(actual, data.decided, labels, data.weights)
    counts = np.bincount(actual, minlength=len(labels))
    # For two classes one curve says it all; a class that is absent, or alone, has none.
    frequent = np.argsort(-counts[: len(classes)], kind="stable").tolist()
    candidates = [output] if len(classes) == 2 else sorted(frequent, key=lambda code: code != output)
    drawable = [code for code in candidates if 0 < counts[code] < len(actual)]
    if not drawable:
        return [], confusion, ["ROC, precision-recall and calibration need at least two classes in the test part."]
    chosen = drawable[:CURVE_CLASSES]
    scored = [(shorten(labels[code], LABEL_WIDTH), actual == code, data.predictions[:, code]) for code in chosen]
    notes = [
        f'The curves are of the class "{shorten(labels[output], VALUE_WIDTH)}".'
        if len(classes) == 2
        else f"The curves are one-versus-rest, of {_of_all(len(chosen), len(classes))}."
    ]
    weights = data.weights
    pictures = [_roc(scored, weights), _precision_recall(scored, weights), _calibration(scored, weights)]
    if len(classes) == 2 or data.evaluation["pos_label"] is not None:
        pictures.append(_gain(scored[0], weights))
    return pictures, confusion, notes


def _gain(scored: ScoredClass, weights: Weights) -> Picture:
    """Return how many rows of a class are found among those with the highest probabilities of it."""
    name, truth, scores = scored
    by = np.ones(len(truth)) if weights is None else weights
    # Rows of one probability are found together.
    ranks = np.unique(-scores, return_inverse=True)[1]
    x, y = (np.concatenate([[0.0], np.cumsum(np.bincount(ranks, each)) / each.sum()]) for each in (by, by * truth))
    found = [(share, float(np.interp(share, x, y))) for share in (0.1, 0.2)]
    told = " and ".join(f"the first {share:.0%} of the rows hold {held:.0%} of the class" for share, held in found)
    return Picture(
        "Gain and lift",
        figures.gain([Curve(name, x, y, found[0][1])]),
        f"By the probability of {name}, {told}: {found[0][1] / 0.1:.1f} and {found[1][1] / 0.2:.1f} times what a guess "
        "finds (lift).",
        "The thin diagonal is a guess.",
    )


def _of_all(chosen: int, classes: int) -> str:
    return f"all {classes} classes" if chosen == classes else f"the {chosen} most frequent of {classes} classes"


# The name of a class, which rows are of it, and their probabilities of it; both of shape (rows,).
ScoredClass = tuple[str, npt.NDArray[np.bool_], Numbers]


def _roc(scored: Sequence[ScoredClass], weights: Weights) -> Picture:
    curves = []
    for name, truth, scores in scored:
        x, y, _ = metrics.roc_curve(truth, scores, sample_weight=weights)
        curves.append(Curve(name, x, y, float(metrics.auc(x, y))))
    return Picture(
        "ROC",
        figures.roc(curves),
        f"Area under the curve: {_values_of(curves)}.",
        "The thin diagonal is a guess (0.5).",
    )


def _precision_recall(scored: Sequence[ScoredClass], weights: Weights) -> Picture:
    curves = []
    for name, truth, scores in scored:
        precision, recall, _ = metrics.precision_recall_curve(truth, scores, sample_weight=weights)
        average = float(metrics.average_precision_score(truth, scores, sample_weight=weights))
        curves.append(Curve(name, recall[::-1], precision[::-1], average))
    shares = _listed((name, float(np.average(truth, weights=weights))) for name, truth, _ in scored)
    return Picture(
        "Precision and recall",
        figures.precision_recall(curves),
        f"Average precision: {_values_of(curves)}.",
        f"A guess has the precision of the class's share of the rows: {shares}.",
    )


def _calibration(scored: Sequence[ScoredClass], weights: Weights) -> Picture:
    curves, few = [], []
    for name, truth, scores in scored:
        mean, share, rows, total = _calibration_bins(truth, scores, weights)
        # The expected calibration error: the bins' gaps, weighted by their rows.
        curves.append(Curve(name, mean, share, float(np.average(np.abs(mean - share), weights=total))))
        few.append(rows < FEW_ROWS)
    return Picture(
        "Calibration",
        figures.calibration(curves, few),
        f"Expected calibration error: {_values_of(curves)}.",
        f"{CALIBRATION_BINS} bins of equal width; hollow ones hold fewer than {FEW_ROWS} rows. On the thin diagonal a "
        "probability means what it says.",
    )


def _calibration_bins(
    truth: npt.NDArray[np.bool_], scores: Numbers, weights: Weights
) -> tuple[Numbers, Numbers, Codes, Numbers]:
    """Return mean probability, share of the class, number of rows and their weight, of each bin that holds any."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    held = rows > 0
    by = np.ones(len(bins)) if weights is None else weights
    total, of_scores, of_truth = (
        np.asarray(np.bincount(bins, by * each, CALIBRATION_BINS)[held], np.float64)
        for each in (np.ones(len(bins)), scores, truth)
    )
    return of_scores / total, of_truth / total, rows[held], total


def _values_of(curves: Iterable[Curve]) -> str:
    return _listed((curve.name, curve.value) for curve in curves)


def _listed(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{value:.3f} ({name})" for name, value in values)


def of_importance(importance: Importance, metric: str) -> Picture:
    """Return the importances of the features, by a metric."""
    names = importance.names[:SHOWN_FEATURES]
    mean, spread = (part[: len(names)] for part in (importance.losses.mean(axis=1), importance.losses.std(axis=1)))
    change = "increase" if metric in LOWER_IS_BETTER else "decrease"
    labels = [shorten(name, LABEL_WIDTH) for name in names]
    first = ", ".join(f"{shorten(name, VALUE_WIDTH)} {each}" for name, each, _ in importance_rows(importance)[:3])
    return Picture(
        "Permutation importance",
        figures.importance_bars(labels, mean, spread, f"{change} of {metric} when shuffled"),
        f"Mean {change} of {metric} when one feature is shuffled, the largest first: {first}.",
        "Bars are means, the thin lines one standard deviation of the repeats to each side.",
    )


def importance_rows(importance: Importance) -> list[tuple[str, str, str]]:
    """Return name, mean and standard deviation of the features that are shown."""
    return [
        (name, rounded(float(losses.mean()), spread), rounded(float(losses.std()), spread))
        for name, losses in zip(importance.names[:SHOWN_FEATURES], importance.losses, strict=False)
        for spread in [4 * float(losses.std())]
    ]


# The target


def of_target(data: ReportData) -> Picture:
    """Return how the target is distributed in the test part, and what the profile knows of all rows."""
    return _of_values(data) if data.evaluation["problem"] == "regression" else _of_classes(data)


def _of_values(data: ReportData) -> Picture:
    actual, predicted = (np.asarray(each, np.float64) for each in (data.target, data.predictions))
    told = _digits_of(actual)
    mean, deviation = _moments(actual, data.weights)
    column = next(each for each in data.profile["columns"] if each["use"] == "target")
    known = [f"{name} {told(column[key])}" for key, name in _MOMENTS.items() if column.get(key) is not None]
    tail = 0.005 if len(actual) > SCATTER_ROWS else 0
    low, high = (float(each) for each in np.quantile(actual, [tail, 1 - tail]))
    bins = int(np.clip(np.sqrt(len(actual)), 5, 40))
    return Picture(
        "Distribution of the target",
        figures.target_histogram(
            actual.clip(low, high),
            predicted.clip(low, high),
            bins,
            shorten(data.model["target"], VALUE_WIDTH),
            data.weights,
        ),
        f"In the test part the target has mean {told(mean)} and standard deviation {told(deviation)}"
        + (
            f"; in all {rows_in_words(described_rows(data.profile))}, those of training among them, {', '.join(known)}"
            if known
            else ""
        )
        + f". The predictions have mean {told(_moments(predicted, data.weights)[0])} and standard deviation "
        f"{told(_moments(predicted, data.weights)[1])}.",
        "Bars are actual values, the line is what was predicted; what is beyond the axis is in the outermost bins.",
    )


_MOMENTS: Mapping[str, str] = {"mean": "mean", "std": "standard deviation"}


def _of_classes(data: ReportData) -> Picture:
    actual, unseen = class_codes(data.pipeline.classes_, data.target)
    labels = [label_of(each) for each in [*data.pipeline.classes_, *unseen]]
    counts = np.bincount(actual, data.weights, len(labels))
    expected = np.average(data.predictions, axis=0, weights=data.weights)
    shares, predicted = counts / counts.sum(), np.concatenate([expected, np.zeros(len(unseen))])
    used = {label_of(each["label"]): each["rows"] for each in data.profile["classes"] or ()}
    of_all = np.array([used.get(label, 0) for label in labels]) / max(1, sum(used.values()))
    shown = np.argsort(-shares, kind="stable")[:CONFUSION_CLASSES]
    first = ", ".join(f"{shorten(labels[code], VALUE_WIDTH)} {shares[code]:.1%}" for code in shown[:3])
    more = f", of {len(labels)} classes" if len(labels) > 3 else ""
    return Picture(
        "Distribution of the classes",
        figures.class_bars(
            [shorten(labels[code], LABEL_WIDTH) for code in shown], shares[shown], of_all[shown], predicted[shown]
        ),
        f"Shares in the test part: {first}{more}.",
        "Bars are shares in the test part, rings those in all used rows, dots the mean predicted probabilities.",
    )


# Effects


def of_effects(effects: Effects, of: str) -> list[Picture]:
    """Return a figure for each effect, all of one scale, of predictions that are called `of`."""
    if not effects.effects:
        return []
    values = [each.predicted for each in effects.effects]
    ends = limits(*values, np.array([effects.mean]))
    return [_of_effect(each, effects, of, ends) for each in effects.effects]


def _of_effect(effect: Effect, effects: Effects, of: str, ends: tuple[float, float]) -> Picture:
    name, told = shorten(effect.name, VALUE_WIDTH), _digits_of_range(ends)
    lowest, highest = int(effect.predicted.argmin()), int(effect.predicted.argmax())
    if effect.edges is None:
        words = [_value(each, effect.role) for each in effect.points]
        labels = [
            f"{shorten(word, LABEL_WIDTH - 6)} {rows:,}" for word, rows in zip(words, effect.density, strict=True)
        ]
        svg = figures.effect_of_texts(labels, effect.predicted, effects.mean, of, ends)
        note = "With each value, how many test rows have it; lines start at the mean prediction."
    else:
        words = [value_in_words(each, effect.role) for each in effect.points]
        x, edges, label = np.array(effect.points), effect.edges, name
        if effect.role == "timestamp":
            x, edges, label = (x - x[0]) / 86_400, (edges - x[0]) / 86_400, f"{name}, days from {words[0]}"
        svg = figures.effect_of_numbers(x, effect.predicted, edges, effect.density, label, of, ends)
        note = "The bars below show where the test rows are."
    return Picture(
        name,
        svg,
        f"From {told(effect.predicted[lowest])} at {words[lowest]} to {told(effect.predicted[highest])} at "
        f"{words[highest]}.",
        note,
    )


def _value(value: Any, role: str) -> str:
    if value is None:
        return "missing"
    return shorten(value if isinstance(value, str) else value_in_words(value, role), LABEL_WIDTH)


def _digits_of_range(ends: tuple[float, float]) -> Callable[[float], str]:
    return lambda value: rounded(float(value), (ends[1] - ends[0]) / 5)


# Classes


def class_rows(data: ReportData) -> list[tuple[str, str, str, str, str]]:
    """Return name, rows, precision, recall and f1 of the most frequent classes."""
    actual, unseen = class_codes(data.pipeline.classes_, data.target)
    labels = [*data.pipeline.classes_, *unseen]
    predicted, codes = data.decided, np.arange(len(labels))
    scores = metrics.precision_recall_fscore_support(
        actual, predicted, labels=codes, zero_division=0, sample_weight=data.weights
    )
    counts, taken = (np.bincount(each, minlength=len(labels)) for each in (actual, predicted))
    rows = []
    for code in np.argsort(-counts, kind="stable")[:SHOWN_CLASSES]:
        precision, recall, f1 = (float(each[code]) for each in scores[:3])
        there, told = int(counts[code]), int(taken[code])
        rows.append(
            (
                label_of(labels[code]),
                f"{there:,}",
                share_of(precision, told) if told else "none is taken for it",
                share_of(recall, there) if there else "it has no row",
                share_of(f1, there + told) if there + told else "undefined",
            )
        )
    return rows


# Confusion


def _confusion(actual: Codes, predicted: Codes, labels: Sequence[str], weights: Weights) -> Confusion:
    size = len(labels)
    table = np.bincount(actual * size + predicted, weights, size * size).reshape(size, size)
    note = "Rows are the actual class, columns the predicted one; ✓ marks what is right."
    right, total = np.trace(table), table.sum()
    off = table.copy()
    np.fill_diagonal(off, 0)
    row, column = divmod(int(off.argmax()), size)
    if weights is None:
        finding, most = (
            f"{right:,} of {rows_in_words(total)} are right ({right / total:.1%}).",
            rows_in_words(off.max()),
        )
    else:
        finding, most = f"{right / total:.1%} of the weight is right.", f"{off.max() / total:.1%} of the weight"
        note += " Rows are counted by their weights."
    if off.max():
        finding += f' Most often "{shorten(labels[row], VALUE_WIDTH)}" is taken for '
        finding += f'"{shorten(labels[column], VALUE_WIDTH)}" ({most}).'
    shown = [shorten(label, VALUE_WIDTH) for label in labels]
    if size > CONFUSION_CLASSES:
        kept = np.sort(np.argsort(-(table.sum(axis=0) + table.sum(axis=1)), kind="stable")[: CONFUSION_CLASSES - 1])
        groups = np.full(size, len(kept))
        groups[kept] = np.arange(len(kept))
        merged = np.zeros((len(kept) + 1, len(kept) + 1), dtype=table.dtype)
        np.add.at(merged, (groups[:, None], groups[None, :]), table)
        table, shown = merged, [*(shown[code] for code in kept), f"{size - len(kept)} other classes"]
        note += f" The {len(kept)} most frequent classes have their own row; the others are one."
    totals = table.sum(axis=1, keepdims=True)
    shares = table / np.where(totals > 0, totals, 1)
    return Confusion(shown, table.tolist(), shares.tolist(), finding, note)
