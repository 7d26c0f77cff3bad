"""Draws the figures of a report: SVG elements that take width, font and colours of the page that they stand on."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from common.metrics import Weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = npt.NDArray[np.floating[Any]]

# What bounds the time and the size of a figure, whatever the test part is.
SCATTER_ROWS = 1000
"""Up to this many test rows are drawn one by one; more of them are counted in hexagons."""
CURVE_CLASSES = 6
"""As many classes have curves: what six colours and dashes can tell apart."""
CURVE_POINTS = 200
SHORT_LABEL = 10

# Drawn in these, which no figure would choose, and then replaced: so a figure follows the page into dark mode.
INK, MUTED, LINE = "#010100", "#010101", "#010102"
SERIES = tuple(f"#01011{number}" for number in range(1, CURVE_CLASSES + 1))
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, 1)
}
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "axes.formatter.limits": (-4, 6),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.edgecolor": MUTED,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
RESIDUAL = "residual (actual \N{MINUS SIGN} predicted)"
WIDTH, HEIGHT = 4.2, 3.2
"""Of a figure in inches: about as wide as a phone, so that its text is not made small there."""


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


def draw(name: str, paint: Callable[[Axes], None], height: float = HEIGHT) -> str:
    """Return what `paint` draws as an SVG element that takes the page's width, font and colours.

    Parameters
    ----------
    name
        Starts every id, so that two figures on one page do not share one.
    paint
        Draws on the axes that it is given.
    height
        In inches.
    """
    # No pyplot: it would keep the figure, and choose a backend for a screen.
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # matplotlib only measures the text; the browser that draws it has fonts for it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        paint(axes)
        # Few enough that six digits each do not run into each other.
        axes.locator_params(axis="x", nbins=5)
        buffer = io.StringIO()
        # Not `savefig`, which draws all of it twice, the first time to lay it out: one drawing does both.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return _for_page(buffer.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    # Its style sheet would hold for the whole page; the page's own says the same.
    element = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # matplotlib escapes <, > and & in a text, so that nothing but a tag looks like a tag.
    return re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), element)


def _tag(tag: str, name: str) -> str:
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", tag)
    if tag.startswith("<svg"):
        tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    tag = re.sub(r" font-family: [^;]*;", "", tag)
    return re.sub(r"#0101[01]\d", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)


# Regression


def predicted_against_actual(actual: Numbers, predicted: Numbers, target: str) -> tuple[str, int | None]:
    """Return the SVG, and how many rows the fullest hexagon counts, None where each row has a point of its own.

    Parameters
    ----------
    actual, predicted
        In the target's unit, shape (rows,).
    target
        Its name, short enough for an axis.
    """
    low, high = float(min(actual.min(), predicted.min())), float(max(actual.max(), predicted.max()))
    fullest = list[int | None]()

    def paint(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=MUTED, linestyle=DASHES[1], linewidth=1)
        fullest.append(_density(axes, actual, predicted))
        axes.set_xlabel(f"actual {target}")
        axes.set_ylabel("predicted")

    return draw("predicted", paint), fullest[0]


def residuals_against_predicted(residuals: Numbers, predicted: Numbers) -> tuple[str, int | None]:
    """Return the SVG, and how many rows the fullest hexagon counts, None where each row has a point of its own.

    Both arrays are in the target's unit, shape (rows,).
    """
    fullest = list[int | None]()

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linestyle=DASHES[1], linewidth=1)
        fullest.append(_density(axes, predicted, residuals))
        axes.set_xlabel("predicted")
        axes.set_ylabel(RESIDUAL)

    return draw("residuals", paint), fullest[0]


def _density(axes: Axes, x: Numbers, y: Numbers) -> int | None:
    """Draw points one by one, or counted in hexagons where there are many, and return the highest count."""
    if len(x) <= SCATTER_ROWS:
        axes.plot(x, y, "o", color=SERIES[0], markersize=3.5, markeredgewidth=0, alpha=0.65)
        return None
    shades = ListedColormap([(*mpl.colors.to_rgb(SERIES[0]), alpha) for alpha in np.linspace(0.15, 1, 16)])
    cells = axes.hexbin(x, y, gridsize=30, bins="log", mincnt=1, cmap=shades, edgecolors="none", linewidths=0)
    return int(np.max(np.asarray(cells.get_array())))


def residual_histogram(residuals: Numbers, bins: int, weights: Weights = None) -> str:
    """Return the SVG of residuals in the target's unit, and of how much each row counts, both of shape (rows,)."""

    def paint(axes: Axes) -> None:
        axes.hist(residuals, bins=bins, weights=weights, color=SERIES[0], alpha=0.75)
        axes.axvline(0, color=MUTED, linestyle=DASHES[1], linewidth=1)
        axes.set_xlabel(RESIDUAL)
        axes.set_ylabel("test rows" if weights is None else "weight of test rows")
        axes.locator_params(axis="y", integer=weights is None)

    return draw("histogram", paint)


