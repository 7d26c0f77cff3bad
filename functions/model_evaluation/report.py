"""Renders the report of one evaluation: a single HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn import metrics

from common.request import LOWER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.pipeline import Pipeline

Numbers = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.integer[Any]]

TEMPLATE = "report.html.j2"

# What bounds the time and the size of a report, whatever the test part is.
SCATTER_ROWS = 1000
"""Up to this many test rows are drawn one by one; more of them are counted in hexagons."""
CURVE_CLASSES = 6
"""As many classes have curves: what six colours and dashes can tell apart."""
CURVE_POINTS = 200
CONFUSION_CLASSES = 12
CALIBRATION_BINS = 10
FEW_ROWS = 10
"""A calibration bin with fewer rows is drawn hollow: its share says little."""
IMPORTANCE_FEATURES = 30
SHOWN_FEATURES = 20
IMPORTANCE_REPEATS = 5
IMPORTANCE_ROWS = 2000
IMPORTANCE_LEAST_ROWS = 100
PREDICTED_ROWS = 60_000
"""Permutation importance predicts as many rows in all, less than a test part of 100,000 has; fewer where a row is wide
or there are many classes, for each of which boosting has trees of its own."""
CHEAP_CLASSES = 4
SCREENING_ROWS = 16
BLOCK_CELLS = 1 << 22
"""How many values one prediction may take or return (32 MB)."""
PROFILE_COLUMNS = 500
NAME_WIDTH = 300
VALUE_WIDTH = 40
LABEL_WIDTH = 20
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
class ReportData:
    """What a report tells of: the documents of one run, its model, and the test part with what was predicted for it.

    Attributes
    ----------
    evaluation, profile, model
        The documents `evaluation.json`, `profile.json` and `model.json`.
    pipeline
        The challenger.
    features
        The test part's features, shape (rows, features).
    target
        The test part's target, shape (rows,).
    predictions
        For regression the predicted values, shape (rows,); for classification the probabilities, shape
        (rows, classes), in the order of `pipeline.classes_`.
    """

    evaluation: Mapping[str, Any]
    profile: Mapping[str, Any]
    model: Mapping[str, Any]
    pipeline: Pipeline
    features: pd.DataFrame
    target: npt.NDArray[Any]
    predictions: npt.NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """A figure: its title, the SVG element, what it shows in numbers (the text alternative), and how it was made."""

    title: str
    svg: str
    finding: str
    note: str


@dataclass(frozen=True)
class Confusion:
    """How often each class was predicted for each: counts and shares of the actual class, both (classes, classes)."""

    labels: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    finding: str
    note: str


@dataclass(frozen=True)
class Importance:
    """Permutation importance, the most important feature first.

    Attributes
    ----------
    names
        Of the features that were measured.
    losses
        By how much the metric gets worse when a feature is shuffled, shape (features, repeats).
    rows
        How many test rows it was measured on.
    screened
        How many features there were to choose those from that were measured.
    """

    names: list[str]
    losses: Numbers
    rows: int
    screened: int


def render_report(data: ReportData) -> str:
    """Return the report as one HTML document.

    The same data gives the same document, to the last byte.

    Parameters
    ----------
    data
        Of one evaluation.

    Returns
    -------
    str
        HTML with inline style and inline SVG. Whatever comes from the data set is escaped.
    """
    classification = data.evaluation["problem"] == "classification"
    pictures, confusion, notes = _classification(data) if classification else (_regression(data), None, [])
    importance = permutation_importance(data)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=lambda text: shorten(text, NAME_WIDTH))
    return environment.get_template(TEMPLATE).render(
        evaluation=data.evaluation,
        profile=data.profile,
        model=data.model,
        comparison=_comparison(data.evaluation),
        improvement=_improvement(data.evaluation),
        pictures=pictures,
        confusion=confusion,
        notes=notes,
        importance=importance,
        importance_picture=_importance_picture(importance, data.evaluation["metric"]),
        importance_rows=_importance_rows(importance),
        repeats=IMPORTANCE_REPEATS,
        seed=data.model["request"]["seed"],
        columns=[_profile_row(column, data.profile) for column in data.profile["columns"][:PROFILE_COLUMNS]],
        lineage=_lineage(data),
    )


# Words and numbers


def number(value: Any) -> str:
    """Return a number with separators; one that is not whole with six digits.

    Examples
    --------
    >>> number(1234567), number(12345.678), number(0.123456789), number(1e-9), number(None)
    ('1,234,567', '12,345.7', '0.123457', '1e-09', 'undefined')
    """
    if value is None:
        return "undefined"
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if not 1e-4 <= abs(value) < 1e12:
        return f"{value:.6g}"
    decimals = max(0, 5 - int(np.floor(np.log10(abs(value)))))
    digits = f"{value:,.{decimals}f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


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
    ends = np.cumsum([2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in start])
    fits = len(start) == 0 or ends[-1] <= width
    return "".join(start) if fits else "".join(start[: int(np.sum(ends < width))]) + "…"


def _unsafe(character: str) -> bool:
    turning = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return turning or unicodedata.category(character) in ("Cc", "Cs")


def _label(value: Any) -> str:
    """Return a class label as the data set has it: labels that are whole numbers may be stored as floats."""
    plain = value.item() if isinstance(value, np.generic) else value
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


# Challenger against champion


def _comparison(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each metric; the difference says in words who is better."""
    champion = evaluation.get("champion") or {}
    rows = []
    for name, value in evaluation["metrics"].items():
        other = (champion.get("metrics") or {}).get(name)
        rows.append(
            {
                "name": name,
                "decides": name == evaluation["metric"],
                "direction": "lower is better" if name in LOWER_IS_BETTER else "higher is better",
                "value": number(value),
                "undefined": evaluation["undefined"].get(name),
                "champion": number(other),
                "difference": _difference(name, value, other),
            }
        )
    return rows


