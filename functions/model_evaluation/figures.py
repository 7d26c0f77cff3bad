"""Draws the figures of a report: SVG elements that take width, font and colours of the page that they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.metrics import Weights
from common.svg import DASHED, DASHES, INK, MUTED, SERIES, Axes, Axis, Numbers, limits, named_axes

# What bounds the time and the size of a figure, whatever the test part is.
SCATTER_ROWS = 1000
"""Up to this many test rows are drawn one by one; more of them are counted in squares."""
CURVE_CLASSES = len(SERIES)
"""As many classes have curves: what six colours and dashes can tell apart."""
CURVE_POINTS = 200

RESIDUAL = "residual (actual \N{MINUS SIGN} predicted)"
SHARE = (-0.03, 1.03)
"""The ends of an axis that shares are on."""


@dataclass(frozen=True)
class Curve:
    """The curve of one class.

    Attributes
    ----------
    name
        Of the class, short enough for a legend.
    x, y
        Shape (points,).
    value
        What sums the curve up; the legend has it beside the name.
    """

    name: str
    x: Numbers
    y: Numbers
    value: float


# Regression


def predicted_against_actual(actual: Numbers, predicted: Numbers, target: str) -> tuple[str, int | None]:
    """Return the SVG, and how many rows the fullest square counts, None where each row has a point of its own.

    Parameters
    ----------
    actual, predicted
        In the target's unit, shape (rows,).
    target
        Its name, short enough for an axis.
    """
    ends = limits(actual, predicted)
    axes = Axes(Axis(f"actual {target}", *ends), Axis("predicted", *ends))
    fullest = _density(axes, actual, predicted)
    axes.guide(ends, ends, DASHED)
    return axes.svg(), fullest


def residuals_against_predicted(residuals: Numbers, predicted: Numbers) -> tuple[str, int | None]:
    """Return the SVG, and how many rows the fullest square counts, None where each row has a point of its own.

    Both arrays are in the target's unit, shape (rows,).
    """
    ends = limits(predicted)
    axes = Axes(Axis("predicted", *ends), Axis(RESIDUAL, *limits(residuals, np.zeros(1))))
    fullest = _density(axes, predicted, residuals)
    axes.guide(ends, (0, 0), DASHED)
    return axes.svg(), fullest


def _density(axes: Axes, x: Numbers, y: Numbers) -> int | None:
    """Draw points one by one, or counted in squares where there are many, and return the highest count."""
    if len(x) > SCATTER_ROWS:
        return axes.density(x, y)
    axes.dots(x, y, f"fill: {SERIES[0]}; fill-opacity: 0.65", 1.75)
    return None


def residual_histogram(residuals: Numbers, bins: int, weights: Weights = None) -> str:
    """Return the SVG of residuals in the target's unit, and of how much each row counts, both of shape (rows,)."""
    counts, edges = np.histogram(residuals, bins, weights=weights)
    top = 1.05 * float(counts.max())
    label = "test rows" if weights is None else "weight of test rows"
    axes = Axes(Axis(RESIDUAL, *limits(edges, np.zeros(1))), Axis(label, 0, top, whole=weights is None))
    gap = 0.04 * (edges[1] - edges[0])
    axes.bars(edges[:-1] + gap, edges[1:] - gap, np.zeros(bins), counts)
    axes.guide((0, 0), (0, top), DASHED)
    return axes.svg()


# Classification


def roc(curves: Sequence[Curve]) -> str:
    """Return the SVG of true positive rates over false positive rates, of at most `CURVE_CLASSES` classes."""
    axes = _shares("false positive rate", "true positive rate", curves)
    axes.guide((0, 1), (0, 1))
    _lines(axes, curves)
    return axes.svg()


def precision_recall(curves: Sequence[Curve]) -> str:
    """Return the SVG of precision over recall, of at most `CURVE_CLASSES` classes."""
    axes = _shares("recall", "precision", curves)
    _lines(axes, curves)
    return axes.svg()