# Classification


def roc(curves: Sequence[Curve]) -> str:
    """Return the SVG of true positive rates over false positive rates, of at most `CURVE_CLASSES` classes."""

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        _plot(axes, curves)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        _legend(axes, curves)

    return draw("roc", paint, _height(curves))


def precision_recall(curves: Sequence[Curve]) -> str:
    """Return the SVG of precision over recall, of at most `CURVE_CLASSES` classes."""

    def paint(axes: Axes) -> None:
        _plot(axes, curves)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        _legend(axes, curves)

    return draw("precision", paint, _height(curves))


def calibration(curves: Sequence[Curve], few: Sequence[npt.NDArray[np.bool_]]) -> str:
    """Return the SVG of shares of the class over mean predicted probabilities.

    Parameters
    ----------
    curves
        With a point for each bin, of at most `CURVE_CLASSES` classes.
    few
        For each curve which of its points are drawn hollow, for they stand for few rows; shape (points,).
    """

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        for curve, hollow, colour, dash in zip(curves, few, SERIES, DASHES, strict=False):
            axes.plot(curve.x, curve.y, color=colour, linestyle=dash, linewidth=1.4, label=_legend_text(curve))
            for chosen, filling in ((~hollow, colour), (hollow, "none")):
                axes.plot(
                    curve.x[chosen],
                    curve.y[chosen],
                    "o",
                    color=colour,
                    markersize=4.5,
                    markerfacecolor=filling,
                    zorder=3,
                )
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("mean predicted probability")
        axes.set_ylabel("share of the class")
        _legend(axes, curves)

    return draw("calibration", paint, _height(curves))


def _plot(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve, colour, dash in zip(curves, SERIES, DASHES, strict=False):
        kept = _thin(curve.x, curve.y)
        axes.plot(curve.x[kept], curve.y[kept], color=colour, linestyle=dash, linewidth=1.6, label=_legend_text(curve))
    axes.set_xlim(-0.03, 1.03)


def _thin(x: Numbers, y: Numbers) -> npt.NDArray[np.integer[Any]]:
    """Return the positions of at most `CURVE_POINTS` points, evenly spaced along the curve, both ends among them."""
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS)).clip(max=len(x) - 1))


def _legend(axes: Axes, curves: Sequence[Curve]) -> None:
    """Name the curves above the axes, where no curve can run into the names; one alone is named beside the figure."""
    if len(curves) > 1:
        axes.figure.legend(loc="outside upper left", ncols=_legend_columns(curves))


def _legend_text(curve: Curve) -> str:
    return f"{curve.name} {curve.value:.3f}"


def _legend_columns(curves: Sequence[Curve]) -> int:
    return 2 if max(len(curve.name) for curve in curves) <= SHORT_LABEL else 1


def _height(curves: Sequence[Curve]) -> float:
    return HEIGHT + (0.19 * len(curves) / _legend_columns(curves) if len(curves) > 1 else 0)


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

    def paint(axes: Axes) -> None:
        positions = np.arange(len(names))
        axes.barh(positions, mean, height=0.62, color=SERIES[0], alpha=0.75)
        axes.errorbar(mean, positions, xerr=spread, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(positions, names)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(label, loc="right")

    return draw("importance", paint, height=0.9 + 0.25 * len(names))
