"""Axes by themselves: where the ticks are, and where what is drawn comes to lie."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from common.svg import WIDTH, Axes, Axis, limits, text_width, ticks


@pytest.mark.parametrize(
    ("low", "high", "whole", "texts"),
    [
        (-0.03, 1.03, False, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (-9_000, 9_000, False, ["\N{MINUS SIGN}5,000", "0", "5,000"]),
        (-3e6, 6e6, False, ["\N{MINUS SIGN}2e6", "0", "2e6", "4e6", "6e6"]),
        (
            1e-7,
            3e-7,
            False,
            [
                "1.0e\N{MINUS SIGN}7",
                "1.5e\N{MINUS SIGN}7",
                "2.0e\N{MINUS SIGN}7",
                "2.5e\N{MINUS SIGN}7",
                "3.0e\N{MINUS SIGN}7",
            ],
        ),
        (0, 2.1, True, ["0", "1", "2"]),
        (0, 11, True, ["0", "5", "10"]),
        (0, 11, False, ["0.0", "2.5", "5.0", "7.5", "10.0"]),
    ],
)
def test_ticks_are_round_and_written_alike(low: float, high: float, texts: list[str], *, whole: bool) -> None:
    assert [*ticks(low, high, 5, whole=whole).values()] == texts


@pytest.mark.parametrize(
    "values",
    [
        [0, 0],
        [5, 5],
        [-1e9, -1e9],
        [1.7e9, 1.7e9 + 1e-3],
        [1.7e9, 1.7e9 + 10],
        [0, 1e300],
        [1e-300, 3e-300],
        [0, 5e-324],
    ],
)
@pytest.mark.parametrize("most", range(1, 9))
def test_whatever_the_values_ticks_are_few_lie_within_and_can_be_told_apart(values: list[float], most: int) -> None:
    low, high = limits(np.array(values))
    assert low < min(values) <= max(values) < high
    found = ticks(low, high, most)
    assert len(found) <= most + 1
    assert len(set(found.values())) == len(found)
    assert all(low <= each <= high for each in found)
    assert most < 4 or len(found) >= 2


def places(axes: Axes) -> np.ndarray[Any, Any]:
    return np.array(re.findall(r'<circle cx="([^"]*)" cy="([^"]*)"', axes.svg()), dtype=float)


def test_a_dot_lies_where_the_ticks_say() -> None:
    axes = Axes(Axis("x", 0, 10), Axis("y", 0, 10))
    axes.dots(np.array([0.0, 10, 4]), np.array([0.0, 10, 2]), "", 1)
    origin, corner, between = places(axes)
    assert between - origin == pytest.approx((corner - origin) * [0.4, 0.2], abs=0.1)
    assert corner[0] > origin[0]
    assert corner[1] < origin[1], "up is towards smaller numbers in SVG"
    shown = dict(re.findall(r'<text x="([^"]*)" y="[^"]*" text-anchor="middle">(\d+)</text>', axes.svg()))
    assert shown[f"{origin[0]:g}"] == "0"
    assert shown[f"{between[0]:g}"] == "4"


def test_squares_count_every_point_and_the_strongest_has_the_most() -> None:
    axes = Axes(Axis("x", 0, 10), Axis("y", 0, 10))
    x, y = np.array([0.0] + [5] * 100 + [10] * 10), np.array([0.0] + [5] * 100 + [10] * 10)
    assert axes.density(x, y) == 100
    squares = re.findall(r'<path d="([^"]*)" style="[^"]*fill-opacity: ([\d.]*)', axes.svg())
    assert [(path.count("M"), float(opacity)) for path, opacity in squares] == [(1, 0.15), (1, 0.6), (1, 1)]
    axes.dots(x, y, "", 1)
    corners = [re.findall(r"[\d.]+", path)[:2] for path, _ in squares]
    for (left, bottom), (across, down) in zip(np.array(corners, dtype=float), places(axes)[[0, -1, 1]], strict=True):
        assert left - 0.1 <= across <= left + 6.1
        assert bottom - 6.1 <= down <= bottom + 0.1


def test_numbers_of_many_digits_leave_room_for_fewer_ticks() -> None:
    few, many = (Axes(Axis("x", low, low + 1), Axis("", 0, 1)).svg() for low in (1.7e9, 0))
    texts = [re.findall(r'text-anchor="middle">([^<x]+)</text>', svg) for svg in (few, many)]
    assert 1 < len(texts[0]) < len(texts[1])
    assert sum(map(text_width, texts[0])) < WIDTH


def test_wide_letters_are_taken_for_wide() -> None:
    assert text_width("iii") < text_width("abc") < text_width("ABC") < text_width("MMM") < text_width("日本語")
