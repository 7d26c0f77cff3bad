"""Draws axes and what lies between them as an SVG element that takes width, font and colours of its page."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]
Ticks = dict[float, str]
"""Where ticks are, and what is written there."""

# In the element's own units, of which a figure is about as many wide as a phone is pixels: no text is made small there.
WIDTH, HEIGHT = 302, 230
_FONT, _LEGEND_FONT = 10, 9
_TOP, _RIGHT, _BELOW, _BESIDE = 6, 8, 33, 16
"""Space around the axes: above, to the right, below for the ticks and the label, and at the left for the label."""
_ROW, _SAMPLE = 14, 29
"""The height of a legend's row, and the length of the line in it."""
_CELL, _SHADES = 6, 16
"""The side of a square that points are counted in, and in how many strengths the squares are drawn."""

# The page's variables, so that a figure follows it into dark mode.
INK, MUTED, LINE = "var(--ink)", "var(--muted)", "var(--line)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
_BAR = f"fill: {SERIES[0]}; fill-opacity: 0.75"
DASHED = "5 1.5"
DASHES = ("none", "8 2.4", "2.4 1.9", "8 1.9 1.9 1.9", "14.4 3.2", "4.8 1.6 1.6 1.6 1.6 1.6")


@dataclass(frozen=True)
class Axis:
    """What one of two axes shows.

    Attributes
    ----------
    label
        Stands beside the axis.
    low, high
        Its ends, `low` below `high`; `limits` finds them.
    whole
        Ticks are whole numbers.
    names
        Of the positions 0, 1, 2, …, which then stand at a vertical axis in place of numbers.
    ticked_from
        Where the ticks of a vertical axis begin; None for its lower end.
    """

    label: str
    low: float
    high: float
    whole: bool = False
    names: Sequence[str] = ()
    ticked_from: float | None = None