def _difference(metric: str, value: float | None, other: float | None) -> str:
    if value is None or other is None:
        return "cannot be compared"
    gain = other - value if metric in LOWER_IS_BETTER else value - other
    if gain == 0:
        return "= equal"
    return f"▲ {number(gain)} better" if gain > 0 else f"▼ {number(-gain)} worse"


def _improvement(evaluation: Mapping[str, Any]) -> str | None:
    """Return the sentences on the improvement and its interval, or None where there is none."""
    found = (evaluation.get("champion") or {}).get("improvement")
    if found is None:
        return None
    low, high = found["low"], found["high"]
    verdict = "The interval includes 0: on these rows neither model is clearly the better one."
    if low > 0:
        verdict = "The whole interval is above 0: the challenger is better."
    elif high < 0:
        verdict = "The whole interval is below 0: the challenger is worse."
    return (
        f"{found['metric']} improves by {number(found['value'])} "
        f"({found['confidence']:.0%} interval {number(low)} to {number(high)}; positive: the challenger is better). "
        f"{verdict} Method: {found['method']}, {found['resamples']:,} resamples of the "
        f"n = {evaluation['rows']:,} test rows, seed {found['seed']}."
    )


# Figures


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
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
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


def _density(axes: Axes, x: Numbers, y: Numbers) -> str:
    """Draw points one by one, or counted in hexagons where there are many, and return how."""
    if len(x) <= SCATTER_ROWS:
        axes.plot(x, y, "o", color=SERIES[0], markersize=3.5, markeredgewidth=0, alpha=0.65)
        return "One point for each test row."
    shades = ListedColormap([(*mpl.colors.to_rgb(SERIES[0]), alpha) for alpha in np.linspace(0.15, 1, 16)])
    cells = axes.hexbin(x, y, gridsize=30, bins="log", mincnt=1, cmap=shades, edgecolors="none", linewidths=0)
    fullest = int(np.max(np.asarray(cells.get_array())))
    return (
        f"All {_rows(len(x))}, counted in hexagons: the stronger the colour the more rows (log scale), "
        f"{fullest:,} at the most."
    )