def calibration(curves: Sequence[Curve], few: Sequence[npt.NDArray[np.bool_]]) -> str:
    """Return the SVG of shares of the class over mean predicted probabilities.

    Parameters
    ----------
    curves
        With a point for each bin, of at most `CURVE_CLASSES` classes.
    few
        For each curve which of its points are drawn hollow, for they stand for few rows; shape (points,).
    """
    axes = _shares("mean predicted probability", "share of the class", curves)
    axes.guide((0, 1), (0, 1))
    _lines(axes, curves)
    for curve, hollow, colour in zip(curves, few, SERIES, strict=False):
        for chosen, filling in ((~hollow, colour), (hollow, "none")):
            axes.dots(curve.x[chosen], curve.y[chosen], f"fill: {filling}; stroke: {colour}; stroke-width: 1", 2.25)
    return axes.svg()


def _shares(across: str, up: str, curves: Sequence[Curve]) -> Axes:
    """Return axes of shares; a curve that is alone is named beside the figure, not in a legend."""
    legend = [f"{curve.name} {curve.value:.3f}" for curve in curves] if len(curves) > 1 else []
    return Axes(Axis(across, *SHARE), Axis(up, *SHARE), legend=legend)


def _lines(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve, colour, dash in zip(curves, SERIES, DASHES, strict=False):
        kept = _thin(curve.x, curve.y)
        axes.line(curve.x[kept], curve.y[kept], colour, 1.6, dash)


def _thin(x: Numbers, y: Numbers) -> npt.NDArray[np.integer[Any]]:
    """Return the positions of at most `CURVE_POINTS` points, evenly spaced along the curve, both ends among them."""
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS)).clip(max=len(x) - 1))


def gain(curves: Sequence[Curve]) -> str:
    """Return the SVG of the share of a class that is found over the share of the rows that are looked at."""
    axes = _shares("share of the rows, the most probable first", "share of the class", curves)
    axes.guide((0, 1), (0, 1))
    _lines(axes, curves)
    return axes.svg()


# The target


def target_histogram(actual: Numbers, predicted: Numbers, bins: int, target: str, weights: Weights = None) -> str:
    """Return the SVG of actual values as bars and predicted ones as a line, of shape (rows,), in the target's unit."""
    low, high = float(actual.min()), float(actual.max())
    span = (low, high) if low < high else limits(actual)
    counts, edges = np.histogram(actual, bins, span, weights=weights)
    line, _ = np.histogram(predicted, bins, span, weights=weights)
    label = "test rows" if weights is None else "weight of test rows"
    top = 1.05 * float(max(counts.max(), line.max()))
    axes = Axes(Axis(target, *limits(edges)), Axis(label, 0, top, whole=weights is None))
    gap = 0.04 * (edges[1] - edges[0])
    axes.bars(edges[:-1] + gap, edges[1:] - gap, np.zeros(bins), counts)
    axes.line(np.repeat(edges, 2)[1:-1], np.repeat(line, 2).astype(np.float64), SERIES[1], 1.6)
    return axes.svg()


def class_bars(names: Sequence[str], shares: Numbers, of_all: Numbers, predicted: Numbers) -> str:
    """Return the SVG of a bar for each class, the first one on top, with a ring and a dot.

    Parameters
    ----------
    names
        Of the classes, short enough for an axis.
    shares, of_all, predicted
        In the test part, in all rows, and by the predicted probabilities; shape (classes,).
    """
    places = np.arange(len(names), dtype=np.float64)
    axes = named_axes(names, "share of the rows", (0, 1.05 * float(max(shares.max(), of_all.max(), predicted.max()))))
    axes.bars(np.zeros(len(names)), shares, places - 0.31, places + 0.31)
    axes.dots(of_all, places, f"fill: none; stroke: {INK}; stroke-width: 1.2", 4)
    axes.dots(predicted, places, f"fill: {SERIES[1]}", 2.25)
    return axes.svg()


# Effects of features