class Axes:
    """Two axes, and what is drawn between them; later things lie above earlier ones.

    Parameters
    ----------
    x, y
        Horizontal and vertical.
    height
        Of the element, without the legend.
    legend
        Names the lines above the axes, where none can run into the names: the first colour and dashes, the second, …
    """

    def __init__(self, x: Axis, y: Axis, height: float = HEIGHT, legend: Sequence[str] = ()) -> None:
        entry = _SAMPLE + 14 + max((text_width(text, _LEGEND_FONT) for text in legend), default=0)
        rows = math.ceil(len(legend) / (2 if 2 * entry <= WIDTH else 1))
        above = rows * _ROW
        self._size = height + above
        self._top, self._bottom = above + _TOP, above + height - _BELOW
        self._x, self._y = x, y
        steps = int((self._bottom - self._top) / 22)
        least = y.low if y.ticked_from is None else y.ticked_from
        self._y_ticks: Ticks = dict(enumerate(y.names)) if y.names else ticks(least, y.high, steps, whole=y.whole)
        # A whole number, as are the sides of the squares, which so need few digits.
        self._left = math.ceil(_BESIDE * bool(y.label) + 7 + max(map(text_width, self._y_ticks.values()), default=0))
        self._right = WIDTH - _RIGHT
        self._x_ticks = self._fitting_ticks()
        self._parts = _legend(legend, rows)
        self._draw_grid()

    def line(self, x: Numbers, y: Numbers, colour: str, width: float = 1, dash: str = "none") -> None:
        """Draw a line through points."""
        points = " ".join(f"{across:g},{down:g}" for across, down in self._places(x, y))
        style = f"fill: none; stroke: {colour}; stroke-width: {width}; stroke-dasharray: {dash}"
        self._parts.append(f'<path d="M{points}" style="{style}"/>')

    def guide(self, x: tuple[float, float], y: tuple[float, float], dash: str = "none") -> None:
        """Draw a thin line from one point to another, to hold the others against."""
        self.line(np.array(x), np.array(y), MUTED, 0.9, dash)

    def dots(self, x: Numbers, y: Numbers, style: str, radius: float) -> None:
        """Draw a dot at each point."""
        each = "".join(f'<circle cx="{across:g}" cy="{down:g}" r="{radius}"/>' for across, down in self._places(x, y))
        self._parts.append(f'<g style="{style}">{each}</g>')

    def bars(self, left: Numbers, right: Numbers, low: Numbers, high: Numbers, style: str = _BAR) -> None:
        """Draw bars by their sides."""
        corners = zip(self._places(left, low), self._places(right, high), strict=True)
        path = "".join(f"M{x0:g},{y0:g}H{x1:g}V{y1:g}H{x0:g}z" for (x0, y0), (x1, y1) in corners)
        self._parts.append(f'<path d="{path}" style="{style}"/>')

    def spans(self, low: Numbers, high: Numbers, y: Numbers) -> None:
        """Draw thin horizontal lines that end in small vertical ones."""
        ends = zip(self._places(low, y), self._places(high, y), strict=True)
        path = "".join(f"M{x0:g},{y0 - 2:g}v4m0,-2H{x1:g}m0,-2v4" for (x0, y0), (x1, _) in ends)
        self._parts.append(f'<path d="{path}" style="fill: none; stroke: {INK}; stroke-width: 1"/>')

    def density(self, x: Numbers, y: Numbers) -> int:
        """Draw how many points there are in each small square, the logarithm as strength, and return the most."""
        columns = (self._right - self._left) // _CELL + 1
        across = ((self._across(x) - self._left) // _CELL).astype(np.int64)
        up = ((self._bottom - self._down(y)) // _CELL).astype(np.int64)
        counts = np.bincount(up * columns + across)
        (held,) = counts.nonzero()
        most = int(counts.max())
        shades = np.rint(np.log(counts[held]) / math.log(max(most, 2)) * (_SHADES - 1))
        for shade in np.unique(shades):
            rows, places = np.divmod(held[shades == shade], columns)
            corners = zip((self._left + _CELL * places).tolist(), (self._bottom - _CELL * rows).tolist(), strict=True)
            path = "".join(f"M{left:g},{bottom:g}h{_CELL}v-{_CELL}h-{_CELL}z" for left, bottom in corners)
            opacity = 0.15 + 0.85 * shade / (_SHADES - 1)
            # Squares of different strength meet without a seam.
            style = f"fill: {SERIES[0]}; fill-opacity: {opacity:.2f}; shape-rendering: crispEdges"
            self._parts.append(f'<path d="{path}" style="{style}"/>')
        return most

    def svg(self) -> str:
        """Return the element."""
        ends = f"M{self._left},{self._top:g}V{self._bottom:g}H{self._right}"
        across = "".join(f"M{x:g},{self._bottom:g}v3.5" for x in self._across_of(self._x_ticks))
        down = "".join(f"M{self._left},{y:g}h-3.5" for y in self._down_of(self._y_ticks) if not self._y.names)
        frame = f'<path d="{ends}{across}{down}" style="fill: none; stroke: {MUTED}; stroke-width: 0.8"/>'
        parts = "".join([*self._parts, frame, *self._tick_labels(), *self._labels()])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._size:g}" '
            f'style="fill: {INK}" font-size="{_FONT}">{parts}</svg>'
        )

    def _across(self, x: Numbers) -> Numbers:
        return self._left + (x - self._x.low) / (self._x.high - self._x.low) * (self._right - self._left)

    def _down(self, y: Numbers) -> Numbers:
        return self._bottom - (y - self._y.low) / (self._y.high - self._y.low) * (self._bottom - self._top)

    def _across_of(self, values: Iterable[float]) -> list[float]:
        return _rounded(self._across(np.array([*values], np.float64)))

    def _down_of(self, values: Iterable[float]) -> list[float]:
        return _rounded(self._down(np.array([*values], np.float64)))

    def _places(self, x: Numbers, y: Numbers) -> Iterable[tuple[float, float]]:
        return zip(_rounded(self._across(x)), _rounded(self._down(y)), strict=True)

    def _fitting_ticks(self) -> Ticks:
        """Return as many ticks of the horizontal axis, up to six, as do not run into each other."""
        found: Ticks = {}
        for most in range(5, 0, -1):
            found = ticks(self._x.low, self._x.high, most, whole=self._x.whole)
            if sum(text_width(text) + 6 for text in found.values()) <= self._right - self._left:
                break
        return found

    def _draw_grid(self) -> None:
        across = "".join(f"M{x:g},{self._bottom:g}V{self._top:g}" for x in self._across_of(self._x_ticks))
        down = "".join(f"M{self._left},{y:g}H{self._right}" for y in self._down_of(self._y_ticks) if not self._y.names)
        self._parts.append(f'<path d="{across}{down}" style="fill: none; stroke: {LINE}; stroke-width: 0.6"/>')

    def _tick_labels(self) -> Iterable[str]:
        for x, text in zip(self._across_of(self._x_ticks), self._x_ticks.values(), strict=True):
            yield _text(_inside(x, text_width(text)), self._bottom + 13.5, text, "middle")
        for y, text in zip(self._down_of(self._y_ticks), self._y_ticks.values(), strict=True):
            yield _text(self._left - 6, y + 3.5, text, "end")

    def _labels(self) -> Iterable[str]:
        wide = text_width(self._x.label)
        # Narrower letters where there is no room: it is a name from the data set, of whatever letters.
        fit = f' textLength="{WIDTH - 4}" lengthAdjust="spacingAndGlyphs"' if wide > WIDTH - 4 else ""
        middle = _inside((self._left + self._right) / 2, min(wide, WIDTH - 4))
        yield _text(middle, self._bottom + 28, self._x.label, "middle", fit)
        if self._y.label:
            turned = f' transform="rotate(-90 10 {(self._top + self._bottom) / 2:g})"'
            yield _text(10, (self._top + self._bottom) / 2, self._y.label, "middle", turned)