def _regression(data: ReportData) -> list[Picture]:
    actual = np.asarray(data.target, dtype=np.float64)
    predicted = np.asarray(data.predictions, dtype=np.float64)
    return [
        _predicted_against_actual(actual, predicted, data),
        _residuals_against_predicted(actual - predicted, predicted),
        _residual_histogram(actual - predicted),
    ]


def _predicted_against_actual(actual: Numbers, predicted: Numbers, data: ReportData) -> Picture:
    target = shorten(data.model["target"], VALUE_WIDTH)
    error = np.abs(actual - predicted)
    low, high = float(min(actual.min(), predicted.min())), float(max(actual.max(), predicted.max()))
    notes = []

    def paint(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=MUTED, linestyle=DASHES[1], linewidth=1)
        notes.append(_density(axes, actual, predicted))
        axes.set_xlabel(f"actual {target}")
        axes.set_ylabel("predicted")

    return Picture(
        "Predicted against actual",
        draw("predicted", paint),
        f"Predictions run from {number(predicted.min())} to {number(predicted.max())} where the actual values run "
        f"from {number(actual.min())} to {number(actual.max())}. Half of them are off by at most "
        f"{number(np.median(error))}, nine in ten by at most {number(np.quantile(error, 0.9))}.",
        f"{notes[0]} On the dashed line a prediction is right.",
    )


def _residuals_against_predicted(residuals: Numbers, predicted: Numbers) -> Picture:
    notes = []

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linestyle=DASHES[1], linewidth=1)
        notes.append(_density(axes, predicted, residuals))
        axes.set_xlabel("predicted")
        axes.set_ylabel(RESIDUAL)

    below, above = (residuals[half] for half in _halves(predicted))
    return Picture(
        "Residuals against predicted",
        draw("residuals", paint),
        f"The mean residual is {number(below.mean())} in the lower half of the predictions and "
        f"{number(above.mean())} in the upper half; their standard deviations are {number(below.std())} and "
        f"{number(above.std())}.",
        notes[0],
    )


