"""Numbers with the digits that the rows bear, and names in a width that fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.words import GB_SECOND, difference, number, rounded, shorten, value_in_words

TURN = "\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.mark.parametrize(
    ("value", "width", "told"),
    [
        (0.98765432, 0.04, "0.988"),
        (12345678.9, 20_000.0, "12,346,000"),
        (float("inf"), 1.0, "inf"),
        (1.0, 0.0, "1"),
        (1.5e-20, 1e-22, "1.5e-20"),
        (-3.14159, 3.0, "-3.1"),
    ],
)
def test_a_number_is_rounded_by_a_width(value: float, width: float, told: str) -> None:
    assert rounded(value, width) == told


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "undefined"),
        (0, "0"),
        (0.0, "0"),
        (-1234567, "-1,234,567"),
        (1022071.4, "1,022,071"),
        (0.5, "0.5"),
        (100.0, "100"),
        (-0.0012345678, "-0.00123457"),
        (1e-7, "1e-07"),
        (1.5e300, "1.5e+300"),
        (True, "True"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_numbers(value: Any, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本", 4, "日本"),
        ("日本語", 4, "日…"),
        ("a日b", 3, "a…"),
        (f"a\n\x00{TURN}b", 9, "a���b"),
        ("", 3, ""),
    ],
)
def test_long_and_wide_texts_are_shortened(text: str, width: int, shown: str) -> None:
    assert shorten(text, width) == shown


@pytest.mark.parametrize(("value", "told"), [(0.0, "0"), (0.0012345, "0.0012"), (-1234.5, "-1,200"), (0.996, "1.00")])
def test_a_difference_has_two_digits(value: float, told: str) -> None:
    assert difference(value) == told


@pytest.mark.parametrize(
    ("value", "role", "told"),
    [
        (0.0, "boolean", "false"),
        (1.0, "boolean", "true"),
        (-86_400.0, "timestamp", "1969-12-31"),
        (1e14, "timestamp", "3170843-11-07"),
        (123456.789, "numeric", "123,500"),
    ],
)
def test_a_value_is_told_as_people_know_it(value: float, role: str, told: str) -> None:
    assert value_in_words(value, role) == told


def test_the_benchmarks_reckon_with_the_same_price(project: Path) -> None:
    prices = json.loads((project / "benchmarks" / "prices.json").read_text(encoding="utf-8"))
    assert prices["lambda_gb_second"]["price"] == GB_SECOND