def named_axes(names: Sequence[str], label: str, ends: tuple[float, float], height: float = 18, of: str = "") -> Axes:
    """Return axes with a row of some height for each name `of` something, the first one on top, at 0, 1, 2, …."""
    rows = len(names)
    return Axes(Axis(label, *ends), Axis(of, rows - 0.4, -0.6, names=names), height=48 + height * rows)


def limits(*values: Numbers) -> tuple[float, float]:
    """Return ends of an axis, a twentieth of the range beyond all values."""
    low, high = (float(end([end(each) for each in values])) for end in (np.min, np.max))
    largest = max(abs(low), abs(high))
    if high - low > max(1e-9 * largest, 1e-300):
        beyond = (high - low) * 0.05
    else:  # Hardly different ones would need ticks of more digits than a number has.
        beyond = largest * 0.05 if largest > 1e-300 else 0.05
    return low - beyond, high + beyond


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> Ticks:
    """Return round numbers from `low` to `high` in at most `most` equal steps, each with how it is written.

    Examples
    --------
    >>> ticks(-0.03, 1.03, 5)
    {0.0: '0.00', 0.25: '0.25', 0.5: '0.50', 0.75: '0.75', 1.0: '1.00'}
    >>> ticks(0, 2_400_000, 3)
    {0.0: '0', 1000000.0: '1e6', 2000000.0: '2e6'}
    """
    rough = max((high - low) / most, 1 if whole else 0)
    power = 10.0 ** math.floor(math.log10(rough))
    sizes = (each * power for each in (1, 2, 2.5, 5, 10, 20))
    step = next(size for size in sizes if size >= rough and not (whole and size % 1))
    values = [count * step for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    largest = max(map(abs, values), default=0)
    exponent = math.floor(math.log10(largest) + 1e-9) if largest else 0
    if -4 < exponent < 6:
        exponent = 0
    unit = 10.0**exponent
    # As many decimals as tell the ticks apart.
    scaled = step / unit
    decimals = next((each for each in range(12) if math.isclose(scaled * 10**each, round(scaled * 10**each))), 12)
    ending = f"e{exponent}" if exponent else ""
    return {
        value: "0" if ending and not value else f"{value / unit:,.{decimals}f}{ending}".replace("-", "\N{MINUS SIGN}")
        for value in values
    }


def text_width(text: str, size: float = _FONT) -> float:
    """Return about how wide a text is in DejaVu Sans, which is wider than the other fonts that a page is shown in."""
    return size * sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if character in " !'(),-./:;I[\\]fijlrt|":
        return 0.4
    if character in "%@MWmw…":
        return 1
    if unicodedata.east_asian_width(character) in "WF":
        return 1.1
    return 0.63 if character.islower() or character.isdigit() or character in "_$" else 0.8


def _rounded(values: Numbers) -> list[float]:
    """Return values to a tenth of a unit: no eye tells more."""
    return [*map(float, values.round(1))]


def _inside(middle: float, width: float) -> float:
    """Return where the middle of a text has to be for it not to be cut at the figure's edge."""
    return round(min(max(middle, width / 2), WIDTH - width / 2), 1)


def _text(x: float, y: float, text: str, anchor: str, attributes: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{attributes}>{html.escape(text)}</text>'


def _legend(names: Sequence[str], rows: int) -> list[str]:
    parts = []
    for index, (name, colour, dash) in enumerate(zip(names, SERIES, DASHES, strict=False)):
        column, row = divmod(index, rows)
        x, y = 4 + column * WIDTH / 2, 7 + row * _ROW
        style = f"stroke: {colour}; stroke-width: 1.6; stroke-dasharray: {dash}"
        parts.append(f'<path d="M{x:g},{y:g}h{_SAMPLE}" style="{style}"/>')
        parts.append(_text(x + _SAMPLE + 6, y + 3.2, name, "start", f' font-size="{_LEGEND_FONT}"'))
    return parts