def _halves(values: Numbers) -> tuple[Codes, Codes]:
    order = np.argsort(values, kind="stable")
    return order[: len(order) // 2], order[len(order) // 2 :]


def _residual_histogram(residuals: Numbers) -> Picture:
    # Among many rows a few far residuals would leave one bar of the rest.
    tail = 0.005 if len(residuals) > SCATTER_ROWS else 0
    low, high = (float(each) for each in np.quantile(residuals, [tail, 1 - tail]))
    beyond = int(np.sum((residuals < low) | (residuals > high)))
    bins = int(np.clip(np.sqrt(len(residuals)), 5, 40))

    def paint(axes: Axes) -> None:
        axes.hist(np.clip(residuals, low, high), bins=bins, color=SERIES[0], alpha=0.75)
        axes.axvline(0, color=MUTED, linestyle=DASHES[1], linewidth=1)
        axes.set_xlabel(RESIDUAL)
        axes.set_ylabel("test rows")
        axes.locator_params(axis="y", integer=True)

    return Picture(
        "Distribution of the residuals",
        draw("histogram", paint),
        f"The residuals have mean {number(residuals.mean())} and standard deviation {number(residuals.std())}; "
        f"they run from {number(residuals.min())} to {number(residuals.max())}.",
        f"{_rows(len(residuals)).capitalize()} in {bins} bins"
        + (f"; the outermost bins hold the {_rows(beyond)} beyond the axis, too." if beyond else "."),
    )


def _classification(data: ReportData) -> tuple[list[Picture], Confusion, list[str]]:
    """Return the curves, the confusion matrix, and what could not be drawn and why."""
    classes = list(data.pipeline.classes_)
    actual, unseen = class_codes(data)
    labels = [_label(each) for each in [*classes, *unseen]]
    confusion = _confusion(actual, data.predictions.argmax(axis=1), labels)
    counts = np.bincount(actual, minlength=len(labels))
    # For two classes one curve says it all; a class that is absent, or alone, has none.
    candidates = [1] if len(classes) == 2 else np.argsort(-counts[: len(classes)], kind="stable").tolist()
    drawable = [code for code in candidates if 0 < counts[code] < len(actual)]
    if not drawable:
        return [], confusion, ["ROC, precision-recall and calibration need at least two classes in the test part."]
    chosen = drawable[:CURVE_CLASSES]
    curves = [(shorten(labels[code], LABEL_WIDTH), actual == code, data.predictions[:, code]) for code in chosen]
    notes = [
        f'The curves are of the class "{shorten(labels[1], VALUE_WIDTH)}".'
        if len(classes) == 2
        else f"The curves are one-versus-rest, of {_of_all(len(chosen), len(classes))}."
    ]
    return [_roc(curves), _precision_recall(curves), _calibration(curves)], confusion, notes


def _of_all(chosen: int, classes: int) -> str:
    return f"all {classes} classes" if chosen == classes else f"the {chosen} most frequent of {classes} classes"


def class_codes(data: ReportData) -> tuple[Codes, list[Any]]:
    """Return each test row's position in the pipeline's classes, shape (rows,), and the labels that come after them.

    Those are the labels that training never saw.
    """
    unseen = sorted(set(np.unique(data.target).tolist()) - set(data.pipeline.classes_.tolist()))
    labels = pd.Index([*data.pipeline.classes_.tolist(), *unseen])
    return np.asarray(labels.get_indexer(pd.Index(data.target))), unseen


def _confusion(actual: Codes, predicted: Codes, labels: Sequence[str]) -> Confusion:
    size = len(labels)
    table = np.bincount(actual * size + predicted, minlength=size * size).reshape(size, size)
    correct, note = int(np.trace(table)), "Rows are the actual class, columns the predicted one; ✓ marks what is right."
    off = table.copy()
    np.fill_diagonal(off, 0)
    row, column = divmod(int(off.argmax()), size)
    finding = f"{correct:,} of {_rows(len(actual))} are right ({correct / len(actual):.1%})."
    if off.max():
        finding += f' Most often "{shorten(labels[row], VALUE_WIDTH)}" is taken for '
        finding += f'"{shorten(labels[column], VALUE_WIDTH)}" ({_rows(int(off.max()))}).'
    shown = [shorten(label, VALUE_WIDTH) for label in labels]
    if size > CONFUSION_CLASSES:
        kept = np.sort(np.argsort(-(table.sum(axis=0) + table.sum(axis=1)), kind="stable")[: CONFUSION_CLASSES - 1])
        groups = np.full(size, len(kept))
        groups[kept] = np.arange(len(kept))
        merged = np.zeros((len(kept) + 1, len(kept) + 1), dtype=np.int64)
        np.add.at(merged, (groups[:, None], groups[None, :]), table)
        table, shown = merged, [*(shown[code] for code in kept), f"{size - len(kept)} other classes"]
        note += f" The {len(kept)} most frequent classes have their own row; the others are one."
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return Confusion(shown, table.tolist(), shares.tolist(), finding, note)


Curve = tuple[str, npt.NDArray[np.bool_], Numbers]


def _roc(curves: Sequence[Curve]) -> Picture:
    drawn = [(name, *metrics.roc_curve(truth, scores)[:2]) for name, truth, scores in curves]
    areas = [float(metrics.auc(x, y)) for _, x, y in drawn]

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        _plot_curves(axes, drawn, areas)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        _legend(axes, curves)

    return Picture(
        "ROC",
        draw("roc", paint, _height(curves)),
        f"Area under the curve: {_listed(zip((each[0] for each in curves), areas, strict=True))}.",
        "The thin diagonal is a guess (0.5).",
    )


def _precision_recall(curves: Sequence[Curve]) -> Picture:
    drawn = []
    for name, truth, scores in curves:
        precision, recall, _ = metrics.precision_recall_curve(truth, scores)
        drawn.append((name, recall[::-1], precision[::-1]))
    averages = [float(metrics.average_precision_score(truth, scores)) for _, truth, scores in curves]
    shares = _listed((name, truth.mean()) for name, truth, _ in curves)

    def paint(axes: Axes) -> None:
        _plot_curves(axes, drawn, averages)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        _legend(axes, curves)

    return Picture(
        "Precision and recall",
        draw("precision", paint, _height(curves)),
        f"Average precision: {_listed(zip((each[0] for each in curves), averages, strict=True))}.",
        f"A guess has the precision of the class's share of the rows: {shares}.",
    )


def _plot_curves(axes: Axes, curves: Sequence[tuple[str, Numbers, Numbers]], values: Sequence[float]) -> None:
    for (name, x, y), value, colour, dash in zip(curves, values, SERIES, DASHES, strict=False):
        kept = _thin(x, y)
        axes.plot(
            x[kept],
            y[kept],
            color=colour,
            linestyle=dash,
            linewidth=1.6,
            label=f"{name} {value:.3f}",
        )
    axes.set_xlim(-0.03, 1.03)


def _height(curves: Sequence[Curve]) -> float:
    return HEIGHT + (0.19 * len(curves) / _legend_columns(curves) if len(curves) > 1 else 0)


def _legend_columns(curves: Sequence[Curve]) -> int:
    return 2 if max(len(name) for name, _, _ in curves) <= SHORT_LABEL else 1


def _legend(axes: Axes, curves: Sequence[Curve]) -> None:
    """Name the curves above the axes, where no curve can run into the names; one alone is named beside the figure."""
    if len(curves) > 1:
        axes.figure.legend(loc="outside upper left", ncols=_legend_columns(curves))


def _thin(x: Numbers, y: Numbers) -> Codes:
    """Return the positions of at most `CURVE_POINTS` points, evenly spaced along the curve, both ends among them."""
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS)).clip(max=len(x) - 1))


