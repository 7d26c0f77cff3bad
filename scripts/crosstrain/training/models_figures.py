"""Draws a model's champions over time and its versions' metrics, with the axes of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from common.metric_table import LOWER_IS_BETTER
from common.pages import Picture
from common.svg import INK, SERIES, named_axes
from common.svg import limits as ends_of
from crosstrain.training.registry import Change

ROWS = 20
"""How many rows a figure has at most: the newest."""
_OF = "version"
_UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60))


@dataclass(frozen=True)
class Measured:
    """A version's metric, with the ends of its interval where it has one.

    Attributes
    ----------
    name : str
        Of the version, short enough for an axis.
    text : str
        The value, as it is written.
    """

    name: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    text: str
    is_promoted: bool
    is_champion: bool


def of_champions(history: Sequence[Change], names: Sequence[str], now: datetime) -> Picture:
    """Return which version was the champion when, of the last `ROWS` changes.

    Parameters
    ----------
    history
        All changes, of which there is one at least, oldest first.
    names
        What each change's version is called, short enough for an axis.
    now
        Until when the last one is the champion.
    """
    changes, names = history[-ROWS:], names[-ROWS:]
    rows = list(dict.fromkeys(names))
    begin = changes[0].at
    seconds = np.array([(at - begin).total_seconds() for at in (*(each.at for each in changes), now)])
    unit, length = next((each for each in _UNITS if seconds.max() >= 2 * each[1]), _UNITS[-1])
    # The clocks are several, so that a change may seem to be earlier than the one before it.
    starts, ends = seconds[:-1] / length, np.maximum(seconds[1:], seconds[:-1]) / length
    places = np.array([rows.index(name) for name in names], np.float64)
    span = min(0.0, float(starts.min())), float(ends.max()) or 1.0
    axes = named_axes(rows, f"{unit} from {begin:%Y-%m-%d %H:%M}", span, of=_OF)
    axes.bars(starts, ends, places - 0.31, places + 0.31)
    back = np.array([each.kind == "rollback" for each in changes])
    axes.dots(starts[~back], places[~back], f"fill: {INK}", 2.5)
    axes.dots(starts[back], places[back], f"fill: var(--paper); stroke: {INK}; stroke-width: 1.2", 3)
    fewer = f"the last {len(changes)} of {len(history):,}" if len(changes) < len(history) else f"{len(changes)}"
    return Picture(
        "Champions over time",
        axes.svg(),
        f"Version {names[-1]} has been the champion since {changes[-1].at:%Y-%m-%d %H:%M}. Changes shown: {fewer}, "
        f"rollbacks among them: {int(back.sum())}.",
        "A bar is a time as champion, until now at most; a dot begins one by a promotion, a ring by a rollback.",
    )


def of_metric(versions: Sequence[Measured]) -> Picture:
    """Return the values of one metric with their intervals, of the first `ROWS` versions, of which there is one."""
    shown = versions[:ROWS]
    metric = shown[0].metric
    values = np.array([each.value for each in shown])
    places = np.arange(len(shown), dtype=np.float64)
    bounded = [index for index, each in enumerate(shown) if each.interval is not None]
    low, high = (np.array([each.interval[end] for each in shown if each.interval is not None]) for end in (0, 1))
    span = ends_of(values, *((low, high) if bounded else ()))
    axes = named_axes([each.name for each in shown], metric, span, of=_OF)
    axes.spans(low, high, places[bounded])
    promoted = np.array([each.is_promoted for each in shown])
    dot = f"stroke: {SERIES[0]}; stroke-width: 1.2; fill: "
    axes.dots(values[promoted], places[promoted], dot + SERIES[0], 3)
    axes.dots(values[~promoted], places[~promoted], dot + "var(--paper)", 3)
    champion = np.array([each.is_champion for each in shown])
    axes.dots(values[champion], places[champion], f"fill: none; stroke: {INK}; stroke-width: 1.2", 6)
    order = np.argsort(values)
    best, worst = (shown[order[each]] for each in ((0, -1) if metric in LOWER_IS_BETTER else (-1, 0)))
    direction = "Lower" if metric in LOWER_IS_BETTER else "Higher"
    return Picture(
        f"{metric} of the versions",
        axes.svg(),
        f"From {worst.text} (version {worst.name}) to {best.text} (version {best.name}), the newest on top.",
        f"{direction} is better. Filled: promoted; hollow: rejected; in a ring: the champion. Lines are 95 % "
        "intervals. Test rows may differ: compare two versions with models.py compare.",
    )
