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
    identifiers = re.findall(r'\bid="([^"]*)"', svg)
    assert len(identifiers) == len(set(identifiers))
    assert all(each.startswith("roc-") for each in identifiers)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(identifiers)
    assert "#0101" not in svg, "a colour was not replaced by the page's"
    assert not re.search(r"<style|<metadata|font-family", svg)


def test_names_are_text_as_they_are_written() -> None:
    bars = figures.importance_bars(NAMES, np.ones(len(NAMES)), np.zeros(len(NAMES)), "label")
    for svg, expected in ((roc(NAMES), [f"{name} 0.750" for name in NAMES]), (bars, NAMES)):
        assert set(expected) <= set(texts(svg))
        tags = {tag.lower() for tag in re.findall(r"<(\w+)", svg)}
        assert tags <= {"svg", "defs", "g", "path", "use", "text", "clippath", "rect"}


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
    assert re.findall(r'style="(fill[^;]*); stroke: var\(--series-1\)"', svg) == [
        "fill: var(--series-1)",
        "fill-opacity: 0",
    ]