def _calibration(curves: Sequence[Curve]) -> Picture:
    binned = [(name, *calibration_bins(truth, scores)) for name, truth, scores in curves]
    # The expected calibration error: the bins' gaps, weighted by their rows.
    errors = [float(np.average(np.abs(mean - share), weights=rows)) for _, mean, share, rows in binned]

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        for (name, mean, share, rows), error, colour, dash in zip(binned, errors, SERIES, DASHES, strict=False):
            axes.plot(
                mean,
                share,
                color=colour,
                linestyle=dash,
                linewidth=1.4,
                label=f"{name} {error:.3f}",
            )
            for few, filling in ((False, colour), (True, "none")):
                chosen = (rows < FEW_ROWS) == few
                axes.plot(
                    mean[chosen], share[chosen], "o", color=colour, markersize=4.5, markerfacecolor=filling, zorder=3
                )
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("mean predicted probability")
        axes.set_ylabel("share of the class")
        _legend(axes, curves)

    return Picture(
        "Calibration",
        draw("calibration", paint, _height(curves)),
        f"Expected calibration error: {_listed(zip((each[0] for each in curves), errors, strict=True))}.",
        f"{CALIBRATION_BINS} bins of equal width; hollow ones hold fewer than {FEW_ROWS} rows. On the thin diagonal a "
        "probability means what it says.",
    )


def calibration_bins(truth: npt.NDArray[np.bool_], scores: Numbers) -> tuple[Numbers, Numbers, Codes]:
    """Return mean probability, share of the class and number of rows of each bin that holds any."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    held = rows > 0
    sums = (np.bincount(bins, weights=each, minlength=CALIBRATION_BINS)[held] for each in (scores, truth))
    mean, share = (each / rows[held] for each in sums)
    return mean, share, rows[held]


def _listed(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{value:.3f} ({name})" for name, value in values)


# Permutation importance


def permutation_importance(data: ReportData) -> Importance:
    """Measure by how much the deciding metric gets worse when one feature is shuffled.

    The numbers are those of `sklearn.inspection.permutation_importance` with the same seed, on a sample of the test
    rows; but many shuffled copies go into one prediction, which for a forest is ten times as fast.

    References
    ----------
    L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    seed = data.model["request"]["seed"]
    names = _screen(data, seed) if data.features.shape[1] > IMPORTANCE_FEATURES else list(data.features.columns)
    rows = _sample(data, _sample_size(len(names), data.features.shape[1], data.predictions[0].size), seed)
    sample = data.features.iloc[rows].reset_index(drop=True)
    score = _scorer(data, rows)
    shuffled = _permutations(len(rows), seed)
    changes = [(name, order) for name in names for order in shuffled]
    scores = np.array([score(predicted) for predicted in _predict_changed(data, sample, changes)])
    values = score(data.predictions[rows]) - scores.reshape(len(names), IMPORTANCE_REPEATS)
    order = np.argsort(-values.mean(axis=1), kind="stable")
    return Importance([names[each] for each in order], values[order], len(rows), data.features.shape[1])