def effect_of_numbers(  # noqa: PLR0913, PLR0917 - what is drawn, and two labels
    x: Numbers,
    predicted: Numbers,
    edges: Numbers,
    density: npt.NDArray[np.integer[Any]],
    name: str,
    label: str,
    ends: tuple[float, float],
) -> str:
    """Return the SVG of predictions over a feature, above bars of how many rows there are.

    Parameters
    ----------
    x, predicted
        Shape (points,).
    edges, density
        Of the bars, shape (bars + 1,) and (bars,).
    name, label
        Of the feature, and what is predicted: short enough for an axis.
    ends
        Of what is predicted.
    """
    # The lowest fifth is the bars' own.
    bottom = ends[0] - 0.25 * (ends[1] - ends[0])
    axes = Axes(Axis(name, *limits(x, edges)), Axis(label, bottom, ends[1], ticked_from=ends[0]))
    heights = bottom + (ends[0] - bottom) * density / max(1, int(density.max()))
    axes.bars(edges[:-1], edges[1:], np.full(len(density), bottom), heights, f"fill: {MUTED}; fill-opacity: 0.5")
    axes.line(x, predicted, SERIES[0], 1.6)
    axes.dots(x, predicted, f"fill: {SERIES[0]}", 2)
    return axes.svg()


def effect_of_texts(
    names: Sequence[str], predicted: Numbers, mean: float, label: str, ends: tuple[float, float]
) -> str:
    """Return the SVG of a prediction for each text, the first one on top, with a line from the mean prediction."""
    places = np.arange(len(names), dtype=np.float64)
    axes = named_axes(names, label, ends)
    axes.guide((mean, mean), (len(names) - 0.4, -0.6))
    axes.bars(np.full(len(names), mean), predicted, places - 0.06, places + 0.06)
    axes.dots(predicted, places, f"fill: {SERIES[0]}", 3)
    return axes.svg()


# Permutation importance


def importance_bars(names: Sequence[str], mean: Numbers, spread: Numbers, label: str) -> str:
    """Return the SVG of a bar for each feature, the first one on top.

    Parameters
    ----------
    names
        Of the features, short enough for an axis.
    mean, spread
        The lengths of the bars, and of the thin lines to each side of their ends, shape (features,).
    label
        What the bars measure.
    """
    places = np.arange(len(names), dtype=np.float64)
    ends = limits(mean - spread, mean + spread, np.zeros(1))
    axes = named_axes(names, label, ends)
    axes.bars(np.zeros(len(names)), mean, places - 0.31, places + 0.31)
    axes.spans(mean - spread, mean + spread, places)
    axes.guide((0, 0), (len(names) - 0.4, -0.6))
    return axes.svg()


# Search


def trials(numbers: Numbers, scores: Numbers, groups: Sequence[str], best: int, metric: str) -> str:
    """Return the SVG of scores over trials, the best one in a ring; scores far beyond the others stand at the edge.

    Parameters
    ----------
    numbers, scores
        Of the trials that have a score, shape (trials,).
    groups
        What each of them tried, shape (trials,): names for the legend, at most `CURVE_CLASSES` different ones.
    best
        The number of the best one.
    metric
        What the scores are.
    """
    names = list(dict.fromkeys(groups))
    quarter = np.quantile(scores, (0.25, 0.75))
    far = 3 * (quarter[1] - quarter[0])
    shown = scores.clip(
        min(quarter[0] - far, scores[numbers == best].min()), max(quarter[1] + far, scores[numbers == best].max())
    )
    across = Axis("trial", -0.5, float(numbers.max()) + 0.5, whole=True)
    axes = Axes(across, Axis(metric, *limits(shown)), legend=names if len(names) > 1 else [])
    for name, colour in zip(names, SERIES, strict=False):
        chosen = np.array([each == name for each in groups])
        axes.dots(numbers[chosen], shown[chosen], f"fill: {colour}; fill-opacity: 0.85", 2.25)
    ring = f"fill: none; stroke: {INK}; stroke-width: 1.2"
    axes.dots(numbers[numbers == best], shown[numbers == best], ring, 5)
    return axes.svg()
