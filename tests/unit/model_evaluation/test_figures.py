"""The figures by themselves; what a page says of them is the report's to test."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from model_evaluation import figures
from model_evaluation.figures import Curve

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$x_1$", "$\\frac{1}{", "a &lt; b", 'id="x"']


def texts(svg: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def roc(names: list[str], points: int = 5) -> str:
    line = np.linspace(0, 1, points)
    return figures.roc([Curve(name, line, line**0.5, 0.75) for name in names])


def test_a_figure_can_stand_on_a_page_beside_others() -> None:
    svg = roc(["a", "b"])
    assert svg == roc(["a", "b"]), "the same data must give the same figure"
    assert not re.search(r"\bid=|href|url\(", svg), "what has a name could share it with another figure"
    assert not re.search(r"<style|font-family", svg), "the page has them"
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
    assert {each for each in colours if not each.startswith("var(--")} == {"none"}, "a colour is not the page's"


def test_names_are_text_as_they_are_written() -> None:
    bars = figures.importance_bars(NAMES, np.ones(len(NAMES)), np.zeros(len(NAMES)), "label")
    for svg, expected in ((roc(NAMES), [f"{name} 0.750" for name in NAMES]), (bars, NAMES)):
        assert set(expected) <= set(texts(svg))
        assert set(re.findall(r"<(\w+)", svg)) <= {"svg", "path", "text"}


def test_each_class_has_its_own_colour_and_one_alone_no_legend() -> None:
    names = [f"class {index}" for index in range(figures.CURVE_CLASSES)]
    svg = roc(names)
    assert all(f"var(--series-{index})" in svg for index in range(1, figures.CURVE_CLASSES + 1))
    assert not [text for text in texts(roc(names[:1])) if "class" in text]


def test_a_long_curve_does_not_make_a_large_figure() -> None:
    assert len(roc(["a"], 100_000)) < 2 * len(roc(["a"], figures.CURVE_POINTS))


@pytest.mark.parametrize(("rows", "counted"), [(figures.SCATTER_ROWS, False), (figures.SCATTER_ROWS + 1, True)])
def test_only_many_rows_are_counted(rows: int, *, counted: bool) -> None:
    values = np.linspace(0, 1, rows)
    same = np.full(rows, 0.5)
    for _, fullest in (
        figures.predicted_against_actual(values, values, "y"),
        figures.residuals_against_predicted(values, same),
    ):
        assert (fullest is not None) == counted
        assert fullest is None or 1 < fullest <= rows


def test_bins_of_few_rows_are_hollow() -> None:
    curve = Curve("a", np.array([0.1, 0.9]), np.array([0.2, 0.8]), 0.1)
    svg = figures.calibration([curve], [np.array([False, True])])
    dots = re.findall(r'<g style="fill: ([^;]*); stroke: var\(--series-1\)[^"]*">((?:<circle[^>]*>)*)</g>', svg)
    assert [(filling, circles.count("<circle")) for filling, circles in dots] == [("var(--series-1)", 1), ("none", 1)]


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    svg = figures.importance_bars(["a", "b", "c"], np.array([4.0, 1, -2]), np.zeros(3), "label")
    (path,) = re.findall(r'<path d="([^"]*)" style="fill: var\(--series-1\)', svg)
    sides = [(float(start), float(end)) for start, end in re.findall(r"M([\d.]+),[\d.]+H([\d.]+)", path)]
    zero = sides[0][0]
    unit = (sides[0][1] - zero) / 4
    assert [(end - zero) / unit for _, end in sides] == pytest.approx([4, 1, -2], abs=0.01)
    assert all(start == zero for start, _ in sides)


def test_a_histogram_counts_each_row_or_its_weight() -> None:
    residuals = np.array([-1.0, -1, -1, 1])
    for weights, ratio in ((None, 3), (np.array([1.0, 1, 1, 6]), 0.5)):
        svg = figures.residual_histogram(residuals, 2, weights)
        (path,) = re.findall(r'<path d="([^"]*)" style="fill: var\(--series-1\)', svg)
        heights = [float(low) - float(high) for low, high in re.findall(r"M[\d.]+,([\d.]+)H[\d.]+V([\d.]+)", path)]
        assert heights[0] / heights[1] == pytest.approx(ratio, rel=0.01)