def _sample_size(measured: int, features: int, outputs: int) -> int:
    cost = max(1, outputs / CHEAP_CLASSES) * max(1, features / IMPORTANCE_FEATURES)
    affordable = int(PREDICTED_ROWS / (cost * measured * IMPORTANCE_REPEATS))
    return min(max(affordable, IMPORTANCE_LEAST_ROWS), IMPORTANCE_ROWS)


def _permutations(rows: int, seed: int) -> list[Codes]:
    # As scikit-learn draws them: one shuffle upon another, and the same for each feature.
    state = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    shuffle = order = np.arange(rows)
    orders = list[Codes]()
    for _ in range(IMPORTANCE_REPEATS):
        shuffle = shuffle.copy()
        state.shuffle(shuffle)
        order = order[shuffle]
        orders.append(order)
    return orders


def _screen(data: ReportData, seed: int) -> list[str]:
    """Return the features whose values move the predictions most when a few rows take them from other rows."""
    rows = np.random.default_rng(seed).permutation(len(data.features))[:SCREENING_ROWS]
    sample = data.features.iloc[rows].reset_index(drop=True)
    order = np.roll(np.arange(len(rows)), 1)
    changed = _predict_changed(data, sample, [(name, order) for name in data.features.columns])
    moves = np.array([np.abs(predicted - data.predictions[rows]).mean() for predicted in changed])
    return [data.features.columns[each] for each in np.sort(np.argsort(-moves, kind="stable")[:IMPORTANCE_FEATURES])]


