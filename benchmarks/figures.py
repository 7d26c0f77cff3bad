"""Medians, paired ratios with their spread, and the rows of the result that they become."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.memory import back_memory

T = TypeVar("T")
Table = tuple[Sequence[str], Sequence[Sequence[str]]]

BACKED_BYTES = 1 << 29
"""The free memory that a contestant finds; a worker sees to what more it takes."""


@dataclass(frozen=True)
class Spread:
    """A median with the least and the largest of what was measured."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def text(self, unit: str = "", digits: int = 3) -> str:
        """Return `median (low to high)` with three significant digits."""
        one, low, high = (rounded(value, digits) for value in (self.median, self.low, self.high))
        return f"{one}{unit}" if self.count == 1 else f"{one}{unit} ({low} to {high})"


def rounded(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, without an exponent.

    Examples
    --------
    >>> rounded(0.04567), rounded(12345.6)
    ('0.0457', '12,346')
    """
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if abs(value) >= 10 ** (digits - 1) and "e" in text else _plain(value, text)


def _plain(value: float, text: str) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{float(text):.10f}".rstrip("0").rstrip(".")


def ratio(ones: Sequence[float], others: Sequence[float]) -> Spread:
    """Return the spread of the ratios of pairs that were measured one after the other."""
    return Spread.of([one / other for one, other in zip(ones, others, strict=True)])


def interleaved(repeats: int, contestants: Mapping[str, Callable[[int], T]]) -> dict[str, list[T]]:
    """Call all contestants in each of some rounds, and return what each returned.

    Each round begins with another one, so that no contestant always has the warm cache or the busy machine. Each gets
    the number of the round.
    """
    names = list(contestants)
    results: dict[str, list[T]] = {name: [] for name in names}
    for each in range(repeats):
        for name in names[each % len(names) :] + names[: each % len(names)]:
            back_memory(BACKED_BYTES)
            results[name].append(contestants[name](each))
    return results


@dataclass(frozen=True)
class Goal:
    """One line of the summary: what, the figure in words, the goal in words, and whether it is reached.

    `reached` is None where there is no goal, or where the figure could not be measured.
    """

    what: str
    figure: str
    goal: str = "reported"
    reached: bool | None = None


def at_most(what: str, spread: Spread, limit: float, unit: str = "") -> Goal:
    """Return the line of a figure that must not exceed a limit; its median counts."""
    return Goal(what, spread.text(unit), f"≤ {limit:g}{unit}", spread.median <= limit)


@dataclass
class Section:
    """The figures of one benchmark.

    Attributes
    ----------
    goals
        Its lines in the summary.
    tables
        Further figures: for each table its head and its rows.
    notes
        How it was measured, what could not be, and why.
    data
        What plots are drawn from.
    """

    title: str
    goals: list[Goal] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


class DifferentResultError(Exception):
    """Two contestants did not do the same work."""


def check_same(results: Mapping[str, Mapping[str, Any]], tolerance: float = 1e-6) -> str:
    """Check that all contestants scored as many rows and got the same rmse, and say so.

    Raises
    ------
    DifferentResultError
        If one did not.
    """
    names = list(results)
    first = results[names[0]]
    for name in names[1:]:
        other = results[name]
        if other["rows"] != first["rows"] or abs(other["rmse"] / first["rmse"] - 1) > tolerance:
            raise DifferentResultError(f"{names[0]} got {first}, {name} {other}")
    difference = max(abs(results[name]["rmse"] / first["rmse"] - 1) for name in names)
    return (
        f"All contestants scored the same {first['rows']:,} test rows: rmse {first['rmse']:.6g}, "
        f"the largest relative difference is {difference:.1g}."
    )