def _predict_changed(
    data: ReportData, sample: pd.DataFrame, changes: Sequence[tuple[str, Codes]]
) -> Iterable[npt.NDArray[Any]]:
    """Yield what is predicted for the sample with one column's values in another order, for each change."""
    predict = data.pipeline.predict if data.predictions.ndim == 1 else data.pipeline.predict_proba
    size = len(sample)
    width = max(sample.shape[1], data.predictions[0].size)
    together = max(1, BLOCK_CELLS // (size * width))
    for start in range(0, len(changes), together):
        block = changes[start : start + together]
        same = np.tile(np.arange(size), len(block))
        sources = {name: same.copy() for name, _ in block}
        for position, (name, order) in enumerate(block):
            sources[name][position * size : (position + 1) * size] = order
        stacked = pd.DataFrame({name: sample[name].array.take(sources.get(name, same)) for name in sample.columns})
        yield from np.split(predict(stacked), len(block))


def _sample(data: ReportData, size: int, seed: int) -> Codes:
    """Return the positions of a seeded sample of the test rows, at least one of each class among them."""
    order = np.random.default_rng(seed).permutation(len(data.target))
    if data.predictions.ndim == 2:
        _, first = np.unique(class_codes(data)[0][order], return_index=True)
        order = np.concatenate([order[first], np.delete(order, first)])
        size = max(size, len(first))
    return np.sort(order[:size])


def _scorer(data: ReportData, rows: Codes) -> Callable[[npt.NDArray[Any]], float]:
    """Return the deciding metric as a function of what was predicted for `rows`; the higher the better."""
    metric = data.evaluation["metric"]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    truth = data.target[rows] if data.predictions.ndim == 1 else class_codes(data)[0][rows]
    labels = np.arange(data.predictions.shape[1]) if data.predictions.ndim == 2 else None
    functions: Mapping[str, Callable[[npt.NDArray[Any]], float]] = {
        "rmse": lambda predicted: metrics.root_mean_squared_error(truth, predicted),
        "mae": lambda predicted: metrics.mean_absolute_error(truth, predicted),
        "r2": lambda predicted: metrics.r2_score(truth, predicted),
        "accuracy": lambda predicted: float(np.mean(predicted.argmax(axis=1) == truth)),
        "f1_macro": lambda predicted: metrics.f1_score(
            truth, predicted.argmax(axis=1), average="macro", zero_division=0
        ),
        "roc_auc": lambda predicted: (
            metrics.roc_auc_score(truth, predicted[:, 1])
            if predicted.shape[1] == 2
            else metrics.roc_auc_score(truth, predicted, multi_class="ovr", labels=labels)
        ),
        "log_loss": lambda predicted: metrics.log_loss(truth, predicted, labels=labels),
    }
    return lambda predicted: sign * float(functions[metric](predicted))


def _importance_picture(importance: Importance, metric: str) -> Picture:
    names = importance.names[:SHOWN_FEATURES]
    mean, spread = (part[: len(names)] for part in (importance.losses.mean(axis=1), importance.losses.std(axis=1)))
    change = "increase" if metric in LOWER_IS_BETTER else "decrease"

    def paint(axes: Axes) -> None:
        positions = np.arange(len(names))
        axes.barh(positions, mean, height=0.62, color=SERIES[0], alpha=0.75)
        axes.errorbar(mean, positions, xerr=spread, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(positions, [shorten(name, LABEL_WIDTH) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(f"{change} of {metric} when shuffled", loc="right")

    first = ", ".join(
        f"{shorten(name, VALUE_WIDTH)} {number(value)}" for name, value in list(zip(names, mean, strict=True))[:3]
    )
    return Picture(
        "Permutation importance",
        draw("importance", paint, height=0.9 + 0.25 * len(names)),
        f"Mean {change} of {metric} when one feature is shuffled, the largest first: {first}.",
        "Bars are means, the thin lines one standard deviation of the repeats to each side.",
    )


def _importance_rows(importance: Importance) -> list[tuple[str, str, str]]:
    """Return name, mean and standard deviation of the features that are shown."""
    return [
        (name, number(values.mean()), number(values.std()))
        for name, values in zip(importance.names[:SHOWN_FEATURES], importance.losses, strict=False)
    ]


# Data and lineage


def _profile_row(column: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, str]:
    nulls, used = column["nulls"], profile["rows"]["used"]
    return {
        "name": shorten(column["name"], NAME_WIDTH),
        "role": column["role"],
        "use": column["use"] + (f": {column['reason']}" if column.get("reason") else ""),
        "dtype": column["dtype"] or f"{column['kind']}, not handed over",
        "nulls": f"{nulls:,} ({nulls / used:.1%})" if nulls else "0",
        "infinities": f"{column['infinities']:,}",
        "values": _values(column),
    }


def _values(column: Mapping[str, Any]) -> str:
    if "min" in column:
        moments = [f"{name} {number(column[name])}" for name in ("mean", "std") if name in column]
        return ", ".join([f"{number(column['min'])} to {number(column['max'])}", *moments])
    if "distinct" not in column:
        return "none"
    top = [f"{shorten(each['value'], VALUE_WIDTH)} ({each['rows']:,})" for each in column.get("top", ())[:5]]
    more = [] if len(top) == column["distinct"] else ["…"]
    return f"{number(column['distinct'])} different" + (f": {', '.join(top + more)}" if top else "")


def _lineage(data: ReportData) -> list[tuple[str, str | None]]:
    """Return what the model comes from, None where a document does not tell."""
    return [
        ("Run", data.evaluation["run_id"]),
        ("Evaluated at", data.evaluation.get("evaluated_at")),
        ("Data set", data.model["request"]["dataset_uri"]),
        ("Fingerprint of the data (SHA-256)", data.evaluation["data_fingerprint"]),
        ("Model file", data.evaluation["model_uri"]),
        ("Image digest of data preparation", data.profile.get("image_digest")),
        ("Image digest of model training", data.model.get("image_digest")),
        ("Release", data.model.get("release")),
        ("Commit", data.model.get("commit")),
    ]
